"""Prepared stores: their manifest, how they are written, opened and checked."""
