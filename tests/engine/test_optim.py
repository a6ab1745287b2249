"""Optimisers and learning-rate schedules."""

from __future__ import annotations

import copy
import math
import re
from typing import Any

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from engine.optim import SGD, AdaBelief, AdamW, Constant, Cosine, CosineRestarts, Optim, Steps, set_rate

OPTIMS = [
    AdaBelief(lr=1e-2),
    AdaBelief(lr=1e-2, lookahead=True),
    AdamW(lr=1e-2, weight_decay=0.1),
    SGD(lr=1e-2),
    SGD(lr=1e-2, momentum=0),
]


def test_warmup_rises_linearly_and_cosine_falls_to_its_end() -> None:
    optim = AdamW(lr=1.0, warmup_epochs=2, schedule=Cosine(final=0.1))
    assert [optim.rate(epoch, 10) for epoch in (0, 1, 2)] == [0, 0.5, 1]
    assert optim.rate(6, 10) == pytest.approx(0.55)
    assert optim.rate(10, 10) == pytest.approx(0.1)


def test_steps_divide_at_their_epochs() -> None:
    optim = AdaBelief(lr=1e-3, schedule=Steps(at=(15, 40)))
    assert [optim.rate(epoch, 80) for epoch in (14.9, 15, 39, 40)] == pytest.approx([1e-3, 1e-4, 1e-4, 1e-5])


def test_constant_stays() -> None:
    assert SGD(lr=0.3, schedule=Constant()).rate(7, 8) == 0.3


def test_warmup_as_long_as_training_is_allowed() -> None:
    assert math.isfinite(AdamW(lr=1.0, warmup_epochs=3).rate(3, 3))


@pytest.mark.parametrize("optim", OPTIMS, ids=repr)
def test_every_optimiser_descends_and_goes_on_exactly_from_its_state(optim: Optim) -> None:
    def steps(model: nn.Module, optimiser: torch.optim.Optimizer, count: int) -> float:
        loss = torch.zeros(())
        for _ in range(count):
            optimiser.zero_grad()
            loss = (model(torch.ones(4, 3)) - 1).square().mean()
            loss.backward()
            optimiser.step()
        return loss.item()

    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    optimiser = optim.build([model])
    first = steps(model, optimiser, 1)
    steps(model, optimiser, 7)
    twin = nn.Linear(3, 2)
    twin.load_state_dict(model.state_dict())
    resumed = optim.build([twin])
    resumed.load_state_dict(copy.deepcopy(optimiser.state_dict()))
    assert steps(model, optimiser, 9) < first
    steps(twin, resumed, 9)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))


def test_biases_and_normalisation_are_not_decayed() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    decayed, free = AdamW(lr=1.0, weight_decay=0.1).build([model]).param_groups
    assert [tuple(p.shape) for p in decayed["params"]] == [(4, 3, 3, 3)]
    assert (decayed["weight_decay"], free["weight_decay"], len(free["params"])) == (0.1, 0.0, 3)


@pytest.mark.parametrize("optim", [AdamW(lr=1e-2), SGD(lr=1e-2), AdamW(lr=1e-2, lookahead=True)], ids=repr)
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_torch_s_own_pass_over_the_weights_once(optim: Optim, device: str) -> None:
    with FakeTensorMode():  # tensors without memory, of a device that need not be there
        model = nn.Linear(1, 1)
        model.weight, model.bias = (nn.Parameter(torch.empty(shape, device=device)) for shape in ((2, 3), (2,)))
        groups = optim.build([model]).param_groups
    assert [[name for name in ("foreach", "fused") if group[name]] for group in groups] == [["fused"]] * 2


def test_adabelief_updates_all_weights_by_one_operator_a_term_and_as_one_by_one() -> None:
    generator = torch.Generator().manual_seed(0)
    both = []
    for _ in range(2):
        torch.manual_seed(0)
        both.append(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)))
    ours = AdaBelief(lr=1e-2, weight_decay=0.1).build([both[0]])
    alone = AdaBelief(lr=1e-2, weight_decay=0.1).build([both[1]])
    for group in alone.param_groups:
        assert group["foreach"]
        group["foreach"] = False
    for _ in range(12):
        for mine, theirs in zip(*(model.parameters() for model in both), strict=True):
            mine.grad = theirs.grad = torch.randn(mine.shape, generator=generator)
        ours.step(), alone.step()
    for mine, theirs in zip(*(model.parameters() for model in both), strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.gpu
@pytest.mark.parametrize("optim", OPTIMS, ids=repr)
def test_steps_on_cuda_are_those_of_the_cpu(optim: Optim) -> None:
    weights = []
    for device in ("cpu", "cuda"):
        torch.manual_seed(0)
        model = nn.Linear(3, 2).to(device)
        optimiser = optim.build([model])
        for step in range(12):
            for parameter in model.parameters():
                parameter.grad = torch.full_like(parameter, math.cos(step))
            optimiser.step()
        weights.append(model.weight.detach().cpu())
    torch.testing.assert_close(*weights)


def test_one_rate_for_all_groups() -> None:
    optimiser = AdamW(lr=1.0).build([nn.Linear(2, 2)])
    set_rate(optimiser, 0.25)
    assert {group["lr"] for group in optimiser.param_groups} == {0.25}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"lr": 0}, r"AdamW: lr \(=0\) must be above 0"),
        ({"lr": 1, "weight_decay": -1}, r"AdamW: weight_decay \(=-1\)"),
        ({"lr": 1, "warmup_epochs": -1}, r"AdamW: warmup_epochs \(=-1\)"),
        ({"lr": 1, "clip": 0}, r"AdamW: clip \(=0\) must be above 0, or None"),
    ],
)
def test_impossible_fields_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AdamW(**fields)


def test_restarts_are_the_rates_of_runs_one_after_another() -> None:
    chain = AdamW(lr=1.0, schedule=CosineRestarts(at=(0.4,), rise=0.25))
    first, second = (AdamW(lr=1.0, warmup_epochs=epochs / 4) for epochs in (4, 6))
    for epoch in (0.0, 0.5, 1.0, 2.5, 3.9):
        assert chain.rate(epoch, 10) == pytest.approx(first.rate(epoch, 4))
    for epoch in (4.0, 5.0, 5.5, 8.0, 9.9, 10.0):
        assert chain.rate(epoch, 10) == pytest.approx(second.rate(epoch - 4, 6), abs=1e-12)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"at": (0.5, 0.5)}, "at (=(0.5, 0.5)) must rise between 0 and 1"),
        ({"at": (0.0,)}, "at (=(0.0,)) must rise between 0 and 1"),
        ({"at": (0.4,), "rise": 1.0}, "rise (=1.0) must be 0 or more and below 1; e.g. 0.1"),
    ],
)
def test_restarts_that_cannot_be_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"CosineRestarts: {message}")):
        CosineRestarts(**fields)
