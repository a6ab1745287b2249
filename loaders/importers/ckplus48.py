"""Imports CK+48: Extended Cohn-Kanade (Lucey et al., 2010), 981 pictures of 48 x 48, three frames a sequence."""

from __future__ import annotations

import re
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

from loaders.base import Classes
from loaders.decoding.records import Contents, Record, Skipped
from loaders.importers.holdout import by_group, check_shares
from loaders.importers.layout import Located, check_folder
from loaders.importers.walk import Listing, look

EXPRESSIONS = ("anger", "contempt", "disgust", "fear", "happy", "sadness", "surprise")
NAME = re.compile(r"(S\d+)_\d+_\d+")


@dataclass(frozen=True, slots=True)
class CkPlus48(Located):
    """Reads `<class>/S010_004_00000017.png`, split by person.

    Frames of a sequence are near copies of each other.

    Attributes:
        source: The folder that holds the class folders, or one that holds it as `CK+48`.
        val_share: Share of the people in val.
        test_share: Share of the people in test.
        seed: Chooses the people.
    """

    source: Path
    val_share: float = 0.1
    test_share: float = 0.2
    seed: int = 0

    def survey(self) -> Contents:
        """Finds classes and people.

        Raises:
            ValueError: No class folder is there, there is an unknown one, or an option is out of range.
        """
        where = f"ckplus48 {self.source}"
        check_shares(where, test_share=self.test_share, val_share=self.val_share)
        check_folder("ckplus48", self.source)
        root = self.source / "CK+48" if (self.source / "CK+48").is_dir() else self.source
        top = look(self.source, root.relative_to(self.source))
        folders = {name.lower(): look(self.source, top.inside / name) for name in top.folders}
        if unknown := sorted(folders.keys() - set(EXPRESSIONS)):
            raise ValueError(
                f"{where}: folder (={unknown[0]!r}) must be one of {', '.join(EXPRESSIONS)}; remove it or rename it"
            )
        classes = {name: folders[name] for name in EXPRESSIONS if name in folders}
        pictures = [name for found in classes.values() for name in found.pictures]
        people = [match[1] for name in pictures if (match := NAME.match(name))]
        if not people:
            raise ValueError(
                f"{where}: must hold {'|'.join(EXPRESSIONS)}/S010_004_00000017.png; there are none, "
                "name the folder that does"
            )
        split_of = by_group(people, {"test": self.test_share, "val": self.val_share}, self.seed)
        counts = {split: list(split_of.values()).count(split) for split in ("train", "val", "test")}
        return Contents(
            labels={"expression": Classes(EXPRESSIONS), "person": Classes(tuple(sorted(set(people))))},
            notes=(
                "splits hold different people, chosen by seed "
                f"{self.seed} (ours): {', '.join(f'{n} in {split}' for split, n in counts.items())}",
                "three neighbouring frames of a sequence share its label",
            ),
            records=lambda: self._records(classes, top, split_of),
            total=len(pictures),
            group="person",
        )

    def _records(
        self, classes: dict[str, Listing], top: Listing, split_of: dict[str, str]
    ) -> Generator[Record | Skipped, None, None]:
        for expression, found in classes.items():
            for name in found.pictures:
                inside, match = found.inside / name, NAME.match(name)
                if match is None:
                    yield Skipped(str(inside), "name without a person", "it must read S010_004_00000017")
                else:
                    labels = {"expression": expression, "person": match[1]}
                    yield Record(split_of[match[1]], str(inside), labels, self.source / inside)
            yield from found.beside_pictures()
        yield from top.around(top.folders)
