"""Real faces through every output of `loaders.prepare`, and how far the JPEG decoders of the sources lie apart."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from loaders import DALI, FFCV, Folder, Loader, Packed
from loaders.base import Source
from loaders.decoding.pictures import Form
from loaders.importers import Aflw2000, FairFace, Importer, Pointing04, W300Lp
from loaders.prepare import prepare
from loaders.store.check_report import write_report
from loaders.store.checking import check

FACES = 300
"""Of FairFace's training pictures; of the other sources all."""


def unpack(archive: Path, folder: Path, jpegs: int | None = None) -> Path:
    with zipfile.ZipFile(archive) as file:
        names = file.namelist()
        pictures = [name for name in names if name.endswith(".jpg")]
        file.extractall(folder, [name for name in names if not name.endswith(".jpg")] + pictures[:jpegs])
    return folder


def fairface(data: Path, folder: Path) -> Importer:
    return FairFace(unpack(data / "fairface" / "fairface_train_5000_96px.zip", folder, FACES))


def pointing(data: Path, folder: Path) -> Importer:
    return Pointing04(unpack(data / "pointing04" / "pointing04_2790_96px.zip", folder))


def aflw(data: Path, folder: Path) -> Importer:
    return Aflw2000(unpack(data / "samples" / "aflw2000_16_and_300wlp_17.zip", folder) / "AFLW2000")


def w300lp(data: Path, folder: Path) -> Importer:
    return W300Lp(unpack(data / "samples" / "aflw2000_16_and_300wlp_17.zip", folder) / "300W_LP_samples")


# Importer, side, faces, and the mean and standard deviation of their pixels in whole gray levels.
# FER2013, whose file takes long to unpack, is read once: in test_fer2013.py.
SOURCES: dict[str, tuple[Callable[[Path, Path], Importer], int, int, float, float]] = {
    "fairface": (fairface, 64, FACES, 97.0, 58.0),
    "pointing04": (pointing, 64, 2790, 126.0, 50.0),
    "aflw2000": (aflw, 64, 16, 96.0, 74.0),
    "300wlp": (w300lp, 64, 9, 109.0, 74.0),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SOURCES)
def test_real_faces_are_prepared_and_checked(hmtl_data: Path, tmp_path: Path, name: str) -> None:
    make, side, count, level, spread = SOURCES[name]
    source = prepare(make(hmtl_data, tmp_path / "in"), tmp_path / "store", Form(side))
    assert source["shape"][:3] == [count, side, side]
    findings = check(tmp_path / "store")
    pictures = [split.pictures for split in findings.splits.values()]
    assert sum(pictures) == count
    share = np.array(pictures) / count
    means = np.array([np.mean(split.mean) for split in findings.splits.values()])
    stds = np.array([np.mean(split.std) for split in findings.splits.values()])
    # Not black, not swapped, not cropped to nothing: the levels that these faces had when they were looked at.
    assert share @ means == pytest.approx(level, abs=4)
    assert share @ stds == pytest.approx(spread, abs=4)
    write_report(tmp_path / "store", tmp_path / "check", findings)
    assert (tmp_path / "check" / "sheet.png").stat().st_size > 20_000


def faces(source: Source, split: str = "train") -> NDArray[np.int16]:
    with closing(Loader.open(source, split, batch_size=50, seed=0, device="cpu")) as loader:
        batches = [batch.store[batch.row][batch.sample >= 0] for batch in loader.epoch(0)]
    return torch.cat(batches).numpy().astype(np.int16)


def apart(one: NDArray[np.int16], other: NDArray[np.int16]) -> tuple[float, int]:
    """Mean and largest difference in gray levels."""
    difference = np.abs(one - other)
    return float(difference.mean()), int(difference.max())


@pytest.fixture
def jpegs(hmtl_data: Path, tmp_path: Path) -> Importer:
    return fairface(hmtl_data, tmp_path / "in")


def test_a_store_and_a_plain_folder_of_jpegs_hold_what_pillow_decodes(jpegs: Importer, tmp_path: Path) -> None:
    prepare(jpegs, tmp_path / "store", Form())
    prepare(jpegs, tmp_path / "folder", Form(), format="folder")
    decoded = faces(Folder(jpegs))
    assert decoded.shape == (287, 96, 96, 3)
    assert apart(decoded, faces(Packed(tmp_path / "store"))) == (0, 0)
    assert apart(decoded, faces(Folder(tmp_path / "folder"))) == (0, 0)


@pytest.mark.usefixtures("dali")
@pytest.mark.parametrize(("size", "mean", "most"), [(None, 0.0, 0), (64, 0.4, 16), (48, 0.4, 16)])
def test_dali_lies_within_a_bound_of_pillow(jpegs: Importer, size: int | None, mean: float, most: int) -> None:
    found = apart(faces(Folder(jpegs, size=size)), faces(DALI(jpegs, size=size)))
    print(f"DALI from Folder at {size}: mean {found[0]:.4f}, maximum {found[1]}")
    assert found[0] <= mean
    assert found[1] <= most


@pytest.mark.usefixtures("interpreted_ffcv")
@pytest.mark.parametrize(
    ("quality", "mean", "most", "alone"),
    [(None, 0.0, 0, (0.0, 0)), (90, 1.3, 40, (1.2, 12)), (100, 1.8, 48, (1.7, 30))],
)
def test_ffcv_lies_within_a_bound_of_pillow(
    jpegs: Importer, tmp_path: Path, quality: int | None, mean: float, most: int, alone: tuple[float, int]
) -> None:
    options: dict[str, Any] = {"format": "ffcv", "jpeg": quality}
    prepare(jpegs, tmp_path / "ffcv_store", Form(), **options)
    decoded, stored = faces(Folder(jpegs)), faces(FFCV(tmp_path / "ffcv_store"))
    found = apart(decoded, stored)
    print(f"FFCV from Folder at quality {quality}: mean {found[0]:.4f}, maximum {found[1]}")
    assert found[0] <= mean
    assert found[1] <= most
    if quality is not None:
        # Without the loss of encoding once more, which FFCV's files have: the same bytes, decoded by Pillow.
        cv2 = pytest.importorskip("cv2")
        again = []
        for face in decoded.astype(np.uint8):
            jpeg = cv2.imencode(".jpg", face[..., ::-1], [int(cv2.IMWRITE_JPEG_QUALITY), quality])[1]
            again.append(np.asarray(Image.open(io.BytesIO(jpeg.tobytes()))))
        found = apart(np.stack(again).astype(np.int16), stored)
        print(f"FFCV from Pillow, the same JPEG of quality {quality}: mean {found[0]:.4f}, maximum {found[1]}")
        assert found[0] <= alone[0]
        assert found[1] <= alone[1]
