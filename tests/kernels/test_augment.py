"""The ranges are the method's, and bad ranges are refused."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields, replace

import pytest

from kernels import Augment, none, simclr_strong, simclr_weak, strong, weak


def changed(augment: Augment) -> dict[str, object]:
    return {f.name: getattr(augment, f.name) for f in fields(augment) if getattr(augment, f.name) != f.default}


def test_presets_are_the_levels_of_the_paper():
    assert changed(none()) == {"flip": 0.5, "crop": (0.69, 0.69)}
    level = {"flip": 0.5, "contrast": (0.6, 1.4), "rotation": (-15.0, 15.0), "crop": (0.69, 0.99)}
    assert changed(weak()) == level
    assert changed(strong()) == level | {
        "rotation": (-20.0, 20.0),
        "brightness": (-0.05, 0.05),
        "noise": (0.0, 0.05),
        "blur": 1.5,
        "blur_probability": 0.5,
        "cut": 60 / 224,
    }


def test_later_presets_are_the_authors_112_pixel_scripts():
    jitter = dict.fromkeys(("contrast", "brightness_factor", "saturation"), (0.6, 1.4))
    level = jitter | {
        "flip": 0.5,
        "jitter": 0.4,
        "hue": (-0.08, 0.08),
        "gray": 0.2,
        "blur": 1.5,
        "blur_probability": 0.2,
        "resize": (64 / 112, 128 / 112),
        "resize_probability": 0.2,
        "rotation": (-25.0, 25.0),
        "crop": (0.69, 0.99),
    }
    assert changed(simclr_weak()) == level
    assert changed(simclr_strong()) == level | {"jitter": 0.9, "gray": 0.3, "cut": 40 / 112}


def test_what_a_level_never_does_can_be_left_out():
    assert not any((none().blurs, none().adds_noise, none().cuts))
    assert strong().blurs
    assert strong().adds_noise
    assert strong().cuts
    assert Augment(resize=(0.5, 1.0)).blurs
    assert not Augment(resize=(1.0, 1.2)).blurs
    assert not Augment(blur=1.0, blur_probability=0.0).blurs
    assert not Augment(cut=0.5, cut_probability=0.0).cuts


def test_it_is_plain_frozen_data():
    augment = Augment(crop=[1, 1.5])
    assert augment.crop == (1.0, 1.5)
    assert hash(augment) == hash(Augment(crop=(1.0, 1.5)))
    assert replace(augment, flip=1).flip == 1.0
    with pytest.raises(FrozenInstanceError):
        augment.flip = 0.3
    with pytest.raises(TypeError):
        Augment(0.5)


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ({"flip": 1.1}, r"Augment: flip \(=1.1\) must be in 0..1; it is a probability"),
        ({"cut_probability": -0.1}, r"Augment: cut_probability \(=-0.1\) must be in 0..1;"),
        ({"gray": True}, r"Augment: gray \(=True\) must be a finite number;"),
        ({"blur": float("inf")}, r"Augment: blur \(=inf\) must be a finite number;"),
        ({"blur": -1.0}, r"Augment: blur \(=-1.0\) must be at least 0;"),
        ({"cut": 1.5}, r"Augment: cut \(=1.5\) must be in 0..1; it is a share"),
        ({"rotation": (20, -20)}, r"Augment: rotation \(=\(20, -20\)\) must be ordered \(lowest, highest\);"),
        ({"contrast": 0.4}, r"Augment: contrast \(=0.4\) must be a pair \(lowest, highest\);"),
        ({"contrast": "ab"}, r"Augment: contrast \(='ab'\) must be a pair"),
        ({"shift": (0.1,)}, r"Augment: shift \(=\(0.1,\)\) must be a pair"),
        ({"hue": (0.0, float("nan"))}, r"Augment: hue \(=nan\) must be a finite number;"),
        ({"noise": (-0.1, 0.1)}, r"Augment: noise \(=\(-0.1, 0.1\)\) must not go below 0;"),
        ({"saturation": (-1, 1)}, r"Augment: saturation .* must not go below 0;"),
        ({"crop": (0.0, 1.0)}, r"Augment: crop \(=\(0.0, 1.0\)\) must stay above 0;"),
        ({"aspect": (-1.0, 1.0)}, r"Augment: aspect .* must stay above 0;"),
    ],
)
def test_bad_ranges_are_refused(field, message):
    with pytest.raises(ValueError, match=message):
        Augment(**field)
