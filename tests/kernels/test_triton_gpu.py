"""What only a GPU shows of the Triton kernels: dispatch, compiled and captured steps, launches, memory, no waiting.

The tests of `test_triton_views`, `_tables`, `_hidden` and `_arithmetic` run on the GPU too, where there is one.
"""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import torch

import kernels
from kernels.hidden import triton_kernel as hidden_kernel
from kernels.tables import triton_kernel as tables_kernel
from kernels.views import reference, triton_kernel

pytestmark = pytest.mark.gpu

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BATCH, SIDE = 32, 64


@pytest.fixture
def split():
    """A resident split: store, row, sample, mean."""
    generator = torch.Generator().manual_seed(0)
    store = torch.randint(0, 256, (100, SIDE, SIDE, 3), dtype=torch.uint8, generator=generator).cuda()
    row = torch.randint(0, 100, (BATCH,), generator=generator).cuda()
    return store, row, row * 7 - 1, store[row].float().mean(dim=(1, 2))


def draw_and_render(store, row, sample, mean, epoch=0, size=48, augment=None, dtype=torch.float32):
    """The plain, the puzzled and the holed view of a training batch, from nothing but sample ids."""
    key = kernels.Key(2**64 - 3, epoch, sample)
    augment = kernels.strong() if augment is None else augment
    tables = kernels.draw(augment, key, mean=mean, store=tuple(store.shape[1:3]), size=size)
    plain = kernels.identity_cells(4, sample.shape[0], sample.device)
    puzzle = kernels.draw_permutation(4, key.stream("puzzle"))
    holes = kernels.draw_holes(4, key.stream("holes"))

    def shared(table):
        return table.expand(3, *table.shape)

    views = kernels.render_views(
        store,
        row,
        shared(tables.where),
        shared(tables.colour),
        torch.stack([plain, puzzle, holes]),
        size=size,
        mean=MEAN,
        std=STD,
        dtype=dtype,
        blur=shared(tables.blur) if augment.blurs else None,
        noise=shared(tables.noise) if augment.adds_noise else None,
        key=shared(tables.key) if augment.adds_noise else None,
        cut=shared(tables.cut) if augment.cuts else None,
    )
    return views, holes


def step(decoder, store, row, sample, mean, epoch=0):
    views, holes = draw_and_render(store, row, sample, mean, epoch)
    return kernels.hidden_l1(decoder(views[2]), views[0], holes)


@pytest.fixture
def no_tf32(monkeypatch):
    """Convolutions and products keep fp32's 24 bits; TF32 has 11, and eager and compiled steps may choose apart."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)


@contextmanager
def waiting_is_an_error():
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def launches(work) -> list[str]:
    """Names of the kernels and copies that run on the device."""
    work()
    torch.cuda.synchronize()
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        work()
        torch.cuda.synchronize()
    return [event.name for event in profile.events() if event.device_type == torch.autograd.DeviceType.CUDA]


def test_the_public_functions_run_the_triton_kernels(split):
    names = launches(lambda: draw_and_render(*split))
    for name in ("_draw", "_permutation", "_holes", "_render"):
        assert names.count(name) == 1, names


def test_views_on_the_gpu_equal_the_reference_there_and_views_on_the_cpu(split):
    views, _ = draw_and_render(*split)
    on_cpu, _ = draw_and_render(*(tensor.cpu() for tensor in split))
    gray_level = 1 / 255 / torch.tensor(STD)[:, None, None]
    assert ((views.cpu() - on_cpu).abs() <= 0.02 * gray_level).all()
    store, row, sample, mean = split
    tables = kernels.draw(kernels.weak(), kernels.Key(0, 0, sample), mean=mean, store=(SIDE, SIDE), size=SIDE)
    shows = kernels.draw_permutation(3, kernels.Key(0, 0, sample))[None]
    arguments = (store, row, tables.where[None], tables.colour[None], shows)
    settings = {"size": SIDE, "mean": MEAN, "std": STD, "dtype": torch.float32}
    rule = reference.render_views(*arguments, **settings)
    assert ((kernels.render_views(*arguments, **settings) - rule).abs() <= 0.02 * gray_level.cuda()).all()


def test_drawing_and_rendering_a_batch_is_a_handful_of_launches(split):
    # Two for the identity's cells, one that stacks the three views' cells; then draw, permutation, holes and render.
    names = launches(lambda: draw_and_render(*split))
    assert len(names) <= 7, names


def test_hidden_l1_takes_two_launches_forward_and_two_backward():
    guess = torch.randn(8, 3, 48, 48, device="cuda").contiguous(memory_format=torch.channels_last).requires_grad_()
    truth = torch.randn(8, 3, 48, 48, device="cuda")
    shows = kernels.draw_holes(14, kernels.Key(0, 0, torch.arange(8, device="cuda")))
    names = launches(lambda: torch.autograd.grad(kernels.hidden_l1(guess, truth, shows), guess))
    ours = [name for name in names if name in ("_sums", "_mean", "_count", "_gradient")]
    assert sorted(ours) == ["_count", "_gradient", "_mean", "_sums"]
    assert len(names) <= 5, names  # autograd fills the loss's own gradient with one


def test_nothing_waits_for_the_device(split):
    decoder = torch.nn.Conv2d(3, 3, 3, padding=1).cuda()
    step(decoder, *split).backward()
    with waiting_is_an_error():
        step(decoder, *split).backward()


def test_rendering_allocates_its_output_only(split):
    store, row, sample, mean = split
    tables = kernels.draw(kernels.strong(), kernels.Key(0, 0, sample), mean=mean, store=(SIDE, SIDE), size=SIDE)
    shows = kernels.draw_permutation(3, kernels.Key(0, 0, sample))[None].expand(4, BATCH, 9)

    def shared(table):
        return table.expand(4, *table.shape)

    settings = {"blur": shared(tables.blur), "noise": shared(tables.noise), "key": shared(tables.key)}
    settings |= {"cut": shared(tables.cut), "size": SIDE, "mean": MEAN, "std": STD, "dtype": torch.bfloat16}
    arguments = (store, row, shared(tables.where), shared(tables.colour), shows)
    out = kernels.render_views(*arguments, **settings)
    size = out.untyped_storage().nbytes()
    del out
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    kernels.render_views(*arguments, **settings)
    assert torch.cuda.max_memory_allocated() - before <= size + 512  # the allocator's rounding


def test_a_compiled_step_equals_the_eager_one(split, no_tf32):
    decoder = torch.nn.Conv2d(3, 3, 3, padding=1).cuda()
    compiled = torch.compile(step, fullgraph=True)
    for epoch in (0, 1, 2):
        losses = [run(decoder, *split, epoch) for run in (step, compiled)]
        gradients = [torch.autograd.grad(loss, decoder.weight)[0] for loss in losses]
        assert gradients[0].count_nonzero() == gradients[0].numel()
        assert torch.allclose(*losses)
        assert torch.allclose(*gradients, atol=1e-5)
    views = torch.compile(draw_and_render, fullgraph=True)(*split)[0]
    assert torch.equal(views, draw_and_render(*split)[0])


def test_a_captured_step_replays_with_new_samples(split):
    store, row, sample, mean = split
    draw_and_render(*split)  # compiles
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        draw_and_render(*split)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        views, _ = draw_and_render(*split)
    for shift in (0, 3):
        row.copy_((row + shift) % store.shape[0])
        sample.copy_(row * 7 - 1)
        mean.copy_(store[row].float().mean(dim=(1, 2)))
        graph.replay()
        assert torch.equal(views, draw_and_render(*split)[0])


def test_many_sizes_and_epochs_are_compiled_once(split):
    device = torch.cuda.current_device()
    counted = (triton_kernel._render, tables_kernel._draw, tables_kernel._permutation, tables_kernel._holes)

    def variants():
        return [len(kernel.device_caches[device][0]) for kernel in counted]

    draw_and_render(*split, epoch=0, size=48)
    before = variants()
    for epoch, size in ((1, 16), (2, 64), (16, 113), (2**31, 224)):
        draw_and_render(*split, epoch=epoch, size=size)
    assert variants() == before


def test_draws_on_the_gpu_equal_those_on_the_cpu_bit_for_bit_in_integers():
    sample = torch.arange(-1, 999)
    mean = torch.rand(1000, 3, generator=torch.Generator().manual_seed(0)) * 255
    drawn = []
    for device in ("cpu", "cuda"):
        key = kernels.Key(5, 6, sample.to(device), torch.arange(1000, dtype=torch.int32, device=device) // 2)
        tables = kernels.draw(kernels.strong(), key, mean=mean.to(device), store=(64, 48), size=113)
        cells = [kernels.draw_permutation(grid, key.stream("p")) for grid in (2, 3, 15)]
        cells += [kernels.draw_turns(3, key.stream("t")), kernels.draw_holes(14, key.stream("h"))]
        drawn.append([tables.key, tables.cut, tables.where[:, 0, 0] < 0, *cells])
    for on_cpu, on_gpu in zip(*drawn, strict=True):
        assert torch.equal(on_cpu, on_gpu.cpu())


def test_the_operators_pass_torch_s_own_checks_on_the_gpu(split):
    store, row, sample, mean = split
    from kernels.hidden.op import _hidden_l1, _hidden_l1_backward
    from kernels.tables import op
    from kernels.views.op import _render_views

    tables = kernels.draw(kernels.none(), kernels.Key(0, 0, sample), mean=mean, store=(SIDE, SIDE), size=16)
    shows = kernels.draw_permutation(2, kernels.Key(0, 0, sample))
    none = [None] * 5
    required = (store, row, tables.where[None], tables.colour[None], shows[None])
    torch.library.opcheck(_render_views, (*required, *none, 16, list(MEAN), list(STD), torch.bfloat16, 1))
    address = op.address(kernels.Key(2**64 - 1, 5, sample, torch.zeros_like(sample, dtype=torch.int32)))
    torch.library.opcheck(op.draw_tables, (*address, mean, kernels.strong().numbers(), 20, 30, 16))
    torch.library.opcheck(op.draw_permutation, (*address, 3))
    torch.library.opcheck(op.draw_turns, (*address, 3))
    torch.library.opcheck(op.draw_holes, (*address, 4, [0, 2**20], [1, 3], [2**23, 2**25]))
    guess = torch.randn(BATCH, 3, 16, 16, device="cuda", requires_grad=True)
    truth = torch.randn(BATCH, 3, 16, 16, device="cuda")
    torch.library.opcheck(_hidden_l1, (guess, truth, shows))
    torch.library.opcheck(_hidden_l1_backward, (torch.ones((), device="cuda"), guess.detach(), truth, shows))


def test_every_option_runs_in_the_configuration_it_is_given(split):
    store, row, *_ = split
    for chosen in {
        triton_kernel.configuration(size, heavy=heavy) for size in (48, 112, 224) for heavy in (False, True)
    }:
        eye = (torch.eye(2, 3).repeat(1, BATCH, 1, 1).cuda(), torch.eye(3, 4).repeat(1, BATCH, 1, 1).cuda())
        shows = kernels.identity_cells(1, BATCH, "cuda")[None]
        shown = triton_kernel.render_views(
            store, row, *eye, shows, *[None] * 5, SIDE, (0.0,) * 3, (1 / 255,) * 3, torch.float32, 1, chosen
        )
        assert torch.equal(shown[0], store[row].permute(0, 3, 1, 2).float())


def test_the_number_of_hidden_pixels_of_a_large_batch_is_exact():
    shows = torch.full((5000, 4), -1, dtype=torch.int16, device="cuda")
    guess = torch.ones(5000, 3, 20, 20, device="cuda")
    gradient = hidden_kernel.hidden_l1_backward(torch.ones((), device="cuda"), guess, guess * 0, shows)
    assert torch.equal(gradient, torch.full_like(gradient, 1 / (5000 * 3 * 400)))
