"""Holds the recipes and experiments, one a file."""
