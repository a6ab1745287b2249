"""`hmtl predict --find`: faces are found, cut as those of the training were, answered, and drawn."""

from __future__ import annotations

import csv
import signal
import sys
from collections.abc import Callable, Generator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from benchmarks.face_scenes import drawn, ground, pasted
from engine.deployed import Deployed, load
from engine.deployed.drawing import Copies, annotated, axes, label
from engine.deployed.finding import FaceFinder, FoundFace
from engine.deployed.photos import find_in
from engine.deployed.pictures import answers_of
from engine.predict import app, ctrl_c
from engine.tasks import SYNTHETIC_7, Attribute, Expression, Number, PoseRegression
from engine.views import Plain
from kernels import Augment
from loaders import Synthetic
from loaders.base import Preparation
from loaders.decoding.crops import Square
from loaders.decoding.pictures import Form, UnreadableError, decode
from loaders.decoding.video import Camera, Frame, frames, video_writer
from loaders.detection import Detection, FaceDetector
from loaders.importers import Skipped
from tests.engine import tiny

CLEAR = (23, 30)
"""Drawn faces that the network is sure of."""
HEADS = ["path", "frame", "face", "box/left", "box/top", "box/right", "box/bottom", "score"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of an epoch that says expression, glasses, pose and age of drawn faces."""
    recipe = tiny.recipe(
        data=Synthetic(train=32, val=12, test=12, size=32),
        views={"plain": Plain()},
        augment=Augment(),
        tasks=(
            Expression(SYNTHETIC_7),
            Attribute(("no", "yes"), label="glasses"),
            PoseRegression(name="pose"),
            Number(label="age", column="years"),
        ),
        epochs=1,
    )
    return tiny.trained(recipe, tmp_path_factory.mktemp("finding") / "run")


@pytest.fixture(scope="module")
def detector(faces_extra: None) -> FaceDetector:
    return FaceDetector("test", threads=1)


@pytest.fixture(scope="module")
def party() -> Image.Image:
    """A scene with two faces."""
    scene = ground(700, 500)
    for index, size, corner in zip(CLEAR, (160, 220), ((60, 80), (400, 200)), strict=True):
        scene, _ = pasted(scene, *drawn(0, [index], size), [corner])
    return scene


@pytest.fixture
def photos(tmp_path: Path, party: Image.Image) -> Path:
    """A folder with a photo of two faces, one of none, and a file that is cut."""
    folder = tmp_path / "photos"
    folder.mkdir()
    party.save(folder / "party.png")
    ground(300, 200).save(folder / "empty.png")
    (folder / "cut.jpg").write_bytes(b"\xff\xd8\xff")
    return folder


def call(*words: object) -> Result:
    return CliRunner().invoke(app, [*map(str, words), "--device", "cpu"])


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream))


def prepared(model: Deployed, *ways: Preparation) -> Deployed:
    model.prepared = ways
    return model


# --- rows ---------------------------------------------------------------------------------------------------------


def test_each_face_has_a_row_and_a_picture_without_one_too(
    run: Path, photos: Path, tmp_path: Path, faces_extra: None
) -> None:
    out = tmp_path / "said.csv"
    result = call(run, photos, "--find", "--out", out)
    assert result.exit_code == 1  # of the file that is cut
    assert f"skipped: {photos / 'cut.jpg'}: unreadable picture" in result.stderr
    rows = rows_of(out)
    assert list(rows[0])[: len(HEADS)] == HEADS
    assert [(Path(row["path"]).name, row["frame"], row["face"]) for row in rows] == [
        ("empty.png", "", "0"),
        ("party.png", "", "1"),
        ("party.png", "", "2"),
    ]
    assert not any(value for name, value in rows[0].items() if name not in ("path", "face"))
    for row in rows[1:]:
        assert row["expression"] in SYNTHETIC_7
        assert sum(float(row[f"expression/{name}"]) for name in SYNTHETIC_7) == pytest.approx(1, abs=1e-3)
        assert -180 <= float(row["pose/yaw"]) <= 180
        assert float(row["box/left"]) < float(row["box/right"])
        assert 0.35 < float(row["score"]) <= 1


def test_without_out_rows_are_printed_and_nothing_else(run: Path, photos: Path, faces_extra: None) -> None:
    result = call(run, photos / "party.png", "--find")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert [line.split(",")[0] for line in lines] == ["path", *[str(photos / "party.png")] * 2]


def test_a_face_is_answered_as_its_crop_would_be(
    run: Path, party: Image.Image, detector: FaceDetector, tmp_path: Path
) -> None:
    """The crop that `hmtl prepare` makes of the same square, given as a picture, gets the same answers."""
    picture = np.asarray(party)
    for way in (Preparation(32, crop="box", margin=0.25), Preparation(32, crop="align", margin=0.1)):
        model = prepared(load(run), way)
        for found in FaceFinder(model, detector)(picture):
            assert found.square == found.detection.square(way.crop, way.margin)  # type: ignore[arg-type]
            assert bool(found.square.turn) is (way.crop == "align")
            Image.fromarray(decode(picture, Form(32, colour="rgb"), found.square)).save(tmp_path / "face.png")
            ((_, said),), _ = answers_of(model, [tmp_path / "face.png"])
            assert found.said is not None
            for task in said:
                np.testing.assert_allclose(found.said[task], said[task], atol=1e-5)


def test_many_faces_are_asked_in_batches(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, sizes = load(run), []
    forward = model.forward
    monkeypatch.setattr(model, "forward", lambda faces: sizes.append(len(faces)) or forward(faces))
    crowd = [Detection((i, 0, i + 9, 9), 0.9, np.zeros((5, 2))) for i in range(70)]
    found = FaceFinder(model, lambda _: crowd)(np.asarray(ground(100, 20)))  # type: ignore[arg-type]
    assert len(found) == 70
    assert sizes == [32, 32, 6]


def test_a_face_that_cannot_be_cut_keeps_its_row(run: Path) -> None:
    far = Detection((10, 10, 40, 40), 0.9, np.full((5, 2), 1e6) + np.arange(10).reshape(5, 2))
    flat = Detection((10, 10, 40, 40), 0.8, np.zeros((5, 2)))
    good = Detection((10, 10, 40, 40), 0.7, np.array([[18.0, 20], [32, 20], [25, 26], [20, 32], [30, 32]]))
    finder = FaceFinder(load(run), lambda _: [far, flat, good], "align")  # type: ignore[arg-type]
    found = finder(np.asarray(ground(100, 100)))
    assert [one.said is None for one in found] == [True, True, False]
    rows = finder.rows("a.png", 7, found)
    assert [row[:3] for row in rows] == [["a.png", "7", str(i)] for i in (1, 2, 3)]
    assert rows[0][3:8] == ["10.0", "10.0", "40.0", "40.0", "0.900"]
    assert not any(rows[0][8:])
    assert all(rows[2][8:])
    assert {len(row) for row in rows} == {len(finder.heads)}
    assert annotated(np.asarray(ground(100, 100)), found, finder.model).size == (100, 100)


# --- how faces are cut --------------------------------------------------------------------------------------------


def nobody(_: Any) -> list[Detection]:
    return []


@pytest.mark.parametrize(
    ("ways", "said"),
    [
        (
            [],
            "faces: found, cut by their box (margin 0), cropped to 32 x 32; those that the model was trained on: "
            "drawn, or of a checkpoint that does not say it; how much is seen around a face is chosen by --margin",
        ),
        (
            [Preparation(32)],
            "faces: found, cut by their box (margin 0), cropped to 32 x 32; those that the model was trained on: "
            "cropped to 32 x 32; how much is seen around a face is chosen by --margin",
        ),
        (
            [Preparation(32, crop="box", margin=0.25)],
            "faces: found, cut by their box (margin 0.25), cropped to 32 x 32; those that the model was trained on: "
            "cut by their box (margin 0.25), cropped to 32 x 32; the detector's box, from forehead to chin, stands for "
            "theirs",
        ),
        (
            [Preparation(32, crop="align", margin=0.1)],
            "faces: found, aligned by landmarks (margin 0.1), cropped to 32 x 32; those that the model was trained on: "
            "aligned by landmarks (margin 0.1), cropped to 32 x 32",
        ),
    ],
)
def test_faces_are_cut_as_those_of_the_training(run: Path, ways: list[Preparation], said: str) -> None:
    assert FaceFinder(prepared(load(run), *ways), nobody).treatment == said  # type: ignore[arg-type]


def test_crop_and_margin_choose_another_way(run: Path) -> None:
    model = prepared(load(run), Preparation(32, crop="box", margin=0.25))
    chosen = FaceFinder(model, nobody, "align", 0.5).treatment  # type: ignore[arg-type]
    assert "faces: found, aligned by landmarks (margin 0.5)" in chosen
    assert "box (margin 0.5)" in FaceFinder(model, nobody, margin=0.5).treatment  # type: ignore[arg-type]
    assert "landmarks (margin 0)" in FaceFinder(model, nobody, "align").treatment  # type: ignore[arg-type]


def test_faces_cut_in_several_ways_ask_for_a_choice(run: Path) -> None:
    model = prepared(load(run), Preparation(32), Preparation(32, crop="box", margin=0.25))
    said = (
        r"predict: crop \(=None\) and margin \(=None\) must be given: .* \(box with margin 0.25 and none with "
        r"margin 0\); choose by --crop and --margin"
    )
    with pytest.raises(ValueError, match=said):
        FaceFinder(model, nobody)  # type: ignore[arg-type]
    assert "box (margin 0.25)" in FaceFinder(model, nobody, "box").treatment  # type: ignore[arg-type]


def test_faces_that_are_not_square_are_refused(run: Path) -> None:
    model = load(run)
    model.faces = (32, 24, 3)
    with pytest.raises(ValueError, match=r"predict: --find cuts squares, and .* of 24 x 32 pixels; cut the faces out"):
        FaceFinder(model, nobody)  # type: ignore[arg-type]


# --- what is refused before work begins ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--crop", "box"], "predict: crop (=box) must go with --find; add it, or leave this out"),
        (["--draw", "copies"], "predict: draw (=copies) must go with --find; add it, or leave this out"),
        (["--margin", "0.2"], "predict: margin (=0.2) must go with --find"),
        (["--every", "5"], "predict: every (=5) must go with --find"),
        (["--camera", "0"], "predict: camera (=0) must go with --find"),
        (
            ["--find", "--camera", "0"],
            "predict: PICTURES (there are 1) or camera (=0) must be given, and not both; name",
        ),
        (["--find", "--every", "0"], "predict: every (=0) must be 1 or more; 1 looks at each picture of a video"),
        (["--find", "--fit", "crop"], "predict: fit (=crop) must be left out with --find, which cuts squares; choose"),
        (["--find", "--draw", "{photos}"], "must be a new or empty folder; choose another"),
    ],
)
def test_options_that_do_not_go_together_are_refused(photos: Path, words: list[str], said: str) -> None:
    result = call("no-run", "no-pictures", *(word.format(photos=photos) for word in words))
    assert result.exit_code == 2
    assert said in result.stderr


def test_a_margin_out_of_range_is_refused(run: Path, photos: Path, faces_extra: None) -> None:
    result = call(run, photos, "--find", "--margin", "3")
    assert result.exit_code == 2
    assert "predict: margin (=3.0) must be in 0..2" in result.stderr


def test_without_the_extra_it_says_what_to_install_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    result = call("no-run", "no-pictures", "--find", "--draw", tmp_path / "copies")
    assert result.exit_code == 2
    assert "predict: package (=onnx) must be importable, and is not" in result.stderr
    assert "run `pip install 'hmtl[faces]'`" in result.stderr
    assert list(tmp_path.iterdir()) == []


# --- copies -------------------------------------------------------------------------------------------------------


def test_copies_show_what_is_said(
    run: Path, photos: Path, tmp_path: Path, party: Image.Image, faces_extra: None
) -> None:
    copies = tmp_path / "deep" / "copies"
    result = call(run, photos, "--find", "--out", tmp_path / "said.csv", "--draw", copies)
    assert result.exit_code == 1
    assert sorted(file.name for file in copies.iterdir()) == ["empty.jpg", "party.jpg"]
    with Image.open(copies / "party.jpg") as copy:
        changed = np.abs(np.asarray(copy, np.int16) - np.asarray(party, np.int16)).max(axis=2) > 60
    with Image.open(copies / "empty.jpg") as copy:
        assert np.abs(np.asarray(copy, np.int16) - np.asarray(ground(300, 200), np.int16)).mean() < 3
    for row in rows_of(tmp_path / "said.csv")[1:]:
        left, top, right, bottom = (round(float(row[f"box/{side}"])) for side in ("left", "top", "right", "bottom"))
        assert changed[top : top + 3, left + 60 : right].mean() > 0.3
        assert changed[top + 20 : bottom, left : left + 3].mean() > 0.5
    assert changed[:, :40].sum() == 0  # away from faces nothing is drawn


def test_names_of_copies_never_collide(tmp_path: Path) -> None:
    copies = Copies(tmp_path / "copies")
    names = ["a/x.png", "b/x.jpg", "x-2.png", "X.png", "c/x.webp", "n" * 251 + ".png", "n" * 250 + "mp.png"]
    placed = [copies.place(Path(name), ".jpg") for name in names]
    assert [file.name for file in placed[:5]] == ["x.jpg", "x-2.jpg", "x-2-2.jpg", "X-3.jpg", "x-4.jpg"]
    assert len({file.name.casefold() for file in placed}) == len(names)
    for file in placed:
        file.touch()  # no name is too long


def test_a_full_disk_keeps_the_copies_that_are_whole(
    run: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, faces_extra: None
) -> None:
    save = Image.Image.save

    def full(image: Image.Image, file: Path, *words: Any, **options: Any) -> None:
        if "party" in file.name:
            file.write_bytes(b"half")
            raise OSError(28, "No space left on device")
        save(image, file, *words, **options)

    monkeypatch.setattr(Image.Image, "save", full)
    result = call(run, photos, "--find", "--out", tmp_path / "said.csv", "--draw", tmp_path / "copies")
    assert result.exit_code == 1
    assert "no space left to write" in result.stderr
    assert [file.name for file in (tmp_path / "copies").iterdir()] == ["empty.jpg"]
    assert not (tmp_path / "said.csv").exists()


@pytest.fixture
def said_of(run: Path) -> Callable[..., tuple[Deployed, FoundFace]]:
    """Makes a face of which this is said."""
    model = load(run)

    def made(yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0, turn: float = 0.0) -> tuple[Deployed, FoundFace]:
        said = {
            "expression": np.eye(7)[2] * 0.9 + 0.1 / 7,
            "glasses": np.array([0.3, 0.7]),
            "pose": np.array([yaw, pitch, roll], np.float32),
            "years": np.array([31.24]),
        }
        said = dict(zip(model.tasks, said.values(), strict=True))
        points = np.array([[40.0, 40], [60, 40], [50, 55], [42, 65], [58, 65]])
        return model, FoundFace(Detection((30, 25, 70, 80), 0.9, points), Square(50, 50, 60, turn), said)

    return made


def test_a_label_has_the_likeliest_classes_and_the_numbers(said_of: Callable[..., tuple[Deployed, FoundFace]]) -> None:
    model, face = said_of()
    said = face.said or {}
    assert label(model, said) == f"expression: {SYNTHETIC_7[2]} 91 %\nglasses: yes 70 %\nyears 31.2"
    assert label(model, {"expression": said["expression"]}) == f"{SYNTHETIC_7[2]} 91 %"


@pytest.mark.parametrize(
    ("angles", "nose"),
    [
        ({}, (0, 0)),
        ({"yaw": 30}, (-0.5, 0)),  # to the image's left
        ({"pitch": 30}, (0, -0.5)),  # looks up
        ({"yaw": 90, "turn": 90}, (0, -1)),  # the model saw the face turned upright
    ],
)
def test_the_axes_lead_where_the_nose_points(
    said_of: Callable[..., tuple[Deployed, FoundFace]], angles: dict[str, float], nose: tuple[float, float]
) -> None:
    model, face = said_of(**angles)
    assert axes(face, model, "pose")[2] == pytest.approx(nose, abs=1e-6)


def test_roll_turns_the_eye_line_clockwise(said_of: Callable[..., tuple[Deployed, FoundFace]]) -> None:
    model, face = said_of(roll=90)
    assert axes(face, model, "pose")[0] == pytest.approx((0, 1), abs=1e-6)


def test_axes_and_label_are_in_the_picture(said_of: Callable[..., tuple[Deployed, FoundFace]]) -> None:
    model, face = said_of(yaw=40)
    shown = np.asarray(annotated(np.zeros((100, 100, 3), np.uint8), [face], model)).reshape(-1, 3)
    for colour in ((255, 214, 0), (230, 50, 50), (40, 170, 70), (60, 110, 255)):
        assert (shown == colour).all(axis=1).sum() > 10


# --- videos -------------------------------------------------------------------------------------------------------


@pytest.fixture
def clip(tmp_path: Path, party: Image.Image, faces_extra: None) -> Path:
    """A video of 7 pictures in a folder: the scene with two faces, and in pictures 3 to 5 one without."""
    (tmp_path / "clips").mkdir()
    file = tmp_path / "clips" / "clip.mp4"
    with video_writer(file, *party.size, 10.0, where="test") as write:
        for number in range(7):
            write(np.asarray(ground(*party.size) if 3 <= number < 6 else party))
    return file


@pytest.mark.parametrize(("every", "numbers"), [([], range(7)), (["--every", 2], (0, 2, 4, 6))])
def test_each_picture_of_a_video_has_its_rows(
    run: Path, clip: Path, tmp_path: Path, every: list[object], numbers: Sequence[int]
) -> None:
    out, copies = tmp_path / "said.csv", tmp_path / "copies"
    result = call(run, clip.parent, "--find", "--out", out, "--draw", copies, *every)
    assert result.exit_code == 0, result.output
    found = [(row["path"], int(row["frame"]), row["face"]) for row in rows_of(out)]
    faces = {number: ["0"] if 3 <= number < 6 else ["1", "2"] for number in numbers}
    assert found == [(str(clip), number, face) for number, of in faces.items() for face in of]
    copy = list(frames(copies / "clip.mp4"))
    assert len(copy) == len(numbers)
    assert copy[0].rate == 10 / (2 if every else 1)
    drawn_in = [bool((np.abs(one.pixels.astype(int) - (255, 214, 0)).max(axis=2) < 40).sum() > 200) for one in copy]
    assert drawn_in == [of != ["0"] for of in faces.values()]


def test_of_a_video_that_is_cut_what_was_said_is_kept_and_the_rest_goes_on(
    run: Path, clip: Path, party: Image.Image, tmp_path: Path
) -> None:
    party.save(clip.parent / "party.png")
    (clip.parent / "text.mp4").write_bytes(b"no video")
    content = clip.read_bytes()
    clip.write_bytes(content[: content.index(b"mdat") + 12000])  # the index of an MP4 stands at its end
    result = call(run, clip.parent, "--find", "--out", tmp_path / "said.csv", "--draw", tmp_path / "copies")
    assert result.exit_code == 1
    told = [line for line in result.stderr.splitlines() if line.startswith("skipped: ")]
    said = "unreadable video (moov atom not found; 0 pictures of it were read)"
    assert told == [f"skipped: {file}: {said}" for file in (clip, clip.parent / "text.mp4")]
    assert {Path(row["path"]).name for row in rows_of(tmp_path / "said.csv")} == {"party.png"}
    assert [file.name for file in (tmp_path / "copies").iterdir()] == ["party.jpg"]


def test_the_rows_and_the_copy_of_a_damaged_video_are_kept(run: Path, clip: Path, detector: FaceDetector) -> None:
    def cut(path: Path, every: int = 1, *, where: str) -> Generator[Frame, None, None]:
        yield from islice(frames(path, every, where=where), 4)
        raise UnreadableError("unreadable video", "cut")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("engine.deployed.photos.frames", cut)
        copies = Copies(clip.parent / "copies")
        said = list(find_in(FaceFinder(load(run), detector), [clip], copies))
    assert [len(rows) for rows in said[:-1] if isinstance(rows, list)] == [2, 2, 2, 1]
    assert said[-1] == Skipped(str(clip), "unreadable video", "cut")
    assert len(list(frames(clip.parent / "copies" / "clip.mp4"))) == 4


def test_a_folder_of_videos_alone_is_refused_without_find(run: Path, clip: Path) -> None:
    result = call(run, clip.parent)
    assert result.exit_code == 2
    assert f"predict: {clip.parent} has no picture in it or in its folders; give another" in result.stderr
    clip.rename(clip.with_suffix(".txt"))
    assert f"predict: {clip.parent} has no picture or video in it" in call(run, clip.parent, "--find").stderr


def test_without_ffmpeg_a_video_is_refused_before_any_work(
    run: Path, clip: Path, party: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    party.save(clip.parent / "a.png")
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    result = call(run, clip.parent, "--find")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "predict: package (=imageio_ffmpeg) must be importable, and is not" in result.stderr


# --- a camera -----------------------------------------------------------------------------------------------------


class Interrupting:
    """Finds no face, and presses Ctrl-C at the third picture."""

    def __init__(self, where: str) -> None:
        self._seen = 0

    def __call__(self, picture: np.ndarray) -> list[Detection]:
        assert picture.shape == (48, 64, 3)
        self._seen += 1
        if self._seen == 3:
            signal.raise_signal(signal.SIGINT)
        return []


def test_a_camera_is_looked_through_until_ctrl_c(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, faces_extra: None
) -> None:
    drawn_by_ffmpeg = ["-f", "lavfi", "-i", "testsrc=size=64x48:rate=10"]
    monkeypatch.setattr("loaders.decoding.video.camera_input", lambda name, platform: drawn_by_ffmpeg)
    monkeypatch.setattr(Camera, "check", lambda camera, where: None)
    monkeypatch.setattr("engine.predict.FaceDetector", Interrupting)
    handler = signal.getsignal(signal.SIGINT)
    result = call(
        run, "--find", "--camera", "0", "--every", "2", "--out", tmp_path / "said.csv", "--draw", tmp_path / "d"
    )
    assert result.exit_code == 0, result.output
    rows = [(row["path"], row["frame"], row["face"]) for row in rows_of(tmp_path / "said.csv")]
    assert rows == [("camera 0", frame, "0") for frame in ("0", "2", "4")]
    assert len(list(frames(tmp_path / "d" / "camera 0.mp4"))) == 3
    assert signal.getsignal(signal.SIGINT) is handler


def test_the_second_ctrl_c_interrupts() -> None:
    with ctrl_c() as stopped:
        assert not stopped()
        signal.raise_signal(signal.SIGINT)
        assert stopped()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_camera_that_is_not_there_and_nothing_to_look_at_are_refused(run: Path, tmp_path: Path) -> None:
    result = call(run, "--find", "--camera", "97", "--out", tmp_path / "said.csv")
    assert result.exit_code == 2
    assert "predict: camera (=97) must be one of this machine, and /dev/video97 is not there" in result.stderr
    result = call(run)
    assert result.exit_code == 2
    assert "predict: PICTURES (there are 0) or camera (=None) must be given, and not both" in result.stderr
    assert list(tmp_path.iterdir()) == []
