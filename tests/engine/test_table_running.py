"""Runs of a table as processes: several at once, failures, locks, and kills at any moment."""

from __future__ import annotations

import fcntl
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from engine.table.__main__ import app
from engine.table.plan import Job
from engine.table.running import Ended, InterruptedTableError, log_of, run_all
from engine.training import precision
from tests.engine.fake_experiment import plan_of, write_experiment


@pytest.fixture
def jobs(tmp_path: Path) -> list[Job]:
    """Four jobs, whose commands are to be replaced."""
    return list(plan_of(write_experiment(tmp_path / "tiny_experiment.py")).jobs[:4])


def python(job: Job, code: str, needs: str | None = None) -> Job:
    return replace(job, words=("-c", code), needs=needs)


def until(file: Path) -> str:
    """Code that waits for a file."""
    return f"import pathlib, time\nwhile not pathlib.Path({str(file)!r}).exists(): time.sleep(0.01)\n"


def run(jobs: list[Job], at_once: int = 1) -> tuple[list[str], dict[str, Ended]]:
    """Keys in the order in which they started, and how each ended."""
    order: list[str] = []
    ends: dict[str, Ended] = {}
    run_all(
        jobs,
        at_once=at_once,
        started=lambda job, elsewhere: order.append(job.key),
        ended=lambda ended: ends.setdefault(ended.job.key, ended) and None,
    )
    return order, ends


def test_runs_stand_in_order_and_leave_their_output_in_a_log(jobs: list[Job]) -> None:
    order, ends = run([python(job, f"print('run', {i})") for i, job in enumerate(jobs)])
    assert order == [job.key for job in jobs]
    assert [ends[key].code for key in order] == [0] * 4
    assert [log_of(job).read_text() for job in jobs] == [f"run {i}\n" for i in range(4)]


def test_several_run_at_once_and_share_the_cores(jobs: list[Job], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    folder = jobs[0].folder.parent
    # Each waits until the other is there too, so one after the other they would never end.
    code = (
        "import os, pathlib, sys, time\n"
        "pathlib.Path(sys.argv[1]).touch()\n"
        "while not pathlib.Path(sys.argv[2]).exists(): time.sleep(0.01)\n"
        "print(os.environ.get('OMP_NUM_THREADS'))"
    )
    first = replace(jobs[0], words=("-c", code, str(folder / "a"), str(folder / "b")))
    second = replace(jobs[1], words=("-c", code, str(folder / "b"), str(folder / "a")))
    _, ends = run([first, second], at_once=2)
    assert [end.code for end in ends.values()] == [0, 0]
    share = str(max(1, len(os.sched_getaffinity(0)) // 2))
    assert {end.tail for end in ends.values()} == {share}


def test_how_a_run_ended_is_said_in_words(jobs: list[Job]) -> None:
    run_of = [python(jobs[0], "raise SystemExit(3)"), python(jobs[1], "import os; os.kill(os.getpid(), 9)")]
    _, ends = run([*run_of, python(jobs[2], "import os; os.kill(os.getpid(), 15)")])
    assert [ends[job.key].how for job in jobs[:3]] == [
        "exit status 3",
        "killed by SIGKILL, as the system does where memory runs out; the same command goes on with it",
        "killed by SIGTERM; the same command goes on with it",
    ]


def test_a_failed_run_tells_the_end_of_its_output_and_the_others_go_on(jobs: list[Job]) -> None:
    bad = python(jobs[0], "for i in range(40): print('line', i)\nraise SystemExit(3)")
    order, ends = run([bad, python(jobs[1], "pass"), python(jobs[2], "pass", needs=bad.key)])
    assert ends[bad.key].code == 3
    assert ends[bad.key].tail.splitlines()[0] == "line 25"
    assert ends[bad.key].tail.endswith("line 39")
    assert ends[jobs[1].key].code == 0
    # Whose start failed is not run.
    assert order == [bad.key, jobs[1].key]
    assert ends[jobs[2].key].code == 1
    assert "the run whose weights it starts from failed" in ends[jobs[2].key].tail


def test_a_run_waits_for_the_one_it_starts_from(jobs: list[Job]) -> None:
    made, other = jobs[0].folder.parent / "made", jobs[0].folder.parent / "other"
    first = python(jobs[0], f"{until(other)}pathlib.Path({str(made)!r}).touch()")
    second = python(jobs[1], f"import pathlib; assert pathlib.Path({str(made)!r}).exists()", needs=first.key)
    third = python(jobs[2], f"import pathlib; pathlib.Path({str(other)!r}).touch()")
    order, ends = run([first, second, third], at_once=2)
    assert order == [first.key, jobs[2].key, second.key]
    assert ends[second.key].code == 0


@pytest.mark.slow
def test_a_run_that_outlived_its_table_is_waited_for_and_not_started_again(jobs: list[Job]) -> None:
    counter, waited_for = jobs[0].folder.parent / "count", jobs[0].folder.parent / "waited for"
    slow = python(
        jobs[0],
        f"with open({str(counter)!r}, 'a') as file: file.write('x')\n"
        f"{until(waited_for)}folder = pathlib.Path({str(jobs[0].folder)!r})\nfolder.mkdir()\n"
        "(folder / 'result.json').write_text('{}')",
    )
    # The first table is killed: nothing of it but its run is left.
    code = (
        "import sys, pickle; from engine.table.running import run_all\n"
        "job = pickle.load(open(sys.argv[1], 'rb'))\n"
        "run_all([job], at_once=1, started=lambda job, there: print('started', flush=True), ended=print)"
    )
    pickled = jobs[0].folder.parent / "job.pickle"
    pickled.parent.mkdir(exist_ok=True)
    pickled.write_bytes(pickle.dumps(slow))
    table = subprocess.Popen([sys.executable, "-c", code, str(pickled)], stdout=subprocess.PIPE, text=True)
    assert table.stdout is not None
    assert table.stdout.readline() == "started\n"
    table.kill()
    table.wait()
    table.stdout.close()
    seen: list[bool] = []
    ends: list[Ended] = []

    def started(job: Job, elsewhere: bool) -> None:
        seen.append(elsewhere)
        waited_for.touch()

    run_all([slow], at_once=1, started=started, ended=ends.append)
    assert seen == [True]
    assert ends[0].code == 0
    assert counter.read_text() == "x"


def test_a_run_whose_process_was_killed_is_gone_on_with_once_it_is_dead(jobs: list[Job]) -> None:
    job = python(jobs[0], "print('mine')")
    job.folder.parent.mkdir(exist_ok=True)
    code = "import fcntl, sys; file = open(sys.argv[1], 'w'); fcntl.flock(file, 2); print('locked', flush=True)"
    lock = job.folder.with_name(f".{job.folder.name}.lock")
    dying = subprocess.Popen(
        [sys.executable, "-c", f"{code}; input()", str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert dying.stdout is not None
    assert dying.stdout.readline() == "locked\n"
    seen: list[bool] = []
    ends: list[Ended] = []

    def started(job: Job, elsewhere: bool) -> None:
        seen.append(elsewhere)
        if elsewhere:
            dying.kill()

    run_all([job], at_once=1, started=started, ended=ends.append)
    dying.communicate()
    assert seen == [True, False]
    assert [ended.code for ended in ends] == [0]
    assert log_of(job).read_text() == "mine\n"


def test_sigterm_stops_the_runs_too(jobs: list[Job]) -> None:
    # One write a line: `print` may write the line and its end apart, and the signal may come between.
    code = (
        "import os, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (os.write(1, b'checkpoint\\n'), sys.exit(130)))\n"
        "os.write(1, b'ready\\n')\nfor _ in range(600): time.sleep(0.1)"
    )
    job = python(jobs[0], code)

    def terminate() -> None:
        while not (log_of(job).exists() and log_of(job).read_text() == "ready\n"):
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=terminate, daemon=True).start()
    with pytest.raises(InterruptedTableError, match="stopped; the same command goes on"):
        run([job])
    assert log_of(job).read_text() == "ready\ncheckpoint\n"


def test_a_signal_that_comes_while_a_run_is_started_does_not_leave_it_behind(
    jobs: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    start, processes = subprocess.Popen, list[subprocess.Popen[bytes]]()

    def start_and_signal(*args: Any, **options: Any) -> subprocess.Popen[bytes]:
        processes.append(start(*args, **options))
        os.kill(os.getpid(), signal.SIGTERM)
        return processes[-1]

    monkeypatch.setattr(subprocess, "Popen", start_and_signal)
    with pytest.raises(InterruptedTableError):
        run([python(jobs[0], "import time\nfor _ in range(600): time.sleep(0.1)"), python(jobs[1], "print('never')")])
    assert [process.poll() for process in processes] == [-signal.SIGTERM]
    assert not log_of(jobs[1]).exists()


def test_runs_do_not_outlive_a_table_that_fails(jobs: list[Job]) -> None:
    forever = "import time\nfor _ in range(600): time.sleep(0.1)"

    def full(ended: Ended) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        run_all([python(jobs[0], forever), python(jobs[1], "pass")], at_once=2, started=lambda *_: None, ended=full)
    lock = jobs[0].folder.with_name(f".{jobs[0].folder.name}.lock").open()
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # held by the run as long as it lives
    lock.close()


# --- the command -------------------------------------------------------------------------------------------------

TINY = """Group(rows=(
    Row("one view", ":supervised", baseline=True, set=("checkpoint_every=1",)),
    Row("puzzling", ":recipe", set=("checkpoint_every=1", "epochs=4")),
    Row("elsewhere", ":recipe", set=("data=Packed('nowhere')",)),
)),"""


def options(path: Path, *words: str) -> list[str]:
    folder = path.parent
    return [str(path), "--out", str(folder / "runs"), "--results", str(folder / "results"), "--device", "cpu", *words]


def call(path: Path, *words: str) -> Any:
    """The command in this process, which has imported all it needs; its runs are processes of their own."""
    return CliRunner().invoke(app, options(path, *words))


@pytest.fixture
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def without_times(text: str) -> list[list[list[str]]]:
    """The cells of a table's Markdown but for the minutes, which differ from run to run."""
    found = []
    for block in text.split("\n\n"):
        if block.startswith("|"):
            rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()]
            keep = [i for i, head in enumerate(rows[0]) if "minutes" not in head]
            found.append([[row[i] for i in keep] for row in rows if "---" not in row[0]])
    assert len(found) == 2
    return found


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_a_table_killed_half_way_goes_on_and_ends_in_the_same_table(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
        write_experiment(folder / "tiny_experiment.py", TINY)
    done = call(whole / "tiny_experiment.py", "--seeds", "1", "--jobs", "2")
    assert done.exit_code == 0, done.stderr

    path = killed / "tiny_experiment.py"
    process = subprocess.Popen(
        [sys.executable, "-m", "engine.table", *options(path, "--seeds", "1")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    # The second row has begun to train: one run is done, one is half-way.
    (half,) = [job for job in plan_of(path, seeds=1, device="cpu").missing if "puzzling" in job.name]
    while not (half.folder / "checkpoints" / "before").exists():
        assert process.poll() is None, "the table ended before it could be killed"
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (half.folder / "result.json").exists()

    again = call(path, "--seeds", "1")
    assert again.exit_code == 0, again.stderr
    assert "going on with tiny-experiment-puzzling-seed0" in again.stderr
    assert "emulates" not in again.stderr  # its runs are in fp32
    assert "one-view" not in again.stderr  # it was done
    one, other = ((folder / "runs" / "table.md").read_text() for folder in (whole, killed))
    assert without_times(other) == without_times(one)
    assert "not run: no data: nowhere is not there" in one
    # Nothing is left to do, and the small files alone make the table again.
    (killed / "runs").rename(killed / "gone")
    third = call(path, "--seeds", "1")
    assert third.exit_code == 0, third.stderr
    assert "starting" not in third.stderr
    assert without_times((killed / "runs" / "table.md").read_text()) == without_times(one)


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_a_failed_run_ends_the_command_with_1_and_the_table_still_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "has_bf16", lambda device: False)
    rows = """Group(rows=(Row("bad", ":recipe", set=("train='nosuch'", "precision=bf16")),)),"""
    path = write_experiment(tmp_path / "tiny_experiment.py", rows)
    done = call(path, "--seeds", "1")
    assert done.exit_code == 1
    assert done.stderr.startswith("warning: precision (='bf16'), which this CPU emulates, is many times slower")
    assert "error: 1 of 1 runs failed" in done.stderr
    assert "must be one of train, val, test" in done.stdout  # the end of its output
    assert "| bad " in done.stdout
    assert (tmp_path / "runs" / "table.md").is_file()


def test_where_nothing_can_be_run_the_command_ends_with_1_and_says_why(tmp_path: Path) -> None:
    rows = """Group(rows=(Row("far", ":recipe", set=("data=Packed('nowhere')",)),)),"""
    path = write_experiment(tmp_path / "tiny_experiment.py", rows)
    done = call(path, "--seeds", "2")
    assert done.exit_code == 1
    assert "not run, 2 of 2 runs: no data: nowhere is not there" in done.stderr
    assert done.stderr.endswith("error: none of the 2 runs can be run here; see why above\n")
    assert "| far " in done.stdout
    assert call(path, "--seeds", "2", "--no-run").exit_code == 0  # asked for what is done, and nothing more


def test_bad_input_is_refused_in_one_line(tmp_path: Path) -> None:
    path = write_experiment(tmp_path / "tiny_experiment.py")
    done = call(path, "--seeds", "0")
    assert done.exit_code == 2
    assert done.stderr == "error: table: seeds (=0) must be 1 or more\n"
    assert not (tmp_path / "runs").exists()
