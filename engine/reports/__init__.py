"""What people read of runs: reports, comparisons, charts and sheets; it needs no torch."""
