"""Drawn tables: their ranges, their meaning, and that they depend on (seed, epoch, sample id) alone."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch

from kernels import Augment, Key, centre, draw, none, simclr_strong, strong, weak
from kernels.tables.maps import HUE, LUMA, colour_matrix, cos_sin

EVERYTHING = Augment(
    flip=0.3,
    jitter=0.8,
    contrast=(0.5, 1.5),
    brightness=(-0.1, 0.1),
    brightness_factor=(0.7, 1.2),
    saturation=(0.2, 1.8),
    hue=(-0.1, 0.1),
    gray=0.2,
    noise=(0.01, 0.05),
    blur=1.2,
    blur_probability=0.5,
    resize=(0.5, 1.1),
    resize_probability=0.5,
    rotation=(-30, 40),
    crop=(0.6, 1.2),
    scale=(0.8, 1.3),
    shift=(-0.1, 0.2),
    aspect=(0.8, 1.3),
    cut=0.3,
    cut_probability=0.6,
)


def drawn(augment, batch=4000, *, seed=0, epoch=0, store=(40, 40), size=32, mean=None, sample=None, stream="shared"):
    sample = torch.arange(batch) if sample is None else sample
    mean = torch.full((sample.shape[0], 3), 100.0) if mean is None else mean
    return draw(augment, Key(seed, epoch, sample).stream(stream), mean=mean, store=store, size=size)


def colours(batch=2, **changed):
    neutral = {"contrast": 1.0, "brightness_factor": 1.0, "brightness": 0.0, "saturation": 1.0, "hue": 0.0}
    values = {name: torch.full((batch,), value) for name, value in (neutral | changed).items() if name != "gray"}
    gray = torch.full((batch,), bool(changed.get("gray", False)))
    return colour_matrix(**values, gray=gray, mean=torch.tensor([[90.0, 120.0, 30.0]]).expand(batch, 3))


def equal(one, other) -> bool:
    return all(torch.equal(getattr(one, f.name), getattr(other, f.name)) for f in fields(one))


def test_committed_integers_never_change():
    tables = drawn(strong(), sample=torch.tensor([0, 1, -1]), seed=1234, epoch=5, size=112)
    assert tables.key.tolist() == GOLDEN_KEYS
    assert tables.cut.tolist() == GOLDEN_CUTS
    assert (drawn(none(), 32, seed=1234).where[:, 0, 0] < 0).int().tolist() == GOLDEN_FLIPS


def test_the_default_does_nothing():
    tables = drawn(Augment(), 5, store=(24, 24), size=24)
    assert torch.equal(tables.where, torch.eye(2, 3).expand(5, 2, 3))
    assert torch.equal(tables.colour, torch.eye(3, 4).expand(5, 3, 4))
    assert not tables.blur.any()
    assert not tables.noise.any()
    assert not tables.cut.any()


def test_types_and_shapes():
    tables = drawn(EVERYTHING, 3)
    shapes = {f.name: (tuple(getattr(tables, f.name).shape), getattr(tables, f.name).dtype) for f in fields(tables)}
    assert shapes == {
        "where": ((3, 2, 3), torch.float32),
        "colour": ((3, 3, 4), torch.float32),
        "blur": ((3,), torch.float32),
        "noise": ((3,), torch.float32),
        "key": ((3,), torch.int64),
        "cut": ((3, 4), torch.int16),
    }


def test_it_is_a_pure_function_of_its_arguments():
    before = torch.get_rng_state()
    assert equal(drawn(EVERYTHING, 50), drawn(EVERYTHING, 50))
    assert torch.equal(before, torch.get_rng_state())
    for other in (drawn(EVERYTHING, 50, seed=1), drawn(EVERYTHING, 50, epoch=1), drawn(EVERYTHING, 50, stream="b")):
        assert not torch.equal(other.where, drawn(EVERYTHING, 50).where)
        assert not (other.key == drawn(EVERYTHING, 50).key).any()


def test_it_does_not_depend_on_the_rest_of_the_batch():
    sample = torch.tensor([5, -1, 1000, 77, 5, 3, 2**33])
    mean = torch.rand(7, 3) * 255
    whole = drawn(EVERYTHING, sample=sample, mean=mean)
    for i in range(7):
        alone = drawn(EVERYTHING, sample=sample[i : i + 1], mean=mean[i : i + 1])
        for f in fields(alone):
            assert torch.equal(getattr(alone, f.name)[0], getattr(whole, f.name)[i])


def test_changing_one_range_moves_no_other_quantity():
    base = drawn(weak(), 100)
    other = drawn(Augment(flip=0.5, contrast=(0.6, 1.4), rotation=(-15, 15), crop=(0.69, 0.99), noise=(0, 0.1)), 100)
    assert torch.equal(base.where, other.where)
    assert torch.equal(base.colour, other.colour)
    assert torch.equal(base.key, other.key)


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_flips_happen_as_often_as_asked(share):
    mirrored = (drawn(Augment(flip=share)).where[:, 0, 0] < 0).float().mean().item()
    assert abs(mirrored - share) <= 4 * (share * (1 - share) / 4000) ** 0.5


def test_crop_and_scale_fill_their_ranges():
    step = drawn(Augment(crop=(0.5, 0.9)), store=(60, 40), size=40).where[:, 0, 0]
    assert 0.5 <= step.min() < 0.503
    assert 0.897 < step.max() <= 0.9
    assert abs(step.mean() - 0.7) < 0.01
    magnified = 1 / drawn(Augment(scale=(0.5, 2.0)), store=(32, 32)).where[:, 1, 1]
    assert 0.5 <= magnified.min() < 0.51
    assert 1.99 < magnified.max() <= 2.0001
    assert abs(magnified.mean() - 1.25) < 0.03


def test_crop_is_a_square_about_the_centre_of_a_store_that_is_none():
    where = drawn(Augment(crop=(0.5, 0.5)), 1, store=(60, 40), size=10).where[0]
    assert torch.equal(where, torch.tensor([[2.0, 0.0, 10.0], [0.0, 2.0, 20.0]]))


def test_rotation_turns_the_picture_clockwise_by_its_degrees():
    where = drawn(Augment(rotation=(30, 30)), 1, store=(32, 32)).where[0]
    # What stands right of the centre in the store stands below the horizontal, to the right, in the view.
    view = torch.tensor([16 + 10 * np.cos(np.pi / 6), 16 + 10 * np.sin(np.pi / 6), 1.0], dtype=torch.float32)
    assert torch.allclose(where @ view, torch.tensor([26.0, 16.0]), atol=1e-5)
    turned = drawn(Augment(rotation=(-25, 35))).where
    angle = torch.rad2deg(torch.atan2(turned[:, 0, 1], turned[:, 0, 0]))
    assert -25.001 <= angle.min() < -24.8
    assert 34.8 < angle.max() <= 35.001
    assert abs(angle.mean() - 5) < 1


def test_quarter_turns_are_exact():
    degrees = torch.arange(-8, 9) * 90.0
    cosine, sine = cos_sin(degrees)
    k = torch.arange(-8, 9) % 4
    assert torch.equal(cosine, torch.tensor([1.0, 0.0, -1.0, 0.0])[k])
    assert torch.equal(sine, torch.tensor([0.0, 1.0, 0.0, -1.0])[k])


def test_cosine_and_sine_are_accurate():
    degrees = torch.linspace(-400, 400, 100_001)
    exact = np.deg2rad(degrees.double().numpy())
    cosine, sine = cos_sin(degrees)
    assert np.abs(cosine.numpy() - np.cos(exact)).max() < 2**-22
    assert np.abs(sine.numpy() - np.sin(exact)).max() < 2**-22


def test_shift_moves_the_picture_right_and_down_independently():
    still = drawn(Augment(), 1).where[0]
    moved = drawn(Augment(shift=(0.25, 0.25)), 1).where[0]
    point = torch.tensor([10.0, 12.0, 1.0])
    assert torch.allclose(moved @ (point + torch.tensor([8.0, 8.0, 0.0])), still @ point, atol=1e-5)
    offsets = drawn(Augment(shift=(-0.2, 0.2))).where[:, :, 2]
    assert abs(torch.corrcoef(offsets.T)[0, 1]) < 0.06


def test_aspect_stretches_and_keeps_the_area():
    where = drawn(Augment(aspect=(2.0, 2.0)), 1, store=(32, 32)).where[0]
    assert torch.allclose(where[1, 1] / where[0, 0], torch.tensor(2.0))
    assert torch.allclose(torch.linalg.det(where[:, :2]), torch.tensor(1.0))


def test_contrast_turns_about_the_stored_mean():
    mean = torch.rand(200, 3) * 255
    tables = drawn(Augment(contrast=(0.6, 1.4)), 200, mean=mean)
    shown = (tables.colour @ torch.cat([mean, torch.ones(200, 1)], 1)[:, :, None])[:, :, 0]
    assert torch.allclose(shown, mean, atol=1e-3)
    factor = tables.colour[:, 0, 0]
    assert 0.6 <= factor.min() < 0.62
    assert 1.38 < factor.max() <= 1.4


def test_colour_steps_mean_what_they_say():
    pixel = torch.tensor([200.0, 50.0, 100.0, 1.0])
    luma = pixel[:3] @ torch.tensor(LUMA)
    assert torch.allclose(colours(brightness=0.1)[0] @ pixel, pixel[:3] + 25.5)
    assert torch.allclose(colours(brightness_factor=0.5)[0] @ pixel, pixel[:3] * 0.5)
    assert torch.allclose(colours(saturation=0.5)[0] @ pixel, (pixel[:3] + luma) / 2, atol=1e-4)
    assert torch.allclose(colours(gray=True)[0] @ pixel, luma.expand(3), atol=1e-4)
    assert torch.allclose(colours(gray=True, saturation=1.7, hue=0.3)[0] @ pixel, luma.expand(3), atol=1e-4)


def test_contrast_comes_before_brightness():
    pixel = torch.tensor([200.0, 50.0, 100.0, 1.0])
    expected = ((pixel[:3] - torch.tensor([90.0, 120.0, 30.0])) * 1.3 + torch.tensor([90.0, 120.0, 30.0])) * 0.8 + 25.5
    shown = colours(contrast=1.3, brightness_factor=0.8, brightness=0.1)[0] @ pixel
    assert torch.allclose(shown, expected, atol=1e-4)


def test_hue_turns_the_chroma_plane_of_yiq():
    to_yiq = np.array([LUMA, (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112)])
    quarter = np.array([[0, 0, 0], [0, 0, 1], [0, -1, 0]])
    assert np.abs(np.linalg.inv(to_yiq) @ quarter @ to_yiq - np.array(HUE)).max() < 1e-7
    red = torch.tensor([255.0, 0.0, 0.0, 1.0])
    shown = colours(hue=0.08)[0] @ red
    assert shown[1] > shown[2]  # towards yellow
    assert torch.allclose(shown @ torch.tensor(LUMA), red[:3] @ torch.tensor(LUMA), atol=1e-3)
    assert torch.allclose(colours(hue=1.0), colours(), atol=1e-6)


def test_jitter_applies_all_or_nothing():
    level = Augment(jitter=0.4, contrast=(2, 2), brightness_factor=(0.5, 0.5), saturation=(0, 0), brightness=(0.1, 0.1))
    tables = drawn(level, mean=torch.zeros(4000, 3))
    plain = torch.cat([torch.eye(3), torch.full((3, 1), 25.5)], 1)
    changed = torch.cat([torch.tensor(LUMA).expand(3, 3), torch.full((3, 1), 25.5)], 1)
    is_plain = (tables.colour - plain).abs().amax((1, 2)) < 1e-4
    is_changed = (tables.colour - changed).abs().amax((1, 2)) < 1e-4
    assert (is_plain ^ is_changed).all()
    assert abs(is_changed.float().mean() - 0.4) < 0.032


def test_noise_and_blur_have_their_ranges():
    tables = drawn(strong())
    assert 0.0 <= tables.noise.min() < 0.1
    assert 12.6 < tables.noise.max() <= 12.75
    assert set(tables.blur.tolist()) == {0.0, 1.5}
    assert abs((tables.blur > 0).float().mean() - 0.5) < 0.032
    assert tables.key.unique().numel() == 4000
    assert abs((tables.key < 0).float().mean() - 0.5) < 0.032


def test_resize_is_a_blur_of_matching_width_and_joins_blur():
    assert torch.allclose(drawn(Augment(resize=(0.5, 0.5)), 3).blur, torch.full((3,), 3**0.5 / 2))
    assert torch.equal(drawn(Augment(resize=(1.1, 1.2)), 3).blur, torch.zeros(3))
    joined = drawn(Augment(resize=(0.5, 0.5), blur=1.0), 3).blur
    assert torch.allclose(joined, torch.full((3,), 1.75**0.5))


def test_the_cut_out_lies_inside_and_reaches_every_place():
    tables = drawn(Augment(cut=0.25, cut_probability=0.75), size=16)
    left, top, right, bottom = tables.cut.int().unbind(1)
    cut = right > left
    assert abs(cut.float().mean() - 0.75) < 0.028
    assert not tables.cut[~cut].any()
    assert (right - left)[cut].unique().tolist() == [4]
    assert (bottom - top)[cut].unique().tolist() == [4]
    assert left[cut].unique().tolist() == list(range(13))
    assert top[cut].unique().tolist() == list(range(13))


def test_padding_is_drawn_like_any_sample():
    tables = drawn(simclr_strong(), sample=torch.tensor([-1, -1, 3]))
    assert all(bool(torch.isfinite(getattr(tables, f.name).double()).all()) for f in fields(tables))
    assert torch.equal(tables.where[0], tables.where[1])


def test_centre_is_the_identity_at_full_crop():
    tables = centre(1.0, store=(30, 30), size=30, batch=2, device="cpu")
    assert torch.equal(tables.where, torch.eye(2, 3).expand(2, 2, 3))
    assert torch.equal(tables.colour, torch.eye(3, 4).expand(2, 3, 4))
    for table in (tables.blur, tables.noise, tables.key, tables.cut):
        assert not table.any()


def test_centre_crops_about_the_centre():
    where = centre(0.8, store=(50, 40), size=16, batch=1, device="cpu").where[0]
    assert torch.allclose(where, torch.tensor([[2.0, 0.0, 4.0], [0.0, 2.0, 9.0]]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"store": (0, 5)}, r"draw: store \(=\(0, 5\)\) must be \(height, width\), at least 1 each;"),
        ({"size": 0}, r"draw: size \(=0\) must be in 1..32767;"),
        (
            {"mean": torch.zeros(3, 3)},
            r"draw: mean \(=torch.float32 of shape \(3, 3\)\) must be float32 of shape \(2, 3\)",
        ),
        ({"mean": torch.zeros(2, 3, device="meta")}, r"draw: mean \(on meta\) must be where sample is \(cpu\);"),
    ],
)
def test_bad_draws_are_refused(arguments, message):
    good = {"mean": torch.zeros(2, 3), "store": (8, 8), "size": 8}
    with pytest.raises(ValueError, match=message):
        draw(weak(), Key(0, 0, torch.arange(2)), **(good | arguments))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"crop": 0.0}, r"centre: crop \(=0.0\) must be a finite number above 0;"),
        ({"crop": float("nan")}, r"centre: crop \(=nan\) must be"),
        ({"store": (8, 0)}, r"centre: store \(=\(8, 0\)\) must be"),
        ({"size": 40_000}, r"centre: size \(=40000\) must be in"),
        ({"batch": 0}, r"centre: batch \(=0\) must be at least 1;"),
    ],
)
def test_bad_centres_are_refused(arguments, message):
    good = {"crop": 1.0, "store": (8, 8), "size": 8, "batch": 1, "device": "cpu"}
    merged = good | arguments
    with pytest.raises(ValueError, match=message):
        centre(merged.pop("crop"), **merged)


GOLDEN_KEYS = [5591570701498714613, 4006671966269578476, -4778588453461640383]
GOLDEN_CUTS = [[55, 61, 85, 91], [79, 19, 109, 49], [38, 23, 68, 53]]
GOLDEN_FLIPS = [0, 0, 1, 1, 0, 0, 0, 0, 1, 0, 1, 0, 1, 1, 1, 1, 1, 0, 1, 1, 0, 0, 1, 0, 0, 1, 1, 1, 1, 0, 1, 1]


def test_quantities_are_independent_across_samples_epochs_and_each_other():
    augment = Augment(flip=0.5, rotation=(-15, 15), contrast=(0.6, 1.4), brightness=(-0.1, 0.1), shift=(-0.1, 0.1))
    count = 20_000

    def drawn(epoch):
        settings = {"mean": torch.zeros(count, 3), "store": (64, 64), "size": 64}
        tables = draw(augment, Key(3, epoch, torch.arange(count)), **settings)
        flip = torch.where(tables.where[:, 0, 0] < 0, 1.0, 0.0)
        return torch.stack([flip, tables.where[:, 1, 0], tables.colour[:, 0, 0], tables.colour[:, 0, 3]]).double()

    first, later = drawn(0), drawn(1)
    bound = 5 / count**0.5  # standard deviations of a correlation
    together = torch.corrcoef(first)
    assert (together - together.diag().diag()).abs().max() < bound
    for other in (first.roll(1, 1), later):
        assert torch.corrcoef(torch.cat([first, other]))[:4, 4:].abs().max() < bound
