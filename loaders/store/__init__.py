"""Writes, opens and checks prepared stores."""
