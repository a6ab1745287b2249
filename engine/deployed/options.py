"""Names the options that commands on trained models have in common."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from engine.deployed.model import Which
from engine.recipe.file import run_file

Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1; the GPU if there is one")]
TaskFiles = Annotated[
    list[Path] | None,
    typer.Option(metavar="FILE", help="a Python file with tasks of your own that the model has, e.g. your recipe"),
]
Checkpoint = Annotated[Which | None, typer.Option(help="which one of a run; best if not given")]
Calibrated = Annotated[
    bool, typer.Option("--calibrated", help="give probabilities at the temperature that suits the run's val best")
]


def define_tasks(files: Iterable[Path] | None) -> None:
    """Runs the files that `TaskFiles` takes, so that the tasks they define can be read from a checkpoint.

    Raises:
        ValueError: One of them is missing, or fails; see `engine.recipe.file.run_file`.
    """
    for file in files or ():
        run_file(file, what="tasks")
