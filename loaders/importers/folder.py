"""Imports class folders, `<split>/<class>/*` or `<class>/*`, or every picture of a folder without labels."""

from __future__ import annotations

import difflib
import os
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

from loaders.base import Classes
from loaders.decoding.records import Contents, Record, Skipped
from loaders.importers.holdout import check_shares, stratified
from loaders.importers.layout import ENDINGS, is_picture

SPLITS = {"training": "train", "validation": "val", "valid": "val", "testing": "test"}


@dataclass(frozen=True, slots=True)
class ClassFolders:
    """Reads `<split>/<class>/*` or `<class>/*`, or pictures without labels.

    Attributes:
        source: The folder.
        label: Name of the label that the class folders give.
        classes: Class names in their order, as "A,B,C" or one by one; folders are matched whatever their case, and one
            that is not among them is refused. By default the folders' names, sorted; one without a picture is refused.
        val_share: Share of each class that goes from train to val, where the source has no val; 0 makes none.
        test_share: The same for test, which `val_share` does not move. Both are shares of the source's train.
        seed: Chooses the pictures.
        unlabelled: Read every picture in the folder and in the folders in it, whatever they are called, as faces
            without labels; all of them are train.
    """

    source: Path
    label: str = "expression"
    classes: tuple[str, ...] = ()
    val_share: float = 0.0
    test_share: float = 0.0
    seed: int = 0
    unlabelled: bool = False

    def survey(self) -> Contents:
        """Finds splits and classes.

        Raises:
            ValueError: The folder is missing or empty, its layout is neither of the two, a class has no picture in any
                split or is not in `classes`, or a share is out of range or asked of a source that has that split;
                or it is to be read unlabelled and has no picture, or classes or shares are given.
        """
        if self.unlabelled:
            return self._without_labels()
        splits, notes = self._splits()
        found = sorted({folder.name for folders in splits.values() for folder in folders})
        names = tuple(name for item in self.classes for name in item.split(",")) or tuple(found)
        of_folder = {name: self._class_of(name, names) for name in found}
        for split, folders in splits.items():
            given = [of_folder[folder.name] for folder in folders]
            doubled = sorted({name for name in given if given.count(name) > 1})
            if doubled:
                raise ValueError(f"folder {self.source}: {split} has two folders of class {doubled[0]!r}; merge them")
        counts = {split: [len(_pictures(folder)) for folder in folders] for split, folders in splits.items()}
        total = sum(map(sum, counts.values()))
        if total == 0:
            raise ValueError(
                f"folder {self.source}: class folders must hold pictures ({', '.join(sorted(ENDINGS))}); there are none"
            )
        self._refuse_empty(splits, of_folder, counts, names)
        held = self._held(splits, counts.get("train", []))
        for split, share in self._shares().items():
            if share:
                notes.append(
                    f"{split} is a stratified {share:g} of train, chosen by seed {self.seed}; the source has none"
                )
            elif split not in splits:
                notes.append(f"the source has no {split} split; --{split}-share makes one from train")
        return Contents(
            labels={self.label: Classes(names)},
            notes=tuple(notes),
            records=lambda: self._records(splits, of_folder, held),
            total=total,
        )

    def _without_labels(self) -> Contents:
        given = [name for name in ("classes", "val_share", "test_share") if getattr(self, name)]
        if given:
            raise ValueError(
                f"folder {self.source}: {given[0]} (={getattr(self, given[0])!r}) must be left out where pictures have "
                "no labels; all of them are train"
            )
        self._refuse_no_folder()
        total = sum(isinstance(found, Record) for found in self._every_picture())
        if total == 0:
            raise ValueError(
                f"folder {self.source}: must hold pictures ({', '.join(sorted(ENDINGS))}), in it or in folders in it; "
                "there are none"
            )
        note = "no picture has a label: every one in the folder and in the folders in it is train"
        return Contents(labels={}, notes=(note,), records=self._every_picture, total=total)

    def _every_picture(self) -> Generator[Record | Skipped, None, None]:
        """Lists what is in the folder and in the folders in it, by its path."""
        for path in sorted(self.source.rglob("*")):
            inside = path.relative_to(self.source)
            if any(part.startswith(".") for part in inside.parts):
                if not path.is_dir():
                    yield Skipped(str(inside), "hidden file")
            elif path.is_dir():
                if path.is_symlink():
                    yield Skipped(str(inside), "folder that is a link")
            elif is_picture(path):
                yield Record(split="train", path=str(inside), labels={}, picture=path)
            else:
                yield Skipped(str(inside), "not a picture", f"its name ends in {path.suffix!r}")

    def _refuse_no_folder(self) -> None:
        if not self.source.is_dir():
            raise ValueError(f"folder {self.source}: must be a folder of pictures; there is none")

    def _refuse_empty(
        self,
        splits: dict[str, list[Path]],
        of_folder: dict[str, str],
        counts: dict[str, list[int]],
        names: tuple[str, ...],
    ) -> None:
        """A folder that is empty in every split is a mistake, unless the class is named in `classes`."""
        total = dict.fromkeys(names, 0)
        for split, folders in splits.items():
            for folder, count in zip(folders, counts[split], strict=True):
                total[of_folder[folder.name]] += count
        empty = [name for name in total if total[name] == 0]
        if empty and not self.classes:
            raise ValueError(
                f"folder {self.source}: class folders (={', '.join(empty)}) must each hold a picture in one split at "
                "least; they hold none, fill or remove them, or keep classes without pictures by "
                f"--classes {','.join(names)}, in Python by "
                f"ClassFolders(Path({str(self.source)!r}), classes={names!r})"
            )

    def _splits(self) -> tuple[dict[str, list[Path]], list[str]]:
        """Class folders of each split, and notes."""
        self._refuse_no_folder()
        tops = _folders(self.source)
        if not tops:
            loose = len(_pictures(self.source))
            loose_ones = f"its pictures (={loose:,}) lie in no class folder, sort them, or read them as unlabelled"
            found = loose_ones if loose else "it has no folder"
            if not any(self.source.iterdir()):
                found = "it is empty, give the folder that holds the pictures"
            raise ValueError(f"folder {self.source}: must hold <split>/<class>/* or <class>/*; {found}")
        with_classes = [top for top in tops if _folders(top)]
        with_pictures = [top for top in tops if _pictures(top)]
        if not with_classes:
            return {"train": tops}, ["the source has no splits: all pictures are train"]
        if with_pictures:
            raise ValueError(
                f"folder {self.source}: must be either <split>/<class>/* or <class>/*; {with_classes[0].name} holds "
                f"folders and {with_pictures[0].name} holds pictures, sort them the same way"
            )
        splits: dict[str, list[Path]] = {}
        notes = []
        for top in with_classes:
            split = SPLITS.get(top.name.lower(), top.name.lower())
            if split in splits:
                raise ValueError(
                    f"folder {self.source}: {top.name} must not be a second folder of split {split!r}; merge them"
                )
            if split != top.name:
                notes.append(f"the folder {top.name} is the split {split}")
            splits[split] = _folders(top)
        usual = [split for split in ("train", "val", "test") if split in splits]
        return {split: splits[split] for split in [*usual, *sorted(splits.keys() - set(usual))]}, notes

    def _class_of(self, folder: str, names: tuple[str, ...]) -> str:
        lower = {name.lower(): name for name in names}
        if folder.lower() not in lower:
            near = difflib.get_close_matches(folder.lower(), lower, n=1)
            hint = f"did you mean {lower[near[0]]!r}? " if near else ""
            raise ValueError(
                f"folder {self.source}: class folder (={folder!r}) must be one of {', '.join(names)}; "
                f"{hint}rename the folder or give its classes"
            )
        return folder if folder in names else lower[folder.lower()]

    def _shares(self) -> dict[str, float]:
        return {"test": self.test_share, "val": self.val_share}

    def _held(self, splits: dict[str, list[Path]], counts: list[int]) -> dict[Path, dict[int, str]]:
        """For each train folder, the split of its places that are held out."""
        for split, share in self._shares().items():
            if not 0 <= share < 1:
                raise ValueError(
                    f"folder {self.source}: {split}_share (={share}) must be 0 to below 1; it is a share of train"
                )
            if share and (split in splits or "train" not in splits):
                raise ValueError(
                    f"folder {self.source}: {split}_share (={share}) must be 0 where the source has "
                    f"{f'a {split} split' if split in splits else 'no train split'}; it has {', '.join(splits)}"
                )
        check_shares(f"folder {self.source}", test_share=self.test_share, val_share=self.val_share)
        kinds = [kind for kind, count in enumerate(counts) for _ in range(count)]
        # Nested, so that test does not move when val_share changes.
        both = stratified(kinds, self.test_share + self.val_share, self.seed)
        split_of = dict.fromkeys(both, "val") | dict.fromkeys(stratified(kinds, self.test_share, self.seed), "test")
        held: dict[Path, dict[int, str]] = {}
        first = 0
        for folder, count in zip(splits.get("train", []), counts, strict=True):
            held[folder] = {place: split_of[first + place] for place in range(count) if first + place in split_of}
            first += count
        return held

    def _records(
        self, splits: dict[str, list[Path]], of_folder: dict[str, str], held: dict[Path, dict[int, str]]
    ) -> Generator[Record | Skipped, None, None]:
        for split, folders in splits.items():
            for folder in folders:
                elsewhere = held.get(folder, {}) if split == "train" else {}
                inside = folder.relative_to(self.source)
                labels = {self.label: of_folder[folder.name]}
                for place, name in enumerate(_pictures(folder)):
                    yield Record(
                        split=elsewhere.get(place, split),
                        path=str(inside / name),
                        labels=labels,
                        picture=folder / name,
                    )
        yield from self._others(splits)

    def _others(self, splits: dict[str, list[Path]]) -> Iterator[Skipped]:
        """Everything that is neither a picture in a class folder nor a folder on the way to one."""
        classes = {folder for folders in splits.values() for folder in folders}
        above = {folder.parent for folder in classes} | {self.source}
        for folder in sorted(above | classes):
            with os.scandir(folder) as entries:
                odd = sorted((e.name, e.is_dir()) for e in entries if folder not in classes or not _is_picture(e))
            for name, is_folder in odd:
                path = folder / name
                where = str(path.relative_to(self.source))
                if is_folder and path not in classes | above:
                    yield Skipped(where, "folder where none is expected")
                elif not is_folder and folder in classes:
                    yield Skipped(where, "not a picture", f"its name ends in {path.suffix!r}")
                elif not is_folder:
                    yield Skipped(where, "file outside the class folders")


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _pictures(folder: Path) -> list[str]:
    """Names of the picture files, sorted."""
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if _is_picture(entry))


def _is_picture(entry: os.DirEntry[str]) -> bool:
    return Path(entry.name).suffix.lower() in ENDINGS and not entry.is_dir()
