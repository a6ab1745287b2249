"""Runs commands that are killed or run out of disk at a given moment: a warmed process that forks a child for each.

A new interpreter that imports torch costs more than the tiny training it is to disturb. This process imports everything
once and forks, so that a case costs no start-up. It has one thread, and numba's layer `workqueue`, the one that may be
forked. A few cases of the suite start a real new process all the same.

It is driven by lines of JSON: `Case` in, `Ending` out.
"""

from __future__ import annotations

import gc
import io
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout, suppress
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from threading import RLock
from typing import IO, Any, Literal

from PIL import Image

from engine.cli import MODULES

ROOT = Path(__file__).parents[2]

How = Literal["kill", "term", "int", "torn", "full"]
"""kill -9, SIGTERM, Ctrl-C, kill -9 in the middle of a write, and a disk that is full from here on."""

TORN_BYTES = 20
"""Of a write that a kill tears are these on the disk."""
FILE_EVENTS = ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate")
CALLS = {
    "engine.recipe.file.read": "recipe",
    "engine.training.train.open_split": "data",
    "engine.training.loop.build_model": "model",
    "engine.training.loop.Trainer.step": "step",
    "engine.training.loop.Trainer.predict": "evaluate",
    "engine.training.train.write_report": "report",
    "engine.runs.folder.RunDir.log": "write log.jsonl",
    "engine.runs.folder.RunDir.scalars": "write tensorboard/events.out.tfevents.run",
    "engine.table.making.collect": "collect",
    "loaders.prepare.read_faces": "decode",
    "engine.predict.answers_of": "predict",
    "engine.evaluate.evaluate": "evaluate",
    "engine.export.export": "export",
    "engine.export.quantise": "quantise",
    "engine.labels.find_near_duplicates": "compare",
    "os.fsync": "fsync",
}
"""What is a moment besides an operation on files, and what it is called; it comes just before the call."""


@dataclass(frozen=True, slots=True)
class Case:
    """One command, and what befalls it."""

    words: list[str]
    """Of `hmtl`."""
    folder: str
    """Where it runs; what it does to files below is a moment."""
    at: int | None = None
    """The moment, counted from 0; None for none."""
    how: How = "kill"
    of: str = ""
    """Which moments are counted, where it is not all of them."""
    after: int = 0
    """How many moments of any kind come in between."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a command ended."""

    status: int
    """Exit status; negative for a signal."""
    output: str
    moments: list[str]
    """All that came, what befell it last."""


class Server:
    """The warmed process, from outside."""

    def __init__(self) -> None:
        settings = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "NUMBA_THREADING_LAYER": "workqueue"}
        self.environment = {**os.environ, "PYTHONPATH": str(ROOT), **settings}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.server"],
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(
        self, words: list[str], folder: Path, at: int | None = None, how: How = "kill", of: str = "", after: int = 0
    ) -> Ending:
        """Runs one command to its end."""
        requests, replies = self._process.stdin, self._process.stdout
        assert requests is not None
        assert replies is not None
        folder.mkdir(parents=True, exist_ok=True)
        print(json.dumps(asdict(Case(words, str(folder), at, how, of, after))), file=requests, flush=True)
        return Ending(**json.loads(replies.readline()))

    def close(self) -> None:
        self._process.communicate()


class Moments:
    """Counts the moments of this process and does at one of them what is to befall it.

    Each moment is told to `to` before it passes: a kill leaves no time afterwards.
    """

    def __init__(self, case: Case, to: IO[str]) -> None:
        self._case, self._to = case, to
        self._folder = Path(case.folder)
        self._own = f"-{socket.gethostname()}-{os.getpid()}"
        self._count = 0
        self._lock = RLock()
        sys.addaudithook(self._audit)
        for name, moment in CALLS.items():
            self._wrap(name, moment)

    def _wrap(self, name: str, moment: str) -> None:
        where, _, attribute = name.rpartition(".")
        owner: Any = sys.modules.get(where)
        if owner is None:
            module, _, of = where.rpartition(".")
            owner = getattr(sys.modules[module], of)
        function: Callable[..., Any] = getattr(owner, attribute)

        def called(*args: Any, **keywords: Any) -> Any:
            self._pass(moment)
            return function(*args, **keywords)

        setattr(owner, attribute, called)

    def _audit(self, event: str, args: tuple[Any, ...]) -> None:
        if event not in FILE_EVENTS:
            return
        path = args[0]
        if event == "open" and not (isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)):
            return
        if isinstance(path, int) or not isinstance(path, str | bytes | os.PathLike):
            return
        file = Path(os.fsdecode(path))
        inside = event in ("os.remove", "os.rmdir") and args[-1] != -1  # a name in an open folder: rmtree's
        if not inside and not file.absolute().is_relative_to(self._folder):
            return
        if event == "os.remove" and not inside and not file.exists():
            return
        shown = file if inside else file.absolute().relative_to(self._folder)
        self._pass(f"{event.removeprefix('os.')} {shown}".replace(self._own, ""))

    def _pass(self, moment: str) -> None:
        """Counts a moment of the training or of the thread that writes its checkpoints; one holds up the other."""
        with self._lock:
            number, past = self._count, self._case.at is not None and self._count > self._case.at
            print(moment, file=self._to, flush=True)
            if self._case.of not in ("", moment) and not past:
                return
            self._count += 1
            if self._case.at is not None and number == self._case.at + self._case.after:
                self._strike(moment)

    def _strike(self, moment: str) -> None:
        match self._case.how:
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "term":
                os.kill(os.getpid(), signal.SIGTERM)
            case "int":
                os.kill(os.getpid(), signal.SIGINT)
            case "torn":
                appended = self._folder / "run" / moment.removeprefix("write ")
                limit_files(TORN_BYTES + (appended.stat().st_size if moment.startswith("write ") else 0))
            case "full":
                limit_files(0)


def limit_files(size: int) -> None:
    """Lets no file of this process grow above a size."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def child(case: Case, output: int, moments: int) -> None:
    """Runs a case in this process, which ends with it."""
    status = 1
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.chdir(case.folder)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if case.how == "torn":  # here, since the moment may come in a thread, which sets no handler
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1) for number in (1, 2))
    sys.argv = ["hmtl", *case.words]
    app = import_module(MODULES[case.words[0]][0]).app
    try:
        Moments(case, os.fdopen(moments, "w"))
        app(case.words[1:], prog_name=f"hmtl {case.words[0]}")
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def run(case: Case) -> Ending:
    """Forks a child for a case and waits for its end."""
    pipes = [os.pipe(), os.pipe()]
    process = os.fork()
    if process == 0:
        child(case, pipes[0][1], pipes[1][1])
    for _, written in pipes:
        os.close(written)
    with ThreadPoolExecutor() as readers:  # both at once: a full pipe would stop the child
        output, moments = readers.map(read_all, [number for number, _ in pipes])
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    return Ending(status, output, moments.splitlines())


def read_all(number: int) -> str:
    """Reads a pipe to its end."""
    with os.fdopen(number, errors="replace") as pipe:
        return pipe.read()


def _save_blank(figure: object, file: IO[bytes], **_: Any) -> None:
    """Stands for the drawing of a chart, which takes half of the time of so small a run."""
    Image.new("L", (1, 1)).save(file, "png")


def _warm_up() -> None:
    """Trains once, so that kernels, fonts and caches are there in each child: half of the time of its training."""
    recipe = "from tests.engine import tiny\nrecipe = tiny.recipe(epochs=1)\n"
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()), suppress(SystemExit):
        file = Path(folder, "warm_recipe.py")
        file.write_text(recipe)
        train: Any = import_module("engine.run")
        train.app([str(file), "--device", "cpu", "--out", str(Path(folder, "run"))])


def serve() -> None:
    """Answers cases until the input ends."""
    for module, _ in MODULES.values():
        import_module(module)
    for module in ("torch._inductor.config", "matplotlib.pyplot"):  # which they import when they first need them
        import_module(module)
    figure: Any = import_module("matplotlib.figure")
    figure.Figure.savefig = _save_blank
    _warm_up()
    gc.freeze()
    for line in sys.stdin:
        print(json.dumps(asdict(run(Case(**json.loads(line))))), flush=True)


if __name__ == "__main__":
    serve()
