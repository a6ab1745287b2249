"""Runs the `hmtl` command: each sub-command is the app of another module, imported when it is called.

`hmtl --help`, shell completion and `hmtl recipes` import no torch and so answer at once.
"""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core
import typer.main

from engine import __version__, catalogue

MODULES = {
    "train": ("engine.run", "Train a recipe, or that of a run folder again."),
    "prepare": ("loaders.prepare", "Write raw faces as a store, or check a store."),
    "table": ("engine.table.__main__", "Run an experiment and print its table."),
    "compare": ("engine.compare", "Set runs side by side."),
    "predict": ("engine.predict", "Write what a model says of your pictures."),
    "try": ("engine.tryout", "Try a model with a photo or the webcam, on a page."),
    "evaluate": ("engine.evaluate", "Evaluate a run on any labelled store."),
    "labels": ("engine.labels", "Find wrong labels, and faces that are there twice."),
    "export": ("engine.export", "Write a model as ONNX, torch or timm's, for use without hmtl."),
    "report": ("engine.report", "Write the report of a run anew."),
    "robustness": ("engine.robustness.__main__", "Measure runs on corrupted faces."),
    "bench": ("engine.bench.__main__", "Measure the sources or the training step."),
}
"""Sub-command to the module whose `app` it is, which `python -m` runs too, and what `hmtl --help` says of it."""


class _OnDemand(typer.core.TyperGroup):
    """Imports the module of a sub-command when that is called; help and completion do with the names."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        if name in MODULES:
            command = typer.main.get_command(import_module(MODULES[name][0]).app)
        return name, command, [_with_home(word) for word in rest]


def _with_home(word: str) -> str:
    """Writes the home folder for `~/` where a word, or the value of an option, begins with it.

    A shell does so for a word alone, not for `--out=~/runs`.
    """
    option, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    # As `loaders.targets.with_home`, whose package imports torch.
    return option + equals + (os.path.expanduser(value) if value.startswith("~/") else value)  # noqa: PTH111


app = typer.Typer(
    cls=_OnDemand, name="hmtl", no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False
)
recipes = typer.Typer(rich_markup_mode=None, help="List the recipes of the package, or copy one.")
app.add_typer(recipes, name="recipes")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"hmtl {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Train on faces by Hybrid Multi-Task Learning. Each COMMAND has its own --help."""


def _imported_on_demand() -> None:
    """Stands for a sub-command until it is called."""


for _name, (_, _help) in MODULES.items():
    app.command(_name, help=_help)(_imported_on_demand)


@recipes.callback(invoke_without_command=True)
def list_recipes(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        width = max(map(len, catalogue.names()))
        for name in catalogue.names():
            typer.echo(f"{name:{width}}  {catalogue.first_line(name)}")


@recipes.command("new")
def new_recipe(
    store: Annotated[Path, typer.Argument(help="a packed store that `hmtl prepare` wrote")],
    label: Annotated[str, typer.Option(help="the label to learn; the first one if not given")] = "",
    unlabelled: Annotated[
        Path | None, typer.Option(help="a store of more faces, without that label, for the pretext task")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="the file; STORE's name here if not given")] = None,
) -> None:
    """Write a first recipe for STORE: its classes, sizes and splits, with the baselines to compare with."""
    from engine.recipe.starter import write_recipe  # imports torch, which the other commands do without
    from loaders.exit_status import exit_status

    with exit_status():
        to = write_recipe(store, label=label, unlabelled=unlabelled, out=out)
    typer.echo(f"wrote {to}; try it with: hmtl train {to} --smoke, train it with: hmtl train {to}")


@recipes.command("copy")
def copy_recipe(name: Annotated[str, typer.Argument(help="a recipe that `hmtl recipes` lists")]) -> None:
    """Write the recipe NAME as NAME.py into the working directory, to be changed there."""
    try:
        to = catalogue.copy(name)
    except (ValueError, OSError):
        from loaders.exit_status import exit_status  # imports torch, which a copy does without

        with exit_status():
            raise
    typer.echo(f"wrote {to}; train it with: hmtl train {to}")
