"""Prepares raw faces: writes a packed store, FFCV's files or a plain folder, and checks a packed store.

hmtl prepare NAME SOURCE --out DIR [--size N] [--format packed|ffcv|folder]
hmtl prepare --check DIR [--drop-duplicates OUT]
"""

from __future__ import annotations

import difflib
import inspect
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Literal, get_args

import typer
from typer.core import TyperGroup

from loaders.decoding.pictures import Form
from loaders.decoding.reading import read_faces
from loaders.exit_status import exit_status
from loaders.ffcv.store import open_ffcv_store, require_writer, write_ffcv_store
from loaders.files import full_disk_explained, scratch_folder
from loaders.importers import IMPORTERS, ClassFolders, Importer
from loaders.lock import Lock
from loaders.options import described, given, options, written
from loaders.progress import progress
from loaders.store import checking, duplicates
from loaders.store.check_report import print_findings, report_folder, write_report
from loaders.store.dropping import refuse_taken
from loaders.store.opening import FFCV_STORE, PACKED_STORE, PLAIN_FOLDER, SOURCE, open_store, read_source
from loaders.store.picture_folder import check_pictures, write_pictures
from loaders.store.preparation import preparation
from loaders.store.summary import print_summary
from loaders.store.writing import new_store
from loaders.targets import folder_target, shortened
from loaders.terminal import Terminal

Format = Literal["packed", "ffcv", "folder"]


KINDS: dict[str, tuple[str, str, Callable[[Path], Mapping[str, Any]]]] = {
    "packed": (PACKED_STORE, "images_sha256", lambda out: open_store(out).source),
    "ffcv": (FFCV_STORE, "files", lambda out: open_ffcv_store(out).source),
    "folder": (PLAIN_FOLDER, "images_sha256", check_pictures),
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
    console: Terminal | None = None,
) -> Mapping[str, Any]:
    """Writes the store of a data set, or finds it finished.

    Args:
        importer: The data set.
        out: Folder of the store: new, empty, or a finished store.
        form: What stored faces look like.
        force: Replace a finished store.
        workers: Decoding threads, 1 or more; by default one more than there are cores.
        format: A packed store, "ffcv" (.beton files) or "folder" (PNG files and a manifest); the latter two need room
            for the packed faces as well meanwhile.
        jpeg: JPEG quality of FFCV's files, 1 to 100; by default they hold exact pixels.
        console: Where progress and tables are printed; None prints nothing.

    Returns:
        The contents of the store's source.json.

    Raises:
        ValueError: The source is not what the importer reads, no picture is readable, `out` holds something else,
            FFCV is asked for and not installed, `jpeg` is given without it, or `workers` is below 1.
        OSError: The disk is full or a folder cannot be read or written; nothing half-written is left.
    """
    console = console or Terminal(quiet=True)
    if format not in get_args(Format):
        raise ValueError(f"prepare: format (={format!r}) must be one of {', '.join(get_args(Format))}; choose one")
    if jpeg is not None and format != "ffcv":
        raise ValueError(f"prepare: jpeg (={jpeg}) must be left out for format {format}; it stores exact pixels")
    if workers is not None and workers < 1:
        raise ValueError(f"prepare: workers (={workers}) must be 1 or more; leave it out for one more than the cores")
    origin = describe(importer, form)
    if format == "ffcv":
        require_writer(jpeg)
        origin["jpeg"] = jpeg
    _refuse_place(out, importer)
    done = _finished(importer, out, origin, force, format)
    if done is not None:
        labels = ", ".join(done["labels"]) or "no labels"
        console.print(f"{out} is finished: {done['shape'][0]:,} faces, {labels}; --force makes it again")
        return done
    start = time.perf_counter()
    with _only_here(out):
        if format == "packed":
            source = _pack(importer, out, form, origin, force, workers, console)
        else:
            with scratch_folder(out) as scratch:
                _pack(importer, scratch / "packed", form, origin, False, workers, console)
                packed = open_store(scratch / "packed")
                if format == "ffcv":
                    source = write_ffcv_store(packed, out, origin=origin, jpeg=jpeg, replace=force, console=console)
                else:
                    source = write_pictures(packed, out, origin=origin, replace=force, workers=workers, console=console)
    print_summary(source, out, time.perf_counter() - start, console)
    return source


def _refuse_place(out: Path, importer: Importer) -> None:
    """Refuses a store that cannot be written, or that would become a class of the folders it is made from."""
    place, source = folder_target(out).resolve(), importer.source.resolve()
    if isinstance(importer, ClassFolders) and (place == source or source in place.parents):
        raise ValueError(
            f"prepare: out (={out}) must not be in the folder of the source (={importer.source}), whose folders are "
            "classes; choose a folder beside it"
        )


def _only_here(out: Path) -> Lock:
    """Locks the place of a store, so that no work is done twice."""
    target = folder_target(out)
    target.parent.mkdir(parents=True, exist_ok=True)
    with full_disk_explained(out):
        return Lock(target.with_name(f".{shortened(target.name, '.lock')}.lock"), f"prepare: out (={out})")


def _pack(
    importer: Importer,
    out: Path,
    form: Form,
    origin: Mapping[str, Any],
    force: bool,
    workers: int | None,
    console: Terminal,
) -> dict[str, Any]:
    contents = importer.survey()
    for class_map in contents.class_maps:
        class_map.print(console)
    notes = (*contents.notes, *map(str, contents.class_maps))
    with (
        new_store(out, contents.labels, origin=origin, notes=notes, group=contents.group, replace=force) as writer,
        progress("faces", contents.total, console) as advance,
        closing(contents.records()) as records,
        closing(read_faces(records, form, workers=workers)) as faces,
    ):
        for some in faces:
            writer.add(some)
            advance(len(some))
        writer.prepared = preparation(importer, form, writer.crops)
    return writer.source


def describe(importer: Importer, form: Form) -> dict[str, Any]:
    """Describes what a store is made from and how, as JSON values; equal for equal runs."""
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


def _finished(
    importer: Importer, out: Path, origin: Mapping[str, Any], force: bool, format: str
) -> Mapping[str, Any] | None:
    """The source.json of a finished store at `out` that was made from `origin`; None where one must be written."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    if not (out / SOURCE).is_file():
        raise ValueError(f"prepare: out (={out}) must be new, empty or a prepared store; choose another folder")
    if force:
        return None
    kind, pixels, opened = KINDS[format]
    found = read_source(out, kind=kind, pixels=pixels)["origin"]
    added = {f.name: _json(f.default) for f in fields(importer) if f.name != "source"}  # type: ignore[arg-type]
    found = found | {"options": added | found.get("options", {})}  # one that was added since had its default
    different = [key for key in origin if found.get(key) != origin[key]]
    if different:
        made = "; ".join(said for key in different for said in _differences(key, found.get(key), origin[key]))
        raise ValueError(
            f"prepare: out (={out}) must be new or made from the same source and settings ({made}); "
            "choose another --out, or replace it with --force"
        )
    return opened(out)


def _differences(name: str, there: Any, here: Any) -> Iterator[str]:
    """Says of each setting that differs what it is there and here."""
    if isinstance(there, Mapping) and isinstance(here, Mapping):
        for each in dict.fromkeys((*there, *here)):
            yield from _differences(each, there.get(each), here.get(each))
    elif there != here:
        yield f"{name} {there} there, {here} here"


def check_store(
    check: Path, *, report: Path | None = None, drop_duplicates: Path | None = None, console: Terminal
) -> None:
    """Checks a packed store, prints what was found and writes it beside the store.

    Args:
        check: A packed store to look through, instead of NAME and SOURCE.
        report: Folder for what --check finds; by default STORE-check beside the store.
        drop_duplicates: Write the store of --check without exact copies into this folder.
        console: Where progress and tables are printed.

    Raises:
        ValueError: The store is missing or damaged, or `drop_duplicates` holds something.
        OSError: A folder cannot be written.
    """
    if drop_duplicates is not None:
        refuse_taken(drop_duplicates, duplicates.DROP)  # before the work
    folder = report or report_folder(check)
    findings = checking.check(check, console=console)
    print_findings(findings, console)
    write_report(check, folder, findings)
    console.print(f"examples, all duplicates and a contact sheet are in {folder}")
    if drop_duplicates is not None:
        duplicates.drop_duplicates(check, drop_duplicates, findings, console=console)
        left = read_source(drop_duplicates)["shape"][0]
        console.print(f"{drop_duplicates}: {left:,} faces without duplicates")


UNKNOWN_KEPT = {"ignore_unknown_options": True, "allow_extra_args": True}
"""Settings under which a command is handed what it does not know, to refuse it in words of its own."""
MISSING = "prepare: NAME, SOURCE and --out must be given; or --check STORE looks through a store"
OUT_OF_PLACE = (
    "prepare: --report and --drop-duplicates must go with --check; add --check STORE, leave NAME and SOURCE out"
)


def command_line() -> typer.Typer:
    """Builds the command: a sub-command for each of `IMPORTERS`, whose options are the fields of the importer."""
    app = typer.Typer(
        cls=_Sources,
        invoke_without_command=True,
        subcommand_metavar="NAME SOURCE",
        context_settings=UNKNOWN_KEPT,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    # The options of all sources may stand before NAME and after it.
    shared = [*options(prepare, leave_out=("importer", "form", "console")), *options(Form)]
    instead = options(check_store, leave_out=("console",))
    app.callback(epilog="NAME alone lists the options of this source.")(_with_options(_check, [*shared, *instead]))
    for name, importer in IMPORTERS.items():
        about, _ = described(importer)
        app.command(name, help=about, short_help=about.partition("\n\n")[0], context_settings=UNKNOWN_KEPT)(
            _with_options(_prepare, [*options(importer, argument="source"), *shared])
        )
    return app


def _with_options(function: Callable[..., None], parameters: Sequence[inspect.Parameter]) -> Callable[..., None]:
    """Copies a command of `context` and any keywords, with a signature from which typer reads the options."""

    def command(context: typer.Context, **values: Any) -> None:
        with exit_status():
            function(context, values)

    signature = inspect.signature(command)
    context, _ = signature.parameters.values()
    command.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[context.replace(annotation=typer.Context), *parameters]
    )
    command.__doc__ = function.__doc__
    return command


def _check(context: typer.Context, values: Mapping[str, Any]) -> None:
    """Prepare raw faces: decode, check, and write a store that training reads."""
    context.obj = chosen = given(context, values)
    store, report, drop_duplicates = (chosen.pop(name, None) for name in ("check", "report", "drop_duplicates"))
    if store is not None:
        if chosen or context.invoked_subcommand is not None:
            raise _check_stands_alone(store)
        check_store(store, report=report, drop_duplicates=drop_duplicates, console=Terminal())
    elif report is not None or drop_duplicates is not None:
        raise ValueError(OUT_OF_PLACE)
    elif context.invoked_subcommand is None:
        raise ValueError(MISSING)


def _prepare(context: typer.Context, values: Mapping[str, Any]) -> None:
    name = str(context.info_name)
    if unknown := [word for word in (str(values["source"]), *context.args) if word.startswith("-")]:
        raise _refused(name, unknown[0].partition("=")[0], [written(option) for option in values])
    if context.args:
        raise ValueError(f"prepare: {name} must get one SOURCE; drop {context.args[0]!r}, or quote a path with blanks")
    chosen = context.obj | given(context, values)
    if not {"source", "out"} <= chosen.keys():
        typer.echo(context.get_help())
        raise ValueError(MISSING)
    form = Form(**_taken(chosen, Form))
    own = _taken(chosen, IMPORTERS[name])
    prepare(IMPORTERS[name](**own), form=form, console=Terminal(), **chosen)


def _taken(chosen: dict[str, Any], function: Callable[..., object]) -> dict[str, Any]:
    """Takes out of the chosen values those that a function or dataclass has a parameter for."""
    return {name: chosen.pop(name) for name in inspect.signature(function).parameters.keys() & chosen.keys()}


class _Sources(TyperGroup):
    """Refuses a NAME, or an option before it, that is none."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        word = args[0].partition("=")[0]
        if word not in self.commands:
            with exit_status():
                if ctx.params["check"] is not None:
                    raise _check_stands_alone(ctx.params["check"])
                if word.startswith("-"):
                    raise _refused("NAME", word, [option for known in self.params for option in known.opts])
                near = difflib.get_close_matches(word, IMPORTERS, n=1)
                hint = f"did you mean {near[0]!r}?" if near else "choose one"
                raise ValueError(f"prepare: NAME (={word!r}) must be one of {', '.join(IMPORTERS)}; {hint}")
        return super().resolve_command(ctx, args)


def _check_stands_alone(store: Path) -> ValueError:
    return ValueError(
        f"prepare: --check (={store}) must stand alone or with --report and --drop-duplicates; "
        "leave NAME, SOURCE and their options out"
    )


def _refused(name: str, option: str, known: Iterable[str]) -> ValueError:
    """Says why an option is not taken, by a source or before NAME, and what to do."""
    takers = [taker for taker, importer in IMPORTERS.items() if option.replace("--no-", "--", 1) in _own(importer)]
    if option in ("--check", "--report", "--drop-duplicates"):
        return ValueError(OUT_OF_PLACE)
    if takers and name in IMPORTERS:
        own = ", ".join(f"{taken} {default}".rstrip() for taken, default in _own(IMPORTERS[name]).items())
        return ValueError(
            f"prepare: {option} must be left out for {name}; it takes {own} ({option} is of {', '.join(takers)})"
        )
    if takers:
        return ValueError(f"prepare: {option} must follow NAME; it is an option of {', '.join(takers)}")
    near = difflib.get_close_matches(option, known, n=1)
    page = "hmtl prepare --help" if name not in IMPORTERS else f"hmtl prepare {name} --help"
    hint = f"did you mean {near[0]}?" if near else f"`{page}` lists them"
    return ValueError(f"prepare: {option} must be an option of {name}; {hint}")


def _own(importer: Callable[..., Importer]) -> dict[str, str]:
    """Lists the options of a source and their defaults, as written on the command line."""
    fields = [parameter for name, parameter in inspect.signature(importer).parameters.items() if name != "source"]
    return {
        written(field.name): "" if isinstance(field.default, bool | tuple | None) else str(field.default)
        for field in fields
    }


app = command_line()

if __name__ == "__main__":
    app()
