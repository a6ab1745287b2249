"""The folder of a run: how it is written and read back."""
