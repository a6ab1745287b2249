"""Sources of faces, one file each; `Packed` comes with its tiers and `DALI` with its decoding."""
