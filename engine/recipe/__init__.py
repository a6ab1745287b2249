"""The recipe: one experiment as a frozen value, its file, `--set`, its baselines and `--smoke`."""

from engine.recipe.definition import Recipe

__all__ = ["Recipe"]
