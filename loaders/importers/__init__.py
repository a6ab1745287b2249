"""Imports data sets in their published layouts: one file each, one line here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from loaders.decoding.records import Contents, Importer, Record, Skipped
from loaders.importers.affectnet2017 import AffectNet2017
from loaders.importers.affectnet2021 import AffectNet2021
from loaders.importers.aflw2000 import Aflw2000
from loaders.importers.biwi import Biwi
from loaders.importers.celeba import CelebA
from loaders.importers.ckplus48 import CkPlus48
from loaders.importers.fairface import FairFace
from loaders.importers.fer2013 import Fer2013
from loaders.importers.folder import ClassFolders
from loaders.importers.manifest import ManifestFile
from loaders.importers.pointing04 import Pointing04
from loaders.importers.rafdb import RafDb
from loaders.importers.utkface import UtkFace
from loaders.importers.w300lp import W300Lp
from loaders.store.opening import FFCV_STORE, MANIFEST, PACKED_STORE, prepared_as
from loaders.targets import with_home

IMPORTERS: dict[str, Callable[..., Importer]] = {
    "affectnet2017": AffectNet2017,
    "affectnet2021": AffectNet2021,
    "fer2013": Fer2013,
    "rafdb": RafDb,
    "ckplus48": CkPlus48,
    "fairface": FairFace,
    "utkface": UtkFace,
    "celeba": CelebA,
    "300wlp": W300Lp,
    "aflw2000": Aflw2000,
    "biwi": Biwi,
    "pointing04": Pointing04,
    "folder": ClassFolders,
    "manifest": ManifestFile,
}


def pictures_in(folder: str | Path) -> Importer:
    """Chooses what reads a plain folder of pictures: its `manifest.csv` where it has one, else its class folders.

    Raises:
        ValueError: It was prepared in another format, which has no picture files.
    """
    folder = with_home(folder)
    form = prepared_as(folder)
    if form in (PACKED_STORE, FFCV_STORE):
        source = "Packed" if form == PACKED_STORE else "FFCV"
        raise ValueError(
            f"folder {folder}: must hold picture files; it is a {form}, read it by {source}({str(folder)!r}), "
            "or prepare the faces into another folder with --format folder"
        )
    return ManifestFile(folder) if (folder / MANIFEST).is_file() else ClassFolders(folder)


__all__ = [
    "IMPORTERS",
    "AffectNet2017",
    "AffectNet2021",
    "Aflw2000",
    "Biwi",
    "CelebA",
    "CkPlus48",
    "ClassFolders",
    "Contents",
    "FairFace",
    "Fer2013",
    "Importer",
    "ManifestFile",
    "Pointing04",
    "RafDb",
    "Record",
    "Skipped",
    "UtkFace",
    "W300Lp",
    "pictures_in",
]
