"""Imports a plain manifest: a csv file with the columns `path`, `split` and labels."""

from __future__ import annotations

import difflib
import json
import re
from collections import Counter
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from loaders.base import Classes, Label, Numbers
from loaders.class_map import ClassMap, Renamed, class_map, nearest, read_map
from loaders.csv_files import is_missing, number
from loaders.decoding.crops import Crop, Square, aligned, around_box, check_crop, five_of_68
from loaders.decoding.pictures import Box
from loaders.decoding.records import Contents, Record, Skipped, Value
from loaders.importers.finding import with_faces_found
from loaders.importers.holdout import group_notes
from loaders.importers.layout import Located
from loaders.importers.lists import check_header, csv_header, csv_rows, shown
from loaders.store.manifest import FIRST, MEAN, SOURCE_PATH, check_labels
from loaders.store.opening import PLAIN_FOLDER, SOURCE, group_of, labels_from_json

BOX = ("box_left", "box_top", "box_right", "box_bottom")
MOST_CLASSES = 1000
NEEDED = ("path", "split")
CORRECT = "correct the row"
_LANDMARK = re.compile(r"landmark_\d+_[xy]")


@dataclass(frozen=True, slots=True)
class ManifestFile(Located):
    """Reads a csv file with the columns `path`, `split` and labels.

    Paths are relative to the folder of the file. A column `name` is a label of classes, columns `name.part` together
    are a label of numbers; empty cells, and `nan` and `<NA>` as pandas writes them, are missing labels. Columns
    `box_left`, `box_top`, `box_right`, `box_bottom` (pixels of the upright picture) cut the faces out, and columns
    `landmark_0_x`, `landmark_0_y` to `landmark_4_y` (eyes, nose and corners of the mouth, image left first) or to
    `landmark_67_y` (those of 300-W) turn them upright with `--crop align`. The columns
    `sample`, `mean_*` and `source_path` of prepared data are passed over; where the folder is one that
    `hmtl prepare --format folder` wrote, the order of the classes and the notes are those it was written with.

    Attributes:
        source: The csv file, or a folder that holds it as `manifest.csv`.
        classes: Class names in their order, one item a label: "label=A,B,C". Other labels take the names that the
            folder was written with, else those that occur, sorted.
        map: Other names of classes, as "happiness=Happy,contempt=": cells that read `happiness` are of the class Happy,
            and those that read `contempt` have no label, in every column of classes but that of the group.
        group: The column that says which pictures belong together, such as "person", by default that of a folder that
            `hmtl prepare --format folder` wrote. A picture whose cell is empty is a group of its own.
        find: Search each picture for its largest face and cut that out, for pictures that show more than a face; needs
            the extra `faces`. Pictures without one are skipped, and listed.
        crop: "box" cuts a square around the face's box, "align" turns it upright by its eyes, nose and mouth: those of
            the columns, or with find (which cuts around the box if not told) those that are found. If not given, boxes
            of columns are cut as they are.
        margin: Share of the crop's side that is added on each side, 0 to 2, of a box or landmarks.
    """

    source: Path
    classes: tuple[str, ...] = ()
    map: str = ""
    group: str | None = None
    find: bool = False
    crop: Crop = "none"
    margin: float = 0.0

    def survey(self) -> Contents:
        """Reads the columns and the class names.

        Raises:
            ValueError: The file is missing, has no rows or wrong columns, a class name is not in `classes`, `map` is
                no map, names what no cell holds or leaves a label no class, `group` is no column of classes, or a cell
                that must be a number is none, or a path is an address of the web; names the row. Or `crop` and
                `margin` are for boxes or landmarks that are not there, faces are to be found where boxes are given, or
                as `with_faces_found`.
        """
        file = self._file()
        written, notes, group = _written(file)
        renamed = read_map(self.map, f"manifest {self.source}")
        names = {label: _new_names(of, renamed) for label, of in written.items()} | self._order()
        table = _Table(file, names, group if self.group is None else self.group, renamed, self.crop, self.margin)
        total = table.survey()
        if self.group is not None and self.group != group:
            notes = (*notes, *group_notes(self.group, table.groups))
        if self.find and table.has_boxes:
            raise ValueError(
                f"manifest {file}: find (=True) must be left out where {', '.join(BOX)} say where faces are; remove "
                "those columns to search for them"
            )
        contents = Contents(
            labels=table.labels,
            notes=notes,
            records=table.records,
            total=total,
            group=table.group,
            class_maps=table.class_maps(),
        )
        where = f"manifest {self.source}"
        if table.has_boxes or (table.landmarks and not self.find):
            check_crop(where, self.crop, self.margin)
            table.check_crop()
            return contents
        return with_faces_found(contents, where, find=self.find, crop=self.crop, margin=self.margin)

    def _file(self) -> Path:
        file = self.source / "manifest.csv" if self.source.is_dir() else self.source
        if not file.is_file():
            raise ValueError(f"manifest {self.source}: must be a csv file or a folder with manifest.csv; there is none")
        return file

    def _order(self) -> dict[str, tuple[str, ...]]:
        order = {}
        for item in self.classes:
            label, equals, names = item.partition("=")
            if not equals:
                raise ValueError(f"manifest {self.source}: classes (={item!r}) must read label=a,b,c; correct it")
            order[label] = tuple(names.split(","))
        return order


def _written(file: Path) -> tuple[dict[str, tuple[str, ...]], tuple[str, ...], str | None]:
    """Reads what `prepare` wrote of a plain folder round its manifest: names of classes, notes, the label of groups."""
    beside = file.with_name(SOURCE)
    try:
        source = json.loads(beside.read_text(encoding="utf-8")) if beside.is_file() else {}
    except ValueError as error:
        raise ValueError(
            f"manifest {file}: {SOURCE} beside it must be JSON; it was cut or edited ({error}), remove it, and give "
            "the order of the classes"
        ) from error
    if not isinstance(source, dict) or source.get("format") != PLAIN_FOLDER:
        return {}, ("labels as the manifest gives them",), None
    labels = labels_from_json(source["labels"])
    names = {name: label.names for name, label in labels.items() if isinstance(label, Classes)}
    return names, tuple(source["notes"]), group_of(source, labels, f"manifest {file}")


def _landmark_columns(count: int) -> list[str]:
    return [f"landmark_{number}_{axis}" for number in range(count) for axis in "xy"]


def _new_names(names: tuple[str, ...], renamed: Renamed) -> tuple[str, ...]:
    """Renames classes, in their order; of those that become one the first counts."""
    return tuple(dict.fromkeys(new for old in names if (new := renamed.get(old, old)) is not None))


@dataclass(slots=True)
class _Table:
    """The rows of one file."""

    file: Path
    order: dict[str, tuple[str, ...]]
    group: str | None
    renamed: Renamed
    crop: Crop
    margin: float
    labels: dict[str, Label] = field(default_factory=dict)
    groups: dict[str, list[str | None]] = field(default_factory=dict)
    """Split to the group of each of its rows; filled where there is a `group`."""
    counts: dict[str, Counter[str]] = field(default_factory=dict)
    """Label to its classes, by their old names, and the rows of each; filled where classes have new names."""
    has_boxes: bool = False
    landmarks: int = 0
    """How many landmarks the columns have: 5, 68 or none."""

    def survey(self) -> int:
        """Fills in `labels` and `groups`; returns the number of rows."""
        header = csv_header("manifest", self.file, CORRECT)
        check_header(f"manifest {self.file}", header, NEEDED, "see `ManifestFile`")
        if len(set(header)) < len(header):
            raise self._error(f"columns (={shown(header)}) must have different names", "rename one")
        if 0 < len(set(BOX) & set(header)) < 4:
            raise self._error(f"columns must have all of {', '.join(BOX)} or none", "add the missing ones")
        self.has_boxes = BOX[0] in header
        points = [name for name in header if _LANDMARK.fullmatch(name)]
        self.landmarks = len(points) // 2
        if points and not any(set(points) == set(_landmark_columns(count)) for count in (5, 68)):
            raise self._error(
                f"columns (={shown(points)}) must be those of 5 landmarks or of 68, landmark_0_x to landmark_4_y or "
                "landmark_67_y",
                "add the missing ones, or rename them",
            )
        labelled = [name for name in header if name not in (*FIRST, *MEAN, SOURCE_PATH, *BOX, *points)]
        numbers: dict[str, tuple[str, ...]] = {}
        for name in labelled:
            label, dot, part = name.partition(".")
            if dot:
                numbers[label] = (*numbers.get(label, ()), part)
        names: dict[str, set[str]] = {name: set() for name in labelled if "." not in name}
        for label in numbers.keys() & names.keys():
            raise self._error(f"label (={label!r}) must be either of classes or of numbers", "rename a column")
        for label in self.order.keys() - names.keys():
            raise self._error(f"classes (={label!r}) must be a column of classes", f"there are {', '.join(names)}")
        if self.group is not None and self.group not in names:
            raise self._error(
                f"group (={self.group!r}) must be a column of classes", f"those are {', '.join(names) or 'none'}"
            )
        total = 0
        for row, cells in self._rows():
            total += 1
            for name, seen in names.items():
                self._count(name, cells[name])
                if (of := self._class(name, cells[name])) is not None:
                    seen.add(of)
                    self._check_class(row, name, of, len(seen))
            if self.group is not None:
                group = cells[self.group]
                self.groups.setdefault(cells["split"], []).append(None if is_missing(group) else group)
        if total == 0:
            raise self._error("must list pictures", "it has no rows")
        self._check_map()
        # That of groups comes last: the first label is what the faces are for.
        ordered = sorted(
            dict.fromkeys(name.partition(".")[0] for name in labelled), key=lambda name: name == self.group
        )
        for name in ordered:
            if name in numbers:
                self.labels[name] = Numbers(numbers[name])
            elif names[name] or name in self.order:
                self.labels[name] = Classes(self.order.get(name) or tuple(sorted(names[name])))
            elif self.counts.get(name):
                raise self._error(f"map must leave {name} a class", "leave one out of it, or remove the column")
            else:
                raise self._error(f"column (={name!r}) must name a class somewhere", "remove the empty column")
        check_labels(self.labels, f"manifest {self.file}")
        return total

    def records(self) -> Generator[Record | Skipped, None, None]:
        for row, cells in self._rows():
            box = self._cut(row, cells)
            if isinstance(box, Skipped):
                yield box
                continue
            values: dict[str, Value] = {}
            for name, label in self.labels.items():
                if isinstance(label, Classes):
                    values[name] = self._class(name, cells[name])
                else:
                    values[name] = [self._number(row, cells, f"{name}.{part}") for part in label.columns]
            yield Record(
                split=cells["split"],
                path=cells["path"],
                labels=values,
                picture=self.file.parent / cells["path"],
                box=box,
            )

    def _rows(self) -> Iterator[tuple[int, dict[str, str]]]:
        for row, cells in csv_rows("manifest", self.file, NEEDED, CORRECT):
            if not cells["path"] or not cells["split"]:
                raise self._error(f"row {row} must have a path and a split", CORRECT)
            if "://" in cells["path"]:
                raise self._error(
                    f"row {row}: path (={shown([cells['path']])}) must be a file; nothing is downloaded",
                    "fetch the pictures first, and give their paths",
                )
            yield row, cells

    def check_crop(self) -> None:
        """Refuses a crop, or margin, for which the columns are missing."""
        if self.crop == "align" and not self.landmarks:
            raise self._error("crop (=align) needs the columns landmark_0_x to landmark_4_y", "add them, or --find")
        if self.crop != "align" and not self.has_boxes and (self.crop == "box" or self.margin):
            what = "crop (=box)" if self.crop == "box" else f"margin (={self.margin:g})"
            raise self._error(f"{what} needs the columns {', '.join(BOX)}, or --crop align", "add them, or --find")

    def _cut(self, row: int, cells: dict[str, str]) -> Box | Square | Skipped | None:
        """Says what of a picture is the face: None for all of it."""
        if self.crop == "align" and self.landmarks:
            given = [cells[name] for name in _landmark_columns(self.landmarks)]
            if any(map(is_missing, given)):
                return Skipped(cells["path"], "no landmarks", f"row {row}")
            points = np.array([self._number(row, cells, name) for name in _landmark_columns(self.landmarks)])
            five = points.reshape(-1, 2) if self.landmarks == 5 else five_of_68(points.reshape(-1, 2))
            return aligned(five, self.margin) or Skipped(cells["path"], "landmarks that are one point", f"row {row}")
        box = self._box(row, cells)
        if box is None or (self.crop == "none" and not self.margin):
            return box
        return around_box(*box, self.margin)

    def class_maps(self) -> tuple[ClassMap, ...]:
        """Says what the classes became of each label that has one with a new name."""
        return tuple(
            class_map(label, dict(sorted(counts.items())), self.renamed)
            for label, counts in self.counts.items()
            if counts.keys() & self.renamed.keys()
        )

    def _class(self, name: str, cell: str) -> str | None:
        """Reads the class that a cell names; None where it names none, or one whose faces lose the label."""
        if is_missing(cell):
            return None
        return cell if name == self.group else self.renamed.get(cell, cell)

    def _count(self, name: str, cell: str) -> None:
        if self.renamed and name != self.group and not is_missing(cell):
            self.counts.setdefault(name, Counter())[cell] += 1

    def _check_map(self) -> None:
        there = sorted({old for counts in self.counts.values() for old in counts})
        for old in self.renamed:
            if old not in there:
                raise self._error(f"map (={old!r}) must name a class of the manifest", nearest(old, there))

    def _check_class(self, row: int, name: str, value: str, different: int) -> None:
        if name in self.order and value not in self.order[name]:
            near = difflib.get_close_matches(value, self.order[name], n=1)
            raise self._error(
                f"row {row}: {name} (={value!r}) must be one of {', '.join(self.order[name])}",
                f"did you mean {near[0]!r}?" if near else "correct the row or the classes",
            )
        if different > MOST_CLASSES and name != self.group:
            raise self._error(
                f"column (={name!r}) has more than {MOST_CLASSES:,} different names and is no label of classes",
                f"remove it, or call it {name}.value if it holds numbers",
            )

    def _box(self, row: int, cells: dict[str, str]) -> tuple[float, float, float, float] | None:
        if BOX[0] not in cells or not any(cells[name] for name in BOX):
            return None
        left, top, right, bottom = (self._number(row, cells, name) for name in BOX)
        if not (left < right and top < bottom):
            raise self._error(
                f"row {row}: box (={left:g}, {top:g}, {right:g}, {bottom:g}) must run from left, top to right, bottom",
                CORRECT,
            )
        return left, top, right, bottom

    def _number(self, row: int, cells: dict[str, str], name: str) -> float:
        try:
            return number(cells[name])
        except ValueError as error:
            raise self._error(f"row {row}: {name} (={cells[name]!r}) must be a finite number", CORRECT) from error

    def _error(self, what: str, do: str) -> ValueError:
        return ValueError(f"manifest {self.file}: {what}; {do}")
