"""Imports a plain manifest: a csv file with the columns `path`, `split` and labels."""

from __future__ import annotations

import difflib
import json
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from loaders.base import Classes, Label, Numbers
from loaders.decoding.records import Contents, Record, Skipped, Value
from loaders.importers.lists import check_header, csv_header, csv_rows, shown
from loaders.store.manifest import FIRST, MEAN, SOURCE_PATH, check_labels
from loaders.store.opening import PLAIN_FOLDER, SOURCE, labels_from_json

BOX = ("box_left", "box_top", "box_right", "box_bottom")
MOST_CLASSES = 1000
NEEDED = ("path", "split")


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """Reads a csv file with the columns `path`, `split` and labels.

    Paths are relative to the folder of the file. A column `name` is a label of classes, columns `name.part` together
    are a label of numbers; empty cells are missing labels. Columns `box_left`, `box_top`, `box_right`, `box_bottom`
    (pixels of the upright picture) cut the faces out. The columns `sample`, `mean_*` and `source_path` of prepared
    data are passed over; where the folder is one that `hmtl prepare --format folder` wrote, the order of the
    classes and the notes are those it was written with.

    Attributes:
        source: The csv file, or a folder that holds it as `manifest.csv`.
        classes: Class names in their order, one item a label: "label=A,B,C". Other labels take the names that the
            folder was written with, else those that occur, sorted.
    """

    source: Path
    classes: tuple[str, ...] = ()

    def survey(self) -> Contents:
        """Reads the columns and the class names.

        Raises:
            ValueError: The file is missing, has no rows or wrong columns, a class name is not in `classes`, or a cell
                that must be a number is none; names the row.
        """
        file = self._file()
        written, notes = _written(file)
        table = _Table(file, written | self._order())
        total = table.survey()
        return Contents(
            labels=table.labels,
            notes=notes,
            records=table.records,
            total=total,
        )

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


def _written(file: Path) -> tuple[dict[str, tuple[str, ...]], tuple[str, ...]]:
    """Class names of each label, and notes, of the plain folder that `loaders.prepare` wrote round the manifest."""
    beside = file.with_name(SOURCE)
    try:
        source = json.loads(beside.read_text(encoding="utf-8")) if beside.is_file() else {}
    except ValueError as error:
        raise ValueError(
            f"manifest {file}: {SOURCE} beside it must be JSON; it was cut or edited ({error}), remove it, and give "
            "the order of the classes"
        ) from error
    if not isinstance(source, dict) or source.get("format") != PLAIN_FOLDER:
        return {}, ("labels as the manifest gives them",)
    labels = labels_from_json(source["labels"])
    return {name: label.names for name, label in labels.items() if isinstance(label, Classes)}, tuple(source["notes"])


@dataclass(slots=True)
class _Table:
    """The rows of one file."""

    file: Path
    order: dict[str, tuple[str, ...]]
    labels: dict[str, Label] = field(default_factory=dict)

    def survey(self) -> int:
        """Fills in `labels`; returns the number of rows."""
        header = csv_header(self.file)
        check_header(f"manifest {self.file}", header, NEEDED, "see `ManifestFile`")
        if len(set(header)) < len(header):
            raise self._error(f"columns (={shown(header)}) must have different names", "rename one")
        if 0 < len(set(BOX) & set(header)) < 4:
            raise self._error(f"columns must have all of {', '.join(BOX)} or none", "add the missing ones")
        labelled = [name for name in header if name not in (*FIRST, *MEAN, SOURCE_PATH, *BOX)]
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
        total = 0
        for row, cells in self._rows():
            total += 1
            for name, seen in names.items():
                if cells[name]:
                    seen.add(cells[name])
                    self._check_class(row, name, cells[name], len(seen))
        if total == 0:
            raise self._error("must list pictures", "it has no rows")
        for name in dict.fromkeys(name.partition(".")[0] for name in labelled):
            if name in numbers:
                self.labels[name] = Numbers(numbers[name])
            elif names[name] or name in self.order:
                self.labels[name] = Classes(self.order.get(name) or tuple(sorted(names[name])))
            else:
                raise self._error(f"column (={name!r}) must name a class somewhere", "remove the empty column")
        check_labels(self.labels, f"manifest {self.file}")
        return total

    def records(self) -> Generator[Record | Skipped, None, None]:
        for row, cells in self._rows():
            values: dict[str, Value] = {}
            for name, label in self.labels.items():
                if isinstance(label, Classes):
                    values[name] = cells[name] or None
                else:
                    values[name] = [self._number(row, cells, f"{name}.{part}") for part in label.columns]
            yield Record(
                split=cells["split"],
                path=cells["path"],
                labels=values,
                picture=self.file.parent / cells["path"],
                box=self._box(row, cells),
            )

    def _rows(self) -> Iterator[tuple[int, dict[str, str]]]:
        for row, cells in csv_rows("manifest", self.file, NEEDED, "correct the row"):
            if not cells["path"] or not cells["split"]:
                raise self._error(f"row {row} must have a path and a split", "correct the row")
            yield row, cells

    def _check_class(self, row: int, name: str, value: str, different: int) -> None:
        if name in self.order and value not in self.order[name]:
            near = difflib.get_close_matches(value, self.order[name], n=1)
            raise self._error(
                f"row {row}: {name} (={value!r}) must be one of {', '.join(self.order[name])}",
                f"did you mean {near[0]!r}?" if near else "correct the row or the classes",
            )
        if different > MOST_CLASSES:
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
                "correct the row",
            )
        return left, top, right, bottom

    def _number(self, row: int, cells: dict[str, str], name: str) -> float:
        try:
            return float(cells[name] or "nan")
        except ValueError as error:
            raise self._error(f"row {row}: {name} (={cells[name]!r}) must be a number", "correct the row") from error

    def _error(self, what: str, do: str) -> ValueError:
        return ValueError(f"manifest {self.file}: {what}; {do}")
