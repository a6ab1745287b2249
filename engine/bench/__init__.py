"""Measures speed on this machine: how fast each source delivers, and how fast a recipe trains from it.

hmtl bench loaders DATA
hmtl bench step RECIPE
"""
