"""Imports CK+48: Extended Cohn-Kanade (Lucey et al., 2010), 981 pictures of 48 x 48, three frames a sequence."""

from __future__ import annotations

import re
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

from loaders.base import Classes
from loaders.decoding.records import Contents, Record, Skipped
from loaders.importers.holdout import by_group, check_shares
from loaders.importers.layout import check_folder, is_picture

EXPRESSIONS = ("anger", "contempt", "disgust", "fear", "happy", "sadness", "surprise")
NAME = re.compile(r"(S\d+)_\d+_\d+")


@dataclass(frozen=True, slots=True)
class CkPlus48:
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
        folders = {path.name.lower(): path for path in sorted(root.iterdir()) if path.is_dir()}
        if unknown := sorted(folders.keys() - set(EXPRESSIONS)):
            raise ValueError(
                f"{where}: folder (={unknown[0]!r}) must be one of {', '.join(EXPRESSIONS)}; remove it or rename it"
            )
        files = [(name, path) for name in EXPRESSIONS if name in folders for path in sorted(folders[name].iterdir())]
        people = [match[1] for _, path in files if (match := _named(path))]
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
            records=lambda: self._records(files, split_of),
            total=len(files),
        )

    def _records(
        self, files: list[tuple[str, Path]], split_of: dict[str, str]
    ) -> Generator[Record | Skipped, None, None]:
        for expression, picture in files:
            path = str(picture.relative_to(self.source))
            match = _named(picture)
            if not is_picture(picture):
                yield Skipped(path, "not a picture")
            elif match is None:
                yield Skipped(path, "name without a person", "it must read S010_004_00000017")
            else:
                yield Record(split_of[match[1]], path, {"expression": expression, "person": match[1]}, picture)


def _named(path: Path) -> re.Match[str] | None:
    return NAME.match(path.name) if is_picture(path) else None
