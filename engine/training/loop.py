"""Trains the tasks of a recipe together.

The loop knows tasks, views and losses by their interfaces alone: it does not ask which task is supervised, what a view
hides or how faces are stored.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, astuple, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import torch
from jaxtyping import Float32
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from engine.losses import TaskWeights
from engine.optim import set_rate
from engine.recipe import Recipe
from engine.recipe.definition import Precision
from engine.recipe.schedule import live_tasks, weights_at
from engine.runs import checkpoint
from engine.runs.folder import RunDir
from engine.runs.initial import take_over
from engine.tasks.base import Rows, Task
from engine.training import averaging
from engine.training.alignment import Alignment
from engine.training.batchnorm import running_statistics
from engine.training.clock import Clock, summarise
from engine.training.ema import WeightAverage
from engine.training.evaluate import figures, predict, prediction_arrays
from engine.training.meters import NonFiniteLossError, Watch
from engine.training.model import Model
from engine.training.objective import Objective, compile_objective, teach
from engine.training.parts import build_model, classes, describe_weights, renderer
from engine.training.precision import DTYPES, autocast, resolve
from engine.training.progress import Bars
from engine.training.ranks import Ranks, seed_place
from engine.training.render import Renderer
from engine.training.show import Paintings
from engine.training.small_maps import use_matrix_products
from engine.weights import Weights, load_weights
from loaders import Batch, Loader

T = TypeVar("T")


class StoppedError(RuntimeError):
    """Says that training was asked to stop, and that its checkpoint is written."""


@dataclass(slots=True)
class Position:
    """Counts how far training has come."""

    epoch: int = 0
    """Epochs finished."""
    step: int = 0
    """Optimiser steps of the running epoch."""
    total: int = 0
    """Optimiser steps since the start."""


@dataclass(frozen=True, slots=True)
class Live:
    """Holds what trains the tasks that have a weight above 0 at a step."""

    renderer: Renderer
    """Renders the views that one of them looks at."""
    objective: Objective
    """Computes their losses."""
    compiled: nn.Module
    """The same, compiled if the recipe is."""


@dataclass(slots=True)
class Best:
    """Keeps the best evaluation on the select split so far."""

    epoch: int
    value: float
    figures: dict[str, float]


class Trainer:
    """Trains one recipe on one device, from wherever its run stands.

    Args:
        train: Delivers the batches that are dealt to this rank; `select` likewise.
        resumed: Whether a checkpoint follows by `load`: what the encoder started from is then not read again.
        ranks: Those that train the recipe together.

    Raises:
        ValueError: What the recipe's `init` names is not there, or does not fit its backbone, or an epoch does not hold
            the batches of one step, or they cannot be dealt to so many ranks.
    """

    def __init__(
        self,
        recipe: Recipe,
        train: Loader,
        select: Loader,
        device: torch.device,
        *,
        resumed: bool = False,
        ranks: Ranks | None = None,
    ) -> None:
        self.recipe, self.train, self.select, self.device = recipe, train, select, device
        self.ranks = ranks or Ranks()
        self.share = self.ranks.share(recipe.batch_size, recipe.accumulate)
        """Batches of a step on this rank."""
        self.steps = len(train) // self.share
        """Optimiser steps of an epoch."""
        if not self.steps:
            raise ValueError(
                f"Recipe: accumulate (={recipe.accumulate}) must be at most the batches of an epoch, of which there "
                f"are {len(train) * self.ranks.world}; lower it, or batch_size"
            )
        self.phases = recipe.phases(recipe.epochs * self.steps)
        """Of the whole run, by the tasks that have a weight above 0 and the composition of the batches."""
        self.precision: Precision = resolve(recipe.precision, device)
        """What the run computes in, never "auto"; `load` keeps what it began with."""
        self.renderer = renderer(recipe, DTYPES[self.precision])
        model = build_model(recipe)
        starts = recipe.init is not None and not resumed
        self.origin: dict[str, Any] | None = (
            asdict(take_over(model.encoder.network, recipe.backbone, str(recipe.init))) if starts else None
        )
        """What the encoder started from, where the recipe names something."""
        self.model = model.to(device=device)
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if device.type == "cpu":
            use_matrix_products(self.model)
        self.statistics = running_statistics(self.model)
        self.criteria = {task.name: task.criterion(train.split).to(device) for task in recipe.tasks}
        for criterion in self.criteria.values():
            criterion.attach(self.model.encoder.network, recipe.mean, recipe.std)
        supervised = frozenset(task.name for task in recipe.supervised)
        self.total_loss = recipe.total.build([task.name for task in recipe.tasks], supervised).to(device)
        self.compiled = bool(recipe.compile) if recipe.compile is not None else device.type == "cuda"
        self.live: dict[tuple[str, ...], Live] = {}
        """What trains each set of tasks that has been trained together so far."""
        pretext = [task.name for task in recipe.tasks if task.name not in supervised]
        every = recipe.gradient_cosine_every
        self.alignment = None if every is None else Alignment(supervised, pretext, every, device)
        self.optimiser = recipe.optim.build([self.model, self.total_loss])
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.precision == "fp16")
        self.ema = None if recipe.ema is None else WeightAverage(self.model, recipe.ema)
        self.watch = Watch([task.name for task in recipe.tasks], device)
        self.clock = Clock()
        """Of the run since it was started; one epoch is added when it ends."""
        self.paintings = Paintings(recipe.tasks, recipe.epochs)
        self.at = Position()
        self.best: Best | None = None
        self.last_figures: dict[str, float] = {}
        self.seconds = 0.0
        self.stop = False
        self._logged: Callable[[], None] = lambda: None
        """Writes the last log, if that is still to be done."""
        self.after_step: Callable[[], None] = lambda: None
        """Called after each step of `fit`; a profiler hangs here."""
        self.after_epoch: Callable[[Mapping[str, float | int | None]], None] = lambda row: None
        """Called after each epoch of `fit`, whose checkpoint is being written, with its row; trackers hang here."""
        torch.manual_seed(recipe.seed)  # of dropout and stochastic depth, where a step is not seeded place by place

    @property
    def evaluated(self) -> Model:
        """Gives the model that is evaluated and kept: the moving average where there is one."""
        if self.ema is None:
            return self.model
        average: Model = self.ema.module
        return average

    def autocast(self) -> AbstractContextManager[object]:
        """Enters the precision of the run."""
        return autocast(self.precision, self.device)

    def step(self, batches: Sequence[Batch]) -> None:
        """Takes one optimiser step: draw, render, encode, add up the losses, descend; never waits for the device.

        Args:
            batches: Those of the step that are dealt to this rank.
        """
        recipe = self.recipe
        set_rate(self.optimiser, recipe.optim.rate(self.at.epoch + (self.at.step + 0.5) / self.steps, recipe.epochs))
        weights = self.weights(self.at.epoch * self.steps + self.at.step)
        if recipe.accumulate == 1:
            losses = self._gradient(batches[0], 0, weights)
        else:
            losses = self._gradient_of_all(batches, weights)
        self.watch.add(losses, self.at.total, live_tasks(weights))
        if recipe.optim.clip is not None:
            self.scaler.unscale_(self.optimiser)
            clip_grad_norm_([p for group in self.optimiser.param_groups for p in group["params"]], recipe.optim.clip)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.optimiser.zero_grad(set_to_none=True)
        if self.ema is not None:
            self.ema.update(self.model, self.at.total)
        for criterion in self.criteria.values():
            criterion.follow(self.model.encoder.network)
        self.at.step += 1
        self.at.total += 1

    def _gradient(self, batch: Batch, place: int, weights: TaskWeights) -> Float32[Tensor, " tasks+1"]:
        """Adds the gradient of one batch to that of the parameters; gives its total and its losses, 0 of tasks off."""
        live = self.trains(live_tasks(weights))
        rendered = live.renderer.training(batch, epoch=self.at.epoch, step=self.at.step)
        with self.autocast():  # its own: autocast would keep weights that were cast without gradient
            taught = teach(live.objective.tasks, self.model, self.ema and self.ema.module, rendered)
        if self.alignment is not None and place == 0 and self.alignment.due(self.at.total):
            with self.autocast():
                self.alignment.measure(live.objective, weights, rendered, self.scaler.scale, taught)
        with self.autocast():
            if self.recipe.compile == "reduce-overhead":  # for others the call would import torch's compiler in vain
                torch.compiler.cudagraph_mark_step_begin()  # what an earlier batch left in a graph's memory is free
            losses = live.compiled(rendered, taught)
        total = self.total_loss(losses, weights)
        self.scaler.scale(total / self.recipe.accumulate).backward()
        off = torch.zeros_like(total)
        return torch.stack([total, *(losses.get(name, off) for name in weights)]).detach()

    def _gradient_of_all(self, batches: Sequence[Batch], weights: TaskWeights) -> Float32[Tensor, " tasks+1"]:
        """Leaves the gradient of all batches of the step, on all ranks; gives the means of their totals and losses.

        The running statistics become the mean of what each batch makes of those before the step, as if it came alone.
        """
        count = self.recipe.accumulate
        before = [statistic.clone() for statistic in self.statistics]
        moved = [statistic for statistic in self.statistics if statistic.is_floating_point()]

        def vector(place: int) -> Float32[Tensor, " n"]:
            seed_place(self.recipe.seed, self.at.total, place)
            self.optimiser.zero_grad(set_to_none=True)
            for statistic, value in zip(self.statistics, before, strict=True):
                statistic.copy_(value)
            losses = self._gradient(batches[place // self.ranks.world], place, weights)
            shares = (*self._gradients(), *(statistic / count for statistic in moved), losses / count)
            return torch.cat([share.reshape(-1) for share in shares])

        added = self.ranks.add_up(vector, count)
        parts = [*self._gradients(), *moved]  # still those of the last place
        sizes = [part.numel() for part in parts]
        sums: Sequence[Tensor] = added.split([*sizes, len(added) - sum(sizes)])
        for part, value in zip(parts, sums[:-1], strict=True):
            part.copy_(value.view_as(part))
        return sums[-1]

    def _gradients(self) -> list[Tensor]:
        """Lists the gradients that the parameters hold."""
        return [p.grad for group in self.optimiser.param_groups for p in group["params"] if p.grad is not None]

    def weights(self, step: int) -> dict[str, float]:
        """Gives what each task weighs at an optimiser step, counted from 0 over the whole run."""
        return weights_at(self.recipe.tasks, step, self.recipe.epochs * self.steps)

    def trains(self, names: tuple[str, ...]) -> Live:
        """Gives what trains these tasks, in the order of the recipe, together; made when it is first asked for."""
        if names not in self.live:
            recipe = self.recipe
            tasks = [task for task in recipe.tasks if task.name in names]
            objective = Objective(self.model, tasks, self.criteria)
            compiled: nn.Module = objective
            if self.compiled:
                compositions = len({phase.composed for phase in self.phases if phase.tasks == names})
                mode = recipe.compile if isinstance(recipe.compile, str) else None
                compiled = compile_objective(
                    objective, recipe.views, recipe.image_size, compositions=compositions, mode=mode
                )
            self.live[names] = Live(renderer(recipe, self.renderer.dtype, tasks), objective, compiled)
        return self.live[names]

    def _scheduled(self) -> dict[str, float]:
        """Gives what the tasks with a schedule weighed at the last step, by the names they are logged by."""
        weights = self.weights(self.at.epoch * self.steps + self.at.step - 1)
        scheduled = [task.name for task in self.recipe.tasks if not isinstance(task.weight, int | float)]
        return {f"weight/{name}": weights[name] for name in scheduled}

    def fit(self, run: RunDir, bars: Bars) -> None:
        """Trains to the last epoch of the recipe.

        Raises:
            NonFiniteLossError: The loss was not finite; the last good checkpoint is kept.
            StoppedError: `stop` was set; the checkpoint is written when `run` is closed.
        """
        try:
            if self.at.total == 0:
                self.save(run)
            while self.at.epoch < self.recipe.epochs:
                clock = self._epoch(run, bars)
                self._finish_epoch(run, bars, summarise(clock, self.device, self.compiled))
        except NonFiniteLossError as error:
            run.step_back(error.step)
            raise
        run.settle()

    def _epoch(self, run: RunDir, bars: Bars) -> Clock:
        recipe, clock = self.recipe, Clock()
        for criterion in self.criteria.values():
            criterion.begin(self.at.epoch)
        start = time.perf_counter()
        faces = self.train.epoch(self.at.epoch, start=self.at.step * self.share)
        for batches in _groups(clock.waiting(faces), self.share):
            first = not (self.clock.first or clock.first)
            asked = self.ranks.any(lambda: self.stop)
            self.step(batches)
            now = time.perf_counter()
            clock.step(now - start, recipe.batch_size * recipe.accumulate, first=first)
            self.seconds += now - start
            start = now
            self.after_step()
            bars.at(self.at.epoch, self.at.step)
            if self.at.step % recipe.log_every == 0:
                self._log(run, bars)
            stop = asked()
            if stop or (self.at.step % recipe.checkpoint_every == 0 and self.at.step < self.steps):
                self.settle(clock)
                self.save(run)
                start = time.perf_counter()
            if stop:
                raise StoppedError("stopped; go on with --resume")
        self.settle(clock)
        self.clock.add(clock)
        return clock

    def settle(self, clock: Clock) -> None:
        """Waits for the device and counts that time to the last step: steps are launched faster than they run."""
        start = time.perf_counter()
        self._logged()
        self.watch.check()
        late = time.perf_counter() - start
        clock.steps[-1:] = [seconds + late for seconds in clock.steps[-1:]]
        self.seconds += late

    def _log(self, run: RunDir, bars: Bars) -> None:
        """Logs the step, at the next log where its losses are still being computed: training does not wait for them."""
        self._logged()
        asked = [self.watch.recent(), *([] if self.alignment is None else [self.alignment.recent()])]
        scheduled, rate = self._scheduled(), self.optimiser.param_groups[0]["lr"]
        epoch, step = self.at.epoch + 1, self.at.total

        def write() -> None:
            self._logged = lambda: None
            losses = {name: value for part in asked for name, value in part.read().items()} | scheduled
            run.log("step", epoch=epoch, step=step, lr=rate, **losses)
            run.scalars(step, {f"step/{name}": value for name, value in losses.items()} | {"step/lr": rate})
            bars.note(f"loss {losses['loss']:.3f}")

        self._logged = write
        if all(part.ready() for part in asked):
            write()

    def _finish_epoch(self, run: RunDir, bars: Bars, speed: Mapping[str, Any]) -> None:
        recipe, rate = self.recipe, self.optimiser.param_groups[0]["lr"]
        row: dict[str, float | int | None] = {"epoch": self.at.epoch + 1, "step": self.at.total, "lr": rate}
        row |= self._scheduled()
        row |= {f"train/{name}": value for name, value in self.watch.epoch().items()}
        if self.alignment is not None:
            row |= {f"train/{name}": value for name, value in self.alignment.epoch().items()}
            self.alignment.reset()
        self.at = Position(self.at.epoch + 1, 0, self.at.total)
        if self.at.epoch % recipe.evaluate_every == 0 or self.at.epoch == recipe.epochs:
            self.evaluate(run)
            row |= {f"{recipe.select}/{name}": value for name, value in self.last_figures.items()}
        if self.ranks.first:
            self.paintings.add(self.at.epoch, self.evaluated, self.renderer, self.select)
        run.scalars(self.at.total, {name: float(value) for name, value in row.items() if value is not None})
        times = {name: speed.get(name) for name in ("images_per_second", "wait_share")}
        run.epoch(row | {"seconds": self.seconds} | times)
        run.log("epoch", **row)
        self.watch.reset()
        self.save(run)
        self.after_epoch(row)
        bars.say(_line(row, recipe, speed))
        bars.at(self.at.epoch, 0)

    def evaluate(self, run: RunDir) -> None:
        """Evaluates on the select split as the weights are, and keeps them if no evaluation was better."""
        split = self.recipe.select
        samples, rows = self.predict(self.evaluated, self.select)
        self.last_figures = figures(self.recipe.evaluated, self.recipe.views, rows)
        arrays = prediction_arrays(samples, rows, self.select.split)
        run.predictions(f"{split}-{checkpoint.LAST}", arrays)
        if self._is_best(run):
            run.predictions(f"{split}-{checkpoint.BEST}", arrays)

    def _is_best(self, run: RunDir) -> bool:
        """Keeps the weights if no evaluation was better than the last one."""
        value = self.last_figures[self.recipe.headline]
        greater = self.recipe.figures[self.recipe.headline].greater_is_better
        was = math.nan if self.best is None else self.best.value
        if not math.isnan(was) and not (value > was if greater else value < was):
            return False
        self.best = Best(self.at.epoch, value, dict(self.last_figures))
        run.checkpoint(checkpoint.BEST, self.evaluated, self.about(), {})
        return True

    def predict(self, model: Model, loader: Loader) -> tuple[Any, dict[str, Rows]]:
        """Evaluates a model on a split; see `engine.training.evaluate.predict`."""
        return predict(model, self.renderer, loader, self.recipe.evaluated, self.criteria, self.autocast(), self.ranks)

    def predict_averaged(self, model: Model, loader: Loader, tasks: Sequence[Task]) -> dict[str, Rows]:
        """Evaluates some tasks with test-time augmentation, in the same order; see `engine.training.averaging`."""
        assert self.recipe.test_time is not None
        how = self.recipe.test_time
        return averaging.predict(how, model, self.renderer, loader, tasks, self.criteria, self.autocast(), self.ranks)

    def about(self) -> dict[str, Any]:
        """Describes the weights of a checkpoint."""
        return describe_weights(self.recipe, self.train) | {
            "epoch": self.at.epoch,
            "step": self.at.total,
            "init": self.origin,
        }

    def _stateful(self) -> dict[str, Any]:
        """Lists the parts with a state of their own, by name: what is added here is saved and loaded."""
        parts = {
            "model": None if self.ema is None else self.model,  # else it is in the file of weights
            "optimiser": self.optimiser,
            "scaler": self.scaler,
            "total": self.total_loss,
            "watch": self.watch,
            "clock": self.clock,
            "alignment": self.alignment,
            "paintings": self.paintings if self.paintings.task is not None else None,
        }
        return {name: part for name, part in parts.items() if part is not None}

    def save(self, run: RunDir) -> None:
        """Has the checkpoint written that training goes on from, unless the loss has not been finite."""
        self.watch.check()
        state = {name: part.state_dict() for name, part in self._stateful().items()} | {
            "precision": self.precision,
            "position": astuple(self.at),
            "criteria": {name: criterion.state_dict() for name, criterion in self.criteria.items()},
            "rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None,
            "best": None if self.best is None else astuple(self.best),
            "last_figures": self.last_figures,
            "seconds": self.seconds,
            "origin": self.origin,
            "marks": run.marks(),
        }
        run.checkpoint(checkpoint.LAST, self.evaluated, self.about(), state)

    def load(self, path: Path, run: RunDir) -> None:
        """Goes on from a checkpoint: everything a step depends on, and the run folder as it was then."""

        def read() -> tuple[dict[str, Any], Weights, int | None]:
            return checkpoint.load_state(path), load_weights(path), checkpoint.epoch_of(path.parent / checkpoint.BEST)

        state, weights, best_epoch = self.ranks.from_first(read)
        checkpoint.fill(self.evaluated, weights, classes(self.recipe, self.train), path)
        try:
            if self.recipe.precision == "auto":
                self.precision = state["precision"]
                self.renderer = renderer(self.recipe, DTYPES[self.precision])
            for name, part in self._stateful().items():
                part.load_state_dict(state[name])
            for name, criterion in self.criteria.items():
                criterion.load_state_dict(state["criteria"][name])
        except (KeyError, RuntimeError) as error:  # a part that this version keeps otherwise, or not at all
            what = " ".join(str(error).split())
            raise ValueError(
                f"checkpoint: {path} was written by another version, which kept other things of a training ({what}); "
                "go on with that version, or start again with another --out"
            ) from error
        torch.set_rng_state(state["rng"])
        if state["cuda_rng"] is not None and self.device.type == "cuda":
            torch.cuda.set_rng_state(state["cuda_rng"], self.device)
        self.at = Position(*state["position"])
        self.best = None if state["best"] is None else Best(*state["best"])
        self.last_figures = state["last_figures"]
        self.seconds = state["seconds"]
        self.origin = state["origin"]
        if self.best is not None and best_epoch != self.best.epoch:
            self.best = None  # killed between `best` and `last`: the epoch that was better is trained again
            if best_epoch is None:
                best = path.parent / checkpoint.BEST
                run.notes.append(f"{best} is not whole: the best epoch is chosen anew, from {self.at.epoch} on")
        run.cut(state["marks"])


def _groups(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Gives items in groups of one size; the few left over are dropped."""
    iterator = iter(items)
    while len(group := list(islice(iterator, size))) == size:
        yield group


def _line(row: Mapping[str, float | int | None], recipe: Recipe, speed: Mapping[str, float | str | None]) -> str:
    """Writes one epoch in one line."""
    parts = [f"epoch {row['epoch']}/{recipe.epochs}", f"loss {row['train/loss']:.3f}"]
    for task in recipe.evaluated:
        figure = task.figures(recipe.views)[0].name
        value = row.get(f"{recipe.select}/{task.name}/{figure}")
        if value is not None:
            parts.append(f"{recipe.select} {task.name} {figure} {value:.3f}")
    if speed:
        parts.append(f"{speed['images_per_second']:.0f} faces/s")
    return "  ".join(parts)
