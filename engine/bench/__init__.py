"""Measures speed on this machine: how fast each source delivers, and how fast a recipe trains from it.

python -m engine.bench loaders DATA
python -m engine.bench step RECIPE
"""
