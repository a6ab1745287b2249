"""FFCV: writing and reading .beton files, and our views as operations of FFCV's own pipelines.

Importing this package does not import FFCV; `loaders.beton.operations` and `loaders.beton.traversal` do.
"""

from loaders.beton.source import FFCV
from loaders.beton.store import open_betons

__all__ = ["FFCV", "open_betons"]
