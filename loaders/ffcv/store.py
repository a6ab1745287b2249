"""The FFCV store: a folder with one .beton file a split beside the manifest and the source.json of a packed store.

<split>.beton   faces, sample ids, mean colours and targets of the split, in manifest order: see `beton.writer`
manifest.csv, source.json, skipped.csv   as in `loaders.store.opening`; source.json has the length and the hash of each
                file under `files`, the field of each label under `fields`, and `jpeg`: null or the quality
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loaders.ffcv.layout import Beton, check_beton
from loaders.store.manifest import Manifest
from loaders.store.opening import AGAIN, BETONS, checked_manifest, read_source, sha256

ENDING = ".beton"


@dataclass(frozen=True, slots=True, eq=False)
class BetonStore:
    """An opened store; of its files only those asked for are looked at."""

    path: Path
    manifest: Manifest
    source: Mapping[str, Any]
    """The contents of source.json."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of a face; FFCV holds gray ones with three equal channels."""
        _, h, w, c = self.source["shape"]
        return h, w, c

    def file(self, split: str) -> Beton:
        """The file of a split, its length and layout checked.

        Raises:
            ValueError: It is missing, cut or damaged.
        """
        h, w, _ = self.shape
        samples = int((self.manifest.split == self.manifest.splits.index(split)).sum())
        return check_beton(
            self.path / f"{split}{ENDING}", bytes=self.source["files"][split]["bytes"], samples=samples, shape=(h, w)
        )


def open_betons(path: str | Path, *, check_pixels: bool = False) -> BetonStore:
    """Open a store written by `loaders.prepare --format ffcv`; FFCV itself is not needed for it.

    Args:
        path: Its folder.
        check_pixels: Also read all files and compare their hashes.

    Raises:
        ValueError: The store is missing, of another format or version, cut or edited; says what to do.
    """
    path = Path(path)
    source = read_source(path, kind=BETONS, pixels="files")
    manifest = checked_manifest(path, source)
    if set(source["files"]) != set(manifest.splits):
        raise ValueError(f"store {path}: files must be of the splits {', '.join(manifest.splits)}; {AGAIN}")
    store = BetonStore(path, manifest, source)
    if check_pixels:
        for split, file in source["files"].items():
            if sha256(store.file(split).path) != file["sha256"]:
                raise ValueError(
                    f"store {path}: {split}{ENDING} must have the hash of source.json; it was changed, {AGAIN}"
                )
    return store
