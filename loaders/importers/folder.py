"""Imports class folders, `<split>/<class>/*` or `<class>/*`, or every picture of a folder without labels."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path

from loaders.base import Classes, Label
from loaders.class_map import ClassMap, class_map, nearest, read_map
from loaders.decoding.crops import Crop
from loaders.decoding.records import Contents, Record, Skipped, Value
from loaders.importers.finding import with_faces_found
from loaders.importers.holdout import by_group, check_shares, group_notes, stratified
from loaders.importers.layout import Located
from loaders.importers.walk import ENDINGS, UNREADABLE_FOLDER, Listing, look, pictures_below
from loaders.store.manifest import check_labels

SPLITS = {"training": "train", "validation": "val", "valid": "val", "testing": "test"}


@dataclass(frozen=True, slots=True)
class _Groups:
    """Says which pictures stay together."""

    name: str
    """Of the label, such as "person"."""
    of: Mapping[Path, str]
    """Path inside the source to its group; a picture that is not here is a group of its own."""


@dataclass(frozen=True, slots=True)
class ClassFolders(Located):
    """Reads `<split>/<class>/*` or `<class>/*`, or pictures without labels.

    Attributes:
        source: The folder.
        label: Name of the label that the class folders give.
        classes: Class names in their order, as "A,B,C" or one by one; folders are matched whatever their case, and one
            that is not among them is refused. By default the folders' names, sorted; one without a picture is refused.
            `train/Happy` and `test/happy` are one class, with the name of the first.
        map: Other names of classes, as "happiness=Happy,contempt=": the folder `happiness`, whatever its case, is the
            class Happy, and the faces of `contempt` have no label. Other folders keep their names.
        val_share: Share of each class that goes from train to val, where the source has no val; 0 makes none.
        test_share: The same for test, which `val_share` does not move. Both are shares of the source's train.
        seed: Chooses the pictures.
        group: Regular expression with one named group, such as "(?P<person>S[0-9]+)_", that is searched in the path of
            each picture inside the source. What it finds is stored as a label of that name, and pictures of one person
            (sequence, camera, ...) stay together: the shares are then of persons. A picture in which it finds nothing
            is a group of its own.
        unlabelled: Read every picture in the folder and in the folders in it, whatever they are called, as faces
            without labels; all of them are train.
        find: Search each picture for its largest face and cut that out, for pictures that show more than a face; needs
            the extra `faces`. Pictures without one are skipped, and listed.
        crop: With find: "box" (so if not given) cuts around the face's box, "align" turns it upright by its eyes, nose
            and mouth.
        margin: With find: share of the crop's side that is added on each side, 0 to 2.
    """

    source: Path
    label: str = "expression"
    classes: tuple[str, ...] = ()
    map: str = ""
    val_share: float = 0.0
    test_share: float = 0.0
    seed: int = 0
    group: str | None = None
    unlabelled: bool = False
    find: bool = False
    crop: Crop = "none"
    margin: float = 0.0

    def survey(self) -> Contents:
        """Finds splits and classes.

        Raises:
            ValueError: The folder is missing or empty, its layout is neither of the two, a class has no picture in any
                split or is not in `classes`, or a share is out of range or asked of a source that has that split;
                `map` is no map, names what is no class here, leads to what is none in `classes`, or leaves none;
                `group` is no such expression, finds nothing, names a label that is there, or leaves train no group; or
                it is to be read unlabelled and has no picture, or classes, a map, shares or a group are given; or as
                `with_faces_found`.
        """
        contents = self._without_labels() if self.unlabelled else self._with_labels()
        return with_faces_found(contents, f"folder {self.source}", find=self.find, crop=self.crop, margin=self.margin)

    def _with_labels(self) -> Contents:
        splits, around, notes = self._splits()
        found = sorted({folder.inside.name for folders in splits.values() for folder in folders})
        first_of: dict[str, str] = {}  # train's is the first, and its name is the class's
        for folders in splits.values():
            first_of = {_folded(folder.inside.name): folder.inside.name for folder in folders} | first_of
        renamed = self._renamed(first_of)
        names = tuple(name for item in self.classes for name in item.split(",")) or self._names(first_of, renamed)
        of_folder = {
            name: self._new_class(first_of[_folded(name)], renamed, names)
            if _folded(name) in renamed
            else self._class_of(name, names)
            for name in found
        }
        for split, folders in splits.items():
            given = [_folded(folder.inside.name) for folder in folders]
            if doubled := sorted(name for name in set(given) if given.count(name) > 1):
                of = first_of[doubled[0]]
                raise ValueError(f"folder {self.source}: {split} has two folders of class {of!r}; merge them")
        notes += [
            f"the folder {name} is the class {of}"
            for name, of in of_folder.items()
            if name != of and _folded(name) not in renamed
        ]
        counts = {split: [len(folder.pictures) for folder in folders] for split, folders in splits.items()}
        total = sum(map(sum, counts.values()))
        if total == 0:
            raise ValueError(
                f"folder {self.source}: class folders must hold pictures ({', '.join(sorted(ENDINGS))}); there are none"
            )
        self._refuse_empty(splits, of_folder, counts, names)
        labels: dict[str, Label] = {self.label: Classes(names)}
        groups = self._groups(splits)
        if groups is not None:
            labels[groups.name] = Classes(tuple(sorted(set(groups.of.values()))))
        check_labels(labels, f"folder {self.source}")
        held = self._held(splits, counts.get("train", []), groups)
        for split, share in self._shares().items():
            if share:
                how = f"a stratified {share:g} of train" if groups is None else f"{share:g} of train by {groups.name}"
                notes.append(f"{split} is {how}, chosen by seed {self.seed}; the source has none")
            elif split not in splits:
                notes.append(f"the source has no {split} split; --{split}-share makes one from train")
        if groups is not None:
            notes += group_notes(groups.name, self._groups_of_splits(splits, held, groups))
        return Contents(
            labels=labels,
            notes=tuple(notes),
            records=lambda: self._records(splits, around, of_folder, held, groups),
            total=total,
            group=None if groups is None else groups.name,
            class_maps=(self._class_map(splits, first_of, of_folder),) if renamed else (),
        )

    def _renamed(self, first_of: Mapping[str, str]) -> dict[str, str | None]:
        """Reads the map: folded name of a folder to its class, or to None."""
        where = f"folder {self.source}"
        renamed: dict[str, str | None] = {}
        for old, new in read_map(self.map, where).items():
            if (folded := _folded(old)) not in first_of:
                raise ValueError(
                    f"{where}: map (={old!r}) must name a class folder; {nearest(old, sorted(first_of.values()))}"
                )
            if folded in renamed:
                raise ValueError(f"{where}: map names {first_of[folded]!r} twice; name each class once")
            renamed[folded] = new
        return renamed

    def _names(self, first_of: Mapping[str, str], renamed: Mapping[str, str | None]) -> tuple[str, ...]:
        """Lists the classes where `classes` does not; a folder is of the class that the map spells otherwise."""
        new = {name for name in renamed.values() if name is not None}
        taken = renamed.keys() | {_folded(name) for name in new}
        kept = new | {first for folded, first in first_of.items() if folded not in taken}
        if first_of and not kept:
            raise ValueError(
                f"folder {self.source}: map (={self.map!r}) must leave a class; leave one out of it, or read the "
                "pictures as unlabelled"
            )
        return tuple(sorted(kept))

    def _new_class(self, old: str, renamed: Mapping[str, str | None], names: tuple[str, ...]) -> str | None:
        new = renamed[_folded(old)]
        if new is not None and new not in names:
            raise ValueError(
                f"folder {self.source}: map ({old}={new}) must lead to one of the classes; {nearest(new, names)}"
            )
        return new

    def _class_map(
        self, splits: dict[str, list[Listing]], first_of: Mapping[str, str], of_folder: Mapping[str, str | None]
    ) -> ClassMap:
        faces = dict.fromkeys(sorted(first_of.values()), 0)
        for folders in splits.values():
            for folder in folders:
                faces[first_of[_folded(folder.inside.name)]] += len(folder.pictures)
        return class_map(self.label, faces, of_folder)

    def _groups(self, splits: dict[str, list[Listing]]) -> _Groups | None:
        """Finds the group of each picture by its path."""
        if self.group is None:
            return None
        where, rule = f"folder {self.source}: group (={self.group!r})", "(?P<person>S[0-9]+)_"
        try:
            pattern = re.compile(self.group)
        except re.error as error:
            raise ValueError(f"{where} must be a regular expression, such as {rule!r}; {error}") from error
        if len(pattern.groupindex) != 1:
            raise ValueError(
                f"{where} must have one named group, such as {rule!r}, whose name the label takes; "
                f"it has {', '.join(pattern.groupindex) or 'none'}"
            )
        name = next(iter(pattern.groupindex))
        if name == self.label:
            raise ValueError(f"{where} must not name the label of the class folders; call its group otherwise")
        paths = [folder.inside / picture for of in splits.values() for folder in of for picture in folder.pictures]
        found = {path: match[name] for path in paths if (match := pattern.search(path.as_posix())) and match[name]}
        if not found:
            raise ValueError(
                f"{where} must find something in the path of a picture; it finds nothing in any of {len(paths):,}, "
                f"such as {paths[0].as_posix()!r}"
            )
        return _Groups(name, found)

    def _groups_of_splits(
        self, splits: dict[str, list[Listing]], held: dict[Path, dict[int, str]], groups: _Groups
    ) -> dict[str, list[str | None]]:
        """Lists the group of each picture of each split, as they become."""
        found: dict[str, list[str | None]] = {}
        for split, folders in splits.items():
            for folder in folders:
                elsewhere = held.get(folder.inside, {}) if split == "train" else {}
                for place, name in enumerate(folder.pictures):
                    found.setdefault(elsewhere.get(place, split), []).append(groups.of.get(folder.inside / name))
        return found

    def _without_labels(self) -> Contents:
        given = [name for name in ("classes", "map", "val_share", "test_share", "group") if getattr(self, name)]
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
        pictures, others = pictures_below(self.source)
        for picture in pictures:
            yield Record(split="train", path=str(picture.relative_to(self.source)), labels={}, picture=picture)
        yield from others

    def _refuse_no_folder(self) -> None:
        if not self.source.is_dir():
            raise ValueError(f"folder {self.source}: must be a folder of pictures; there is none")

    def _refuse_empty(
        self,
        splits: dict[str, list[Listing]],
        of_folder: dict[str, str | None],
        counts: dict[str, list[int]],
        names: tuple[str, ...],
    ) -> None:
        """A folder that is empty in every split is a mistake, unless the class is named in `classes`."""
        total = dict.fromkeys(names, 0)
        for split, folders in splits.items():
            for folder, count in zip(folders, counts[split], strict=True):
                if (name := of_folder[folder.inside.name]) is not None:
                    total[name] += count
        empty = [name for name in total if total[name] == 0]
        if empty and not self.classes:
            found = (one for folders in splits.values() for folder in folders for one in folder.others)
            if denied := next((one for one in found if one.reason == UNREADABLE_FOLDER), None):
                raise ValueError(
                    f"folder {self.source}: {denied.path} must be readable, as a folder of a class that has no other "
                    f"picture; {denied.detail}, change its rights"
                )
            raise ValueError(
                f"folder {self.source}: class folders (={', '.join(empty)}) must each hold a picture in one split at "
                "least; they hold none, fill or remove them, or keep classes without pictures by "
                f"--classes {','.join(names)}, in Python by "
                f"ClassFolders(Path({str(self.source)!r}), classes={names!r})"
            )

    def _splits(self) -> tuple[dict[str, list[Listing]], list[Skipped], list[str]]:
        """Class folders of each split, what lies around them, and notes."""
        self._refuse_no_folder()
        root = look(self.source)
        tops = self._inside(root)
        if not tops:
            loose = len(root.pictures)
            loose_ones = f"its pictures (={loose:,}) lie in no class folder, sort them, or read them as unlabelled"
            found = loose_ones if loose else "it has no folder"
            if not any(self.source.iterdir()):
                found = "it is empty, give the folder that holds the pictures"
            raise ValueError(f"folder {self.source}: must hold <split>/<class>/* or <class>/*; {found}")
        with_classes = [top for top in tops if top.folders]
        with_pictures = [top for top in tops if top.pictures]
        if not with_classes:
            return {"train": tops}, root.around(root.folders), ["the source has no splits: all pictures are train"]
        if with_pictures:
            raise ValueError(
                f"folder {self.source}: must be either <split>/<class>/* or <class>/*; {with_classes[0].inside} holds "
                f"folders and {with_pictures[0].inside} holds pictures, sort them the same way"
            )
        splits: dict[str, list[Listing]] = {}
        around, notes = root.around([top.inside.name for top in with_classes]), []
        around += [one for top in tops if top not in with_classes for one in top.others]
        for top in with_classes:
            split = SPLITS.get(name := top.inside.name.lower(), name)
            if split in splits:
                raise ValueError(
                    f"folder {self.source}: {top.inside} must not be a second folder of split {split!r}; merge them"
                )
            if split != top.inside.name:
                notes.append(f"the folder {top.inside} is the split {split}")
            splits[split] = self._inside(top)
            around += top.around(top.folders)
        usual = [split for split in ("train", "val", "test") if split in splits]
        return {split: splits[split] for split in [*usual, *sorted(splits.keys() - set(usual))]}, around, notes

    def _inside(self, folder: Listing) -> list[Listing]:
        return [look(self.source, folder.inside / name) for name in folder.folders]

    def _class_of(self, folder: str, names: tuple[str, ...]) -> str:
        by_folded = {_folded(name): name for name in names}
        if _folded(folder) not in by_folded:
            near = difflib.get_close_matches(_folded(folder), by_folded, n=1)
            hint = f"did you mean {by_folded[near[0]]!r}? " if near else ""
            raise ValueError(
                f"folder {self.source}: class folder (={folder!r}) must be one of {', '.join(names)}; "
                f"{hint}rename the folder or give its classes"
            )
        return folder if folder in names else by_folded[_folded(folder)]

    def _shares(self) -> dict[str, float]:
        return {"test": self.test_share, "val": self.val_share}

    def _held(
        self, splits: dict[str, list[Listing]], counts: list[int], groups: _Groups | None
    ) -> dict[Path, dict[int, str]]:
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
        if groups is None:
            kinds = [kind for kind, count in enumerate(counts) for _ in range(count)]
            # Nested, so that test does not move when val_share changes.
            both = stratified(kinds, self.test_share + self.val_share, self.seed)
            split_of = dict.fromkeys(both, "val") | dict.fromkeys(stratified(kinds, self.test_share, self.seed), "test")
        else:
            split_of = self._held_by_group(splits.get("train", []), groups)
        held: dict[Path, dict[int, str]] = {}
        first = 0
        for folder, count in zip(splits.get("train", []), counts, strict=True):
            held[folder.inside] = {
                place: split_of[first + place] for place in range(count) if first + place in split_of
            }
            first += count
        return held

    def _held_by_group(self, train: list[Listing], groups: _Groups) -> dict[int, str]:
        """For each place among the train pictures that is held out, its split."""
        if not any(self._shares().values()):
            return {}
        paths = [folder.inside / name for folder in train for name in folder.pictures]
        own = [groups.of.get(path, path.as_posix()) for path in paths]
        split_of = by_group(own, self._shares(), self.seed)
        if "train" not in split_of.values():
            raise ValueError(
                f"folder {self.source}: train must keep a {groups.name}; there are {len(split_of)}, and each split "
                "with a share takes one at least, lower --val-share or --test-share, or leave one out"
            )
        return {place: split_of[name] for place, name in enumerate(own) if split_of[name] != "train"}

    def _records(
        self,
        splits: dict[str, list[Listing]],
        around: list[Skipped],
        of_folder: dict[str, str | None],
        held: dict[Path, dict[int, str]],
        groups: _Groups | None,
    ) -> Generator[Record | Skipped, None, None]:
        for split, folders in splits.items():
            for folder in folders:
                elsewhere = held.get(folder.inside, {}) if split == "train" else {}
                own = of_folder[folder.inside.name]
                of_all: dict[str, Value] = {} if own is None else {self.label: own}
                for place, name in enumerate(folder.pictures):
                    inside = folder.inside / name
                    group = None if groups is None else groups.of.get(inside)
                    labels = of_all if groups is None or group is None else of_all | {groups.name: group}
                    yield Record(elsewhere.get(place, split), str(inside), labels, self.source / inside)
        yield from around
        yield from (one for folders in splits.values() for folder in folders for one in folder.beside_pictures())


def _folded(name: str) -> str:
    """Writes a name as all names are written that differ from it by case or by Unicode's form of its accents alone."""
    return unicodedata.normalize("NFC", name).casefold()
