"""Threads and caches: numba's kernels leave the process as they found it."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path

import numba
import pytest
import torch

from kernels import numba_jit

ROOT = Path(__file__).resolve().parents[2]

RENDER = """
import torch, kernels
store = torch.zeros(2, 8, 8, 3, dtype=torch.uint8)
def render():
    where, colour = torch.eye(2, 3).repeat(1, 2, 1, 1), torch.eye(3, 4).repeat(1, 2, 1, 1)
    shows = kernels.identity_cells(1, 2, "cpu")[None]
    return kernels.render_views(store, torch.arange(2), where, colour, shows, size=8, mean=(0, 0, 0), std=(1, 1, 1))
"""


def assert_runs(script):
    """The script, which asserts, ends well in a process of its own; gives what it printed."""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("count", [1, 2, 3])
def test_torch_s_thread_count_is_used_and_both_counts_are_restored(count):
    before = torch.get_num_threads()
    numbas = numba.get_num_threads()
    try:
        torch.set_num_threads(count)
        with numba_jit.threads() as workers:
            assert workers == min(count, numba.config.NUMBA_NUM_THREADS)
            assert numba.get_num_threads() == workers
        assert torch.get_num_threads() == count
        assert numba.get_num_threads() == numbas
        with pytest.raises(KeyError), numba_jit.threads():
            raise KeyError
        assert numba.get_num_threads() == numbas
    finally:
        torch.set_num_threads(before)


@pytest.mark.slow
def test_the_import_is_light_and_the_first_parallel_call_leaves_torch_s_threads_alone():
    """numba's OpenMP layer sets the thread count of a shared OpenMP library to all cores when it starts."""
    script = f"""
import sys, torch
torch.set_num_threads(2)
import kernels
assert "numba" not in sys.modules, "imported before it was needed"
{RENDER}
render()
assert torch.get_num_threads() == 2, torch.get_num_threads()
import numba
if numba.config.NUMBA_NUM_THREADS > 1:
    assert numba.threading_layer() == "omp", numba.threading_layer()
torch.set_num_threads(1)
render()
assert torch.get_num_threads() == 1
"""
    assert_runs(script)


@pytest.mark.slow
def test_a_forked_process_with_one_thread_renders_after_its_parent_did_on_many():
    """As a data loader's worker does. GNU OpenMP itself does not survive the fork."""
    script = f"""
import os
{RENDER}
torch.set_num_threads(2)
expected = render()
child = os.fork()
if child == 0:
    torch.set_num_threads(1)
    os._exit(0 if torch.equal(render(), expected) else 3)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""
    assert_runs(script)


def test_a_chosen_threading_layer_stays(monkeypatch):
    monkeypatch.setattr(numba.config, "THREADING_LAYER", "workqueue")
    with numba_jit.threads():
        pass
    assert numba.config.THREADING_LAYER == "workqueue"


def test_without_a_writable_cache_it_compiles_in_memory_and_says_so(monkeypatch):
    def refuse(function):
        raise RuntimeError(f"cannot cache function '{function.__name__}': no locator available for file '<x>'")

    monkeypatch.setattr(numba_jit, "_FolderCache", refuse)

    def double(x):
        return 2 * x

    with pytest.warns(RuntimeWarning, match="kernels: double is compiled anew in every process.*set NUMBA_CACHE_DIR"):
        compiled = numba_jit.whole(double)
    assert compiled(4) == 8


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_on_a_file_system_without_locks_it_compiles_in_memory_and_says_so(tmp_path, monkeypatch, number):
    def refuse(file, how):
        raise OSError(number, os.strerror(number))

    def double(x):
        return 2 * x

    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.warns(RuntimeWarning, match="double is compiled anew .* without locks; set NUMBA_CACHE_DIR to a local"):
        compiled = numba_jit.whole(double)
    assert compiled(4) == 8
    assert not list(tmp_path.rglob("*.nbi"))


def test_a_cache_that_cannot_be_locked_for_another_reason_is_an_error(tmp_path, monkeypatch):
    def fail(file, how):
        raise OSError(errno.EIO, "broken disk")

    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(fcntl, "flock", fail)
    with pytest.raises(OSError, match="broken disk"):
        numba_jit.whole(lambda x: x)


def test_a_cache_that_another_process_holds_can_be_locked(tmp_path):
    one, other = (numba_jit._CacheFile(str(tmp_path), "held", "stamp") for _ in range(2))
    with one._alone():
        other.check_locks()


def test_a_save_that_fails_leaves_no_old_machine_code_to_be_found(tmp_path, monkeypatch):
    """Numba writes the index first: under a new stamp it would name the old one's file."""
    old, new = (numba_jit._CacheFile(str(tmp_path), "renewed", stamp) for stamp in ("old", "new"))
    for key in ("float32", "float64"):
        old.save(key, f"old code for {key}")

    def fail(name, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    for key in ("float32", "float64"):
        with monkeypatch.context() as patch:
            patch.setattr(new, "_save_data", fail)
            with pytest.raises(OSError, match="No space left"):
                new.save(key, f"new code for {key}")
        assert new.load(key) is None
    new.save("float32", "new code for float32")
    assert [new.load(key) for key in ("float32", "float64")] == ["new code for float32", None]
    assert old.load("float32") is None


def test_another_function_s_machine_code_stays(tmp_path):
    kept = numba_jit._CacheFile(str(tmp_path), "module.f-12.py311", "stamp")
    kept.save("float32", "code")
    for name in ("module.f-1.py311", "module.f-12.py31", "module.[f]-12.py311"):
        numba_jit._CacheFile(str(tmp_path), name, "stamp").save("float32", "other code")
    assert kept.load("float32") == "code"


def test_a_process_forked_while_the_cache_is_locked_does_not_keep_the_lock(tmp_path):
    script = f"""
import fcntl, os
from kernels import numba_jit
file = numba_jit._CacheFile({str(tmp_path)!r}, "forked", "stamp")
end, held = os.pipe()
with file._alone():
    child = os.fork()
    if child == 0:
        os.close(held)
        os.read(end, 1)  # lives until its parent has looked
        os._exit(0)
with open(file._index_path + ".lock") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
os.close(held)
os.waitpid(child, 0)
"""
    assert_runs(script)


def test_two_processes_that_save_at_once_both_find_their_machine_code(tmp_path, monkeypatch):
    one, other = (numba_jit._CacheFile(str(tmp_path), "together", "stamp") for _ in range(2))
    read = one._load_index

    def read_and_be_interrupted():
        found = read()
        if between.ident is None:
            between.start()
        between.join(0.5)  # it waits, as it must; it would be through by now
        return found

    between = threading.Thread(target=lambda: other.save("float64", "code for float64"))
    with monkeypatch.context() as patch:
        patch.setattr(one, "_load_index", read_and_be_interrupted)
        one.save("float32", "code for float32")
    between.join()
    for file in (one, other):
        assert [file.load(key) for key in ("float32", "float64")] == ["code for float32", "code for float64"]


WHOLE = """
from kernels.numba_jit import whole
from {folder}.piece import piece

@whole
def together(x):
    return piece(x) + 1
"""

PIECE = """
from kernels.numba_jit import part

@part
def piece(x):
    return {factor} * x
"""


def test_a_change_of_a_part_in_another_file_is_compiled_anew(tmp_path):
    """And no change is not: numba's own stamp looks at the file of the whole function alone."""
    folder = tmp_path / "parted"
    folder.mkdir()
    (folder / "together.py").write_text(WHOLE.format(folder="parted"))
    script = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
from parted.together import together
print(together(5), sum(together.stats.cache_hits.values()))
"""
    for factor, expected in ((10, "51 0"), (10, "51 1"), (20, "101 0"), (20, "101 1")):
        (folder / "piece.py").write_text(PIECE.format(factor=factor))
        assert assert_runs(script).strip() == expected


def test_a_change_anywhere_in_the_room_is_another_stamp(tmp_path, monkeypatch):
    """Folders share parts, such as Philox."""
    room, folder = tmp_path / "room", tmp_path / "room" / "op"
    folder.mkdir(parents=True)
    (folder / "kernel.py").touch()
    monkeypatch.setattr(numba_jit, "__file__", str(room / "numba_jit.py"))
    stamps = set()
    for file in ("op/kernel.py", "shared.py", "other/part.py"):
        (room / file).parent.mkdir(exist_ok=True)
        (room / file).write_text("changed")
        stamps |= {numba_jit._sources.__wrapped__(folder) for _ in range(2)}
    assert len(stamps) == 3
