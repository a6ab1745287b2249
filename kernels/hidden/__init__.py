"""Computes the pixel loss of in-painting over hidden cells."""
