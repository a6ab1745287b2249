"""Measures what libjpeg-turbo's scaled decoding (Pillow's `draft`) would save where JPEG files become smaller faces.

    python -m benchmarks.jpeg_draft PHOTO... --size 224 --sides 448 1024

Cuts squares out of each photograph, saves them as JPEG of each side, and makes faces of them: as `loaders.decoding`
does, by decoding all pixels, and after `draft` to at least once and twice the wanted size. Prints pictures a second of
one thread, by processor time, and how far the faces are from ours in gray levels.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image

from engine.reports.table import Table
from engine.runs.environment import describe_environment
from loaders.decoding.pictures import Form, decode
from loaders.terminal import Terminal

SQUARES = 4  # of each photograph


def squares(photo: Path, side: int) -> list[bytes]:
    """Cuts squares as high, or wide, as a photograph, evenly over it, and saves each as JPEG."""
    with Image.open(photo) as file:
        image = file.convert("RGB")
    short, spare = min(image.size), max(image.size) - min(image.size)
    found = []
    for number in range(SQUARES):
        at = number * spare // (SQUARES - 1)
        left, top = (at, 0) if image.width > image.height else (0, at)
        square = image.crop((left, top, left + short, top + short)).resize((side, side), Image.Resampling.LANCZOS)
        stream = io.BytesIO()
        square.save(stream, "JPEG", quality=90)
        found.append(stream.getvalue())
    return found


def drafted(data: bytes, size: int, times: int) -> UInt8[np.ndarray, "s s 3"]:
    """Makes a face after scaled decoding to `times` the wanted size or more."""
    image = Image.open(io.BytesIO(data))
    image.draft(None, (times * size, times * size))
    return decode(np.asarray(image), Form(size))


def seconds(make: Callable[[bytes], object], pictures: Sequence[bytes], rounds: int) -> float:
    """Measures the processor time of a picture, in the best of some rounds."""
    best = float("inf")
    for _ in range(rounds):
        begin = time.process_time()
        for data in pictures:
            make(data)
        best = min(best, time.process_time() - begin)
    return best / len(pictures)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, nargs="+", help="photographs, larger than the wanted size")
    parser.add_argument("--size", type=int, default=224, help="side of the faces")
    parser.add_argument("--sides", type=int, nargs="+", default=[448, 1024], help="of the JPEG files")
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args(argv)
    rows = []
    for side in args.sides:
        pictures = [data for photo in args.photos for data in squares(photo, side)]
        ours = np.stack([decode(data, Form(args.size)) for data in pictures]).astype(int)
        ways: dict[str, Callable[[bytes], object]] = {
            "decoding alone": lambda data: Image.open(io.BytesIO(data)).load(),
            "ours": lambda data: decode(data, Form(args.size)),
            "draft to the size": lambda data: drafted(data, args.size, 1),
            "draft to twice that": lambda data: drafted(data, args.size, 2),
        }
        for name, make in ways.items():
            taken = seconds(make, pictures, args.rounds)
            levels = ("–", "–")
            if name.startswith("draft"):
                apart = np.abs(np.stack([np.asarray(make(data)) for data in pictures]).astype(int) - ours)
                levels = (f"{apart.mean():.2f}", f"{apart.max()}")
            rows.append((f"{side} to {args.size}", name, f"{1000 * taken:.2f}", f"{1 / taken:,.0f}", *levels))
    console = Terminal()
    facts = describe_environment(torch.device("cpu"))
    console.print(f"{facts['date']}, {facts['cpu']}, Pillow {Image.__version__}, commit {facts['commit'] or 'unknown'}")
    heads = ("pictures", "way", "ms", "a second", "mean apart", "most")
    Table(heads, rows, left=2, keys=2, caption="apart: from ours, in gray levels").print(console)


if __name__ == "__main__":
    main()
