"""Tables: how views are shown, drawn by pure functions of (seed, epoch, sample id)."""
