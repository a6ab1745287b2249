"""300W-LP, AFLW2000, BIWI and Pointing'04: layouts with their traps, signs and orders against drawn and real heads.

A drawn head is put where a face is, its pose is written as the source writes it, and of all heads with these angles in
any order and with any signs the imported label must be the one that looks like the imported picture.
"""

from __future__ import annotations

import itertools
import math
import zipfile
from collections import Counter, defaultdict
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.io import loadmat, savemat

from loaders import Classes, Folder, Loader, Packed
from loaders.decoding.crops import Square
from loaders.decoding.pictures import Form
from loaders.importers import Aflw2000, Biwi, Importer, Pointing04, W300Lp
from loaders.importers.biwi import angles, read_camera
from loaders.prepare import prepare
from loaders.store.opening import open_store
from loaders.synthetic.head import rotation as drawn_rotation
from tests.loaders.imported import Pose, faces, head, listed, save, splits, told_pose

POSES = [(30.0, 12.0, 20.0), (-30.0, 12.0, 20.0), (30.0, -12.0, 20.0), (30.0, 12.0, -20.0), (-12.0, -30.0, -20.0)]
SIZE = 40


# --- .mat files ---------------------------------------------------------------------------------------------------


def write_mat(file: Path, pose: Pose, points: NDArray[np.float64] | None) -> None:
    """`Pose_Para` holds pitch, yaw, roll in radians, a shift and a scale."""
    yaw, pitch, roll = np.deg2rad(pose)
    values: dict[str, Any] = {"Pose_Para": np.array([[pitch, yaw, roll, 100, 200, 0, 1e-3]], np.float32)}
    if points is not None:
        values["pt2d"] = points
    savemat(file, values)


def write_head(file: Path, pose: Pose = (0, 0, 0), *, points: int = 68, hidden: int = 0) -> Path:
    """A drawn head of 40 x 40 at (30, 20) of a gray picture of 90 x 90; landmarks spread over its box."""
    picture = np.full((90, 90, 3), 128, np.uint8)
    picture[20 : 20 + SIZE, 30 : 30 + SIZE] = head(pose, SIZE)
    save(file, picture)
    spread = np.random.default_rng(0).uniform(0, SIZE, (2, points))
    spread[:, :2] = [[0, SIZE], [0, SIZE]]
    marks = spread + np.array([[30], [20]])
    if hidden:
        marks[:, -hidden:] = [[-1], [452]]  # as AFLW2000 has them
    write_mat(file.with_suffix(".mat"), pose, marks)
    return file


@pytest.mark.parametrize("make", [W300Lp, Aflw2000])
def test_labels_of_mat_files_draw_the_picture_again(tmp_path: Path, make: type) -> None:
    for place, pose in enumerate(POSES):
        write_head(tmp_path / f"image{place:05}.png", pose)
    found, skipped = faces(make(tmp_path, margin=0.0), SIZE)
    assert not skipped
    for face, pose in zip(found, POSES, strict=True):
        assert face.record.labels["pose"] == pytest.approx(pose, abs=1e-4)
        assert told_pose(face.pixels, pose) == pose


def test_folder_delivers_the_crops_of_the_store(tmp_path: Path) -> None:
    for place, pose in enumerate(POSES):
        write_head(tmp_path / "faces" / f"image{place:05}.png", pose)
    importer = Aflw2000(tmp_path / "faces", margin=1.0)  # reaches over the edge
    prepare(importer, tmp_path / "store", Form(24))
    batches = []
    for source in (Packed(tmp_path / "store"), Folder(importer, size=24)):
        with closing(Loader.open(source, "test", batch_size=5, seed=0, device="cpu")) as loader:
            batch = next(iter(loader.epoch(0)))
            batches.append((batch.store[batch.row], batch.target["pose"]))
    for one, other in zip(*batches, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_hidden_landmarks_do_not_widen_the_box(tmp_path: Path) -> None:
    write_head(tmp_path / "image00002.jpg", points=21, hidden=5)
    assert listed(Aflw2000(tmp_path, margin=0.5))[0][0].box == Square(50, 40, 80)
    assert listed(Aflw2000(tmp_path, crop="none"))[0][0].box is None


def test_aflw_leaves_out_angles_beyond_99_degrees(tmp_path: Path) -> None:
    for place, pose in enumerate([(99.0, 0, 0), (-99.5, 0, 0), (0, 101, 0), (0, 0, -140)]):
        write_head(tmp_path / "AFLW2000" / f"image{place:05}.jpg")
        write_mat(tmp_path / "AFLW2000" / f"image{place:05}.mat", pose, np.array([[1.0, 9], [1, 9]]))
    records, skipped = listed(Aflw2000(tmp_path))
    assert [record.path for record in records] == ["AFLW2000/image00000.jpg"]
    assert Counter(s.reason for s in skipped) == {"angle beyond 99 degrees": 3}
    assert skipped[0].detail == "yaw, pitch, roll -100, 0, 0"
    assert records[0].split == "test"


def write_300wlp(root: Path) -> Path:
    """Ten originals with three views each, and their mirror images; the folders without pictures of the download."""
    for original, view, mirror in itertools.product(range(10), range(3), ("", "_Flip")):
        yaw = 10.0 * view * (-1 if mirror else 1)
        name = f"HELEN_{original:05}_1_{view}"
        save(root / f"HELEN{mirror}" / f"{name}.jpg", np.full((20, 20, 3), 50, np.uint8))
        write_mat(root / f"HELEN{mirror}" / f"{name}.mat", (yaw, 0, 0), np.array([[4.0, 12], [4, 12]]))
        (root / "landmarks" / "HELEN").mkdir(parents=True, exist_ok=True)
        write_mat(root / "landmarks" / "HELEN" / f"{name}_pts.mat", (0, 0, 0), None)
    return root


def test_300wlp_keeps_all_views_of_a_picture_in_one_split(tmp_path: Path) -> None:
    records, skipped = listed(W300Lp(write_300wlp(tmp_path), val_share=0.2))
    of = defaultdict(set)
    for record in records:
        of[Path(record.path).stem[:11]].add(record.split)
    assert all(len(found) == 1 for found in of.values())
    assert splits(records) == {"train": 48, "val": 12}
    assert [(s.path, s.reason, s.detail) for s in skipped] == [
        ("landmarks/HELEN", ".mat files without a picture", "30 of them")
    ]


def test_300wlp_lists_what_is_damaged(tmp_path: Path) -> None:
    source = write_300wlp(tmp_path)
    folder = source / "HELEN"
    (folder / "HELEN_00000_1_0.mat").unlink()
    (folder / "HELEN_00000_1_1.mat").write_bytes(b"MATLAB 5.0")
    savemat(folder / "HELEN_00000_1_2.mat", {"Pose_Para": [[0.1]]})
    write_mat(folder / "HELEN_00001_1_0.mat", (0, 0, 0), None)
    write_mat(folder / "HELEN_00001_1_1.mat", (0, 0, 0), np.zeros((3, 68)))
    write_mat(folder / "HELEN_00001_1_2.mat", (math.nan, 0, 0), np.ones((2, 68)))
    reasons = {Path(s.path).stem: (s.reason, s.detail) for s in listed(W300Lp(source))[1]}
    assert reasons["HELEN_00000_1_0"][0] == "no .mat beside the picture"
    assert reasons["HELEN_00000_1_1"][0] == "unreadable .mat"
    assert reasons["HELEN_00000_1_2"] == ("unreadable .mat", "Pose_Para must have pitch, yaw and roll")
    assert reasons["HELEN_00001_1_0"] == ("no landmarks", "HELEN_00001_1_0.mat has no pt2d that is visible")
    assert reasons["HELEN_00001_1_1"] == ("unreadable .mat", "pt2d must be 2 x n, it is 3 x 68")
    assert reasons["HELEN_00001_1_2"][0] == "unreadable .mat"


@pytest.fixture
def samples(hmtl_data: Path, tmp_path: Path) -> Path:
    with zipfile.ZipFile(hmtl_data / "samples" / "aflw2000_16_and_300wlp_17.zip") as archive:
        archive.extractall(tmp_path)
    return tmp_path


def test_poses_turn_a_head_as_real_landmarks_stand(samples: Path) -> None:
    # pt3d_68 has x to the right and y down in the picture, and z towards the viewer: the frame of the drawings.
    records, skipped = listed(Aflw2000(samples))
    assert (len(records), len(skipped)) == (16, 0)
    for record in records:
        points = loadmat(samples / record.path.replace(".jpg", ".mat"))["pt3d_68"].astype(float).T
        left, right = points[36:42].mean(axis=0), points[42:48].mean(axis=0)
        across = (right - left) / np.linalg.norm(right - left)
        out = np.cross(across, points[[48, 54]].mean(axis=0) - (left + right) / 2)
        turned = drawn_rotation(*(np.array([angle]) for angle in record.labels["pose"]))[0]  # type: ignore[union-attr]
        assert turned[:, 0] @ across > math.cos(math.radians(10))
        assert turned[:, 2] @ (out / np.linalg.norm(out)) > math.cos(math.radians(20))  # faces are not quite flat


def test_mirror_images_have_mirrored_poses(samples: Path) -> None:
    records, skipped = listed(W300Lp(samples / "300W_LP_samples"))
    pose = {record.path: np.array(record.labels["pose"]) for record in records}
    pairs = [(path, path.replace("AFW/", "AFW_Flip/").replace("HELEN/", "HELEN_Flip/")) for path in pose]
    pairs = [(one, other) for one, other in pairs if one != other and other in pose]
    assert len(pairs) == 4
    for one, other in pairs:
        np.testing.assert_allclose(pose[one] * [-1, 1, -1], pose[other], atol=1.5)  # re-fits
    assert Counter(s.reason for s in skipped) == {"no landmarks": 8}  # the rotated copies have only a pose
    assert len({record.split for record in records if "134212" in record.path}) == 1


def test_rotated_copies_roll_as_the_picture_turns(samples: Path) -> None:
    records, _ = listed(W300Lp(samples / "300W_LP_samples", crop="none"))
    rolls = {r.path: r.labels["pose"][2] for r in records if "DataRotate" in r.path}  # type: ignore[index]
    for path, roll in rolls.items():
        if "angle" in path:
            counter_clockwise = float(path.partition("angle_")[2].removesuffix(".jpg"))
            assert roll == pytest.approx(1.5 - counter_clockwise, abs=1.0)


def test_real_samples_are_prepared(samples: Path, tmp_path: Path) -> None:
    assert prepare(Aflw2000(samples), tmp_path / "a", Form(64))["shape"] == [16, 64, 64, 3]
    assert prepare(W300Lp(samples), tmp_path / "w", Form(64))["shape"] == [25, 64, 64, 3]
    store = open_store(tmp_path / "a")
    assert store.manifest.target["pose"].shape == (16, 3)


# --- BIWI ---------------------------------------------------------------------------------------------------------

CALIBRATION = """517.679 0 320
0 517.679 240.5
0 0 1

0 0 0 0

0.999947 0.00432361 0.00929419
-0.00446314 0.999877 0.0150443
-0.009228 -0.015085 0.999844

-24.0198 5.8896 -13.2308

640 480
"""
FLIP_Z = np.diag([1.0, 1.0, -1.0])  # drawings have z towards the viewer, cameras away from it


def head_to_camera(pose: Pose) -> NDArray[np.float64]:
    """The rotation that BIWI writes for a head drawn at this pose."""
    yaw, pitch, roll = (np.array([angle]) for angle in pose)
    return np.asarray(FLIP_Z @ drawn_rotation(yaw, pitch, roll)[0] @ FLIP_Z)


def write_frame(folder: Path, frame: int, pose: Pose, centre: tuple[float, float, float] = (0, 0, 900)) -> None:
    """A frame of 640 x 480 with a drawn head where the camera sees the centre, in the size in which it sees 240 mm."""
    camera = read_camera(folder / "rgb.cal")
    square = camera.square(np.array(centre), 240)
    assert square is not None
    side = round(square.side)
    left, top = round(square.x - side / 2), round(square.y - side / 2)
    picture = np.full((480, 640, 3), 90, np.uint8)
    picture[top : top + side, left : left + side] = head(pose, side)
    save(folder / f"frame_{frame:05}_rgb.png", picture)
    rows = "\n".join(" ".join(f"{v:.6f}" for v in row) + " " for row in head_to_camera(pose))
    text = f"{rows}\n\n{' '.join(f'{v:.4f}' for v in centre)} \n"
    (folder / f"frame_{frame:05}_pose.txt").write_text(text)


def write_biwi(root: Path, sequences: tuple[str, ...] = ("01",)) -> Path:
    for name in sequences:
        (root / name).mkdir(parents=True)
        (root / name / "rgb.cal").write_text(CALIBRATION)
    return root


def test_biwi_labels_draw_the_picture_again(tmp_path: Path) -> None:
    folder = write_biwi(tmp_path) / "01"
    centres = [(0, 0, 900), (150, 60, 1000), (-160, -70, 950), (40, 20, 800), (0, 0, 1100)]
    for frame, (pose, centre) in enumerate(zip(POSES, centres, strict=True)):
        write_frame(folder, frame, pose, centre)
    found, skipped = faces(Biwi(tmp_path), SIZE)
    assert not skipped
    for face, pose in zip(found, POSES, strict=True):
        assert face.record.labels["pose"] == pytest.approx(pose, abs=1e-3)
        assert told_pose(face.pixels, pose) == pose
        assert np.abs(face.pixels.astype(float) - head(pose, SIZE)).mean() < 8  # the crop holds the head, whole


def test_biwi_nose_points_where_yaw_and_pitch_say() -> None:
    for pose in POSES:
        x, y, z = head_to_camera(pose) @ [0, 0, -1]  # a head that looks into the camera
        yaw, pitch, _ = angles(head_to_camera(pose))
        assert z < 0
        assert np.sign(-x) == np.sign(yaw)  # image left
        assert np.sign(-y) == np.sign(pitch)  # up


def test_biwi_angles_equal_the_published_protocol() -> None:
    # frame_00501 of sequence 01 and its angles by Hopenet's conversion (issue 39 of deep-head-pose).
    rotation = np.array(
        [[0.45684, -0.404949, -0.792031], [-0.103806, 0.860022, -0.499587], [0.883471, 0.310449, 0.350856]]
    )
    assert angles(rotation) == pytest.approx((-52.37571, -54.91993, 41.55420), abs=1e-3)


def test_biwi_is_a_test_set_unless_people_are_split(tmp_path: Path) -> None:
    names = ("02", "04", "06", "08", "10", "12", "14", "16", "21", "24")
    source = write_biwi(tmp_path / "hpdb", names)
    for name in names:
        write_frame(source / name, 3, (0, 0, 0))
    records, _ = listed(Biwi(tmp_path))
    assert splits(records) == {"test": 10}
    assert {r.labels["person"] for r in records} == set(names) - {"21"}  # the second recording of 02
    assert Biwi(tmp_path).survey().labels["person"] == Classes(tuple(n for n in names if n != "21"))
    for seed in range(8):
        split = {Path(r.path).parts[1]: r.split for r in listed(Biwi(tmp_path, test_share=0.3, seed=seed))[0]}
        assert split["02"] == split["21"]  # the same person, recorded twice
        assert set(split.values()) == {"train", "test"}


def test_biwi_lists_frames_without_a_pose(tmp_path: Path) -> None:
    folder = write_biwi(tmp_path) / "01"
    for frame in range(5):
        write_frame(folder, frame, (0, 0, 0))
    (folder / "frame_00000_pose.txt").unlink()
    (folder / "frame_00001_pose.txt").write_text("1 0 0\n0 1 0\n")
    (folder / "frame_00002_pose.txt").write_text("2 0 0\n0 1 0\n0 0 1\n\n0 0 900\n")
    (folder / "frame_00003_pose.txt").write_text("1 0 0\n0 1 0\n0 0 1\n\n0 0 -900\n")
    records, skipped = listed(Biwi(tmp_path))
    assert [record.path for record in records] == ["01/frame_00004_rgb.png"]
    assert [(s.reason, s.detail) for s in skipped] == [
        ("unreadable pose", "frame_00000_pose.txt must hold 12 numbers"),
        ("unreadable pose", "frame_00001_pose.txt must hold 12 numbers"),
        ("unreadable pose", "frame_00002_pose.txt must hold a rotation"),
        ("head behind the camera", "frame_00003_pose.txt"),
    ]


def test_biwi_needs_its_calibration_for_crops(tmp_path: Path) -> None:
    folder = write_biwi(tmp_path) / "01"
    write_frame(folder, 3, (0, 0, 0))
    (folder / "rgb.cal").write_text("517 0 320\n")
    with pytest.raises(
        ValueError, match=r"rgb.cal: must hold the calibration .*; it is damaged, .* or pass --crop none"
    ):
        Biwi(tmp_path).survey()
    (folder / "rgb.cal").unlink()
    with pytest.raises(ValueError, match=r"rgb.cal: must hold the calibration .*; it is not there, take it from the"):
        Biwi(tmp_path).survey()
    assert listed(Biwi(tmp_path, crop="none"))[0][0].box is None


def test_the_calibration_is_read_past_its_distortion(tmp_path: Path) -> None:
    (tmp_path / "rgb.cal").write_text(CALIBRATION)
    camera = read_camera(tmp_path / "rgb.cal")
    assert camera.matrix[1].tolist() == [0, 517.679, 240.5]
    assert camera.rotation[2].tolist() == [-0.009228, -0.015085, 0.999844]
    assert camera.translation.tolist() == [-24.0198, 5.8896, -13.2308]


# --- Pointing'04 --------------------------------------------------------------------------------------------------


def write_pointing(root: Path, pose: tuple[int, int] = (30, 15), people: int = 15) -> Path:
    """Full pictures of 60 x 80 as published, with a drawn head in the face box of the text file."""
    pan, tilt = pose
    for person in range(1, people + 1):
        for series in (1, 2):
            stem = f"person{person:02}{series}07{tilt:+}{pan:+}"
            picture = np.full((60, 80, 3), 200, np.uint8)
            picture[10:50, 25:65] = head((pan, tilt, 0), 40)
            save(root / f"Person{person:02}" / f"{stem}.jpg", picture)
            (root / f"Person{person:02}" / f"{stem}.txt").write_text(f"{stem}.jpg\n\nFace\n45\n30\n40\n36\n")
    return root


@pytest.mark.parametrize("pose", [(30, 15), (-30, 15), (30, -15), (-30, -15)])
def test_pointing_labels_draw_the_picture_again(tmp_path: Path, pose: tuple[int, int]) -> None:
    found, _ = faces(Pointing04(write_pointing(tmp_path, pose, 1), margin=0.0), SIZE)
    yaw, pitch, roll = found[0].record.labels["pose"]  # type: ignore[misc]
    assert math.isnan(roll)  # type: ignore[arg-type]
    wanted = (float(yaw), float(pitch), 0.0)  # type: ignore[arg-type]
    assert wanted == (*map(float, pose), 0.0)
    assert told_pose(found[0].pixels, wanted) == wanted


def test_pointing_splits_people(tmp_path: Path) -> None:
    importer = Pointing04(write_pointing(tmp_path))
    records, _ = listed(importer)
    assert splits(records) == {"train": 20, "val": 4, "test": 6}
    of = defaultdict(set)
    for record in records:
        of[Path(record.path).name[6:8]].add(record.split)
    assert all(len(found) == 1 for found in of.values())
    test = " ".join(sorted(person for person, found in of.items() if found == {"test"}))
    assert any(f"test {test}" in note for note in importer.survey().notes)
    assert all(record.labels["person"] == Path(record.path).name[6:8] for record in records)
    assert importer.survey().labels["person"] == Classes(tuple(sorted(of)))


def test_pointing_roll_is_missing_in_the_store(tmp_path: Path) -> None:
    prepare(Pointing04(write_pointing(tmp_path / "p")), tmp_path / "s", Form(16))
    pose = open_store(tmp_path / "s").manifest.target["pose"]
    assert pose[:, 2].isnan().all()
    assert pose[:, :2].tolist() == [[30, 15]] * 30


def test_pointing_lists_pictures_without_a_box_or_a_pose(tmp_path: Path) -> None:
    source = write_pointing(tmp_path, people=2)
    (source / "Person01" / "person01107+15+30.txt").unlink()
    save(source / "Front" / "face.jpg")
    assert [(s.path, s.reason) for s in listed(Pointing04(source))[1]] == [
        ("Front/face.jpg", "name without a pose"),
        ("Person01/person01107+15+30.jpg", "no face box"),
    ]
    assert len(listed(Pointing04(source, crop="none"))[0]) == 4


def write_crops(root: Path, row: str = "person01100-90+0.jpg,01,1,00,-90,0,192,237,126,94") -> Path:
    for name in ("person01100-90+0.jpg", "person01207+15-30.jpg"):
        save(root / "faces" / name)
    lines = ["file,person,series,number,tilt,pan,cx,cy,w,h", row, "person01207+15-30.jpg,01,2,07,15,-30,1,1,1,1"]
    (root / "labels.csv").write_text("\n".join(lines) + "\n")
    return root


def test_pointing_reads_the_list_of_the_crops(tmp_path: Path) -> None:
    importer = Pointing04(write_crops(tmp_path))
    records, skipped = listed(importer)
    assert not skipped
    assert [record.path for record in records] == ["faces/person01100-90+0.jpg", "faces/person01207+15-30.jpg"]
    assert records[0].labels["pose"][:2] == (0, -90)  # type: ignore[index]
    assert records[1].labels["pose"][:2] == (-30, 15)  # type: ignore[index]
    assert records[0].box is None
    assert "whole pictures" in importer.survey().notes
    with pytest.raises(ValueError, match=r"crop \(='box'\) must be one of none here"):
        Pointing04(tmp_path, crop="box").survey()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            "person01100-90+0.jpg,01,1,00,-90,15,1,1,1,1",
            r"row 1 \(='person01100-90\+0.jpg,01,.*\) must say the person, tilt and",
        ),
        ("01100.jpg,01,1,00,-90,15,1,1,1,1", r"row 1 .* must say the person, tilt and pan of its file's name"),
        ("01100.jpg,01,1,00,-90,15", r"row 1 has 6 columns and must have 10; take the list of the crops"),
    ],
)
def test_pointing_refuses_a_list_that_contradicts_the_names(tmp_path: Path, row: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Pointing04(write_crops(tmp_path, row)).survey()


def test_pointing_refuses_another_list(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("name,label\n")
    with pytest.raises(ValueError, match=r"columns \(=name,label\) must have file, person, tilt, pan; take the list"):
        Pointing04(tmp_path).survey()


def test_pointing_of_real_faces(hmtl_data: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(hmtl_data / "pointing04" / "pointing04_2790_96px.zip") as archive:
        archive.extractall(tmp_path)
    found, skipped = faces(Pointing04(tmp_path), 32)
    assert (len(found), len(skipped)) == (2790, 0)
    counts = Counter(tuple(f.record.labels["pose"][:2]) for f in found)  # type: ignore[index,arg-type]
    assert set(counts.values()) == {30}
    assert len(counts) == 93
    # Skin is on the side to which a head turns, hair on the other: the image's left grows lighter with yaw.
    lighter = defaultdict(list)
    for face in found:
        yaw, pitch, _ = face.record.labels["pose"]  # type: ignore[misc]
        if abs(pitch) <= 15:  # type: ignore[operator]
            rows = face.pixels[8:24].astype(float)
            lighter[yaw].append(rows[:, :16].mean() - rows[:, 16:].mean())
    sides = np.array([np.mean(lighter[yaw]) for yaw in sorted(lighter)])  # type: ignore[type-var]
    assert len(sides) == 13
    assert (sides[:6] < 0).all()
    assert (sides[7:] > 0).all()


# --- all ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (W300Lp, r"300wlp .*: must hold pictures <name>.jpg with <name>.mat beside them; there are none, name the"),
        (Aflw2000, r"aflw2000 .*: must hold pictures image00002.jpg with image00002.mat beside them; there are none"),
        (Biwi, r"biwi .*: must hold folders 01 to 24 of frame_00003_rgb.png; there are none, name the folder"),
        (Pointing04, r"pointing04 .*: must hold pictures named person01100-90\+0.jpg; there are none, name the folder"),
    ],
)
def test_an_empty_folder_is_refused(tmp_path: Path, make: type, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(tmp_path).survey()
    with pytest.raises(ValueError, match="must be a folder, unpacked as it was published; there is none"):
        make(tmp_path / "gone").survey()


@pytest.mark.parametrize("make", [W300Lp, Aflw2000, Biwi, Pointing04])
def test_faces_are_not_turned_away_from_their_labels(tmp_path: Path, make: type) -> None:
    importer: Importer = make(tmp_path, crop="align")
    with pytest.raises(ValueError, match=r"crop \(='align'\) must be one of none, box here; choose one of them"):
        importer.survey()


@pytest.mark.parametrize("make", [W300Lp, Biwi, Pointing04])
def test_wrong_shares_are_refused(tmp_path: Path, make: type) -> None:
    with pytest.raises(ValueError, match=r"val_share \(=2\) must be in 0\.\.1"):
        make(tmp_path, val_share=2).survey()


@pytest.mark.parametrize("make", [W300Lp, Aflw2000, Biwi, Pointing04])
def test_every_pose_is_declared_with_its_signs(tmp_path: Path, make: type) -> None:
    write_300wlp(tmp_path / "HELEN")
    write_head(tmp_path / "image00002.jpg")
    save(tmp_path / "person01100-90+0.jpg")
    write_frame(write_biwi(tmp_path) / "01", 3, (0, 0, 0))
    contents = make(tmp_path).survey()
    assert contents.labels["pose"].columns == ("yaw", "pitch", "roll")
    assert any("yaw > 0 turns the nose to the image's left" in note for note in contents.notes)
