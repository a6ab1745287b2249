"""The paired bootstrap on data with known answers."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
import pytest

from engine.intervals.answers import AngleErrors, ClassAnswers, Measure, from_arrays, measured_rows, unpack
from engine.intervals.bootstrap import paired_difference, resampled
from engine.metrics import measure_angles, measure_classes


def mean_of(values: np.ndarray):  # type: ignore[no-untyped-def]
    return lambda weights: weights @ values / weights.sum(axis=1)


def answers(accuracy: float, n: int = 400, classes: int = 5, seed: int = 0) -> ClassAnswers:
    random = np.random.default_rng(seed)
    target = random.integers(0, classes, n)
    wrong = (target + random.integers(1, classes, n)) % classes
    return ClassAnswers(target, np.where(random.random(n) < accuracy, target, wrong), classes)


def test_equal_predictions_differ_by_0_and_so_does_every_resample() -> None:
    figures = [mean_of(np.random.default_rng(s).random(50)) for s in range(3)]
    drawn = resampled(figures, 50)
    interval = paired_difference(drawn, resampled(figures, 50))
    assert (interval.difference, interval.low, interval.high) == (0, 0, 0)


def test_a_constant_shift_has_an_interval_of_no_width() -> None:
    values = np.random.default_rng(0).random((3, 60))
    first = resampled([mean_of(v + 0.25) for v in values], 60)
    interval = paired_difference(first, resampled([mean_of(v) for v in values], 60))
    assert interval.difference == pytest.approx(0.25)
    assert interval.low == pytest.approx(0.25, abs=1e-6)
    assert interval.high == pytest.approx(0.25, abs=1e-6)


def test_with_one_seed_the_interval_is_that_of_the_mean_over_pictures() -> None:
    random = np.random.default_rng(1)
    difference = random.normal(0.1, 1.0, 2000)
    base = random.normal(size=2000) * 10  # what both share cancels out
    interval = paired_difference(
        resampled([mean_of(base + difference)], 2000, resamples=4000), resampled([mean_of(base)], 2000, resamples=4000)
    )
    half = 1.96 * difference.std(ddof=1) / np.sqrt(2000)
    assert interval.high - interval.low == pytest.approx(2 * half, rel=0.05)
    assert interval.difference == pytest.approx(difference.mean())


def test_seeds_alone_give_the_variance_of_a_mean_over_seeds() -> None:
    # Every picture of a run has the run's own difference, so nothing but the seeds varies.
    shifts = np.array([0.1, 0.3, 0.2, 0.6])
    first = resampled([mean_of(np.full(10, s)) for s in shifts], 10, resamples=20_000)
    drawn = first[1:]
    random = np.random.default_rng(0)
    chosen = np.take_along_axis(drawn, random.integers(0, 4, (len(drawn), 3)), axis=1).mean(axis=1)
    assert chosen.var() == pytest.approx(shifts.var(ddof=1) / 4, rel=0.05)
    interval = paired_difference(first, np.zeros_like(first))
    assert interval.difference == pytest.approx(shifts.mean())
    assert interval.low == pytest.approx(0.1, abs=0.05)


@pytest.mark.parametrize(("seeds", "least"), [(1, 0.88), (3, 0.90), (5, 0.90)])
def test_the_interval_holds_the_truth_about_as_often_as_it_says(seeds: int, least: float) -> None:
    """200 simulated experiments with effects of picture, seed and both; the truth is 0.5."""
    random = np.random.default_rng(seeds)
    held = 0
    for trial in range(200):
        n = 80
        picture = random.normal(size=n)
        own = random.normal(0.5, 0.3, size=n)  # how much each picture gains
        # With one seed the interval is over pictures alone, so runs must not differ by more than their pictures.
        run = random.normal(0, 0.1, size=seeds) if seeds > 1 else np.zeros(1)
        noise = random.normal(0, 0.5, size=(seeds, n))
        first = resampled([mean_of(picture + own + r + e) for r, e in zip(run, noise, strict=True)], n, resamples=400)
        second = resampled([mean_of(picture)] * seeds, n, resamples=400)
        interval = paired_difference(first, second, seed=trial)
        held += interval.low <= 0.5 <= interval.high
    assert least <= held / 200 <= 0.995


def test_the_same_seed_gives_the_same_draws_and_another_gives_others() -> None:
    figures = [mean_of(np.random.default_rng(0).random(40))]
    np.testing.assert_array_equal(resampled(figures, 40, seed=3), resampled(figures, 40, seed=3))
    assert not np.array_equal(resampled(figures, 40, seed=3), resampled(figures, 40, seed=4))


def test_draws_do_not_depend_on_how_many_are_held_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    figures = [mean_of(np.random.default_rng(0).random(40))]
    whole = resampled(figures, 40, resamples=100)
    monkeypatch.setattr("engine.intervals.bootstrap._CHUNK", 40 * 7)
    np.testing.assert_allclose(resampled(figures, 40, resamples=100), whole, rtol=1e-6)


def test_nothing_to_draw_from_is_refused() -> None:
    with pytest.raises(ValueError, match=r"bootstrap: runs \(=0\), pictures \(=3\) and resamples \(=2000\) must each"):
        resampled([], 3)
    with pytest.raises(ValueError, match=r"bootstrap: first \(=\(5, 2\)\) and second \(=\(5, 3\)\) must be of one"):
        paired_difference(np.zeros((5, 2)), np.zeros((5, 3)))


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "mean_recall"])
def test_a_figure_of_weighted_pictures_is_that_of_the_pictures_drawn(metric: str) -> None:
    random = np.random.default_rng(2)
    target = random.integers(-1, 4, 30)  # a few without a label
    probability = random.random((30, 5)).astype(np.float32)
    kept = from_arrays({"t.target": target, "t.probability": probability}, "t", {})
    assert isinstance(kept, ClassAnswers)
    drawn = random.integers(0, 30, (6, 30))
    weights = np.stack([np.bincount(row, minlength=30) for row in drawn]).astype(np.float32)
    figures = kept.figure(metric, weights)
    assert figures is not None
    for row, figure in zip(drawn, figures, strict=True):
        assert figure == pytest.approx(measure_classes(probability[row], target[row])[metric], abs=1e-6)


def test_error_rate_is_what_accuracy_leaves() -> None:
    kept, weights = answers(0.7), np.ones((1, 400), np.float32)
    accuracy, errors = kept.figure("accuracy", weights), kept.figure("error_rate", weights)
    assert accuracy is not None
    assert errors is not None
    assert accuracy[0] + errors[0] == pytest.approx(1)


def test_errors_of_angles_go_the_short_way_round_and_leave_out_what_is_not_known() -> None:
    nan = np.nan
    arrays = {
        "pose.angles": np.array([[179.0, -3.0], [10.0, 5.0], [0.0, 8.0]]),
        "pose.target": np.array([[-179.0, 0.0], [14.0, nan], [nan, nan]]),
    }
    kept = from_arrays(arrays, "pose", {"angles": ("yaw", "pitch")})
    assert isinstance(kept, AngleErrors)
    weights = np.array([[1, 1, 1], [3, 1, 0], [0, 0, 1]], np.float32)
    for metric, wanted in (("mae_yaw", [3, 2.5, nan]), ("mae_pitch", [3, 3, nan]), ("mae_yaw_pitch", [3, 2.75, nan])):
        np.testing.assert_allclose(kept.figure(metric, weights), wanted)  # type: ignore[arg-type]
    whole = np.ones((1, 3), np.float32)
    reported = measure_angles(("yaw", "pitch"), arrays["pose.angles"], arrays["pose.target"])
    for metric, value in reported.items():
        assert kept.figure(metric, whole) == pytest.approx(value)
    assert kept.figure("mae_roll", whole) is None
    assert from_arrays(arrays, "pose", {}) is None  # without names the angles are not told apart


def no_measure() -> Measure:
    raise AssertionError("classes and angles need no measure")


def test_rows_of_a_task_are_measured_again_on_the_pictures_drawn() -> None:
    random = np.random.default_rng(3)
    arrays = {"sample": np.arange(30), "t.target": random.integers(-1, 4, 30), "t.size": random.random((30, 2))}
    scores = arrays | {"t.probability": random.random((30, 5)).astype(np.float32)}
    weights = random.integers(0, 3, (6, 30)).astype(np.float32)

    def measure(rows: Mapping[str, np.ndarray]) -> dict[str, float]:
        return measure_classes(rows["probability"], rows["target"]) | {"size": float(rows["size"].mean())}

    kept = measured_rows(scores, "t", measure)
    known = from_arrays(scores, "t", {})
    assert kept is not None
    assert known is not None
    np.testing.assert_allclose(kept.figure("accuracy", weights), known.figure("accuracy", weights), atol=1e-6)  # type: ignore[arg-type]
    again = unpack(json.loads(json.dumps(kept.pack())), lambda: measure)
    wanted = np.array([(w @ arrays["t.size"].mean(axis=1)) / w.sum() for w in weights])
    np.testing.assert_allclose(again.figure("size", weights), wanted)  # type: ignore[arg-type]
    assert again.figure("length", weights) is None
    assert measured_rows({**arrays, "t.size": np.zeros((30, 65))}, "t", measure) is None, "too many to be kept"
    assert measured_rows({**arrays, "t.size": np.zeros((60, 2))}, "t", measure) is None, "two rows a picture"


def test_what_is_kept_comes_back() -> None:
    kept = answers(0.5)
    again = unpack(kept.pack(), no_measure)
    assert isinstance(again, ClassAnswers)
    np.testing.assert_array_equal(again.target, kept.target)
    np.testing.assert_array_equal(again.prediction, kept.prediction)
    assert again.classes == kept.classes
    errors = AngleErrors({"yaw": np.array([0.5, np.nan, 12.3])})
    back = unpack(errors.pack(), no_measure)
    assert isinstance(back, AngleErrors)
    np.testing.assert_allclose(back.values["yaw"], errors.values["yaw"], rtol=1e-3)


def test_answers_of_no_known_kind_and_metrics_that_are_no_mean_are_not_guessed() -> None:
    assert from_arrays({"t.l1": np.zeros(3)}, "t", {}) is None
    assert answers(0.5).figure("cross_entropy", np.ones((1, 400), np.float32)) is None
    assert (
        from_arrays({"t.target": np.zeros(3), "t.probability": np.zeros((3, 2))}, "t", {}) is None
    )  # no class numbers
