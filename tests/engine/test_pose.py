"""Head pose: what rotations, mirrors and turns do to angles, and each head's known answers."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import kernels
from engine.metrics import measure_angles
from engine.tasks import PoseBins, PoseRegression, PoseRotation, Task
from engine.tasks.base import Features, Look, Shape
from engine.tasks.pose import UNIT, PoseTask
from engine.tasks.pose_criteria import PoseCriterion
from engine.tasks.pose_geometry import (
    NOSE,
    angles_of,
    between,
    geodesic,
    matrix_of,
    motion_of,
    rotation_of_6d,
    seen_pose,
    wrapped,
)
from engine.views import Cells, Plain
from kernels import Augment
from kernels.tables.maps import affine
from loaders.base import Classes, Numbers, Split
from loaders.synthetic.head import rotation as drawn_rotation
from tests.engine import tiny

NAN = math.nan
COLUMNS = ("yaw", "pitch", "roll")
degree = st.floats(-180, 180, allow_nan=False, width=32)
upright = st.floats(-89, 89, allow_nan=False, width=32)


def where(flip: bool = False, turn: float = 0.0, **changes: float) -> Tensor:
    """The map of one view that mirrors, turns clockwise by `turn` degrees, and more."""
    drawn = {"crop": 0.8, "scale": 1.1, "aspect": 1.0, "shift_x": 0.05, "shift_y": -0.1} | changes
    tables = {name: torch.tensor([value]) for name, value in drawn.items()}
    return affine(
        flip=torch.tensor([-1.0 if flip else 1.0]), rotation=torch.tensor([turn]), **tables, store=(60, 64), size=48
    )


def split(pose: list[list[float]], columns: tuple[str, ...] = COLUMNS, name: str = "train") -> Split:
    return Split(
        name=name,
        sample=torch.arange(len(pose)),
        shape=(24, 24, 3),
        labels={"pose": Numbers(columns)},
        target={"pose": torch.tensor(pose)},
    )


def look(pose: list[list[float]], lies: Tensor | None = None) -> Look:
    n = len(pose)
    return Look(
        picture=torch.zeros(n, 3, 8, 8),
        cells=Cells(torch.zeros(n, 1, dtype=torch.int16)),
        where=torch.eye(2, 3).expand(n, 2, 3) if lies is None else lies.expand(n, 2, 3),
        whole=None,
        target={"pose": torch.tensor(pose)},
    )


def criterion(task: PoseTask, columns: tuple[str, ...] = COLUMNS) -> PoseCriterion:
    made = task.criterion(split([[10.0 + i for i, _ in enumerate(columns)]], columns))
    assert isinstance(made, PoseCriterion)
    return made


# --- geometry -------------------------------------------------------------------------------------------------------


@given(upright, degree, degree)
@settings(max_examples=100)
def test_angles_and_matrices_round_trip(yaw: float, pitch: float, roll: float) -> None:
    angles = torch.tensor([[yaw, pitch, roll]])
    assert wrapped(angles_of(matrix_of(angles)) - angles).abs().max() < 2e-3


@given(degree, degree, degree)
@settings(max_examples=50)
def test_a_matrix_is_that_of_the_drawn_heads(yaw: float, pitch: float, roll: float) -> None:
    drawn = drawn_rotation(*(np.array([angle], dtype=np.float64) for angle in (yaw, pitch, roll)))
    np.testing.assert_allclose(matrix_of(torch.tensor([[yaw, pitch, roll]])), drawn, atol=1e-6)


@given(
    st.lists(st.floats(-3, 3, width=32), min_size=6, max_size=6).filter(
        lambda x: np.linalg.norm(np.cross(x[:3], x[3:])) > 0.1
    )
)
@settings(max_examples=100)
def test_six_numbers_give_a_rotation(numbers: list[float]) -> None:
    found = rotation_of_6d(torch.tensor([numbers]))[0]
    torch.testing.assert_close(found @ found.T, torch.eye(3), atol=2e-5, rtol=0)
    assert torch.det(found) == pytest.approx(1, abs=1e-4)


@given(degree, degree, degree, st.floats(0.1, 10), st.floats(0.1, 10), st.floats(-3, 3))
@settings(max_examples=100)
def test_a_rotation_comes_back_from_its_six_numbers(
    yaw: float, pitch: float, roll: float, one: float, two: float, lean: float
) -> None:
    """However long the two columns are, and however far the second leans to the first."""
    matrix = matrix_of(torch.tensor([[yaw, pitch, roll]]))
    first, second = matrix[..., 0], matrix[..., 1]
    found = rotation_of_6d(torch.cat([one * first, two * second + lean * first], dim=-1))
    torch.testing.assert_close(found, matrix, atol=1e-4, rtol=0)


def test_the_geodesic_distance_is_the_angle_of_the_rotation_between() -> None:
    frontal = matrix_of(torch.zeros(1, 3))
    for pose in ([30.0, 0, 0], [0, -170.0, 0], [0, 0, 120.0], [0.0, 0, 0], [0.0, 0, 180.0]):
        turned = matrix_of(torch.tensor([pose]))
        assert geodesic(frontal, turned).item() == pytest.approx(math.radians(max(map(abs, pose))), abs=1e-5)
        assert geodesic(turned, frontal).item() == pytest.approx(math.radians(max(map(abs, pose))), abs=1e-5)
    one, two = matrix_of(torch.tensor([[20.0, 10, 5], [-40.0, 30, 60]])).split(1)
    cosine = (torch.trace(one[0].T @ two[0]) - 1) / 2
    assert geodesic(one, two).item() == pytest.approx(math.acos(cosine), abs=1e-5)
    assert between(frontal[..., NOSE], two[..., NOSE]).item() == pytest.approx(
        math.acos(math.cos(math.radians(40)) * math.cos(math.radians(30))), abs=1e-5
    )


@pytest.mark.parametrize("pose", [[0.0, 0, 0], [0.0, 0, 180.0], [90.0, 45, 0]])
def test_the_geodesic_gradient_is_finite_at_no_and_at_half_a_turn(pose: list[float]) -> None:
    numbers = torch.tensor([[1.0, 0, 0, 0, 1, 0]], requires_grad=True)
    geodesic(rotation_of_6d(numbers), matrix_of(torch.tensor([pose]))).sum().backward()
    assert numbers.grad is not None
    assert numbers.grad.isfinite().all()


# --- what the picture does to the pose ------------------------------------------------------------------------------


@given(st.booleans(), st.floats(-179, 179), st.floats(0.5, 2), st.floats(-0.3, 0.3), st.floats(0.3, 1))
@settings(max_examples=100)
def test_mirror_and_turn_are_read_from_where_through_any_stretch_and_shift(
    flip: bool, turn: float, aspect: float, shift: float, crop: float
) -> None:
    mirrored, degrees = motion_of(where(flip, turn, aspect=aspect, shift_x=shift, crop=crop))
    assert mirrored.item() is flip
    assert degrees.item() == pytest.approx(turn, abs=1e-3)


def test_a_mirror_negates_yaw_and_roll_and_twice_is_nothing() -> None:
    pose = torch.tensor([[31.0, -7, 12], [-95.0, 100, 170]])
    lies = where(flip=True).expand(2, 2, 3)
    assert seen_pose(pose, lies).tolist() == [[-31, -7, -12], [95, 100, -170]]
    assert seen_pose(seen_pose(pose, lies), lies).equal(pose)


def test_a_view_that_neither_mirrors_nor_turns_keeps_the_pose_to_the_bit() -> None:
    pose = torch.tensor([[97.3, -12.7, 3.1], [NAN, 5.0, NAN]])
    centre = kernels.centre(0.85, store=(60, 64), size=48, batch=2, device="cpu").where
    torch.testing.assert_close(seen_pose(pose, centre), pose, rtol=0, atol=0, equal_nan=True)


def test_a_frontal_face_rolls_by_the_turn_and_a_turned_one_does_not() -> None:
    assert seen_pose(torch.tensor([[0.0, 0, 4]]), where(turn=20))[0].tolist() == pytest.approx([0, 0, 24], abs=1e-3)
    yaw, pitch, roll = seen_pose(torch.tensor([[60.0, 10, 0]]), where(turn=20))[0].tolist()
    assert abs(roll - 20) > 5
    assert (yaw, pitch) != pytest.approx((60, 10), abs=3)


@given(upright, upright, upright, st.floats(-60, 60), st.floats(-60, 60))
@settings(max_examples=100)
def test_turns_add_up(yaw: float, pitch: float, roll: float, one: float, two: float) -> None:
    pose = torch.tensor([[yaw, pitch, roll]])
    twice, once = seen_pose(seen_pose(pose, where(turn=one)), where(turn=two)), seen_pose(pose, where(turn=one + two))
    assert geodesic(matrix_of(twice), matrix_of(once)).item() < 1e-4


@pytest.mark.parametrize(("flip", "turn"), [(False, 25.0), (True, 0.0), (True, -40.0), (False, -70.0)])
def test_a_point_of_the_head_goes_where_its_pixel_goes(flip: bool, turn: float) -> None:
    """A head's points, projected, are carried by `where`; the head at the seen pose has them in the same places."""
    pose = torch.tensor([[35.0, -20.0, 15.0]])
    points = torch.tensor([[0.0, 0, 1], [-0.4, -0.3, 0.8], [0.4, -0.3, 0.8], [0.1, 0.5, 0.7]])  # nose, eyes, mouth
    lies = where(flip, turn, scale=1.0, crop=1.0, shift_x=0.0, shift_y=0.0)
    stored = (points @ matrix_of(pose)[0].T)[:, :2]
    linear = torch.linalg.inv(lies[0, :, :2]) * (60 / 48)  # the view's scale, 60 stored pixels on 48, divided out
    shown = stored @ linear.T
    own = points * torch.tensor([-1.0 if flip else 1.0, 1, 1])  # a mirrored head is another person's
    expected = (own @ matrix_of(seen_pose(pose, lies))[0].T)[:, :2]
    torch.testing.assert_close(shown, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("turn", [0.0, 30.0])
def test_without_roll_yaw_and_pitch_are_known_after_a_turn_too(turn: float) -> None:
    whole = seen_pose(torch.tensor([[25.0, 10, 0]]), where(True, turn))[0]
    found = seen_pose(torch.tensor([[25.0, 10, NAN]]), where(True, turn))[0]
    assert found[:2].equal(whole[:2])
    assert found[2].isnan()


def test_without_yaw_a_turn_leaves_nothing_known() -> None:
    pose = torch.tensor([[NAN, 10, 5]])
    assert seen_pose(pose, where(turn=30)).isnan().all()
    assert seen_pose(pose, where(flip=True))[0, 1:].tolist() == [10, -5]


# --- heads ----------------------------------------------------------------------------------------------------------


def certain(task: PoseBins, pose: list[float]) -> Tensor:
    """Logits that are sure of the bins of a pose."""
    number = torch.tensor([int((angle + task.limit) // task.width) for angle in pose])
    return 1e4 * torch.nn.functional.one_hot(number, task.bins).float()[None]


def right(task: PoseTask, pose: list[float]) -> Tensor:
    """The output that says a pose exactly; poses here are centres of bins."""
    if isinstance(task, PoseRegression):
        return torch.tensor([pose]) / UNIT
    if isinstance(task, PoseBins):
        return certain(task, pose)
    matrix = matrix_of(torch.tensor([pose]))
    return torch.cat([matrix[..., 0], matrix[..., 1]], dim=-1) - torch.tensor([1.0, 0, 0, 0, 1, 0])


HEADS = (PoseRegression(), PoseRegression(beta=5.0), PoseBins(), PoseBins(distance="l1"), PoseRotation())


@pytest.mark.parametrize("task", HEADS, ids=str)
def test_the_right_answer_costs_nothing_and_has_no_error(task: PoseTask) -> None:
    pose = [-43.5, 22.5, 7.5]
    loss = criterion(task)
    assert loss.loss(right(task, pose), look([pose])).item() == pytest.approx(0, abs=1e-3)
    rows = {name: value.numpy() for name, value in loss.rows(right(task, pose), look([pose])).items()}
    assert max(task.measure(rows).values()) < 1e-3


@pytest.mark.parametrize("task", HEADS, ids=str)
def test_the_right_answer_is_right_in_a_mirrored_view(task: PoseTask) -> None:
    seen = look([[-43.5, 22.5, 7.5]], where(flip=True))
    assert criterion(task).loss(right(task, [43.5, 22.5, -7.5]), seen).item() == pytest.approx(0, abs=1e-3)


def test_the_rotation_is_right_in_a_turned_view() -> None:
    pose = [-43.5, 22.5, 7.5]
    lies = where(True, 33.0)
    turned = seen_pose(torch.tensor([pose]), lies)[0].tolist()
    loss = criterion(PoseRotation()).loss(right(PoseRotation(), turned), look([pose], lies))
    assert loss.item() == pytest.approx(0, abs=1e-3)


def test_each_loss_is_what_it_says() -> None:
    pose = [[10.5, 1.5, -4.5]]
    off = torch.tensor([[13.5, 1.5, -4.5]]) / UNIT
    assert criterion(PoseRegression()).loss(off, look(pose)).item() == pytest.approx(3 / 3, rel=1e-4)
    assert criterion(PoseRegression(beta=6.0)).loss(off, look(pose)).item() == pytest.approx(9 / 12 / 3, rel=1e-4)
    flat = torch.zeros(1, 3, 66)
    squares = 10.5**2 + 1.5**2 + 4.5**2
    for alpha in (0.0, 2.0):
        found = criterion(PoseBins(alpha=alpha)).loss(flat, look(pose)).item()
        assert found == pytest.approx(3 * math.log(66) + alpha * squares, rel=1e-4)
    l1 = criterion(PoseBins(distance="l1")).loss(flat, look(pose)).item()
    assert l1 == pytest.approx(3 * math.log(66) + 16.5, rel=1e-4)
    frontal = criterion(PoseRotation()).loss(torch.zeros(1, 6), look([[0.0, 0, 50]])).item()
    assert frontal == pytest.approx(math.radians(50), rel=1e-4)


@pytest.mark.parametrize("task", HEADS, ids=str)
def test_a_missing_pose_costs_nothing_and_takes_no_part(task: PoseTask) -> None:
    shape = right(task, [1.5, 1.5, 1.5]).shape[1:]
    output = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0)).requires_grad_()
    pose = [[12.0, 5, 3], [NAN, NAN, NAN]]
    loss = criterion(task)
    both, one = loss.loss(output, look(pose)), loss.loss(output[:1], look(pose[:1]))
    assert both.item() == pytest.approx(one.item(), rel=1e-5)
    both.backward()
    assert output.grad is not None
    assert output.grad.isfinite().all()
    assert (output.grad[1] == 0).all()
    assert loss.loss(output[1:], look(pose[1:])).item() == 0


@pytest.mark.parametrize(
    "task", [PoseRegression(angles=("yaw", "pitch")), PoseBins(angles=("yaw", "pitch")), PoseRotation()], ids=str
)
def test_without_roll_the_others_are_learned(task: PoseTask) -> None:
    output = right(replace(task, angles=COLUMNS), [-43.5, 22.5, 61.5])
    output = output[:, :2] if not isinstance(task, PoseRotation) else output
    assert criterion(task).loss(output, look([[-43.5, 22.5, NAN]])).item() == pytest.approx(0, abs=1e-3)
    wrong = criterion(task).loss(output, look([[-13.5, 22.5, NAN]])).item()
    assert wrong > 0.1


def test_a_label_may_have_its_columns_in_any_order_or_fewer() -> None:
    task = PoseRegression(angles=("yaw", "pitch"))
    for columns, pose in ((("roll", "pitch", "yaw"), [7.0, -5, 20]), (("pitch", "yaw"), [-5.0, 20])):
        output = torch.tensor([[20.0, -5]]) / UNIT
        assert criterion(task, columns).loss(output, look([pose])).item() == pytest.approx(0, abs=1e-4)


def test_an_angle_beyond_the_bins_has_no_part_in_the_loss_but_counts_in_the_figures() -> None:
    task = PoseBins(angles=("yaw",))
    output = torch.zeros(2, 1, 66)
    loss = criterion(task)
    assert loss.loss(output, look([[10.5, 0, 0], [120.0, 0, 0]])) == loss.loss(output[:1], look([[10.5, 0, 0]]))
    rows = {name: value.numpy() for name, value in loss.rows(output[1:], look([[120.0, 0, 0]])).items()}
    assert task.measure(rows)["mae_yaw"] == pytest.approx(120, abs=1e-3)


def test_errors_go_the_short_way_round() -> None:
    truth, guess = np.array([[179.0, -30], [10, 0]]), np.array([[-179.0, 300], [370, 5]])
    found = measure_angles(("yaw", "pitch"), guess, truth)
    assert found == {"mae_yaw_pitch": pytest.approx((1 + 17.5) / 2), "mae_yaw": 1, "mae_pitch": 17.5}
    assert criterion(PoseRegression(angles=("yaw",))).loss(
        torch.tensor([[-179.0]]) / UNIT, look([[179.0, 0, 0]])
    ).item() == pytest.approx(2, abs=1e-3)


def test_figures_leave_missing_angles_out_and_an_angle_nobody_has_is_not_zero() -> None:
    truth = np.array([[10.0, NAN, NAN], [NAN, 4, NAN]])
    found = measure_angles(COLUMNS, np.zeros((2, 3)), truth)
    assert (found["mae_yaw"], found["mae_pitch"]) == (10, 4)
    assert math.isnan(found["mae_roll"])
    assert math.isnan(found["mae_yaw_pitch_roll"])


def test_the_constant_guess_is_the_median_of_the_training_poses() -> None:
    train = split([[0.0, 1, NAN], [10, 2, NAN], [80, 3, NAN]])
    val = split([[20.0, 2, NAN], [0, NAN, NAN]], name="val")
    found = PoseRegression(angles=("yaw", "pitch")).constant_guess(train, val)
    assert found == {"mae_yaw_pitch": 5, "mae_yaw": 10, "mae_pitch": 0}


@pytest.mark.parametrize("task", HEADS, ids=str)
def test_the_figures_are_those_declared_the_mean_first(task: PoseTask) -> None:
    for angles in (COLUMNS, COLUMNS[:2]):
        task = replace(task, angles=angles)
        guess = np.zeros((1, len(angles)))
        declared = task.figures({})
        assert list(task.measure({"angles": guess, "target": guess})) == [figure.name for figure in declared]
        assert {(figure.unit, figure.greater_is_better) for figure in declared} == {("°", False)}


def test_a_head_gives_what_its_loss_reads() -> None:
    features = Features(torch.randn(2, 6, 1, 1), torch.randn(2, 6))
    for task in HEADS:
        output = task.build_head(Shape(channels=6, width=6, stride=32), {"plain": Plain()})(features)
        assert criterion(task).loss(output, look([[1.0, 2, 3]] * 2)).isfinite()


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (PoseRegression(angles=()), r"PoseRegression 'pose': angles \(=\(\)\) must be one or more of yaw, pitch, roll"),
        (PoseBins(angles=("pitch", "yaw")), r"angles .* in this order"),
        (PoseRotation(angles=("yaw",)), r"PoseRotation 'pose': angles .* a rotation needs yaw and pitch"),
        (PoseRegression(beta=-1.0), r"beta \(=-1.0\) must be 0 or more degrees"),
        (PoseBins(alpha=-1.0), r"alpha \(=-1.0\) must be 0 or more"),
        (PoseBins(width=7.0), r"width \(=7.0\) must part -limit to limit \(=99.0"),
        (PoseBins(width=100.0), r"width \(=100.0\) must part"),
        (PoseRegression(on=("plane",)), r"on names the view 'plane'"),
        (PoseRotation(dropout=1.0), r"dropout \(=1.0\)"),
    ],
)
def test_a_task_that_does_not_fit_is_refused(task: Task, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        task.check({"plain": Plain()})


def test_labels_that_are_not_a_pose_are_refused() -> None:
    with pytest.raises(ValueError, match=r"PoseBins 'pose': label 'pose' holds classes, not numbers; name another"):
        PoseBins().check_labels({"pose": Classes(("a", "b"))})
    with pytest.raises(ValueError, match=r"must be numbers of the label 'pose' \(=yaw, pitch\); choose among these"):
        PoseRegression().check_labels({"pose": Numbers(("yaw", "pitch"))})
    with pytest.raises(
        ValueError, match=r"roll is missing in every sample of the split 'train'; learn angles=\('yaw', 'pitch'\)"
    ):
        PoseRegression().criterion(split([[1.0, 2, NAN], [3, NAN, NAN]]))


@pytest.mark.parametrize("task", [PoseRegression(), PoseBins()], ids=str)
def test_a_recipe_that_turns_pictures_under_a_head_of_angles_is_refused(task: Any) -> None:
    turning = Augment(flip=0.5, rotation=(-10, 10))
    with pytest.raises(ValueError, match=r"augment.rotation \(=\(-10.0, 10.0\)\) must be \(0, 0\).*or take PoseRot"):
        tiny.recipe(tasks=(task,), views={"plain": Plain()}, augment=turning)
    tiny.recipe(tasks=(task,), views={"plain": Plain()}, augment=Augment(flip=0.5))
    tiny.recipe(tasks=(PoseRotation(),), views={"plain": Plain()}, augment=turning)
