"""Writes and reads .beton files with FFCV, which is not imported before it is needed."""

from loaders.ffcv.source import FFCV
from loaders.ffcv.store import open_ffcv_store

__all__ = ["FFCV", "open_ffcv_store"]
