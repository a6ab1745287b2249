"""Mirrored and turned pictures of heads have the pose that the task says: drawn heads, and 300W-LP's own copies."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

import kernels
from engine.tasks.pose_geometry import seen_pose, wrapped
from kernels.tables.maps import affine
from loaders.importers.pose import PoseFile, read_pose_file
from tests.posed_heads import picture

SIZE = 96
SAMPLES = "samples/aflw2000_16_and_300wlp_17.zip"
PEOPLE = ("AFW/AFW_134212_1_0", "AFW/AFW_134212_1_1", "HELEN/HELEN_232194_1_0", "HELEN/HELEN_232194_1_1")


def where(flip: bool, turn: float) -> Float32[Tensor, "1 2 3"]:
    """A view of the whole picture that mirrors it and then turns it clockwise by `turn` degrees."""
    one, still = torch.ones(1), torch.zeros(1)
    return affine(
        flip=-one if flip else one,
        rotation=turn * one,
        crop=one,
        scale=one,
        aspect=one,
        shift_x=still,
        shift_y=still,
        store=(SIZE, SIZE),
        size=SIZE,
    )


def head(yaw: float, pitch: float, roll: float) -> UInt8[Tensor, "y x 3"]:
    return torch.from_numpy(picture(SIZE, yaw=yaw, pitch=pitch, roll=roll))


def shown(picture: UInt8[Tensor, "y x 3"], lies: Float32[Tensor, "1 2 3"]) -> Float32[Tensor, "y x 3"]:
    """The picture through `where`, in gray levels."""
    view = kernels.render_views(
        picture[None],
        torch.zeros(1, dtype=torch.int64),
        lies[None],
        torch.eye(3, 4)[None, None],
        torch.zeros(1, 1, 1, dtype=torch.int16),
        size=SIZE,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        dtype=torch.float32,
    )
    return 255 * view[0, 0].permute(1, 2, 0)


def apart(one: Tensor, other: Tensor) -> float:
    """Mean difference in gray levels on a disc about the centre, where the face is and the ground is not."""
    along = torch.arange(SIZE) + 0.5 - SIZE / 2
    disc = along[:, None] ** 2 + along[None, :] ** 2 < (0.22 * SIZE) ** 2
    return float((one.float() - other.float()).abs()[disc].mean())


@pytest.mark.parametrize("pose", [(0.0, 0.0, 0.0), (35.0, 0.0, 0.0), (30.0, -20.0, 10.0), (60.0, 10.0, 0.0)])
@pytest.mark.parametrize(("flip", "turn"), [(True, 0.0), (False, 20.0), (True, -25.0), (False, -35.0)])
def test_the_head_in_the_view_is_the_head_drawn_at_the_pose_that_is_told(
    pose: tuple[float, float, float], flip: bool, turn: float
) -> None:
    """Six degrees off in any angle, it is another picture."""
    lies = where(flip, turn)
    view = shown(head(*pose), lies)
    yaw, pitch, roll = seen_pose(torch.tensor([pose]), lies)[0].tolist()
    found = apart(view, head(yaw, pitch, roll))
    beside = [(6, 0, 0), (-6, 0, 0), (0, 6, 0), (0, -6, 0), (0, 0, 6), (0, 0, -6)]
    assert found < 7
    assert min(apart(view, head(yaw + a, pitch + b, roll + c)) for a, b, c in beside) > 2 * found


@pytest.fixture(scope="module")
def samples(hmtl_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `.mat` files of the samples of 300W-LP."""
    pytest.importorskip("scipy")
    folder = tmp_path_factory.mktemp("w300lp")
    with zipfile.ZipFile(hmtl_data / SAMPLES) as archive:
        archive.extractall(folder, [name for name in archive.namelist() if name.endswith(".mat")])
    return folder / "300W_LP_samples"


def pose_in(file: Path) -> Float32[Tensor, "1 3"]:
    found = read_pose_file(file)
    assert isinstance(found, PoseFile), found
    return torch.tensor([found.pose])


@pytest.mark.parametrize("name", PEOPLE)
def test_300wlp_mirrored_copies_have_the_mirrored_pose(samples: Path, name: str) -> None:
    """Within 1 degree in yaw and roll; the pitch of the copies, fitted anew, differs by up to 1.25 in itself."""
    stored = pose_in(samples / "test" / f"{name}.mat")
    copy = pose_in(samples / "test" / f"{name.replace('/', '_Flip/')}.mat")
    off = wrapped(seen_pose(stored, where(True, 0.0)) - copy).abs()[0]
    assert off[[0, 2]].max() < 1
    assert off[1] < 1.25


@pytest.mark.parametrize("turn", [-60, -45, -30, -15, 15, 30, 45, 60])
def test_300wlp_turned_copies_have_the_turned_pose(samples: Path, turn: int) -> None:
    """Their names tell counter-clockwise degrees; they were fitted anew, and are within 0.66 degrees."""
    stored = pose_in(samples / "DataRotate" / "AFW_1051618982_1_0.mat")
    copy = pose_in(samples / "DataRotate" / f"AFW_1051618982_1_0_angle_{turn}.mat")
    off = wrapped(seen_pose(stored, where(False, -float(turn))) - copy).abs()
    assert off.max() < 1
