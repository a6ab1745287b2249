"""Makes what can be measured of DATA: the same faces in the form of every source that is installed."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Collection
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from engine.bench.excerpt import Excerpt, StoreFaces
from engine.bench.feeds import Feed, OfSource, Torchvision
from loaders import DALI, FFCV, Folder, Packed, Source
from loaders.base import augments
from loaders.decoding.pictures import Form
from loaders.decoding.reading import read_faces
from loaders.extras import SYSTEM
from loaders.ffcv.store import write_ffcv_store
from loaders.importers import IMPORTERS, Importer, ManifestFile, Record, pictures_in
from loaders.sources.scan import scan
from loaders.store.opening import FFCV_STORE, PACKED_STORE, PLAIN_FOLDER, SOURCE, Store, open_store
from loaders.store.picture_folder import write_pictures
from loaders.store.writing import new_store

NAMES = ("packed", "resident", "folder", "dali", "ffcv", "ffcv-jpeg", "torchvision")
QUALITY = 90
"""Of the JPEG pictures of `ffcv-jpeg`."""
RESIZED = 16
"""Levels by which DALI's resized pixels may differ from ours: see `loaders.DALI`."""
DECODED = 24
"""Levels by which FFCV's JPEG decoder may differ from Pillow's: see `loaders.FFCV`."""


@dataclass(frozen=True, slots=True)
class Case:
    """Describes one row of a table."""

    name: str
    feed: Feed
    files: tuple[Path, ...] = ()
    """What an epoch reads; empty where it reads nothing."""
    bound: int = 0
    """Largest difference in gray levels to the faces that are stored."""
    jpeg: int | None = None
    """Quality of JPEG by which faces are stored, where the bound counts from there."""


@dataclass(slots=True)
class Data:
    """Holds what was found in DATA."""

    name: str
    truth: Source
    """What all cases are compared with."""
    split: str
    cases: list[Case] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    """Name of a source to the reason why it is not measured."""


def find(
    path: Path,
    scratch: Path,
    *,
    importer: str | None = None,
    split: str = "train",
    faces: int = 0,
    size: int | None = None,
    names: Collection[str] = (),
) -> Data:
    """Makes the cases of a prepared store, an FFCV store or a folder of pictures.

    All but an FFCV store's are made of the same faces: picture files are read where they are, everything else is
    written into `scratch`.

    Args:
        path: DATA.
        scratch: An empty folder.
        importer: Name of an importer for `path`, where it is a data set in its published layout.
        split: The split that is read.
        faces: How many of its faces, spread evenly; 0 takes all.
        size: Side of the faces, where pictures are of different sizes.
        names: Of `NAMES`; empty takes all.

    Raises:
        ValueError: DATA is none of the three, or a name is unknown or cannot be measured on it.
    """
    for name in names:
        if name not in NAMES:
            raise ValueError(f"bench: source (={name!r}) must be one of {', '.join(NAMES)}")
    if faces < 0:
        raise ValueError(f"bench: faces (={faces}) must be 1 or more, or 0 for all")
    kind = kind_of(path) if importer is None else "pictures"
    if kind == FFCV_STORE:
        found = of_ffcv_store(path, split)
    elif kind == PACKED_STORE:
        found = of_importer(StoreFaces(path), Form(), split, faces, scratch, names)
    else:
        form = Form(size)
        found = of_importer(_importer(path, importer), form, split, faces, scratch, names)
    found.name = str(path)
    return chosen(found, names)


def of_source(source: Source, scratch: Path, *, split: str, faces: int, names: Collection[str] = ()) -> Data:
    """Makes the cases of what a recipe reads: of a source without files of its own, such as `Synthetic`, one.

    Raises:
        ValueError: As `find`; or another source than `DALI` and `FFCV` augments.
    """
    if isinstance(source, Packed):
        return find(Path(source.path), scratch, split=split, faces=faces, names=names)
    if isinstance(source, FFCV):
        return find(Path(source.path), scratch, split=split, names=names)
    if isinstance(source, Folder | DALI):
        importer = pictures_in(source.source) if isinstance(source.source, str | Path) else source.source
        form = Form(source.size, source.fit, source.colour)
        return chosen(of_importer(importer, form, split, faces, scratch, names), names)
    kind = type(source).__name__
    if augments(source):
        raise ValueError(f"bench: data (={kind}) must leave augmentation to the kernel; set augment='kernel' in it")
    found = Data(f"the recipe's {kind}", source, split, [Case(kind, OfSource(source, split))])
    found.left_out = dict.fromkeys(NAMES, f"the recipe reads {kind}; prepare a store and measure that")
    return chosen(found, names)


def chosen(found: Data, names: Collection[str]) -> Data:
    """Keeps the cases with these names; all where none is named.

    Raises:
        ValueError: One of them was left out.
    """
    known = {case.name for case in found.cases}
    for name in names:
        if name not in known:
            raise ValueError(f"bench: source (={name!r}) must be there to be measured; {found.left_out[name]}")
    if names:
        found.cases = [case for case in found.cases if case.name in names]
        found.left_out = {}
    return found


def kind_of(path: Path) -> str:
    """Reads the format that DATA's source.json says, or "pictures".

    Raises:
        ValueError: There is nothing to read.
    """
    if not path.is_dir():
        raise ValueError(f"bench: DATA (={path}) must be a prepared store or a folder of pictures; it is not there")
    if not any(path.iterdir()):
        raise ValueError(
            f"bench: DATA (={path}) must be a prepared store or a folder of pictures; it is empty, fill it with "
            f"`hmtl prepare NAME SOURCE --out {path}`, or name another"
        )
    file = path / SOURCE
    if not file.is_file():
        return "pictures"
    try:
        kind = json.loads(file.read_text(encoding="utf-8")).get("format")
    except (ValueError, AttributeError) as error:
        raise ValueError(f"bench: {file} must be that of a prepared store; it is damaged ({error})") from error
    return "pictures" if kind == PLAIN_FOLDER else str(kind)


def _importer(path: Path, name: str | None) -> Importer:
    if name is not None:
        if name not in IMPORTERS:
            raise ValueError(f"bench: importer (={name!r}) must be one of {', '.join(IMPORTERS)}")
        return IMPORTERS[name](path)
    return pictures_in(path)


def of_ffcv_store(path: Path, split: str) -> Data:
    """Makes the case of FFCV's own files: FFCV is measured alone."""
    reason = "needs the faces in another form; name the folder or store that these files were made from"
    source = FFCV(path)
    data = Data(str(path), source, split, left_out=dict.fromkeys(NAMES, reason))
    if missing := absent("ffcv"):
        raise ValueError(f"bench: DATA (={path}) is for FFCV, which must be installed; {missing}")
    data.cases.append(Case("ffcv", OfSource(source, split), (path / f"{split}.beton",)))
    del data.left_out["ffcv"]
    return data


def of_importer(
    importer: Importer, form: Form, split: str, faces: int, scratch: Path, names: Collection[str] = ()
) -> Data:
    """Writes the faces of an importer in the form of every source."""
    excerpt = Excerpt(importer, split, faces)
    store = pack(excerpt, scratch / "packed", form)
    data = Data(str(importer.source), Packed(store.path, tier="mapped"), split)

    def wanted(*some: str) -> bool:
        return not names or any(name in names for name in some)

    images = (store.path / "images.npy",)
    data.cases.append(Case("packed", OfSource(Packed(store.path, tier="mapped"), split), images))
    data.cases.append(Case("resident", OfSource(Packed(store.path, tier="resident"), split)))
    if wanted("folder", "dali", "torchvision"):
        _of_pictures(data, excerpt, form, store, scratch)
    for name, quality in (("ffcv", None), ("ffcv-jpeg", QUALITY)):
        if missing := absent("ffcv"):
            data.left_out[name] = missing
        elif wanted(name):
            folder = scratch / name
            write_ffcv_store(store, folder, origin={}, jpeg=quality)
            bound = 0 if quality is None else DECODED
            file = folder / f"{split}.beton"
            data.cases.append(Case(name, OfSource(FFCV(folder), split), (file,), bound, quality))
    return data


def _of_pictures(data: Data, excerpt: Excerpt, form: Form, store: Store, scratch: Path) -> None:
    """Makes the cases of sources that read picture files: the data set's own, or PNG files of the store's faces."""
    importer: Importer = excerpt
    with closing(excerpt.survey().records()) as records:
        first = next(record for record in records if isinstance(record, Record))
    if not isinstance(first.picture, Path):  # rows of a table or of a store
        write_pictures(store, scratch / "pictures", origin={})
        importer, form = ManifestFile(scratch / "pictures"), Form()
    scanned = scan(importer, form, "bench")
    files = tuple(record.picture for record in scanned.records if isinstance(record.picture, Path))
    settings = {"size": form.size, "fit": form.fit, "colour": form.colour}
    data.cases.append(Case("folder", OfSource(Folder(importer, **settings), data.split), files))  # type: ignore[arg-type]
    if missing := absent("dali"):
        data.left_out["dali"] = missing
    else:
        bound = 0 if form.size is None else RESIZED
        data.cases.append(Case("dali", OfSource(DALI(importer, **settings), data.split), files, bound))  # type: ignore[arg-type]
    if form.size is not None or any(record.box is not None for record in scanned.records):
        data.left_out["torchvision"] = "its loop neither crops nor resizes, and these pictures need it"
    else:
        feed = Torchvision(tuple(map(str, files)), scanned.shape[2])
        data.cases.append(Case("torchvision", feed, files))


def pack(importer: Importer, out: Path, form: Form) -> Store:
    """Writes a packed store of an importer's faces; their original files stay named in its manifest."""
    contents = importer.survey()
    with (
        new_store(out, contents.labels, origin={}, notes=contents.notes) as writer,
        closing(contents.records()) as records,
        closing(read_faces(records, form)) as faces,
    ):
        for some in faces:
            writer.add(some)
    return open_store(out)


def absent(extra: str) -> str | None:
    """Says why an optional package cannot be measured; None where it is installed."""
    module = {"dali": "nvidia.dali", "ffcv": "ffcv"}[extra]
    parent = module.partition(".")[0]
    if importlib.util.find_spec(parent) is not None and importlib.util.find_spec(module) is not None:
        return None
    return f"{module} is not installed; run `pip install 'hmtl[{extra}]'`{SYSTEM.get(extra, '')}"
