"""Loaders beside each other and beside bare loops in the libraries' own API, over the same files in one run.

    python -m benchmarks.compare_loaders                          # drawn faces as JPEG files, a minute or two
    python -m benchmarks.compare_loaders fairface FOLDER          # any importer whose faces are picture files

Every row delivers shuffled uint8 batches in CPU memory. Rows take turns, so that a slow moment of the machine meets all
of them; a row's speed is the median over rounds, after one epoch that is not counted. Ratios are medians of each round.
CPU time says what a row costs on a machine that others use too; it is that of this process, not of worker processes.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

import engine.torchvision_ops  # noqa: F401  (before torchvision)

from torchvision.transforms.functional import pil_to_tensor  # isort: skip

from loaders import DALI, FFCV, Folder, Packed, Shuffled, Source
from loaders.beton.package import ffcv, threads_kept
from loaders.drawing import draw_faces
from loaders.importers import IMPORTERS, ClassFolders, Importer
from loaders.pictures import Form
from loaders.prepare import prepare
from loaders.reading import cores
from loaders.scan import scan

BASELINE = "torchvision, DataLoader"
Epoch = Callable[[], int]
"""Runs one epoch and gives its number of faces."""


def drawn(folder: Path, count: int) -> ClassFolders:
    """Drawn faces of 96 x 96 as JPEG files."""
    (folder / "train" / "face").mkdir(parents=True)
    pictures, _ = draw_faces(0, "train", np.arange(count), 96)
    for place, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / "train" / "face" / f"{place:05}.jpg", quality=90)
    return ClassFolders(folder)


def ours(source: Source, batch: int) -> Epoch:
    loader = source.open("train", batch_size=batch, seed=0, device="cpu", sampler=Shuffled())
    epochs = iter(range(1 << 30))
    return lambda: sum(len(b.row) for b in loader.epoch(next(epochs)))


class Files(Dataset[torch.Tensor]):
    """What a user of torchvision writes."""

    def __init__(self, files: list[str]) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, place: int) -> torch.Tensor:
        return pil_to_tensor(Image.open(self.files[place]).convert("RGB"))


def torchvision(files: list[str], batch: int) -> Epoch:
    loader = DataLoader(Files(files), batch, shuffle=True, drop_last=True, num_workers=cores(), persistent_workers=True)
    return lambda: sum(len(b) for b in loader)


def bare_ffcv(file: Path, batch: int) -> Epoch:
    decoder = ffcv("ffcv.fields.rgb_image").SimpleRGBImageDecoder()
    with threads_kept():
        loader = ffcv("ffcv.loader.loader").Loader(
            str(file),
            batch_size=batch,
            num_workers=cores(),
            order=ffcv("ffcv.loader").OrderOption.RANDOM,
            pipelines={"image": [decoder, ffcv("ffcv.transforms.ops").ToTensor()]}
            | dict.fromkeys(name for name in ffcv("ffcv.reader").Reader(str(file)).field_names if name != "image"),
        )

    def epoch() -> int:
        with threads_kept():
            return sum(len(b) for (b,) in loader)

    return epoch


def bare_dali(files: list[str], batch: int) -> Epoch:
    from nvidia.dali import Pipeline, fn
    from nvidia.dali.plugin.pytorch import DALIGenericIterator

    pipeline = Pipeline(batch_size=batch, num_threads=cores(), device_id=None, prefetch_queue_depth=2)
    with pipeline:
        data, _ = fn.readers.file(files=files, random_shuffle=True, initial_fill=len(files), name="files")
        pipeline.set_outputs(fn.decoders.image(data, device="cpu"))
    loader: Any = DALIGenericIterator([pipeline], ["faces"], reader_name="files", auto_reset=True)
    return lambda: sum(len(b[0]["faces"]) for b in loader)


def rows(importer: Importer, scratch: Path, batch: int) -> Iterator[tuple[str, Epoch]]:
    scanned = scan(importer, Form(), "compare_loaders")
    train = scanned.manifest.part("train", scanned.shape, "compare_loaders").sample.tolist()
    files = [str(scanned.records[sample].picture) for sample in train]
    prepare(importer, scratch / "packed", Form())
    yield "Packed", ours(Packed(scratch / "packed"), batch)
    yield "Packed, resident", ours(Packed(scratch / "packed", tier="resident"), batch)
    yield "Folder", ours(Folder(importer), batch)
    yield BASELINE, torchvision(files, batch)
    if importlib.util.find_spec("nvidia") and importlib.util.find_spec("nvidia.dali"):
        yield "DALI", ours(DALI(importer), batch)
        yield "DALI, bare loop", bare_dali(files, batch)
    if importlib.util.find_spec("ffcv"):
        for name, quality in (("FFCV", None), ("FFCV of JPEG", 90)):
            prepare(importer, scratch / name, Form(), format="ffcv", jpeg=quality)
            yield name, ours(FFCV(scratch / name), batch)
            yield f"{name}, bare loop", bare_ffcv(scratch / name / "train.beton", batch)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", choices=sorted(IMPORTERS), help="importer; left out: drawn faces")
    parser.add_argument("source", nargs="?", type=Path)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=4000, help="drawn faces")
    parser.add_argument("--json", type=Path, help="where the speeds of all rounds are written")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        if options.name is None:
            importer: Importer = drawn(scratch / "drawn", options.count)
        else:
            importer = IMPORTERS[options.name](options.source)
        epochs = dict(rows(importer, scratch, options.batch))
        speeds: dict[str, list[float]] = {name: [] for name in epochs}
        work: dict[str, list[float]] = {name: [] for name in epochs}
        for turn in range(options.rounds + 1):
            for name, epoch in epochs.items():
                start, worked = time.perf_counter(), time.process_time()
                faces = epoch()
                if turn:
                    speeds[name].append(faces / (time.perf_counter() - start))
                    work[name].append(1e6 * (time.process_time() - worked) / faces)
    print(f"{'':26}{'faces/s':>10}{'CPU us/face':>13}{'of torchvision':>16}{'of its bare loop':>18}")
    for name, found in speeds.items():
        baseline = speeds[BASELINE]
        ratios = [statistics.median(a / b for a, b in zip(found, baseline, strict=True))]
        if f"{name}, bare loop" in speeds:
            ratios.append(statistics.median(a / b for a, b in zip(found, speeds[f"{name}, bare loop"], strict=True)))
        shown = f"{ratios[0]:>16.2f}" + (f"{ratios[1]:>18.2f}" if len(ratios) > 1 else "")
        cpu = "in workers" if name == BASELINE else f"{statistics.median(work[name]):.1f}"
        print(f"{name:26}{statistics.median(found):>10,.0f}{cpu:>13}{shown}")
    if options.json is not None:
        options.json.write_text(
            json.dumps({"batch": options.batch, "faces_per_second": speeds, "cpu_us_per_face": work}, indent=2) + "\n"
        )


if __name__ == "__main__":
    main()
