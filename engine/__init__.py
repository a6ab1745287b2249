"""Trains recipes: views, tasks, the multi-task loop, run folders and reports."""

from importlib.metadata import PackageNotFoundError, version

from engine.foreign_files import refuse_foreign_files

try:
    __version__ = version("hmtl")
except PackageNotFoundError:  # a checkout that was never installed
    __version__ = "unknown"

refuse_foreign_files()
