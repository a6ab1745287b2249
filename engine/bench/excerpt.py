"""Takes some faces of one split of a data set, spread evenly over it, the same for every source that is measured."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from loaders.base import Classes, Split
from loaders.decoding.records import Value
from loaders.importers import Contents, Importer, Record, Skipped
from loaders.store.opening import open_store


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Cuts an importer down to `faces` records of one split (to all where there are not more, or where it is 0)."""

    importer: Importer
    split: str
    faces: int

    @property
    def source(self) -> Path:
        return self.importer.source

    def survey(self) -> Contents:
        """Asks the importer what it says of itself; its records are the excerpt's.

        Raises:
            ValueError: What the importer raises, or it has no such split.
        """
        contents = self.importer.survey()
        with closing(self._of_split(contents)) as found:
            total = sum(1 for _ in found)
        if not total:
            raise ValueError(
                f"bench {self.source}: split (={self.split!r}) must be one of the data; it has no face there"
            )
        return replace(contents, records=lambda: self._records(contents, total), total=self._count(total))

    def _count(self, total: int) -> int:
        return total if self.faces == 0 else min(self.faces, total)

    def _of_split(self, contents: Contents) -> Generator[Record, None, None]:
        with closing(contents.records()) as records:
            yield from (record for record in records if isinstance(record, Record) and record.split == self.split)

    def _records(self, contents: Contents, total: int) -> Generator[Record | Skipped, None, None]:
        count = self._count(total)
        with closing(self._of_split(contents)) as records:
            taken = 0
            for place, record in enumerate(records):
                if place == taken * total // count:
                    taken += 1
                    yield record
                if taken == count:
                    return


@dataclass(frozen=True, slots=True)
class StoreFaces:
    """Imports the faces and labels of a packed store once more."""

    source: Path

    def survey(self) -> Contents:
        """Opens the store.

        Raises:
            ValueError: It is missing or damaged.
        """
        store = open_store(self.source)
        manifest = store.manifest
        return Contents(
            manifest.labels, tuple(store.source["notes"]), self._records, len(manifest), group=manifest.group
        )

    def _records(self) -> Generator[Record | Skipped, None, None]:
        store = open_store(self.source)
        for name in store.manifest.splits:
            part = store.manifest.part(name, store.shape, f"store {self.source}")
            for sample, values in zip(part.sample.tolist(), _values(part), strict=True):
                face = store.images[sample]
                pixels = face[..., 0] if face.shape[2] == 1 else face
                yield Record(name, store.manifest.path[sample], values, pixels)


def _values(part: Split) -> Iterator[dict[str, Value]]:
    """Lists the labels of each sample as an importer gives them."""
    columns = {name: target.tolist() for name, target in part.target.items()}
    for place in range(len(part.sample)):
        row: dict[str, Value] = {}
        for name, label in part.labels.items():
            value = columns[name][place]
            if isinstance(label, Classes):
                row[name] = None if value < 0 else label.names[value]
            else:
                row[name] = value
        yield row
