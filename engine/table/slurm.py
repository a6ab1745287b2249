"""Submits what is missing of an experiment to Slurm: `hmtl table EXPERIMENT --on slurm`.

One script says what each row runs. sbatch is given it as one array of the rows that can start, and once more for those
that start from the same row, to come after it. An array is called like its script, so squeue tells by name and index
which rows are queued; rows that have ended are known by their folders. Shortly before the time limit Slurm sends
SIGUSR1: the run stops with a checkpoint, its element is requeued and goes on.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.table.fingerprint import fingerprint
from engine.table.plan import Job, Plan
from engine.table.running import lock_of, log_of
from loaders.files import write_text

_SECONDS_TO_STOP = 120
_OURS = ("-a", "--array", "-d", "--dependency", "-J", "--job-name", "--kill-on-invalid-dep", "--wrap")
"""Options of sbatch by which a row is found again, and started once and in its order."""
_SCRIPT = """\
#!/bin/bash
# Written by hmtl table: what the elements of the array {name} run.
case $SLURM_ARRAY_TASK_ID in
{rows}
esac

start=({python})
nodes=$SLURM_JOB_NUM_NODES ranks=${{SLURM_NTASKS_PER_NODE:-1}}
if ((nodes * ranks > 1)); then # torchrun, once on each node
    host=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
    start=(srun --nodes="$nodes" --ntasks="$nodes" --ntasks-per-node=1 --cpu-bind=none
        "${{start[@]}}" -m torch.distributed.run --nnodes "$nodes" --nproc-per-node "$ranks"
        --rdzv-backend c10d --rdzv-id "$SLURM_JOB_ID" --rdzv-endpoint "$host:$((20000 + SLURM_JOB_ID % 10000))"
        --signals-to-handle SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1)
fi

signals=0 requeue=0
trap 'signals=$((signals + 1)) requeue=1; kill -USR1 "$run"' USR1 # the time limit is near
trap 'signals=$((signals + 1)); kill -TERM "$run"' TERM # cancelled, preempted or requeued
exec 9>>"$lock"
flock 9 # no other process has the run; it inherits the lock and holds it as long as it lives
"${{start[@]}}" "${{words[@]}}" >>"$log" 2>&1 </dev/null &
run=$!
while
    seen=$signals
    wait "$run"
    status=$?
    ((signals > seen)) # a signal ends the waiting, not the run
do :; done
if ((status != 0 && requeue)); then
    # By array and index: the job id of the element that started last is that of the whole array.
    scontrol requeue "${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID"
fi
exit "$status"
"""


@dataclass(frozen=True, slots=True)
class Element:
    """Names an element of a job array that squeue lists."""

    array: str
    """Name of the array."""
    index: int
    id: str
    """What Slurm knows it by, such as 12_3."""
    state: str
    """PENDING, RUNNING, COMPLETING, ..."""


def submit(plan: Plan, folder: Path, options: Sequence[str]) -> list[str]:
    """Submits what a plan misses and squeue does not list; says of each run what it is known by.

    Args:
        plan: The runs of an experiment.
        folder: Gets a folder `slurm` for scripts and for what Slurm itself says of a row.
        options: Passed to sbatch, as a shell takes them: `--partition=gpu --time=02:00:00`.

    Raises:
        ValueError: An option is one of ours, there is no Slurm here, or it refuses.
    """
    words = read_options(options)
    where = folder.absolute() / "slurm"
    queued = _queued(where)
    told = [
        f"{queued[job.key].state.lower()} as {queued[job.key].id}: {job.name}"
        for job in plan.missing
        if job.key in queued
    ]
    jobs = [job for job in plan.missing if job.key not in queued]
    if not jobs:
        return told
    name = f"{plan.file.name}-{fingerprint([str(where), [job.key for job in jobs]])[:8]}"
    where.mkdir(parents=True, exist_ok=True)
    write_text(where / f"{name}.sh", script(name, jobs))
    ids = {key: element.id for key, element in queued.items()}
    for start, indices in by_start(jobs, frozenset(job.key for job in plan.missing)).items():
        after = () if start is None else (f"--dependency=afterok:{ids[start]}", "--kill-on-invalid-dep=yes")
        array = _answer(
            *("sbatch", "--parsable", "--requeue", "--open-mode=append", f"--signal=B:USR1@{_SECONDS_TO_STOP}"),
            *(f"--output={where / name}-%a.out", *words, f"--job-name={name}"),
            *(f"--array={','.join(map(str, indices))}", *after, str(where / f"{name}.sh")),
        ).split(";")[0].strip()  # fmt: skip
        for index in indices:
            ids[jobs[index].key] = f"{array}_{index}"
            told.append(f"submitted as {array}_{index}{f' after {ids[start]}' if start else ''}: {jobs[index].name}")
    return told


def read_options(options: Iterable[str]) -> list[str]:
    """Splits options of sbatch into words.

    Raises:
        ValueError: One of them is ours.
    """
    words = [word for text in options for word in shlex.split(text)]
    for word in words:
        if word.partition("=")[0] in _OURS:
            raise ValueError(
                f"table: sbatch (={word}) must be none of {', '.join(_OURS)}, which the table sets itself; leave it out"
            )
    return words


def script(name: str, jobs: Sequence[Job]) -> str:
    """Writes what each element of an array runs, the element of index i the i-th job."""
    rows = "\n".join(
        f"{index}) key={job.key} log={_quoted(log_of(job))} lock={_quoted(lock_of(job))}\n"
        f"    words=({shlex.join(job.words)}) ;;"
        for index, job in enumerate(jobs)
    )
    return _SCRIPT.format(name=name, rows=rows, python=shlex.quote(sys.executable))


def keys_in(text: str) -> dict[int, str]:
    """Reads from a script which run the element of each index is."""
    return {int(index): key for index, key in re.findall(r"^(\d+)\) key=(\w+) ", text, re.MULTILINE)}


def by_start(jobs: Sequence[Job], missing: frozenset[str]) -> Mapping[str | None, list[int]]:
    """Groups the indices of jobs by the run they have to wait for, a group after the one that holds this run."""
    groups: dict[str | None, list[int]] = {}
    for index, job in enumerate(jobs):
        groups.setdefault(job.needs if job.needs in missing else None, []).append(index)
    return groups


def read_queue(text: str) -> list[Element]:
    """Reads what squeue prints as NAME|ARRAY|INDEX|STATE in a line; jobs that are no arrays are left out."""
    rows = [line.strip().rsplit("|", 3) for line in text.splitlines() if line.strip()]
    return [
        Element(name, int(index), f"{array}_{index}", state) for name, array, index, state in rows if index.isdecimal()
    ]


def _queued(where: Path) -> dict[str, Element]:
    """Maps the key of each run that is queued, running or about to end to its element."""
    keys = {path.stem: keys_in(path.read_text(encoding="utf-8")) for path in where.glob("*.sh")}
    text = _answer("squeue", "--noheader", "--array", "--format=%j|%F|%K|%T")
    found = [element for element in read_queue(text) if element.index in keys.get(element.array, ())]
    return {keys[element.array][element.index]: element for element in found}


def _answer(*words: str) -> str:
    """Gives what a command of Slurm prints.

    Raises:
        ValueError: It is not there, or it refuses.
    """
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise ValueError(
            f"table: on (=slurm) needs {words[0]}, which is not here; call it where Slurm is, "
            "or give the commands of --list --format json to another scheduler"
        ) from error
    if done.returncode != 0:
        raise ValueError(f"table: {words[0]} refused: {done.stderr.strip()}; its options are those of --sbatch")
    return done.stdout


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
