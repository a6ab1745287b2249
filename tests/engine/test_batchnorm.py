"""Batch statistics: joint, per view, and per view with running statistics of the plain view alone."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
from torch import nn

from engine.training.batchnorm import normalise_per_view


@pytest.fixture(params=["test_resnet", "test_efficientnet"])
def encoder(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    made: nn.Module = timm.create_model(request.param, num_classes=0)
    return made


def divide(encoder: nn.Module, lengths: tuple[int, ...], tracked: tuple[bool, ...]) -> None:
    parts = normalise_per_view(encoder)
    parts.lengths, parts.tracked = lengths, tracked


@pytest.mark.parametrize("lengths", [(6, 6), (4, 9)])
def test_per_view_equals_one_pass_a_view(encoder: nn.Module, lengths: tuple[int, int]) -> None:
    separate = copy.deepcopy(encoder)
    divide(encoder, lengths, (True, True))
    views = [torch.randn(length, 3, 32, 32) * scale for length, scale in zip(lengths, (1.0, 3.0), strict=True)]
    joined = encoder(torch.cat(views)).split(lengths)
    for view, found in zip(views, joined, strict=True):
        torch.testing.assert_close(found, separate(view), atol=2e-4, rtol=2e-4)
    for (name, left), right in zip(encoder.named_buffers(), separate.buffers(), strict=True):
        torch.testing.assert_close(left, right, atol=1e-4, rtol=1e-4, msg=name)


def test_running_statistics_come_from_the_tracked_view_alone(encoder: nn.Module) -> None:
    plain_only = copy.deepcopy(encoder)
    divide(encoder, (6, 6), (False, True))
    other, plain = torch.randn(6, 3, 32, 32) * 9, torch.randn(6, 3, 32, 32)
    encoder(torch.cat([other, plain]))
    plain_only(plain)
    for (name, left), right in zip(encoder.named_buffers(), plain_only.buffers(), strict=True):
        torch.testing.assert_close(left, right, atol=1e-4, rtol=1e-4, msg=name)


def test_joint_statistics_differ_from_those_per_view(encoder: nn.Module) -> None:
    per_view = copy.deepcopy(encoder)
    divide(per_view, (6, 6), (True, True))
    views = torch.cat([torch.randn(6, 3, 32, 32) * 9, torch.randn(6, 3, 32, 32)])
    assert not torch.allclose(encoder(views), per_view(views), atol=1e-2)


def test_evaluation_and_names_of_weights_stay_as_they_were(encoder: nn.Module) -> None:
    before = copy.deepcopy(encoder).eval()
    divide(encoder, (2, 2), (True, False))
    encoder.eval()
    assert list(encoder.state_dict()) == list(before.state_dict())
    picture = torch.randn(4, 3, 32, 32)
    assert torch.equal(encoder(picture), before(picture))


def test_an_encoder_without_batch_normalisation_is_refused() -> None:
    with pytest.raises(ValueError, match=r"need batch normalisation, .* has none; use 'joint'"):
        normalise_per_view(nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4)))


def test_an_unknown_batch_normalisation_is_refused() -> None:
    with pytest.raises(ValueError, match=r"do not know BatchNorm1d; use 'joint'"):
        normalise_per_view(nn.Sequential(nn.BatchNorm1d(4)))
