"""Data sets in their published layouts: one file each, one line here."""

from __future__ import annotations

from collections.abc import Callable

from loaders.importers.base import Contents, Importer, Record, Skipped
from loaders.importers.fer2013 import Fer2013
from loaders.importers.folder import ClassFolders
from loaders.importers.manifest import ManifestFile

IMPORTERS: dict[str, Callable[..., Importer]] = {
    "fer2013": Fer2013,
    "folder": ClassFolders,
    "manifest": ManifestFile,
}

__all__ = ["IMPORTERS", "ClassFolders", "Contents", "Fer2013", "Importer", "ManifestFile", "Record", "Skipped"]
