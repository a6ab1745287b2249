"""The contract of `loaders.base`, held against every source."""

from __future__ import annotations

import ctypes
import gc
import itertools
import os
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from loaders import DALI, FFCV, Batch, ClassBalanced, Folder, Fraction, Loader, Packed, Shuffled, Source, Synthetic
from loaders.decoding.pictures import Form
from loaders.feed.samplers import SquareRootBalanced
from loaders.importers import ClassFolders, Fer2013
from loaders.prepare import prepare
from loaders.sources.folder import _checked
from tests.loaders.data_sets import CLASSES, COUNTS, fer_rows, fer_text, picture

FILES = ("mapped", "resident", "folder", "ffcv", "dali")
ALL = (*FILES, "synthetic")
DRAWN = Synthetic(train=23, val=7, test=3, size=16)


@pytest.fixture
def source(request: pytest.FixtureRequest) -> Source:
    return named(request.param, request)


def named(name: str, request: pytest.FixtureRequest) -> Source:
    """A source of the faces of `folders`; skips where its package is not installed."""
    if name == "dali":
        request.getfixturevalue("dali")
    where = request.getfixturevalue({"mapped": "store", "resident": "store", "ffcv": "ffcv_store"}.get(name, "folders"))
    sources: dict[str, Source] = {
        "mapped": Packed(where, tier="mapped"),
        "resident": Packed(where, tier="resident"),
        "folder": Folder(where, workers=0),
        "ffcv": FFCV(where),
        "dali": DALI(where),
        "synthetic": DRAWN,
    }
    return sources[name]


@pytest.fixture
def opened(source: Source) -> Iterator[Callable[..., Loader]]:
    loaders: list[Loader] = []

    def start(split: str = "train", **changed: Any) -> Loader:
        settings: dict[str, Any] = {"batch_size": 4, "seed": 3, "device": "cpu"} | changed
        loaders.append(Loader.open(source, split, **settings))
        return loaders[-1]

    yield start
    for loader in loaders:
        loader.close()


def samples(batches: Iterator[Batch]) -> list[list[int]]:
    return [batch.sample.tolist() for batch in batches]


def same(one: Batch, other: Batch) -> bool:
    faces = torch.equal(one.store[one.row], other.store[other.row])
    keys = all(torch.equal(getattr(one, key), getattr(other, key)) for key in ("sample", "occurrence", "mean"))
    targets = all(torch.equal(one.target[k].nan_to_num(-9), other.target[k].nan_to_num(-9)) for k in one.target)
    return faces and keys and targets and one.target.keys() == other.target.keys()


every_source = pytest.mark.parametrize("source", ALL, indirect=True)
every_file_source = pytest.mark.parametrize("source", FILES, indirect=True)


@every_source
def test_a_batch_has_the_types_and_shapes_of_the_border(opened: Callable[..., Loader]) -> None:
    loader = opened(sampler=Shuffled())
    batch = next(loader.epoch(0))
    h, w, c = loader.split.shape
    assert batch.store.dtype == torch.uint8
    assert batch.store.shape[1:] == (h, w, c)
    assert batch.row.dtype == batch.sample.dtype == torch.int64
    assert batch.occurrence.dtype == torch.int32
    assert batch.row.shape == batch.sample.shape == batch.occurrence.shape == (4,)
    assert int(batch.row.max()) < len(batch.store)
    assert batch.mean.dtype == torch.float32
    assert batch.mean.shape == (4, 3)
    assert batch.target.keys() == loader.split.labels.keys() == loader.split.target.keys()
    assert all(len(target) == 4 for target in batch.target.values())


@every_source
def test_the_mean_colour_is_that_of_the_face(opened: Callable[..., Loader]) -> None:
    for batch in opened("val").epoch(0):
        faces = batch.store[batch.row].double().expand(-1, -1, -1, 3)
        real = batch.sample >= 0
        torch.testing.assert_close(batch.mean[real].double(), faces.mean((1, 2))[real], rtol=1e-6, atol=0)


@every_file_source
def test_labels_belong_to_their_pictures(opened: Callable[..., Loader]) -> None:
    for split, counts in COUNTS.items():
        seen = set()
        loader = opened(split)
        for batch in loader.epoch(0):
            for face, sample, label in zip(
                batch.store[batch.row], batch.sample, batch.target["expression"], strict=True
            ):
                if sample >= 0:
                    kind, place, mark = face[0, 0].tolist()
                    assert kind == int(label)
                    assert mark == 77
                    np.testing.assert_array_equal(face.numpy(), picture(kind, place))
                    seen.add((kind, place))
        assert seen == {(kind, place) for kind, count in enumerate(counts) for place in range(count)}


@pytest.mark.parametrize("other", [name for name in FILES if name != "folder"])
@pytest.mark.parametrize("sampler", [None, Shuffled(), ClassBalanced("expression"), Fraction(0.5, "expression")])
def test_all_sources_give_the_same_batches(request: pytest.FixtureRequest, other: str, sampler: Any) -> None:
    sources = (named("folder", request), named(other, request))
    loaders = [Loader.open(s, "train", batch_size=5, seed=1, device="cpu", sampler=sampler) for s in sources]
    for epoch in (0, 3):
        compared = 0
        for batches in zip(*(loader.epoch(epoch) for loader in loaders), strict=True):
            assert all(same(batches[0], other) for other in batches[1:])
            compared += 1
        assert compared == len(loaders[0])
    for loader in loaders:
        loader.close()


@pytest.mark.parametrize(
    "form", [{"size": 8}, {"size": 16, "fit": "stretch"}, {"size": 12, "fit": "pad"}, {"size": 7, "colour": "gray"}]
)
def test_folder_equals_the_store_prepared_with_the_same_settings(tmp_path: Path, form: dict[str, Any]) -> None:
    for name, shape in {"a/wide": (9, 14), "a/tall": (15, 8), "b/square": (10, 10)}.items():
        file = tmp_path / "in" / f"{name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(1, 2, *shape)).save(file)
    (tmp_path / "in" / "a" / "broken.png").write_bytes(b"no picture")
    prepare(ClassFolders(tmp_path / "in"), tmp_path / "out", Form(**form))
    sources = (Packed(tmp_path / "out"), Folder(tmp_path / "in", workers=0, **form))
    opened = [Loader.open(source, "train", batch_size=2, seed=0, device="cpu") for source in sources]
    assert opened[0].split.shape == opened[1].split.shape
    for one, other in zip(opened[0].epoch(0), opened[1].epoch(0), strict=True):
        assert same(one, other)
    for loader in opened:
        loader.close()


@every_source
def test_training_shows_each_sample_at_most_once_in_full_batches(opened: Callable[..., Loader]) -> None:
    loader = opened(sampler=Shuffled())
    left = []
    for epoch in range(4):
        batches = samples(loader.epoch(epoch))
        assert [len(batch) for batch in batches] == [4] * len(loader)
        shown = [sample for batch in batches for sample in batch]
        assert len(set(shown)) == len(shown) == 20
        left.append(frozenset(loader.split.sample.tolist()) - set(shown))
    assert {len(rest) for rest in left} == {23 - 20}
    assert len(set(left)) > 1


@every_source
@pytest.mark.parametrize("world", [1, 2, 3])
def test_ranks_lose_and_double_no_sample(opened: Callable[..., Loader], world: int) -> None:
    ranks = [opened(batch_size=3, rank=rank, world=world, sampler=Shuffled()) for rank in range(world)]
    assert {len(loader) for loader in ranks} == {23 // (3 * world)}
    dealt = [batch for step in zip(*(samples(loader.epoch(2)) for loader in ranks), strict=True) for batch in step]
    assert dealt == samples(opened(batch_size=3, sampler=Shuffled()).epoch(2))[: len(dealt)]


@every_source
@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("batch_size", [1, 3, 4, 100])
def test_evaluation_shows_each_sample_once_over_all_ranks(
    opened: Callable[..., Loader], world: int, batch_size: int
) -> None:
    ranks = [opened("val", batch_size=batch_size, rank=rank, world=world) for rank in range(world)]
    assert len({len(loader) for loader in ranks}) == 1
    shown: list[int] = []
    for step in zip(*(loader.epoch(0) for loader in ranks), strict=True):
        for batch in step:
            assert batch.sample.shape == (batch_size,)
            assert bool(((batch.row >= 0) & (batch.row < len(batch.store))).all())
            shown += batch.sample.tolist()
    split = ranks[0].split.sample.tolist()
    assert shown == split + [-1] * (len(shown) - len(split))


@every_source
def test_padding_has_missing_targets(opened: Callable[..., Loader]) -> None:
    loader = opened("val", batch_size=100)
    (batch,) = loader.epoch(0)
    for name, target in batch.target.items():
        whole = loader.split.target[name]
        assert torch.equal(target[:7].nan_to_num(-9), whole.nan_to_num(-9))
        assert bool((target[7:].isnan() if target.is_floating_point() else target[7:] == -1).all())


@every_source
@pytest.mark.parametrize("sampler", [None, Shuffled(), SquareRootBalanced("expression")])
def test_an_epoch_started_inside_is_the_tail_of_the_whole(opened: Callable[..., Loader], sampler: Any) -> None:
    loader = opened(sampler=sampler)
    whole = list(loader.epoch(5))
    for start in range(len(loader) + 1):
        tail = list(loader.epoch(5, start=start))
        assert len(tail) == len(whole) - start
        assert all(same(one, other) for one, other in zip(tail, whole[start:], strict=True))


@pytest.mark.parametrize("source", ALL, indirect=True)
def test_some_samples_come_in_the_order_asked_for_on_any_rank(opened: Callable[..., Loader]) -> None:
    whole = opened(batch_size=7)
    faces = {s: (b.store[r], b.target["expression"][i]) for b in whole.epoch(0) for i, (s, r) in enumerate(pairs(b))}
    wanted = [sample for sample in faces if sample >= 0][6:1:-1]
    loader = opened(rank=1, world=2)
    batches = list(loader.some(torch.tensor(wanted)))
    assert samples(iter(batches)) == [wanted[:4], [*wanted[4:], -1, -1, -1]]
    for batch in batches:
        for i, (sample, row) in enumerate(pairs(batch)):
            if sample >= 0:
                assert torch.equal(batch.store[row], faces[sample][0])
                assert batch.target["expression"][i] == faces[sample][1]
    with pytest.raises(ValueError, match=r"loader: samples \(=-7, \.\.\.\) must be of the split 'train'; take"):
        loader.some(torch.tensor([wanted[0], -7]))


def pairs(batch: Batch) -> list[tuple[int, int]]:
    """Sample ids and rows of the store of a batch."""
    return list(zip(batch.sample.tolist(), batch.row.tolist(), strict=True))


@every_source
def test_a_start_outside_the_epoch_is_refused(opened: Callable[..., Loader]) -> None:
    loader = opened(sampler=Shuffled())
    for start in (-1, len(loader) + 1):
        with pytest.raises(ValueError, match=rf"loader: start \(={start}\) must be 0 to 5, the batches of an epoch"):
            loader.epoch(0, start=start)


@every_source
def test_the_order_depends_on_seed_and_epoch_only(opened: Callable[..., Loader]) -> None:
    loader = opened(sampler=Shuffled())
    first = samples(loader.epoch(1))
    torch.manual_seed(99)
    assert samples(opened(sampler=Shuffled()).epoch(1)) == first == samples(loader.epoch(1))
    assert samples(loader.epoch(2)) != first
    assert samples(opened(sampler=Shuffled(), seed=4).epoch(1)) != first


@every_source
def test_bad_arguments_are_refused(opened: Callable[..., Loader]) -> None:
    with pytest.raises(ValueError, match=r"split \(='dev'\) must be one of train, val, test"):
        opened("dev")
    with pytest.raises(ValueError, match=r"batch_size \(=0\) must be at least 1"):
        opened(batch_size=0)
    with pytest.raises(ValueError, match=r"rank \(=2\) must be 0 to world - 1 \(world is 2\)"):
        opened(rank=2, world=2)
    with pytest.raises(
        ValueError,
        match=r"batch_size \(=12\) x world \(=2\) must not be more than the 23 samples of an epoch of 'train'",
    ):
        opened(batch_size=12, world=2, sampler=Shuffled())


@every_source
def test_a_closed_loader_says_so(opened: Callable[..., Loader]) -> None:
    loader = opened()
    running = loader.epoch(0)
    next(running)
    loader.close()
    loader.close()
    with pytest.raises(ValueError, match=r"split \(='train'\) must not be read after close\(\); open it again"):
        next(running)
    with pytest.raises(ValueError, match=r"must not be read after close\(\)"):
        loader.epoch(0)


def children() -> set[int]:
    """Processes that this one has started, ended or not, whoever started them."""
    found = set()
    for task in Path("/proc/self/task").iterdir():
        with suppress(OSError):  # a thread may end meanwhile
            found |= {int(child) for child in (task / "children").read_text().split()}
    return found


def use_and_leave(source: Source, **changed: Any) -> None:
    """Whole epochs, epochs that are left early, and one that still runs when the loader is closed."""
    settings: dict[str, Any] = {"batch_size": 2, "seed": 0, "device": "cpu"} | changed
    with closing(Loader.open(source, "train", **settings)) as loader:
        abandoned = loader.epoch(0)
        next(abandoned)
        for _ in loader.epoch(1):
            break
        list(loader.epoch(2))
    del abandoned
    gc.collect()


@every_source
def test_no_thread_process_or_file_is_left_behind(source: Source) -> None:
    check_nothing_is_left(source)


def check_nothing_is_left(source: Source, **changed: Any) -> None:
    use_and_leave(source, **changed)  # libraries start their own pools once
    before = what_runs()
    use_and_leave(source, **changed)
    # The system takes a thread or a process off its list a little after it has ended, and torch's DataLoader does not
    # wait for the threads of its queues.
    deadline = time.monotonic() + 60
    while (left := what_runs() - before) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not left


def what_runs() -> Counter[object]:
    """Threads and children of this process, one each, and how many threads the system knows and files are open."""
    counts = {of: sum(1 for _ in Path(f"/proc/self/{of}").iterdir()) for of in ("task", "fd")}
    return Counter([*threading.enumerate(), *children()]) + Counter(counts)


@every_file_source
def test_a_closed_split_maps_and_holds_no_file(source: Source) -> None:
    loader = Loader.open(source, "train", batch_size=2, seed=0, device="cpu")
    batches = loader.epoch(0)
    next(batches)
    loader.close()
    del batches
    gc.collect()
    where = str(source.source if isinstance(source, Folder | DALI) else source.path)  # type: ignore[attr-defined]
    assert where not in Path("/proc/self/maps").read_text()
    held = [str(fd.readlink()) for fd in Path("/proc/self/fd").iterdir() if fd.is_symlink()]
    assert not [file for file in held if file.startswith(where)]


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def resident_after_epochs(source: Source, kept: list[Batch] | None = None) -> list[int]:
    """Memory in use after each of 40 epochs, of which `kept` takes every batch."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what earlier tests have freed would else hold what is kept, and show no growth
    with closing(Loader.open(source, "train", batch_size=4, seed=0, device="cpu", sampler=Shuffled())) as loader:
        sizes = []
        for epoch in range(40):
            for batch in loader.epoch(epoch):
                if kept is not None:
                    kept.append(batch)
                del batch
            sizes.append(resident_bytes())
    return sizes


@every_source
def test_memory_is_flat_over_epochs(source: Source) -> None:
    # What every epoch leaves behind beside its faces, which are too small here to show, is in every step; an allocator
    # that takes some more, in one.
    grown = statistics.median(after - before for before, after in itertools.pairwise(resident_after_epochs(source)))
    assert grown < 8 << 10, f"{grown} bytes an epoch"


SIDE = 128
SHOWN = 39 * 20 * SIDE * SIDE * 3
"""Bytes of all faces that the epochs after the first deliver: what is kept of them is far more than allocators take."""


@pytest.fixture(scope="module")
def large(request: pytest.FixtureRequest, folders: Path, tmp_path_factory: pytest.TempPathFactory) -> Source:
    """A source that delivers its own memory with each batch, of faces that are large enough to show in a process."""
    name, out = request.param, tmp_path_factory.mktemp("large") / "faces"
    if name in ("ffcv", "dali"):
        request.getfixturevalue({"ffcv": "interpreted_ffcv"}.get(name, name))
    if name in ("mapped", "ffcv"):
        prepare(ClassFolders(folders), out, Form(size=SIDE), format="packed" if name == "mapped" else "ffcv")
    sources: dict[str, Source] = {
        "mapped": Packed(out, tier="mapped"),
        "folder": Folder(folders, size=SIDE, workers=0),
        "ffcv": FFCV(out),
        "dali": DALI(folders, size=SIDE),
    }
    return sources[name]


@pytest.mark.parametrize("large", ["mapped", "folder", "ffcv", "dali"], indirect=True)
def test_no_batch_is_kept_over_epochs(large: Source) -> None:
    sizes = resident_after_epochs(large)
    assert sizes[-1] - sizes[0] < SHOWN / 4


@pytest.mark.parametrize("large", ["mapped", "folder", "ffcv", "dali"], indirect=True)
def test_batches_that_are_kept_would_show(large: Source) -> None:
    kept: list[Batch] = []
    grown: list[int] = []
    # What earlier tests have freed and the process still holds is taken first: then all that is kept must show.
    while not grown or (grown[-1] <= SHOWN / 4 and len(grown) < 10):
        sizes = resident_after_epochs(large, kept)
        grown.append(sizes[-1] - sizes[0])
    assert len(kept) == len(grown) * 40 * 5
    assert grown[-1] > SHOWN / 4, grown


def test_resident_batches_share_one_store_and_mapped_ones_carry_their_own(store: Path) -> None:
    with closing(Loader.open(Packed(store, tier="resident"), "train", batch_size=4, seed=0, device="cpu")) as loader:
        stores = {batch.store.data_ptr() for batch in loader.epoch(0)}
        assert len(stores) == 1
        assert len(next(loader.epoch(0)).store) == 23
    # On a CPU the default is to map.
    with closing(Loader.open(Packed(store), "train", batch_size=4, seed=0, device="cpu")) as loader:
        assert len(next(loader.epoch(0)).store) == 4


@pytest.mark.parametrize("workers", [0, 2])
def test_a_picture_that_breaks_during_an_epoch_is_an_error(tmp_path: Path, workers: int) -> None:
    for place in range(6):
        (tmp_path / "a").mkdir(exist_ok=True)
        Image.fromarray(picture(0, place)).save(tmp_path / "a" / f"{place}.png")
    with closing(Loader.open(Folder(tmp_path, workers=workers), "train", batch_size=2, seed=0, device="cpu")) as loader:
        (tmp_path / "a" / "4.png").write_bytes((tmp_path / "a" / "4.png").read_bytes()[:100])
        batches = loader.epoch(0)
        assert [next(batches).sample.tolist() for _ in range(2)] == [[0, 1], [2, 3]]
        with pytest.raises(ValueError, match=r"folder: a/4.png must stay readable while it is used; unreadable"):
            next(batches)
        Image.fromarray(picture(0, 0, 5, 5)).save(tmp_path / "a" / "0.png")
        with pytest.raises(ValueError, match=r"folder: a/0.png must stay as it was when it was opened; it changed"):
            next(loader.epoch(0))


@pytest.fixture(scope="module")
def in_processes(folders: Path) -> Folder:
    return Folder(folders, workers=2)


@pytest.mark.parametrize("sampler", [None, ClassBalanced("expression")])
def test_worker_processes_give_what_a_thread_gives(in_processes: Folder, sampler: Any) -> None:
    settings: dict[str, Any] = {"batch_size": 3, "seed": 2, "device": "cpu", "sampler": sampler}
    state = torch.get_rng_state()
    with (
        closing(Loader.open(in_processes, "val" if sampler is None else "train", **settings)) as one,
        closing(
            Loader.open(replace(in_processes, workers=0), "val" if sampler is None else "train", **settings)
        ) as other,
    ):
        pairs = list(zip(one.epoch(4, start=1), other.epoch(4, start=1), strict=True))
    assert len(pairs) == len(one) - 1 > 0
    assert all(same(a, b) for a, b in pairs)
    assert torch.equal(torch.get_rng_state(), state)


def test_worker_processes_end_with_the_loader(in_processes: Folder) -> None:
    check_nothing_is_left(in_processes, batch_size=6)


def test_a_killed_worker_is_an_error(in_processes: Folder) -> None:
    before = children()
    with closing(Loader.open(in_processes, "train", batch_size=1, seed=0, device="cpu")) as loader:
        batches = loader.epoch(0)
        next(batches)
        started = children() - before
        assert len(started) == 2
        # Torch's own handler of the signal raises in the main thread, wherever that is; ours where it comes too late.
        with pytest.raises(RuntimeError, match=r"DataLoader worker \(pid"):  # noqa: PT012 - maybe after the first kill
            for worker in started:
                os.kill(worker, signal.SIGKILL)
            list(batches)
    assert children() <= before


READS = """
import os, sys
from pathlib import Path
from loaders import Folder, Loader
if __name__ == "__main__":
    loader = Loader.open(Folder(Path(sys.argv[1]), workers=2), "train", batch_size=1, seed=0, device="cpu")
    batches = loader.epoch(0)
    next(batches)
    print("reads", flush=True)
    os.read(0, 1)
"""


def test_a_killed_training_leaves_no_worker_and_none_of_them_prints_a_traceback(folders: Path, tmp_path: Path) -> None:
    script = tmp_path / "reads.py"
    script.write_text(READS)
    pipe = subprocess.PIPE
    words = [sys.executable, str(script), str(folders)]
    known = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe, env=known) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"reads\n"
        process.kill()
        # Both ends are closed when the last process that has them is gone: each worker had them too.
        assert process.stdout.read() == b""
        assert b"Traceback" not in process.stderr.read()


def test_a_worker_that_torch_finds_missing_is_an_error_of_ours() -> None:
    ended: list[bool] = []

    class Batches:
        def __iter__(self) -> Iterator[torch.Tensor]:
            raise RuntimeError("DataLoader worker (pid(s) 7) exited unexpectedly")

        def _shutdown_workers(self) -> None:
            ended.append(True)

    with pytest.raises(
        RuntimeError,
        match=r"folder: workers must live until the epoch ends; one was killed or crashed \(.*exited unexpectedly\), "
        r"free memory, take fewer workers or prepare the pictures and use Packed",
    ):
        list(_checked(Batches()))  # type: ignore[arg-type]
    assert ended == [True]


def test_a_number_of_workers_below_0_is_refused(folders: Path) -> None:
    with pytest.raises(ValueError, match=r"Folder: workers \(=-1\) must be 0 or more; leave it out for one a core"):
        Folder(folders, workers=-1).open("train", "cpu")


def test_a_store_that_is_cut_during_an_epoch_is_an_error(tmp_path: Path, store: Path) -> None:
    shutil.copytree(store, tmp_path / "faces")
    images = tmp_path / "faces" / "images.npy"
    with closing(Loader.open(Packed(tmp_path / "faces"), "train", batch_size=2, seed=0, device="cpu")) as loader:
        batches = loader.epoch(0)
        next(batches)
        os.truncate(images, images.stat().st_size // 2)
        with pytest.raises(
            ValueError, match=r"store .*faces: images.npy must stay as it was when it was opened; it changed, open it"
        ):
            list(batches)


def test_folder_refuses_sources_without_picture_files(tmp_path: Path) -> None:
    (tmp_path / "fer2013.csv").write_text(fer_text(fer_rows()[:3]))
    with pytest.raises(ValueError, match=r"must hold picture files; fer2013.csv#1 is none, prepare it"):
        Folder(Fer2013(tmp_path)).open("train", "cpu")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"must hold a readable picture; none of those listed can be read"):
        Folder(tmp_path).open("train", "cpu")


def test_classes_keep_their_names(store: Path) -> None:
    with closing(Loader.open(Packed(store), "val", batch_size=1, seed=0, device="cpu")) as loader:
        assert loader.split.labels["expression"].names == CLASSES  # type: ignore[union-attr]


@pytest.mark.gpu
@pytest.mark.parametrize("source", ALL, indirect=True)
def test_batches_arrive_on_the_gpu_equal_to_those_on_the_cpu(opened: Callable[..., Loader]) -> None:
    pairs = zip(opened(sampler=Shuffled(), device="cuda").epoch(1), opened(sampler=Shuffled()).epoch(1), strict=True)
    for on_gpu, on_cpu in pairs:
        assert on_gpu.store.is_cuda
        back = Batch(
            on_gpu.store.cpu(), on_gpu.row.cpu(), on_gpu.sample.cpu(), on_gpu.occurrence.cpu(), on_gpu.mean.cpu(),
            {name: target.cpu() for name, target in on_gpu.target.items()},
        )  # fmt: skip
        assert same(back, on_cpu)
