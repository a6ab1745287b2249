"""Progress on the terminal: bars for epochs and batches, plain lines where the output is no terminal."""

from __future__ import annotations

from types import TracebackType

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from loaders.progress import Pace
from loaders.terminal import Terminal


class Bars:
    """Two bars while training; `say` prints a line above them. Where there is no terminal, a line when one is due."""

    def __init__(self, console: Terminal, epochs: int, steps: int) -> None:
        self.console = console
        self.epochs = epochs
        self._steps, self._note, self._pace = steps, "", Pace()
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=console,
            disable=not console.is_terminal,
        )
        self._epoch = self._bars.add_task("epoch", total=epochs, note="")
        self._step = self._bars.add_task("batch", total=steps, note="")

    def __enter__(self) -> Bars:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def at(self, epoch: int, step: int) -> None:
        """Epochs done, and steps done of the running one."""
        self._bars.update(self._epoch, completed=epoch)
        self._bars.update(self._step, completed=step)
        if step and not self.console.is_terminal and self._pace.due():
            note = f", {self._note}" if self._note else ""
            self.console.print(f"epoch {epoch + 1}/{self.epochs}: batch {step:,} of {self._steps:,}{note}")

    def note(self, text: str) -> None:
        """A few words beside the batch bar."""
        self._note = text
        self._bars.update(self._step, note=text)

    def say(self, text: str) -> None:
        self.console.print(text)
        self._pace.said()
