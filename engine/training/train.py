"""One run from its recipe to its report: opens what it needs, trains, and writes what is left."""

from __future__ import annotations

import hashlib
import importlib
import json
import re
import secrets
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from engine.recipe import Recipe
from engine.recipe.file import RecipeFile
from engine.recipe.written import describe, differences
from engine.reports.page import as_html
from engine.reports.report import write_report
from engine.runs import checkpoint
from engine.runs.commit import commit
from engine.runs.environment import changed, describe_environment
from engine.runs.folder import RunDir, UnwrittenRun, is_taken, read_starts, refuse_taken
from engine.runs.initial import Origin, locate
from engine.runs.result import CHARTS
from engine.tracking import Tracking, opened
from engine.training.finish import finish
from engine.training.loop import Trainer
from engine.training.parts import renderer
from engine.training.precision import emulated, resolve
from engine.training.profiling import TRACE, check_profile, profiled
from engine.training.progress import Bars
from engine.training.ranks import Ranks
from engine.training.show import show_views
from engine.training.trial import try_model
from loaders import Loader, Split, identity
from loaders.base import augments
from loaders.feed.composed import over
from loaders.targets import folder_target
from loaders.terminal import Terminal


def train(
    file: RecipeFile,
    out: Path,
    *,
    device: torch.device,
    resume: bool,
    deterministic: bool,
    console: Terminal,
    profile: int | None = None,
    track: Sequence[str] = (),
    ranks: Ranks | None = None,
) -> Path:
    """Trains a recipe into the folder `out`, or goes on with the run that is there.

    Args:
        profile: Steps of a profiler's trace, written to trace.json in the folder; None writes none.
        track: Trackers that are told of the run too; what befalls them does not touch it.
        ranks: Those that train together; the first one writes, and has a console that is not quiet.

    Returns:
        The path of the report.

    Raises:
        ValueError: The data, the recipe, the folder or a checkpoint is not what it must be.
        NonFiniteLossError: The loss was not finite.
        StoppedError: The run was interrupted; its checkpoint is written.
    """
    recipe, ranks = file.recipe, ranks or Ranks()
    with ExitStack() as stack, _determinism(deterministic):
        trackers = opened(track) if ranks.first else {}
        ranks.share(recipe.batch_size, recipe.accumulate)
        ranks.agree(lambda: {"the recipe": json.dumps(describe(recipe)), **_versions()})
        resumed = ranks.from_first(lambda: _is_resumed(out, resume))
        try_model(recipe)
        if recipe.init is not None and not resumed:
            locate(recipe.init, recipe.backbone.name)
        training = stack.enter_context(closing(open_split(recipe, recipe.train, device, ranks)))
        held = {
            name: stack.enter_context(closing(open_split(recipe, name, device, ranks, evaluation=True)))
            for name in _evaluated_splits(recipe)
        }
        loaders = {recipe.train: training, **held}  # one of each split, to check and describe what is in it
        ranks.agree(lambda: {f"the split {name!r}": _fingerprint(loader.split) for name, loader in loaders.items()})
        for loader in loaders.values():
            recipe.check_labels(loader.split)
        _say_notes(loaders, console)
        for class_map in training.class_maps:
            class_map.print(console)
        trainer = Trainer(recipe, training, held[recipe.select], device, resumed=resumed, ranks=ranks)
        if trainer.origin is not None:
            console.print(str(Origin(**trainer.origin)))
        if profile is not None:
            check_profile(profile, trainer)
        if not resumed:  # else the checkpoint tells it to all
            ranks.agree(lambda: {"precision": trainer.precision})
        data = identity(recipe.data)
        environment = describe_environment(device)
        run = _open_run(file, out, resume, data, environment, console) if ranks.first else UnwrittenRun(out)
        stack.enter_context(closing(run))
        _go_on(trainer, run, console)
        _say_precision(trainer, console)
        if profile is not None:
            check_profile(profile, trainer)  # once more: fewer steps are left of a run that goes on
        run.declare(recipe.figures, file.source)
        start: dict[str, Any] = {
            "ranks": ranks.world,
            "precision": trainer.precision,
            "deterministic": deterministic,
            "from_step": trainer.at.total,
        }
        if trackers:
            start["tracked_as"] = _tracked_as(run)
        run.started(environment | start | {"data": data})
        tracking = stack.enter_context(Tracking(trackers, console.print))
        if trackers:
            tracking.begin(start["tracked_as"], describe(recipe))
            trainer.after_epoch = lambda row: tracking.figures(trainer.at.total, row)
        if ranks.first:
            shown = held[recipe.select] if augments(recipe.data) else training  # faces that are as stored
            show_views(trainer.renderer, next(iter(shown.epoch(0))), run.path / CHARTS / "views.png")
        traced = None if profile is None or not ranks.first else profile
        trace = nullcontext() if traced is None else profiled(trainer, traced, run.path / TRACE)
        with _stops(trainer), Bars(console, recipe.epochs, trainer.steps) as bars, trace:
            trainer.fit(run, bars)
        if profile is not None:
            console.print(f"trace: {run.path / TRACE}, for Perfetto or chrome://tracing")
        result = finish(trainer, file.name, held, run, console)
        report = write_report(run.path, result=result) if ranks.first else run.path / "report.md"
        run.result(result)  # last: where it is, the run is whole
        if trackers:
            tracking.finish(trainer.at.total, result, as_html(report.read_text(encoding="utf-8"), run.path))
        return report


def open_split(
    recipe: Recipe, split: str, device: torch.device, ranks: Ranks | None = None, *, evaluation: bool = False
) -> Loader:
    """Opens one split of a recipe's data: with its sampler where it trains on it, in manifest order else.

    A source that augments by itself is given the draw for training; evaluation is not augmented, so that it never is.

    Args:
        evaluation: Whether to open it in manifest order even if it is the training split.

    Raises:
        ValueError: The data is not what it must be, or the views ask for more draws than such a source can give.
    """
    training, ranks = split == recipe.train and not evaluation, ranks or Ranks()
    return Loader.open(
        recipe.data,
        split,
        batch_size=recipe.batch_size,
        seed=recipe.seed,
        device=device,
        rank=ranks.rank,
        world=ranks.world,
        sampler=over(recipe.sampler, epochs=recipe.epochs, accumulate=recipe.accumulate) if training else None,
        draw=renderer(recipe, torch.float32).shared() if training and augments(recipe.data) else None,
    )


def _say_notes(loaders: Mapping[str, Loader], console: Terminal) -> None:
    """What the source chose, once for all splits for which it chose the same."""
    for note in dict.fromkeys(loader.note for loader in loaders.values() if loader.note):
        splits = ", ".join(name for name, loader in loaders.items() if loader.note == note)
        console.print(f"{splits}: {note}")


def _evaluated_splits(recipe: Recipe) -> list[str]:
    return list(dict.fromkeys(name for name in (recipe.select, recipe.test) if name is not None))


def _is_resumed(out: Path, resume: bool) -> bool:
    """Says whether a checkpoint is there to go on from; refuses a folder that is taken."""
    if resume:
        folder_target(out)
    else:
        refuse_taken(out)
    return resume and checkpoint.newest(out / "checkpoints")[0] is not None


def _versions() -> dict[str, str]:
    """Names what the bits of a step depend on beside its recipe and its data."""
    return {
        "the commit": str(commit()),
        **{f"the version of {name}": version(name) for name in ("torch", "timm", "numpy")},
        "the number of threads": str(torch.get_num_threads()),
    }


def _fingerprint(split: Split) -> str:
    digest = hashlib.sha256(repr((split.shape, split.labels)).encode())
    for values in (split.sample, *split.target.values()):
        digest.update(values.numpy().tobytes())
    return digest.hexdigest()[:12]


def _open_run(
    file: RecipeFile, out: Path, resume: bool, data: Any, environment: Mapping[str, Any], console: Terminal
) -> RunDir:
    recipe = describe(file.recipe)
    if resume and is_taken(out):
        old, starts = read_recipe(out), read_starts(out)
        trained_on = starts[-1].get("data") if starts else None
        if starts and (others := changed(starts[-1], environment)):
            console.print(f"warning: going on under other conditions than {out} was left in: {', '.join(others)}")
        return RunDir.reopen(
            out,
            [] if old is None else differences(old, recipe),
            [] if trained_on is None else differences(trained_on, data),
        )
    if resume:
        console.print(f"{out} is not there yet: starting it")
    return RunDir.create(out, recipe)


def _go_on(trainer: Trainer, run: RunDir, console: Terminal) -> None:
    """Loads the newest whole checkpoint, if there is one."""
    path, notes = trainer.ranks.from_first(lambda: checkpoint.newest(run.path / "checkpoints"))
    for note in notes:
        console.print(note)
    if path is not None:
        trainer.load(path, run)
        for note in run.notes:
            console.print(note)
        at = trainer.at
        console.print(f"going on from {path}: epoch {at.epoch + 1}, step {at.step}")
        if trainer.best is None and at.epoch == trainer.recipe.epochs:
            trainer.evaluate(run)
    elif notes:
        raise ValueError(
            f"checkpoint: no whole one is left in {run.path / 'checkpoints'}; start again with another --out"
        )


def _tracked_as(run: RunDir) -> str:
    """Names the run for trackers, among those of all folders: as an earlier start did, so that it goes on there."""
    names = [str(start["tracked_as"]) for start in read_starts(run.path) or [] if "tracked_as" in start]
    folder = re.sub(r"[^\w.-]", "-", run.path.resolve().name)
    return names[-1] if names else f"{folder}-{secrets.token_hex(4)}"


def _say_precision(trainer: Trainer, console: Terminal) -> None:
    """Says where a run goes on in another precision than it would begin in here, or trains in one that is emulated."""
    here = resolve(trainer.recipe.precision, trainer.device)
    if trainer.precision != here:
        console.print(
            f"precision: {trainer.precision}, in which the run began; {trainer.recipe.precision!r} is {here} here. "
            f"To train in {here}, start again with another --out",
        )
    elif warning := emulated(here, trainer.device):
        console.print(f"{warning}; stop and start with --set precision=fp32")


def read_recipe(run: Path) -> Any:
    """A run's resolved recipe, None where there is none.

    Raises:
        ValueError: The file is cut or edited.
    """
    file = run / "recipe.json"
    if not file.is_file():
        return None
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(
            f"run: {file} is cut or edited ({error}), so that it is not known what the run trains; put it back as "
            "`hmtl train RECIPE --out` wrote it, or start again with another --out"
        ) from error


@contextmanager
def _stops(trainer: Trainer) -> Iterator[None]:
    """Ends training after the running step, with a checkpoint, at Ctrl-C, SIGTERM and SIGUSR1 on any rank."""

    def stop(number: int, frame: object) -> None:
        trainer.stop = True

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _determinism(wanted: bool) -> Iterator[None]:
    """Deterministic algorithms and no autotuning, where they are asked for."""
    inductor: Any = importlib.import_module("torch._inductor.config")
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark, inductor.deterministic
    torch.use_deterministic_algorithms(wanted)
    torch.backends.cudnn.benchmark = not wanted
    inductor.deterministic = wanted
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.backends.cudnn.benchmark, inductor.deterministic = before[1:]
