"""Tells trackers of a training from threads of their own: it neither waits for them nor ends with them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from queue import SimpleQueue
from threading import Thread
from types import TracebackType
from typing import Any

from engine.tracking.tracker import Setting, Tracker
from engine.tracking.with_mlflow import MlflowRuns
from engine.tracking.with_trackio import TrackioRuns

TRACKERS: dict[str, Callable[[], Tracker]] = {"mlflow": MlflowRuns, "trackio": TrackioRuns}
"""Name to what opens it; an extra has the same name."""
SECONDS = 60.0
"""How long the end of a training waits for trackers to take what they were told."""


def opened(names: Sequence[str]) -> dict[str, Tracker]:
    """Opens the trackers of these names, each once.

    Raises:
        ValueError: There is none of a name, or a package is missing.
    """
    if unknown := [name for name in names if name not in TRACKERS]:
        raise ValueError(
            f"train: track (={unknown[0]}) must be one of {', '.join(TRACKERS)}; name one, or leave it out"
        )
    return {name: TRACKERS[name]() for name in dict.fromkeys(names)}


class Tracking:
    """Tells all trackers of one training, until the block ends.

    Args:
        trackers: By their names.
        say: Takes the one warning that there is of a tracker that fails, or does not answer.
    """

    def __init__(self, trackers: Mapping[str, Tracker], say: Callable[[str], None]) -> None:
        self._told = [_Told(name, tracker, say) for name, tracker in trackers.items()]
        self._finished = False

    def begin(self, name: str, recipe: Mapping[str, Any]) -> None:
        """Begins the run, or goes on with it; see `Tracker.begin`.

        Args:
            name: Of this run alone.
            recipe: As `engine.recipe.written.describe` gives it.
        """
        settings = dict(_flat(recipe, ""))
        for told in self._told:
            told.tell(told.tracker.begin, name, settings)

    def figures(self, step: int, values: Mapping[str, float | int | None]) -> None:
        """Tells figures after so many steps; what is no finite number is left out, and the step itself."""
        finite = {
            name: float(value)
            for name, value in values.items()
            if name != "step" and value is not None and math.isfinite(value)
        }
        for told in self._told:
            told.tell(told.tracker.figures, step, finite)

    def finish(self, step: int, result: Mapping[str, Any], page: str) -> None:
        """Tells how a training that has come to its end came out: the figures of its checkpoints, and its report.

        Args:
            step: Its last one.
            result: What result.json holds.
            page: The report as HTML.
        """
        self._finished = True
        found = {
            f"{which}/{split}/{figure}": value
            for which in ("best", "last")
            for split, figures in result[which].items()
            if isinstance(figures, Mapping)
            for figure, value in figures.items()
        }
        self.figures(step, found)
        for told in self._told:
            told.tell(told.tracker.report, page)

    def __enter__(self) -> Tracking:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for told in self._told:
            told.tell(told.tracker.end, finished=self._finished)
        until = time.monotonic() + SECONDS
        for told in self._told:
            told.close(until)


class _Told:
    """Tells one tracker, in its own thread; once it has failed it is told no more."""

    def __init__(self, name: str, tracker: Tracker, say: Callable[[str], None]) -> None:
        self.tracker = tracker
        self._name, self._say = name, say
        self._calls: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._failure: str | None = None
        self._warned = False
        self._thread = Thread(target=self._work, name=f"tracker {name}", daemon=True)
        self._thread.start()

    def tell(self, what: Callable[..., object], *args: Any, **keywords: Any) -> None:
        self._calls.put(partial(what, *args, **keywords))
        self._warn()

    def close(self, until: float) -> None:
        """Waits for what was told to be taken, until a time of the clock; then leaves the thread to end as it may."""
        self._calls.put(None)
        self._thread.join(max(0.0, until - time.monotonic()))
        if self._thread.is_alive():
            self._failure = f"no answer for {SECONDS:.0f} s"
        self._warn()

    def _work(self) -> None:
        try:
            while (call := self._calls.get()) is not None:
                call()
        except BaseException as error:  # whatever a library does, `sys.exit` too: the run is worth more
            said = " ".join(str(error).split())[:200]
            self._failure = f"{type(error).__name__}{f': {said}' if said else ''}"

    def _warn(self) -> None:
        if self._failure is not None and not self._warned:
            self._warned = True
            self._say(
                f"warning: {self._name} does not keep all of this run ({self._failure}); the run itself is not "
                "touched, its figures and report are in its folder"
            )


def _flat(described: Any, path: str) -> Iterator[tuple[str, Setting]]:
    """Lists the values of a described recipe by their paths, `optim.lr`; a task stands under its name."""
    if isinstance(described, list) and described and all(isinstance(each, dict) for each in described):
        described = {str(each.get("name", number)): each for number, each in enumerate(described)}
    if isinstance(described, dict) and described:
        for key, value in described.items():
            yield from _flat(value, f"{path}.{key}" if path else key)
    else:
        yield path, described if isinstance(described, Setting) else str(described)
