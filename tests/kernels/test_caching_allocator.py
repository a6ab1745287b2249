"""Large CPU outputs reuse memory of dead tensors, and never that of live ones."""

from __future__ import annotations

import gc
import os
import sys
import threading

import pytest
import torch

from kernels import caching_allocator, hidden_l1, identity_cells, render_views
from kernels.caching_allocator import _SMALLEST, empty, empty_cache, empty_like

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere torch's own allocator is used")

ENOUGH = _SMALLEST // 4  # fp32 numbers


@pytest.fixture(autouse=True)
def nothing_kept():
    gc.collect()
    empty_cache()
    yield
    gc.collect()
    empty_cache()


def kept() -> int:
    return sum(map(len, caching_allocator._free))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_it_gives_a_contiguous_tensor_of_its_own(dtype):
    made = empty((3, ENOUGH, 2), dtype)
    assert made.shape == (3, ENOUGH, 2)
    assert made.dtype == dtype
    assert made.is_contiguous()
    assert made.untyped_storage().nbytes() == made.numel() * made.element_size()
    assert made.data_ptr() % 64 == 0


def test_memory_of_a_dead_tensor_is_used_again():
    first = empty((ENOUGH,), torch.float32)
    address = first.data_ptr()
    assert kept() == 0
    del first
    assert kept() == _SMALLEST
    assert empty((2, ENOUGH), torch.bfloat16).data_ptr() == address


def test_live_tensors_never_share_memory():
    made = [empty((ENOUGH + 1000 * k,), torch.float32).fill_(k) for k in range(4)]
    for k in (1, 3):
        made[k] = empty((ENOUGH,), torch.float32).fill_(10 + k)
    for k, value in enumerate((0, 11, 2, 13)):
        assert (made[k] == value).all()


@pytest.mark.parametrize(
    "hold",
    [
        lambda whole: whole[-1:],
        lambda whole: whole.view(torch.int32),
        lambda whole: whole.numpy(),
        lambda whole: whole.untyped_storage(),
        torch.from_dlpack,
        lambda whole: (whole * torch.ones((), requires_grad=True)).grad_fn,
    ],
    ids=["slice", "view", "numpy", "storage", "dlpack", "saved for backward"],
)
def test_whatever_reaches_the_memory_keeps_it(hold):
    held = hold(empty((ENOUGH,), torch.float32))
    assert kept() == 0
    del held
    assert kept() == _SMALLEST


def test_a_block_serves_what_fills_half_of_it():
    del [empty((4 * ENOUGH,), torch.float32)][:]
    large = kept()
    assert large == 4 * _SMALLEST
    too_small = empty((ENOUGH,), torch.float32)
    assert kept() == large
    fits = empty((2 * ENOUGH,), torch.float32)
    assert kept() == 0
    del too_small, fits


def test_small_outputs_are_torch_s_own():
    small = empty((ENOUGH - 1,), torch.float32)
    assert small.shape == (ENOUGH - 1,)
    del small
    assert kept() == 0


def test_what_was_freed_longest_ago_goes_first(monkeypatch):
    monkeypatch.setattr(caching_allocator, "_MOST_KEPT", 3 * _SMALLEST)
    made = [empty((k * ENOUGH,), torch.float32) for k in (1, 2, 1)]
    addresses = [tensor.data_ptr() for tensor in made]
    del made[0], made[0], made[0]
    assert kept() == 3 * _SMALLEST
    assert empty((ENOUGH,), torch.float32).data_ptr() == addresses[2]


def test_it_can_be_emptied():
    del [empty((ENOUGH,), torch.float32)][:]
    empty_cache()
    assert kept() == 0


def test_empty_like_keeps_the_order_of_axes():
    pictures = torch.empty(8, 3, 700, 700).to(memory_format=torch.channels_last)
    made = empty_like(pictures)
    assert made.shape == pictures.shape
    assert made.stride() == pictures.stride()
    assert made.numel() * 4 > _SMALLEST
    transposed = empty_like(pictures.transpose(2, 3))
    assert transposed.stride() == torch.empty_like(pictures.transpose(2, 3)).stride()


def test_threads_free_and_take_at_once():
    failures = []

    def work(number: int) -> None:
        for turn in range(30):
            made = empty((ENOUGH,), torch.float32)
            made[::4096] = number * 1000 + turn
            if not (made[::4096] == number * 1000 + turn).all():
                failures.append((number, turn))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert (
        len({id(block) for block in caching_allocator._free}) == len(caching_allocator._free) <= 8
    )  # two a thread: the old one goes last


def test_a_forked_process_writes_into_memory_of_its_own():
    del [empty((ENOUGH,), torch.float32).fill_(1)][:]
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)  # GNU OpenMP does not survive the fork
        empty((ENOUGH,), torch.float32).fill_(2)
        os._exit(0)
    mine = empty((ENOUGH,), torch.float32).fill_(3)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert (mine == 3).all()


def test_large_views_and_gradients_are_written_whole_into_memory_that_was_used_before():
    """What an earlier output left is NaN; each sample alone is small and is not made there."""
    store = torch.randint(0, 256, (2, 20, 20, 1), dtype=torch.uint8)
    size, batch = 1200, 2
    numbers = {"size": size, "mean": (0.5,) * 3, "std": (0.2,) * 3, "dtype": torch.float32}

    def tables(count):
        shows = identity_cells(2, count, "cpu")[None].clone()
        shows[..., 3] = -1
        return torch.eye(2, 3).repeat(1, count, 1, 1), torch.eye(3, 4).repeat(1, count, 1, 1), shows

    def poison():
        del [empty((batch, size, size, 3), torch.float32).fill_(float("nan"))][:]
        assert kept() > batch * size * size * 3 * 4

    poison()
    both = render_views(store, torch.arange(batch), *tables(batch), **numbers)[0]
    assert kept() == 0
    for sample in range(batch):
        alone = render_views(store, torch.tensor([sample]), *tables(1), **numbers)[0, 0]
        assert torch.equal(alone, both[sample])
    poison()
    guess = both.clone(memory_format=torch.preserve_format).requires_grad_()
    hidden_l1(guess, both * 2, tables(batch)[2][0]).backward()
    assert guess.grad.isfinite().all()
    assert guess.grad.stride() == guess.stride()
