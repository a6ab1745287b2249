"""Draws, views and loss trace into one graph, as a training step uses them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

import kernels
from kernels.views import reference


def step(decoder, store, row, sample, occurrence, mean, epoch, size):
    key = kernels.Key(2**64 - 3, epoch, sample, occurrence)
    tables = kernels.draw(kernels.strong(), key, mean=mean, store=tuple(store.shape[1:3]), size=size)
    plain = kernels.identity_cells(4, sample.shape[0], sample.device)
    puzzle = kernels.draw_permutation(4, key.stream("puzzle"))
    holes = kernels.draw_holes(4, key.stream("holes"))
    shows = torch.stack([plain, puzzle, holes])

    def shared(table):
        return table.expand(3, *table.shape)

    views = kernels.render_views(
        store,
        row,
        shared(tables.where),
        shared(tables.colour),
        shows,
        size=size,
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        dtype=torch.float32,
        blur=shared(tables.blur),
        noise=shared(tables.noise),
        key=shared(tables.key),
        turn=shared(kernels.draw_turns(4, key.stream("turns"))),
        cut=shared(tables.cut),
    )
    loss = kernels.hidden_l1(decoder(views[2]), views[0], holes)
    return loss, views, kernels.inverse(puzzle), tables.where


@pytest.mark.slow
def test_a_step_traces_whole_and_equals_eager():
    torch.manual_seed(0)
    decoder = torch.nn.Conv2d(3, 3, 3, padding=1)  # sees known pixels beside hidden ones, which are 0
    store = torch.randint(0, 256, (7, 20, 20, 3), dtype=torch.uint8)
    arguments = (
        store,
        torch.randint(0, 7, (5,)),
        torch.arange(5) - 1,
        torch.arange(5, dtype=torch.int32),
        torch.rand(5, 3) * 255,
    )
    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    for epoch, size in ((0, 16), (1, 16), (2, 24)):
        eager, traced = (run(decoder, *arguments, epoch, size) for run in (step, compiled))
        for expected, value in zip(eager, traced, strict=True):
            assert torch.equal(expected, value)
        gradients = [torch.autograd.grad(loss, decoder.weight)[0] for loss, *_ in (eager, traced)]
        assert gradients[0].any()
        assert torch.equal(*gradients)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs g++ on a CPU")
def test_generated_code_draws_the_same_words():
    """torch 2.13's C++ generator mixes up samples when Philox blocks run along the inner axis."""
    sample = torch.arange(11) * 77 - 1

    def bits(sample):
        return kernels.random_bits(kernels.Key(5, 3, sample, sample.int() // 77).stream("a"), 23)

    assert torch.equal(torch.compile(bits, fullgraph=True, dynamic=False)(sample), bits(sample))


def test_the_rule_of_render_views_traces_whole():
    """The reference is plain PyTorch, so that a compiler can fuse it."""
    store = torch.randint(0, 256, (3, 9, 9, 3), dtype=torch.uint8)
    where = torch.eye(2, 3).repeat(2, 3, 1, 1) * 0.9
    colour = torch.eye(3, 4).repeat(2, 3, 1, 1)
    shows = kernels.identity_cells(2, 3, "cpu").repeat(2, 1, 1)
    settings = {"size": 8, "mean": (0.5,) * 3, "std": (0.2,) * 3, "dtype": torch.float32, "blur": torch.ones(2, 3)}
    settings |= {"noise": torch.ones(2, 3), "key": torch.arange(6).view(2, 3)}
    compiled = torch.compile(reference.render_views, fullgraph=True, backend="aot_eager")
    arguments = (store, torch.arange(3), where, colour, shows)
    assert torch.equal(compiled(*arguments, **settings), reference.render_views(*arguments, **settings))


def test_kernels_is_this_project_s_room():
    """PyPI has another package of this name."""
    assert Path(kernels.__file__).resolve() == Path(__file__).resolve().parents[2] / "kernels" / "__init__.py"
