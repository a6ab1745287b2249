"""Raw faces to a packed store, FFCV's files or a plain folder, and what a packed store holds.

python -m loaders.prepare NAME SOURCE --out DIR [--size N] [--format packed|ffcv|folder]
python -m loaders.prepare --check DIR [--drop-duplicates OUT]
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, fields
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from loaders.decoding.pictures import Form
from loaders.decoding.reading import read_faces
from loaders.exit_status import exit_status
from loaders.ffcv.packing import require_writer, scratch_beside, write_betons
from loaders.ffcv.store import open_betons
from loaders.importers import IMPORTERS, Importer
from loaders.progress import LINE, progress
from loaders.store.check_report import print_findings, write_report
from loaders.store.checking import check
from loaders.store.copies import drop_duplicates
from loaders.store.manifest import in_usual_order
from loaders.store.opening import BETONS, FORMAT, PICTURES, SKIPPED, SOURCE, open_store, read_source
from loaders.store.picture_folder import check_pictures, write_pictures
from loaders.store.writing import StoreWriter

Format = Literal["packed", "ffcv", "folder"]


KINDS: dict[str, tuple[str, str, Callable[[Path], Mapping[str, Any]]]] = {
    "packed": (FORMAT, "images_sha256", lambda out: open_store(out).source),
    "ffcv": (BETONS, "files", lambda out: open_betons(out).source),
    "folder": (PICTURES, "images_sha256", check_pictures),
}
"""Of each format: what its source.json says it is, the key that verifies its pixels, and what opens a whole one."""


def prepare(
    importer: Importer,
    out: Path,
    form: Form,
    *,
    force: bool = False,
    workers: int | None = None,
    format: Format = "packed",
    jpeg: int | None = None,
    console: Console | None = None,
) -> Mapping[str, Any]:
    """Write the store of a data set, or find it finished.

    Args:
        importer: The data set.
        out: Folder of the store: new, empty, or a finished store.
        form: What stored faces look like.
        force: Replace a store that is already there.
        workers: Decoding threads; None chooses by the number of cores.
        format: "packed", "ffcv" for a .beton file a split, or "folder" for PNG files and a manifest. The latter two
            need room for the packed faces as well meanwhile.
        jpeg: Quality, 1 to 100, of the pictures in FFCV's files; None keeps their pixels as they are.
        console: Where progress and tables are printed; None prints nothing.

    Returns:
        The contents of the store's source.json.

    Raises:
        ValueError: The source is not what the importer reads, no picture is readable, `out` holds something else,
            FFCV is asked for and not installed, or `jpeg` is given without it.
        OSError: The disk is full or a folder cannot be read or written; nothing half-written is left.
    """
    console = console or Console(quiet=True)
    if format not in get_args(Format):
        raise ValueError(f"prepare: format (={format!r}) must be one of {', '.join(get_args(Format))}; choose one")
    if jpeg is not None and format != "ffcv":
        raise ValueError(f"prepare: jpeg (={jpeg}) must be left out for format {format}; it stores exact pixels")
    origin = describe(importer, form)
    if format == "ffcv":
        require_writer(jpeg)
        origin["jpeg"] = jpeg
    done = _finished(out, origin, force, format)
    if done is not None:
        labels = ", ".join(done["labels"]) or "no labels"
        console.print(f"{out} is finished: {done['shape'][0]:,} faces, {labels}; --force makes it again", **LINE)
        return done
    start = time.perf_counter()
    if format == "packed":
        source = _pack(importer, out, form, origin, force, workers, console)
    else:
        with scratch_beside(out) as scratch:
            _pack(importer, scratch, form, origin, False, workers, console)
            packed = open_store(scratch)
            if format == "ffcv":
                source = write_betons(packed, out, origin=origin, jpeg=jpeg, replace=force, console=console)
            else:
                source = write_pictures(packed, out, origin=origin, replace=force, workers=workers, console=console)
    _report(source, out, time.perf_counter() - start, console)
    return source


def _pack(
    importer: Importer,
    out: Path,
    form: Form,
    origin: Mapping[str, Any],
    force: bool,
    workers: int | None,
    console: Console,
) -> dict[str, Any]:
    contents = importer.survey()
    with (
        StoreWriter(out, contents.labels, origin=origin, notes=contents.notes, replace=force) as writer,
        progress("faces", contents.total, console) as advance,
        closing(contents.records()) as records,
        closing(read_faces(records, form, workers=workers)) as faces,
    ):
        for some in faces:
            writer.add(some)
            advance(len(some))
        return writer.finish()


def describe(importer: Importer, form: Form) -> dict[str, Any]:
    """What a store is made from and how, as JSON values; equal for equal runs."""
    names = {kind: name for name, kind in IMPORTERS.items()}
    options = {f.name: getattr(importer, f.name) for f in fields(importer) if f.name != "source"}  # type: ignore[arg-type]
    return {
        "importer": names.get(type(importer), type(importer).__qualname__),
        "source": str(importer.source.resolve()),
        "options": {name: _json(value) for name, value in options.items()},
        "pictures": asdict(form),
    }


def _json(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value.resolve())
    return list(value) if isinstance(value, tuple) else value


def _finished(out: Path, origin: Mapping[str, Any], force: bool, format: str) -> Mapping[str, Any] | None:
    """The source.json of a finished store at `out` that was made from `origin`; None where one must be written."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    if not (out / SOURCE).is_file():
        raise ValueError(f"prepare: out (={out}) must be new, empty or a prepared store; choose another folder")
    if force:
        return None
    kind, pixels, opened = KINDS[format]
    found = read_source(out, kind=kind, pixels=pixels)["origin"]
    different = [key for key in origin if found.get(key) != origin[key]]
    if different:
        made = "; ".join(f"{key} {found.get(key)} there, {origin[key]} here" for key in different)
        raise ValueError(
            f"prepare: out (={out}) must be new or made from the same source and settings ({made}); "
            "choose another --out, or replace it with --force"
        )
    return opened(out)


def _report(source: Mapping[str, Any], out: Path, seconds: float, console: Console) -> None:
    counts: Mapping[str, Mapping[str, Any]] = {
        split: source["counts"][split] for split in sorted(source["counts"], key=in_usual_order)
    }
    for label in [name for name, kind in source["labels"].items() if kind["kind"] == "classes"]:
        table = Table(title=label, title_justify="left")
        table.add_column("class")
        for split in (*counts, "all"):
            table.add_column(split, justify="right")
        for name in dict.fromkeys(name for of in counts.values() for name in of[label]):
            row = [of[label].get(name, 0) for of in counts.values()]
            table.add_row(escape(name), *(f"{n:,}" for n in (*row, sum(row))))
        table.add_section()
        totals = [of["total"] for of in counts.values()]
        table.add_row("all", *(f"{n:,}" for n in (*totals, sum(totals))))
        console.print(table)
    for note in (*source["notes"], *_unseen(counts)):
        console.print(f"note: {note}", **LINE)
    skipped = source["skipped"]
    if skipped["total"]:
        table = Table(title=f"skipped: {skipped['total']:,}", title_justify="left")
        for column in ("path", "reason", "detail"):
            table.add_column(column, overflow="fold")
        for example in skipped["examples"]:
            table.add_row(*(escape(example[column]) for column in ("path", "reason", "detail")))
        console.print(table)
        for reason, number in skipped["reasons"].items():
            console.print(f"skipped, {reason}: {number:,}", **LINE)
        if skipped["total"] > len(skipped["examples"]):
            console.print(f"all of them are in {out / SKIPPED}", **LINE)
    n, h, w, c = source["shape"]
    tail = f"{seconds:.1f} s, {n / seconds:,.0f} faces/s" if seconds else ""
    console.print(f"{out}: {n:,} faces of {w} x {h}, {'gray' if c == 1 else 'RGB'}; {tail}", **LINE)


def _unseen(counts: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Classes that no face of a split has, one sentence a split; those that no face at all has come first."""
    labels = next(iter(counts.values())).keys() - {"total"}
    for label in sorted(labels):
        without = {split: {name for name, n in of[label].items() if n == 0} for split, of in counts.items()}
        everywhere = set.intersection(*without.values())
        if everywhere:
            yield f"no face has {label} {_listed(everywhere)}"
        for split, names in without.items():
            if names - everywhere:
                yield f"no face of {split} has {label} {_listed(names - everywhere)}"


def _listed(names: Collection[str]) -> str:
    return " or ".join(sorted(names))


def _importer(name: str, source: Path, options: Mapping[str, Any]) -> Importer:
    given = {option: value for option, value in options.items() if value is not None}
    known = inspect.signature(IMPORTERS[name]).parameters.keys() - {"source"}
    for option in given:
        if option not in known:
            raise ValueError(
                f"prepare: --{option.replace('_', '-')} must be left out for {name}; it takes {_options_of(name)}"
            )
    return IMPORTERS[name](source, **given)


def check_store(store: Path, *, report: Path | None, without: Path | None, console: Console) -> None:
    """Check a prepared store, print what was found and write it beside the store.

    Args:
        store: The store.
        report: Folder for `check.json`, `duplicates.csv` and `sheet.png`; None takes NAME-check beside the store.
        without: Where a store without duplicates is written; None writes none.
        console: Where progress and tables are printed.

    Raises:
        ValueError: The store is missing or damaged, or `without` holds something.
        OSError: A folder cannot be written.
    """
    folder = report or store.resolve().with_name(f"{store.resolve().name}-check")
    findings = check(store, console=console)
    print_findings(findings, console)
    write_report(store, folder, findings)
    console.print(f"examples, all duplicates and a contact sheet are in {folder}", **LINE)
    if without is not None:
        drop_duplicates(store, without, findings, console=console)
        left = read_source(without)["shape"][0]
        console.print(f"{without}: {left:,} faces without duplicates", **LINE)


OUTPUT, FACES, SPECIAL, LOOK = "Output", "Faces and splits", "Of one source", "Instead of NAME SOURCE"
BY_SOURCE = "by NAME"


def _options_of(name: str) -> str:
    """The options of the command line that a source takes, with their defaults."""
    words = []
    for option, parameter in inspect.signature(IMPORTERS[name]).parameters.items():
        default = parameter.default
        if option == "source":
            continue
        given = default is not None and default != () and not isinstance(default, bool)
        words.append(f"--{option.replace('_', '-')}" + (f" {default}" if given else ""))
    return ", ".join(words)


def main(
    name: Annotated[str | None, typer.Argument(help=f"What the source is: {', '.join(IMPORTERS)}.")] = None,
    source: Annotated[Path | None, typer.Argument(help="The file or folder as it was published.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder: new, empty, or a finished store.", rich_help_panel=OUTPUT)
    ] = None,
    format: Annotated[
        str, typer.Option(help="packed, ffcv (.beton files) or folder (PNG files).", rich_help_panel=OUTPUT)
    ] = "packed",
    size: Annotated[
        int | None,
        typer.Option(metavar="N", help="Side of the square faces.", show_default="as they are", rich_help_panel=OUTPUT),
    ] = None,
    fit: Annotated[str, typer.Option(help="Not square: crop (centre) or stretch.", rich_help_panel=OUTPUT)] = "crop",
    colour: Annotated[str, typer.Option(help="gray, rgb, or auto: gray if all are.", rich_help_panel=OUTPUT)] = "auto",
    jpeg: Annotated[
        int | None,
        typer.Option(metavar="Q", help="ffcv: JPEG quality.", show_default="exact pixels", rich_help_panel=OUTPUT),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a finished store.", rich_help_panel=OUTPUT)] = False,
    workers: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Threads.", show_default="cores + 1", rich_help_panel=OUTPUT),
    ] = None,
    crop: Annotated[
        str | None,
        typer.Option(help="Face crop: none, box or align.", show_default=BY_SOURCE, rich_help_panel=FACES),
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(metavar="X", help="Added to each side, 0 to 2.", show_default=BY_SOURCE, rich_help_panel=FACES),
    ] = None,
    val_share: Annotated[
        float | None,
        typer.Option(metavar="X", help="Held out for val.", show_default=BY_SOURCE, rich_help_panel=FACES),
    ] = None,
    test_share: Annotated[
        float | None,
        typer.Option(metavar="X", help="Held out for test.", show_default=BY_SOURCE, rich_help_panel=FACES),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(metavar="N", help="Chooses what is held out.", show_default="0", rich_help_panel=FACES),
    ] = None,
    contempt: Annotated[
        bool | None,
        typer.Option(
            "--contempt/--no-contempt", help="affectnet: 8 or 7 classes.", show_default="8", rich_help_panel=SPECIAL
        ),
    ] = None,
    wild: Annotated[
        bool | None, typer.Option("--wild", help="celeba: not the aligned pictures.", rich_help_panel=SPECIAL)
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(help="folder: name of the label.", show_default="expression", rich_help_panel=SPECIAL),
    ] = None,
    classes: Annotated[
        list[str] | None,
        typer.Option(
            metavar="A,B,C",
            help="folder: their order; manifest: LABEL=A,B,C.",
            show_default="sorted",
            rich_help_panel=SPECIAL,
        ),
    ] = None,
    ferplus: Annotated[
        Path | None,
        typer.Option(
            help="fer2013: votes of FER+ to join.", show_default="fer2013new.csv beside it", rich_help_panel=SPECIAL
        ),
    ] = None,
    no_ferplus: Annotated[
        bool, typer.Option("--no-ferplus", help="fer2013: join no votes.", rich_help_panel=SPECIAL)
    ] = False,
    skip_damaged: Annotated[
        bool | None, typer.Option("--skip-damaged", help="fer2013: leave broken rows out.", rich_help_panel=SPECIAL)
    ] = None,
    checked: Annotated[
        Path | None, typer.Option("--check", help="A packed store to look through.", rich_help_panel=LOOK)
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Folder for findings.", show_default="STORE-check", rich_help_panel=LOOK)
    ] = None,
    without: Annotated[
        Path | None,
        typer.Option("--drop-duplicates", help="Write a store without exact copies.", rich_help_panel=LOOK),
    ] = None,
) -> None:
    """Prepare raw faces: decode, check, and write a store that training reads."""
    options = {
        "crop": crop,
        "margin": margin,
        "val_share": val_share,
        "test_share": test_share,
        "seed": seed,
        "contempt": contempt,
        "wild": wild,
        "label": label,
        "classes": tuple(classes) if classes else None,
        "ferplus": False if no_ferplus else ferplus,
        "skip_damaged": skip_damaged,
    }
    console = Console()
    with exit_status():
        if no_ferplus and ferplus is not None:
            raise ValueError(f"prepare: --ferplus (={ferplus}) must be left out where --no-ferplus is given; drop one")
        if checked is not None:
            if any(value is not None for value in (name, source, out, *options.values())):
                raise ValueError(
                    f"prepare: --check (={checked}) must stand alone or with --report and --drop-duplicates; "
                    "leave NAME, SOURCE and their options out"
                )
            check_store(checked, report=report, without=without, console=console)
            return
        if name is not None and name not in IMPORTERS:
            raise ValueError(f"prepare: NAME (={name!r}) must be one of {', '.join(IMPORTERS)}; choose one")
        if name is None or source is None or out is None:
            takes = "" if name is None else f". {name} takes {_options_of(name)}"
            raise ValueError(
                f"prepare: NAME, SOURCE and --out must be given; or --check STORE looks through a store{takes}"
            )
        if report is not None or without is not None:
            raise ValueError("prepare: --report and --drop-duplicates must go with --check; add --check STORE")
        form = Form(size, fit, colour)  # type: ignore[arg-type]  # refuses what is none of the choices
        prepare(
            _importer(name, source, options),
            out,
            form,
            force=force,
            workers=workers,
            format=format,  # type: ignore[arg-type]
            jpeg=jpeg,
            console=console,
        )


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
app.command(epilog="NAME alone lists the options that it takes, with their defaults.")(main)

if __name__ == "__main__":
    app()
