"""Which tier `Packed` takes, what it says of it, and that all tiers deliver the same."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from loaders import Loader, Packed, Shuffled
from loaders.feed.order import Order
from loaders.feed.streams import batch_by_batch
from loaders.sources.memory import free_on_gpu, free_on_host
from loaders.sources.packed import Pinned
from loaders.sources.tiers import choose_tier

GB = 10**9
GPU = torch.device("cuda", 0)
CPU = torch.device("cpu")


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Any:
    def set_to(gpu: float, host: float) -> None:
        monkeypatch.setattr("loaders.sources.memory.free_on_gpu", lambda device: int(gpu * GB))
        monkeypatch.setattr("loaders.sources.memory.free_on_host", lambda: int(host * GB))

    return set_to


@pytest.mark.parametrize(
    ("gpu", "host", "tier", "note"),
    [
        (80, 1, "resident", "resident: its 10.8 GB fit in half of the 80 GB free on cuda:0"),
        (21.6, 1, "resident", "resident: its 10.8 GB fit in half of the 21.6 GB free on cuda:0"),
        (
            21,
            64,
            "pinned",
            "pinned: its 10.8 GB are more than half of the 21 GB free on cuda:0, and fit in half of the host's 64 GB",
        ),
        (
            8,
            16,
            "mapped",
            "mapped: its 10.8 GB are more than half of the 8 GB free on cuda:0, and than half of the host's 16 GB",
        ),
    ],
)
def test_auto_takes_the_first_tier_that_fits_and_says_why(
    free: Any, gpu: float, host: float, tier: str, note: str
) -> None:
    free(gpu, host)
    assert choose_tier("auto", GPU, int(10.8 * GB)) == (tier, note)


def test_the_host_is_shared_by_the_ranks(free: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    free(1, 64)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    assert choose_tier("auto", GPU, 10 * GB)[0] == "pinned"
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert choose_tier("auto", GPU, 10 * GB)[0] == "mapped"


def test_a_cpu_maps_the_file_whatever_is_free(free: Any) -> None:
    free(0, 0)
    assert choose_tier("auto", CPU, 10 * GB) == ("mapped", "mapped: on a CPU the file's pages are memory already")


@pytest.mark.parametrize("tier", ["resident", "pinned", "mapped"])
def test_what_is_asked_for_is_taken_and_nothing_said(free: Any, tier: Any) -> None:
    free(11, 11)
    assert choose_tier(tier, GPU, 10 * GB) == (tier, "")


def test_what_is_asked_for_and_does_not_fit_is_refused(free: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    free(8, 30)
    with pytest.raises(
        ValueError,
        match=r"Packed: tier \(='resident'\) needs 10 GB on cuda:0, where 8 GB are free; use 'auto', or 'pinned'",
    ):
        choose_tier("resident", GPU, 10 * GB)
    with pytest.raises(
        ValueError,
        match=r"Packed: tier \(='pinned'\) needs 10 GB of the host, where 7.5 GB are free for each rank; use 'auto', "
        r"or 'mapped'",
    ):
        choose_tier("pinned", GPU, 10 * GB)


def test_tiers_that_cannot_be_are_refused(store: Path) -> None:
    with pytest.raises(
        ValueError,
        match=r"Packed: tier \(='pinned'\) needs a GPU to copy to, and the device is cpu; use 'mapped', or 'resident' "
        r"to hold the split in memory",
    ):
        Packed(store, tier="pinned").open("train", "cpu")
    with pytest.raises(
        ValueError, match=r"Packed: tier \(='disk'\) must be one of auto, resident, pinned, mapped; 'auto' chooses"
    ):
        Packed(store, tier="disk").open("train", "cpu")  # type: ignore[arg-type]


def test_a_loader_says_what_was_chosen(store: Path) -> None:
    with closing(Loader.open(Packed(store), "train", batch_size=4, seed=0, device="cpu")) as loader:
        assert loader.note == "mapped: on a CPU the file's pages are memory already"
    assert Packed(store, tier="resident").open("train", "cpu").note == ""


def test_a_split_that_is_copied_row_by_row_is_the_same(store: Path) -> None:
    # What the pinned tier does, with memory that is not locked and no GPU.
    resident = Packed(store, tier="resident").open("train", "cpu")
    assert isinstance(resident.pixels, torch.Tensor)
    faces = replace(resident, pixels=batch_by_batch(Pinned(resident.pixels, CPU, lock=False)))
    with (
        closing(Loader(faces, Order(faces.split, 5, 7, sampler=Shuffled()))) as pinned,
        closing(Loader.open(Packed(store), "train", batch_size=5, seed=7, device="cpu", sampler=Shuffled())) as mapped,
    ):
        for epoch in range(2):
            for one, other in zip(pinned.epoch(epoch), mapped.epoch(epoch), strict=True):
                assert torch.equal(one.store, other.store)
                assert torch.equal(one.sample, other.sample)


def test_memory_that_the_system_does_not_lock_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def check(code: int) -> None:
        raise RuntimeError(f"out of memory ({code})")

    cudart = SimpleNamespace(cudaHostRegister=lambda address, count, flags: 2)
    monkeypatch.setattr("torch.cuda.cudart", lambda: cudart)
    monkeypatch.setattr("torch.cuda.check_error", check)
    with pytest.raises(
        ValueError,
        match=r"Packed: tier \(='pinned'\) needs 48 bytes of page-locked memory, which the system refuses "
        r"\(out of memory \(2\)\); use 'mapped'",
    ):
        Pinned(torch.zeros(1, 4, 4, 3, dtype=torch.uint8), CPU)


def test_locked_memory_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    locked: list[int] = []

    def lock(address: int, count: int, flags: int) -> int:
        locked.append(address)
        return 0

    cudart = SimpleNamespace(cudaHostRegister=lock, cudaHostUnregister=locked.remove)
    monkeypatch.setattr("torch.cuda.cudart", lambda: cudart)
    monkeypatch.setattr("torch.cuda.check_error", lambda code: None)
    faces = torch.zeros(2, 4, 4, 3, dtype=torch.uint8)
    pinned = Pinned(faces, CPU)
    assert locked == [faces.data_ptr()]
    del pinned
    assert locked == []


# --- free memory -------------------------------------------------------------------------------------------------


def system(root: Path, files: dict[str, str]) -> Path:
    for name, text in {"proc/meminfo": "MemTotal: 64000000 kB\nMemAvailable:   50000000 kB\n", **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("files", "free"),
    [
        ({}, 51_200_000_000),
        ({"memory.max": "max\n"}, 51_200_000_000),
        ({"memory.max": "16000000000\n", "memory.current": "6000000000\n", "memory.stat": "anon 5\n"}, 10 * GB),
        (
            {
                "memory.max": "16000000000\n",
                "memory.current": "6000000000\n",
                "memory.stat": "anon 5\ninactive_file 2000000000\n",
            },
            12 * GB,
        ),
        (
            {
                "memory/memory.limit_in_bytes": "8000000000\n",
                "memory/memory.usage_in_bytes": "3000000000\n",
                "memory/memory.stat": "total_inactive_file 1000000000\n",
            },
            6 * GB,
        ),
        ({"memory.max": "1000\n", "memory.current": "2000\n", "memory.stat": "anon 5\n"}, 0),
    ],
)
def test_free_memory_is_that_of_the_system_within_the_container(
    tmp_path: Path, files: dict[str, str], free: int
) -> None:
    assert free_on_host(system(tmp_path, {f"sys/fs/cgroup/{name}": text for name, text in files.items()})) == free


def test_free_memory_of_this_machine_is_plausible() -> None:
    assert 10**7 < free_on_host() < 10**14


# --- on a GPU ----------------------------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.parametrize("tier", ["auto", "resident", "pinned", "mapped"])
def test_every_tier_delivers_the_same_on_a_gpu(store: Path, tier: Any) -> None:
    settings: dict[str, Any] = {"batch_size": 5, "seed": 7, "sampler": Shuffled()}
    with (
        closing(Loader.open(Packed(store, tier=tier), "train", device="cuda", **settings)) as loader,
        closing(Loader.open(Packed(store), "train", device="cpu", **settings)) as mapped,
    ):
        for one, other in zip(loader.epoch(1), mapped.epoch(1), strict=True):
            torch.cuda._sleep(20_000_000)  # the step is behind: nothing may be used again before it has read it
            kept = one.store.index_select(0, one.row)
            moved = replace(one, store=kept)
            del one
            assert torch.equal(moved.store.cpu(), other.store[other.row])


@pytest.mark.gpu
def test_free_memory_of_a_gpu_is_plausible() -> None:
    assert 10**8 < free_on_gpu(GPU) < 10**13
