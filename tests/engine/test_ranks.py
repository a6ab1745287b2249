"""Ranks that share the steps of a run leave the folder that one rank leaves, and end together.

Longer trials, of more recipes and of kills, are those of tests/engine/ranks_trial.py.
"""

from __future__ import annotations

import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.training import ranks
from engine.training.loop import Trainer
from engine.training.ranks import LostRankError, Ranks, add_up, check_restarts, joined
from engine.training.train import open_split
from tests.engine import tiny
from tests.engine.ranks_trial import differences, kill, launch, launch_training, train_here

CHARTS_ARE_DRAWN = True  # by the ranks in processes of their own, so here too

CPU = torch.device("cpu")


def vectors(places: int) -> Callable[[int], Tensor]:
    drawn = torch.randn(places, 500, generator=torch.Generator().manual_seed(1))
    return lambda place: drawn[place].clone()


@pytest.mark.parametrize("places", [1, 2, 6, 8, 12])
def test_a_sum_over_places_is_made_of_the_sums_of_the_ranks_bit_for_bit(places: int) -> None:
    whole = add_up(vectors(places), range(places))
    torch.testing.assert_close(whole, torch.stack([vectors(places)(i) for i in range(places)]).sum(0))
    for world in (2, 4, 8):
        if places % world == 0:
            of_ranks = [add_up(vectors(places), range(places)[rank::world]) for rank in range(world)]
            assert torch.equal(add_up(lambda rank, of=of_ranks: of[rank].clone(), range(world)), whole)
    assert torch.equal(Ranks().add_up(vectors(places), places), whole)


def test_added_rank_after_rank_the_sum_would_be_another() -> None:
    halves = [torch.stack([vectors(8)(i) for i in places]).sum(0) for places in (range(4), range(4, 8))]
    assert not torch.equal(halves[0] + halves[1], add_up(vectors(8), range(8)))


@pytest.mark.parametrize(
    ("world", "batch_size", "accumulate", "message"),
    [
        (
            2,
            64,
            1,
            r"world \(=2\) must be a power of two that divides accumulate \(=1\), .* start 1; "
            r"--set batch_size=32 --set accumulate=2 keeps a step of 64 faces",
        ),
        (4, 10, 6, r"start 1, 2; --set batch_size=5 --set accumulate=12 keeps a step of 60 faces"),
        (4, 7, 1, r"start 1$"),
        (3, 8, 12, r"world \(=3\) must be a power of two that divides accumulate \(=12\), .* start 1, 2, 4$"),
    ],
)
def test_a_number_of_ranks_that_cannot_share_a_step_is_refused(
    world: int, batch_size: int, accumulate: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Ranks(0, world).share(batch_size, accumulate)


def test_ranks_share_the_batches_of_a_step() -> None:
    assert [Ranks(0, world).share(8, 8) for world in (1, 2, 4, 8)] == [8, 4, 2, 1]


def test_an_epoch_without_one_whole_step_is_refused() -> None:
    recipe = tiny.recipe(accumulate=5)
    loaders = open_split(recipe, "train", CPU), open_split(recipe, "val", CPU)
    with pytest.raises(ValueError, match=r"accumulate \(=5\) must be at most the batches of an epoch, .* are 4;"):
        Trainer(recipe, *loaders, CPU)


class Told(Ranks):
    """Two ranks, of which the other says what is planted."""

    other: Any = None

    def gather(self, value: Any) -> list[Any]:
        return [value, self.other]


def test_ranks_that_differ_are_refused() -> None:
    both = Told(0, 2)
    Told.other = ("elsewhere", {"the version of torch": "2.0"})
    with pytest.raises(
        ValueError, match=r"the version of torch of rank 1 on elsewhere \(=2.0\) must be that of rank 0"
    ):
        both.agree(lambda: {"the version of torch": "2.1"})
    both.agree(lambda: {"the version of torch": "2.0"})


def test_what_ranks_made_of_their_batches_comes_in_the_order_of_the_batches() -> None:
    Told.other = ["second", "fourth"]
    assert Told(0, 2).in_order(["first", "third"]) == ["first", "second", "third", "fourth"]


def test_restarts_that_could_not_go_on_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    check_restarts(resume=False)
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "3")
    with pytest.raises(ValueError, match=r"--max-restarts needs --resume, .*; add --resume"):
        check_restarts(resume=False)
    check_restarts(resume=True)
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    with pytest.raises(ValueError, match=r"set TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1"):
        check_restarts(resume=True)


@pytest.mark.parametrize(
    ("asked", "local", "chosen", "expected"),
    [(None, "2", "1", 3), (None, "16", "1", 1), (None, "2", "5", 9), (None, "1", "1", 9), (4, "2", "1", 4)],
)
def test_the_ranks_of_a_host_share_its_cores(
    monkeypatch: pytest.MonkeyPatch, asked: int | None, local: str, chosen: str, expected: int
) -> None:
    found = [9]
    monkeypatch.setattr(torch, "set_num_threads", found.append)
    monkeypatch.setattr("os.sched_getaffinity", lambda process: range(6))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", local)
    monkeypatch.setenv("OMP_NUM_THREADS", chosen)
    with joined("cpu", asked) as alone:
        assert (alone.world, alone.first, alone.speaks()) == (1, True, "")
    assert found[-1] == expected


def test_a_rank_that_does_not_answer_is_told_in_a_sentence() -> None:
    told = r"another of the 2 ranks has ended, .* \(closed\); .* go on with --resume"
    with pytest.raises(LostRankError, match=told), ranks._waiting(Ranks(0, 2)):
        raise RuntimeError("[tcp/pair.cc:5] closed. This is typical\nand a stack")


@pytest.fixture
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
def test_two_ranks_leave_the_folders_of_one_and_tell_an_error_once(tmp_path: Path, one_thread: None) -> None:
    names = ["all-at-once", "six"]
    both = launch_training(2, tmp_path / "two", names, fail_on=1)
    train_here(tmp_path / "one", names)  # in this process, alone
    output, _ = both.communicate()
    for name in names:
        assert differences(tmp_path / "one" / name, tmp_path / "two" / name) == []
    assert both.returncode != 0
    assert output.count("error: ") == 1
    assert "planted: this rank fails; let it" in output
    assert "error: rank 1 of 2 on " in output


@pytest.mark.slow
def test_a_refusal_of_all_ranks_is_told_once_with_how_to_keep_the_step(tmp_path: Path) -> None:
    recipe = tmp_path / "tiny_recipe.py"
    recipe.write_text("from tests.engine import tiny\nrecipe = tiny.recipe()\n")
    start = time.perf_counter()
    process = launch(2, "-m", "engine.run", str(recipe), "--device", "cpu", "--out", str(tmp_path / "run"))
    output, _ = process.communicate()
    assert process.returncode != 0
    assert output.count("error: ") == 1
    assert "--set batch_size=4 --set accumulate=2 keeps a step of 8 faces" in output
    assert not (tmp_path / "run").exists()
    assert time.perf_counter() - start < 120  # on a busy machine; it waits for nobody


class Deaf:
    """A store behind a cable that is cut: it is asked, and never answers."""

    def add(self, key: str, amount: int) -> int:
        time.sleep(60)
        return amount


def test_a_rank_tells_its_error_where_nobody_answers_whether_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "STORE_SECONDS", 0.1)
    assert re.fullmatch(r"rank 1 of 2 on \S+: ", Ranks(1, 2, store=Deaf()).speaks() or "")


JOINS = r"""
import time
from engine.training.ranks import joined

with joined("cpu", 1) as ranks:
    print("joined\n", end="", flush=True)  # in one piece
    time.sleep(30)
    print("went on", flush=True)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody tells a rank that torchrun was killed")
@pytest.mark.parametrize("world", [1, 2])
def test_ranks_end_with_the_torchrun_that_started_them(tmp_path: Path, world: int) -> None:
    script = tmp_path / "joins.py"
    script.write_text(JOINS)
    with launch(world, str(script)) as process:
        assert process.stdout is not None
        joined_lines = (line for line in iter(process.stdout.readline, "") if line == "joined\n")  # torchrun warns too
        assert len(list(islice(joined_lines, world))) == world
        process.kill()
        assert "went on" not in process.stdout.read()  # until the last of them is gone


@pytest.mark.slow
def test_asked_to_stop_a_run_goes_on_with_other_ranks_to_the_same_end(tmp_path: Path) -> None:
    assert kill(tmp_path, times=1, signals=(signal.SIGUSR1,), epochs=8) == []
