"""Looks for labels that are probably wrong, and for faces that are there twice: `hmtl labels RUN...`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from engine.deployed.options import TaskFiles, define_tasks
from engine.suspects.answers import read_answers
from engine.suspects.finding import find_suspects
from engine.suspects.report import (
    SUSPECTS,
    TWINS,
    counted,
    dropped,
    print_accuracies,
    print_suspects,
    print_twins,
    usual_label,
    write_suspects,
    write_twins,
)
from loaders.exit_status import exit_status
from loaders.extras import require
from loaders.files import replacing_folder
from loaders.store.dropping import refuse_taken, write_without
from loaders.store.near_duplicates import NEAR, find_near_duplicates
from loaders.store.opening import SOURCE, open_store
from loaders.terminal import Terminal

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def main(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...|STORE", help="finished runs on one prepared store, such as all folds; or a store"
        ),
    ],
    task: Annotated[str | None, typer.Option(help="the task whose label is looked at; the first with classes")] = None,
    most: Annotated[int | None, typer.Option(help="keep so many suspects at the most, the most doubtful")] = None,
    near: Annotated[int, typer.Option(help="bits of 256 in which perceptual hashes of near-duplicates differ")] = NEAR,
    drop: Annotated[Path | None, typer.Option(help="write the store without suspects into this new folder")] = None,
    drop_conflicts: Annotated[
        bool, typer.Option("--drop-conflicts", help="drop faces too that equal, or nearly, one with another label")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="folder of the lists and sheets; STORE-labels if not given")] = None,
    force: Annotated[bool, typer.Option("--force", help="write over that folder if it is there")] = False,
    tasks: TaskFiles = None,
) -> None:
    """Look for labels that are probably wrong, and for faces that are there twice.

    Labels are judged by cleanlab, by what runs say of faces that they were not trained on: those of val and test. To
    have all faces judged, train a run for each fold (data=Folds(Packed("data/mine"), k=5, fold=0), then 1, 2, ...) and
    name them all. Of a store alone faces are looked for that are there twice. Nothing is changed: --drop writes another
    store. Call it where `hmtl train` was called.
    """
    console = Terminal()
    with exit_status():
        if drop is not None:
            refuse_taken(drop, "labels: drop")
        elif drop_conflicts:
            raise ValueError("labels: drop-conflicts (=True) needs the new store's folder; name it by --drop")
        alone = len(runs) == 1 and (runs[0] / SOURCE).is_file()
        if alone and task is not None:
            raise ValueError(f"labels: task (={task!r}) is of runs, and {runs[0]} is a store; leave it out")
        if alone and drop is not None and not drop_conflicts:
            raise ValueError(f"labels: drop (={drop}) leaves out what runs suspect; name runs, or add --drop-conflicts")
        if most is not None and most < 1:
            raise ValueError(f"labels: most (={most}) must be 1 or more suspects; leave it out for all")
        for package in ("imagehash",) if alone else ("cleanlab", "imagehash"):
            require(package, extra="labels", where="labels")  # before the work
        define_tasks(tasks)
        answers = None if alone else read_answers(runs, task)
        store = open_store(runs[0] if answers is None else answers.store)
        folder = out or store.path.resolve().with_name(f"{store.path.resolve().name}-labels")
        if folder.exists() and not force:
            raise ValueError(f"labels: out (={folder}) is there already; write over it by --force, or name another")
        label = usual_label(store.manifest) if answers is None else answers.label
        suspects = None if answers is None else find_suspects(answers, most)
        twins = find_near_duplicates(store, most=near, console=console)
        with replacing_folder(folder, replace=True) as temporary:
            write_twins(twins, store, label, temporary)
            if answers is not None and suspects is not None:
                write_suspects(answers, suspects, store, temporary)
        if answers is not None and suspects is not None:
            print_suspects(answers, suspects, store, console)
        print_twins(twins, store, label, near, console)
        if answers is not None:
            print_accuracies(answers, twins, console)
        written = [name for name in (SUSPECTS, TWINS) if (folder / f"{name}.csv").is_file()]
        console.print(f"{folder}: {' and '.join(f'{name}.csv' for name in written)}, and a sheet of each (.png)")
        if drop is not None:
            reasons = dropped(store, answers, suspects, twins if drop_conflicts else None, label)
            note = f"dropped by hmtl labels: {counted(reasons) or 'nothing'}"
            options = {"dropped_labels": label, "drop_conflicts": drop_conflicts}
            write_without(store.path, drop, reasons, note=note, options=options, console=console)
            console.print(f"{drop}: {len(store.manifest) - len(reasons):,} faces; {note}")


if __name__ == "__main__":
    app()
