"""Tables on a cluster: the script, the words for sbatch, what squeue says; and an experiment on a real Slurm."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from engine.table import slurm
from engine.table.__main__ import app
from engine.table.plan import Job, Plan
from engine.table.running import lock_of, log_of
from tests.engine.fake_experiment import plan_of, write_experiment

ROWS = """Group(rows=(
    Row("one view", ":supervised", baseline=True, set=("checkpoint_every=1",)),
    Row("two views", ":two_views", baseline=True, set=("checkpoint_every=1", "epochs=60")),
    Row("puzzling", ":recipe", set=("checkpoint_every=1", "epochs=60")),
    Row("from one view", ":recipe", start=Start("one view")),
)),"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_experiment(tmp_path / "tiny.py", ROWS)


@pytest.fixture
def plan(path: Path) -> Plan:
    return plan_of(path, seeds=1)


def call(path: Path, *words: str) -> Any:
    folder = path.parent
    where = ("--out", str(folder / "runs"), "--results", str(folder / "results"))
    return CliRunner().invoke(app, [str(path), "--seeds", "1", "--device", "cpu", *where, *words])


def wait_for(condition: Callable[[], Any], what: str, seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds} s for {what}"
        time.sleep(0.1)


# --- the script --------------------------------------------------------------------------------------------------


@pytest.fixture
def start(tmp_path: Path, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], subprocess.Popen[str]]:
    """Starts the element of index 1 as Slurm does, with a run of this code; scontrol leaves its words in a file."""
    programs = tmp_path / "bin"
    programs.mkdir()
    write_program(programs / "scontrol", f'echo "$@" >>{tmp_path}/requeued')
    write_program(programs / "srun", f'echo "$@" >>{tmp_path}/srun')
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    told = {"ARRAY_TASK_ID": "1", "ARRAY_JOB_ID": "7", "JOB_ID": "9", "JOB_NUM_NODES": "1", "JOB_NODELIST": "a,b"}
    for name, value in told.items():
        monkeypatch.setenv(f"SLURM_{name}", value)

    def start(code: str) -> subprocess.Popen[str]:
        jobs = [plan.jobs[0], replace(plan.jobs[1], words=("-c", code, "it's $HOME"))]
        file = tmp_path / "element.sh"
        file.write_text(slurm.script("tiny-1", jobs))
        log_of(jobs[1]).parent.mkdir(exist_ok=True)
        return subprocess.Popen(["bash", str(file)], text=True)

    return start


def write_program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


# Stops at a signal as training does; one write a line, lest the signal comes between a line and its end.
STOPS = """import os, signal, sys, time
def stop(number, frame):
    os.write(1, f"stopped by {number}\\n".encode())
    sys.exit(130)
for number in (signal.SIGUSR1, signal.SIGTERM):
    signal.signal(number, stop)
os.write(1, b"ready\\n")
for _ in range(600): time.sleep(0.1)"""


def test_an_element_runs_its_row_with_its_log_and_its_exit_status(
    start: Callable[[str], subprocess.Popen[str]], plan: Plan, tmp_path: Path
) -> None:
    assert start("import sys; print(sys.argv[1]); sys.exit(3)").wait() == 3
    assert log_of(plan.jobs[1]).read_text() == "it's $HOME\n"
    assert not (tmp_path / "requeued").exists()
    assert start("print('again')").wait() == 0
    assert log_of(plan.jobs[1]).read_text() == "it's $HOME\nagain\n"


@pytest.mark.parametrize(("number", "requeued"), [(signal.SIGUSR1, ["requeue 7_1\n"]), (signal.SIGTERM, [])])
def test_the_time_limit_stops_a_row_and_requeues_it_but_cancelling_does_not(
    number: int, requeued: list[str], start: Callable[[str], subprocess.Popen[str]], plan: Plan, tmp_path: Path
) -> None:
    process, log = start(STOPS), log_of(plan.jobs[1])
    wait_for(lambda: log.exists() and log.read_text() == "ready\n", "the run")
    process.send_signal(number)
    assert process.wait() == 130
    assert log.read_text() == f"ready\nstopped by {int(number)}\n"
    asked = tmp_path / "requeued"
    assert (asked.read_text().splitlines(keepends=True) if asked.exists() else []) == requeued


def test_a_row_that_ends_well_after_the_signal_is_not_requeued(
    start: Callable[[str], subprocess.Popen[str]], plan: Plan, tmp_path: Path
) -> None:
    process, log = start(STOPS.replace("sys.exit(130)", "sys.exit(0)")), log_of(plan.jobs[1])
    wait_for(lambda: log.exists() and log.read_text() == "ready\n", "the run")
    process.send_signal(signal.SIGUSR1)
    assert process.wait() == 0
    assert not (tmp_path / "requeued").exists()


def test_an_element_waits_for_a_process_that_has_the_run(
    start: Callable[[str], subprocess.Popen[str]], plan: Plan
) -> None:
    lock = lock_of(plan.jobs[1])
    lock.parent.mkdir()
    other = subprocess.Popen(["flock", str(lock), "sh", "-c", "echo; read _"], stdin=-1, stdout=-1, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "\n"
    process = start("print('mine')")
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1)
    assert not log_of(plan.jobs[1]).exists()
    other.communicate("\n")
    assert process.wait() == 0
    assert log_of(plan.jobs[1]).read_text() == "mine\n"


def test_several_nodes_or_tasks_are_ranks_of_torchrun(
    start: Callable[[str], subprocess.Popen[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_program(tmp_path / "bin" / "scontrol", "printf 'a\\nb\\n'")
    monkeypatch.setenv("SLURM_JOB_NUM_NODES", "2")
    monkeypatch.setenv("SLURM_NTASKS_PER_NODE", "4")
    assert start("pass").wait() == 0
    words = (tmp_path / "srun").read_text()
    assert words.startswith("--nodes=2 --ntasks=2 --ntasks-per-node=1 --cpu-bind=none ")
    assert f"{sys.executable} -m torch.distributed.run --nnodes 2 --nproc-per-node 4 " in words
    assert "--rdzv-id 9 --rdzv-endpoint a:20009 " in words
    assert words.endswith("-c pass it's $HOME\n")


# --- what is submitted -------------------------------------------------------------------------------------------


def test_what_squeue_lists_is_read_by_name_and_index() -> None:
    listed = "tiny-1|12|3|RUNNING\ntiny-1|12|0|PENDING\na|b|14|2|COMPLETING\nno-array|15|N/A|RUNNING\n\n"
    assert slurm.read_queue(listed) == [
        slurm.Element("tiny-1", 3, "12_3", "RUNNING"),
        slurm.Element("tiny-1", 0, "12_0", "PENDING"),
        slurm.Element("a|b", 2, "14_2", "COMPLETING"),
    ]
    assert slurm.read_queue("") == []


def test_a_script_tells_which_run_an_index_is(plan: Plan) -> None:
    assert slurm.keys_in(slurm.script("tiny-1", plan.jobs)) == {i: job.key for i, job in enumerate(plan.jobs)}


def test_rows_are_grouped_by_what_they_wait_for(plan: Plan) -> None:
    def job(key: str, needs: str | None) -> Job:
        return replace(plan.jobs[0], key=key, needs=needs)

    jobs = [job("a", None), job("b", "a"), job("c", "b"), job("d", "a"), job("e", "done"), job("f", "queued")]
    missing = frozenset("abcdef") | {"queued"}
    groups = slurm.by_start(jobs, missing)
    assert groups == {None: [0, 4], "a": [1, 3], "b": [2], "queued": [5]}
    assert list(groups) == [None, "a", "b", "queued"]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """sbatch and squeue that write down what they are asked, and answer what is in files."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (tmp_path / "queue").touch()
    write_program(programs / "squeue", f"cat {tmp_path}/queue")
    write_program(
        programs / "sbatch",
        f'for word; do echo "$word"; done >>{tmp_path}/asked; echo >>{tmp_path}/asked\n'
        f"echo $((10 + $(grep -c '^$' {tmp_path}/asked)))",
    )
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    return tmp_path


def asked(fake: Path) -> list[list[str]]:
    return [text.splitlines() for text in (fake / "asked").read_text().split("\n\n") if text]


def test_one_array_holds_what_can_start_and_another_what_comes_after(fake: Path, path: Path) -> None:
    done = call(path, "--on", "slurm", "--sbatch", "--time=02:00:00 --comment 'two words'", "--sbatch", "--nodes=2")
    assert done.exit_code == 0, done.stderr
    first, second = asked(fake)
    assert {"--time=02:00:00", "--comment", "two words", "--nodes=2", "--requeue", "--signal=B:USR1@120"} <= set(first)
    assert "--array=0,1,2" in first
    assert not [word for word in first if "--dependency" in word]
    assert {"--array=3", "--dependency=afterok:11_0", "--kill-on-invalid-dep=yes"} <= set(second)
    assert first[-1] == second[-1]  # one script
    assert "submitted as 12_3 after 11_0: tiny-from-one-view-seed0" in done.stderr
    assert "not run yet" in done.stdout


def test_what_is_queued_is_not_submitted_again(fake: Path, path: Path) -> None:
    assert call(path, "--on", "slurm").exit_code == 0
    name = Path(asked(fake)[0][-1]).stem
    (fake / "asked").unlink()
    (fake / "queue").write_text(f"{name}|11|0|RUNNING\n{name}|11|2|PENDING\nother|4|1|RUNNING\n")
    done = call(path, "--on", "slurm")
    assert done.exit_code == 0, done.stderr
    assert "running as 11_0: tiny-one-view-seed0" in done.stderr
    one, after = asked(fake)
    script = Path(one[-1]).read_text()
    keys = slurm.keys_in(script)
    names = {job.key: job.name for job in plan_of(path, seeds=1, device="cpu").jobs}
    assert [names[keys[index]] for index in sorted(keys)] == ["tiny-two-views-seed0", "tiny-from-one-view-seed0"]
    assert {"--array=1", "--dependency=afterok:11_0"} <= set(after)
    # All of it queued: nothing is asked.
    again = Path(one[-1]).stem
    (fake / "asked").unlink()
    with (fake / "queue").open("a") as queue:
        queue.write(f"{again}|13|0|RUNNING\n{again}|14|1|PENDING\n")
    assert call(path, "--on", "slurm").exit_code == 0
    assert not (fake / "asked").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--sbatch", "--time=1"), "table: sbatch (=--time=1) goes with --on slurm; add it"),
        (
            ("--on", "slurm", "--jobs", "2"),
            "table: on (=slurm) submits, and Slurm says how many run at once; leave out",
        ),
        (("--on", "slurm", "--list"), "leave out --list, --no-run and --jobs"),
        (("--on", "slurm", "--sbatch", "--array=1"), "table: sbatch (=--array=1) must be none of -a, --array, -d"),
        (("--format", "json"), "table: format (=json) goes with --list; add it"),
    ],
)
def test_options_that_cannot_be_are_refused(fake: Path, path: Path, words: tuple[str, ...], message: str) -> None:
    done = call(path, *words)
    assert done.exit_code == 2
    assert message in done.stderr
    assert not (fake / "asked").exists()


def test_what_sbatch_refuses_is_told_and_so_is_its_absence(
    fake: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_program(fake / "bin" / "sbatch", "echo 'sbatch: error: invalid partition specified: nosuch' >&2; exit 1")
    done = call(path, "--on", "slurm", "--sbatch", "--partition=nosuch")
    assert done.exit_code == 2
    assert "table: sbatch refused: sbatch: error: invalid partition specified: nosuch" in done.stderr
    monkeypatch.setenv("PATH", "/nowhere")
    done = call(path, "--on", "slurm")
    assert done.exit_code == 2
    assert "table: on (=slurm) needs squeue, which is not here; call it where Slurm is" in done.stderr


def test_other_schedulers_read_what_is_missing_as_json(path: Path) -> None:
    done = call(path, "--list", "--format", "json")
    assert done.exit_code == 0, done.stderr
    runs = json.loads(done.stdout)
    assert [run["name"] for run in runs] == [
        "tiny-one-view-seed0", "tiny-two-views-seed0", "tiny-puzzling-seed0", "tiny-from-one-view-seed0",
    ]  # fmt: skip
    assert [run["after"] for run in runs] == [None, None, None, "tiny-one-view-seed0"]
    assert runs[0]["command"][:5] == ["hmtl", "train", f"{path}:supervised", "--out", runs[0]["folder"]]
    assert "--resume" in runs[0]["command"]


# --- a real Slurm ------------------------------------------------------------------------------------------------


@pytest.fixture
def cluster() -> None:
    """Skips but on the Slurm of `.ci/slurm`: a test has no business on somebody's cluster."""
    if shutil.which("scontrol") is None or "ClusterName=hmtl-test" not in configuration():
        pytest.skip("needs the Slurm of `.ci/slurm start`, and SLURM_CONF set as it says")


def configuration() -> str:
    file = Path(os.environ.get("SLURM_CONF", "/nowhere"))
    return file.read_text() if file.is_file() else ""


def slurm_says(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_rows_end_with_their_table_after_a_drained_node_a_requeue_and_a_cancelled_row(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    jobs = {job.name: job for job in plan_of(path, seeds=1, device="cpu").jobs}
    two, puzzling, last = (jobs[f"tiny-{name}-seed0"] for name in ("two-views", "puzzling", "from-one-view"))

    def ids(told: str) -> dict[str, str]:
        found = (line.partition(" as ")[2].partition(": ") for line in told.splitlines() if " as " in line)
        return {name: id.partition(" ")[0] for id, _, name in found}

    def trains(job: Job) -> bool:
        return (job.folder / "checkpoints" / "last").exists()

    def state(job: str) -> str:
        return slurm_says("squeue", "--noheader", f"--jobs={job}", "--format=%T")

    first = call(path, "--on", "slurm", "--sbatch", "--time=00:30:00 --nice=0")
    assert first.exit_code == 0, first.stderr
    known = ids(first.stderr)
    assert set(known) == set(jobs)
    try:
        # What a row of its own runs on goes on while its node is drained, and nothing starts there.
        wait_for(lambda: trains(puzzling) and trains(two), "both rows to train")
        slurm_says("scontrol", "update", "NodeName=hmtl2", "State=DRAIN", "Reason=test")
        # The time limit: the element of the highest index, whose job id is that of the array.
        slurm_says("scancel", "--signal=USR1", "--batch", known[puzzling.name])
        slurm_says("scancel", known[two.name])
        wait_for(lambda: state(known[puzzling.name]) == "PENDING", "the requeue")
        assert not (puzzling.folder / "result.json").exists()
        assert "stopped" in log_of(puzzling).read_text()
        wait_for(lambda: state(known[two.name]) == "", "the cancelled row to go")
        assert not (two.folder / "result.json").exists()
        second = call(path, "--on", "slurm")
        assert second.exit_code == 0, second.stderr
        again = ids(second.stderr)
        assert f"submitted as {again[two.name]}" in second.stderr
        assert again[two.name] != known[two.name]
        assert again[puzzling.name] == known[puzzling.name]
        wait_for(lambda: not slurm_says("squeue", "--noheader"), "all rows to end")
    finally:
        slurm_says("scontrol", "update", "NodeName=hmtl2", "State=RESUME")
        slurm_says("scancel", "--me")
    done = call(path, "--on", "slurm")
    assert done.exit_code == 0, done.stderr
    assert "submitted" not in done.stderr
    assert "not run yet" not in done.stdout
    assert all((job.folder / "result.json").is_file() for job in jobs.values())
    assert (puzzling.folder / "environment.json").read_text().count('"date"') == 2  # started twice
    assert (last.folder / "recipe.json").read_text().count("one-view") == 1
