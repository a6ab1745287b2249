"""FFCV: writing and reading .beton files, and our views as operations of FFCV's own pipelines.

Importing this package does not import FFCV; `loaders.ffcv.operations` and `loaders.ffcv.traversal` do.
"""

from loaders.ffcv.source import FFCV
from loaders.ffcv.store import open_betons

__all__ = ["FFCV", "open_betons"]
