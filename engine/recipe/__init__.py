"""Describes an experiment as a frozen value, the recipe: its file, `--set`, its baselines and `--smoke`."""

from engine.recipe.definition import Recipe

__all__ = ["Recipe"]
