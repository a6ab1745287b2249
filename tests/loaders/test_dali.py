"""`DALI`: its pixels beside `Folder`'s, pictures that DALI reads otherwise, and files that change under it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from loaders import DALI, Batch, Folder, Loader, Source
from loaders.base import Classes
from loaders.decoding.crops import Square
from loaders.decoding.pictures import Form
from loaders.importers import Contents, Record, Skipped
from loaders.sources.encoded import look_at_all
from loaders.sources.scan import scan
from tests.loaders.data_sets import picture
from tests.loaders.odd_pictures import ODD, encoded, jpeg_with, long_text

ORIENTATION = 0x0112

pytestmark = pytest.mark.usefixtures("dali")


def photo(seed: int, width: int, height: int) -> Image.Image:
    """Soft shapes in all colours, as in a photograph."""
    draw = np.random.default_rng(seed).integers(0, 256, (height // 6 + 2, width // 6 + 2, 3), dtype=np.uint8)
    return Image.fromarray(draw).resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., Path]:
    """Writes pictures into a class folder: (picture, ending, options of Pillow) each."""

    def save(*pictures: tuple[Image.Image, str, dict[str, Any]]) -> Path:
        folder = tmp_path / "in" / "a"
        folder.mkdir(parents=True)
        for place, (image, ending, options) in enumerate(pictures):
            image.save(folder / f"{place:02}.{ending}", **options)
        return folder.parent

    return save


def faces(source: Source, device: str = "cpu") -> torch.Tensor:
    """All faces of train, in manifest order, int32."""
    with closing(Loader.open(source, "train", batch_size=2, seed=0, device=device)) as loader:
        kept = [batch.store[batch.row][batch.sample >= 0].cpu().int() for batch in loader.epoch(0)]
    return torch.cat(kept)


def differences(folder: Path, device: str = "cpu", **form: Any) -> tuple[float, int]:
    """Mean and maximum of |DALI - Folder| in gray levels."""
    one, other = faces(Folder(folder, workers=0, **form)), faces(DALI(folder, **form), device)
    assert one.shape == other.shape
    assert int(one.max() - one.min()) > 100
    apart = (one - other).abs()
    return float(apart.float().mean()), int(apart.max())


# --- pixels ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["png", "jpg"])
@pytest.mark.parametrize("subsampling", [0, 2])
def test_pictures_that_keep_their_size_are_equal(saved: Callable[..., Path], ending: str, subsampling: int) -> None:
    options = {"quality": 80, "subsampling": subsampling} if ending == "jpg" else {}
    assert differences(saved(*((photo(i, 40, 40), ending, options) for i in range(5)))) == (0.0, 0)


@pytest.mark.parametrize("ending", ["png", "jpg"])
@pytest.mark.parametrize("fit", ["crop", "stretch", "pad"])
@pytest.mark.parametrize(("size", "mean", "most"), [(120, 0.3, 3), (64, 0.3, 3), (32, 0.35, 6), (8, 2.0, 16)])
def test_resized_pictures_agree(
    saved: Callable[..., Path], ending: str, fit: str, size: int, mean: float, most: int
) -> None:
    folder = saved(*((photo(i, *((100, 130), (130, 100))[i % 2]), ending, {}) for i in range(6)))
    found, highest = differences(folder, size=size, fit=fit)
    assert found <= mean
    assert highest <= most


def test_noise_agrees_on_average(saved: Callable[..., Path]) -> None:
    # Pillow rounds and clips to 8 bits between its two passes, which noise makes visible.
    found, highest = differences(
        saved(*((Image.fromarray(picture(0, i, 90, 90)), "png", {}) for i in range(4))), size=50
    )
    assert found <= 0.5
    assert highest <= 32


def test_pictures_that_dali_reads_otherwise_are_equal(saved: Callable[..., Path]) -> None:
    turned = Image.Exif()
    turned[ORIENTATION] = 6
    image = photo(0, 40, 40)
    deep = Image.fromarray(np.arange(1600, dtype=np.uint16).reshape(40, 40) * 40)
    clear = image.convert("RGBA")
    clear.putalpha(image.convert("L"))
    kinds = [
        (clear, "png"), (image.convert("P"), "png"), (image.convert("CMYK"), "jpg"), (image.convert("LA"), "png"),
        (image.convert("1"), "png"), (deep, "png"), (image, "bmp"), (image, "webp"), (image.convert("L"), "png"),
        (image.convert("L"), "jpg"),
    ]  # fmt: skip
    folder = saved(*((kind, ending, {}) for kind, ending in kinds), (image, "png", {"exif": turned}))
    assert differences(folder) == (0.0, 0)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_stand_upright(saved: Callable[..., Path], orientation: int) -> None:
    turned = Image.Exif()
    turned[ORIENTATION] = orientation
    found, highest = differences(saved((photo(3, 60, 40), "jpg", {"exif": turned})), size=30)
    assert found <= 0.35
    assert highest <= 3


@pytest.mark.filterwarnings("ignore::UserWarning")  # of Pillow, about the damage
def test_pictures_with_odd_metadata_or_a_clear_colour_are_equal(tmp_path: Path) -> None:
    (tmp_path / "in" / "a").mkdir(parents=True)
    image = photo(0, 40, 40)
    clear = image.getpixel((3, 3))
    pictures = [jpeg_with(segments, image) for segments, _ in ODD.values()]
    pictures += [encoded(image.convert("L"), transparency=image.convert("L").getpixel((3, 3)))]
    pictures += [encoded(image, transparency=clear), encoded(image, pnginfo=long_text())]
    for place, data in enumerate(pictures):
        (tmp_path / "in" / "a" / f"{place:02}.jpg").write_bytes(data)
    assert differences(tmp_path / "in") == (0.0, 0)


@pytest.mark.parametrize(("colour", "channels"), [("gray", 1), ("rgb", 3), ("auto", 3)])
def test_the_colours_asked_for_are_given(saved: Callable[..., Path], colour: str, channels: int) -> None:
    folder = saved((photo(0, 40, 40), "jpg", {}), (photo(1, 40, 40).convert("L"), "png", {}))
    assert faces(DALI(folder, colour=colour)).shape[3] == channels  # type: ignore[arg-type]
    assert differences(folder, colour=colour)[1] <= 1


@dataclass(frozen=True)
class Cropped:
    """Pictures with crops of every kind."""

    source: Path

    def survey(self) -> Contents:
        def records() -> Iterator[Record | Skipped]:
            boxes = [
                None, (10.0, 5.0, 70.0, 65.0), (10.5, 4.25, 71.0, 60.75), (-5.0, -5.0, 50.0, 50.0),
                Square(50.0, 40.0, 44.0), Square(10.0, 10.0, 60.0), Square(50.0, 40.0, 40.0, 30.0),
            ]  # fmt: skip
            for place, box in enumerate(boxes):
                yield Record("train", f"{place}", {"kind": "a"}, self.source / "a" / "00.png", box)

        return Contents({"kind": Classes(("a",))}, (), records)  # type: ignore[arg-type]


def test_crops_agree(saved: Callable[..., Path]) -> None:
    cropped = Cropped(saved((photo(0, 100, 80), "png", {})))
    one, other = faces(Folder(cropped, size=32, workers=0)), faces(DALI(cropped, size=32))
    apart = (one - other).abs().flatten(1).amax(1)
    assert apart[:5].max() <= 4
    # These two are cut by the same code as in Folder.
    assert apart[5:].tolist() == [0, 0]
    kinds = [one.shown is None for one in look_at_all(scan(cropped, Form(32), "test"), Form(32))]
    assert kinds == [False] * 5 + [True] * 2


@pytest.mark.gpu
@pytest.mark.parametrize("hardware", [0.0, 1.0])
@pytest.mark.parametrize(
    ("ending", "size", "mean", "most"), [("png", None, 0.0, 0), ("jpg", None, 1.0, 12), ("jpg", 24, 1.0, 12)]
)
def test_faces_decoded_on_the_gpu_agree(
    saved: Callable[..., Path], hardware: float, ending: str, size: int | None, mean: float, most: int
) -> None:
    folder = saved(*((photo(i, 48, 48), ending, {}) for i in range(6)))
    wanted = faces(Folder(folder, size=size, workers=0))
    apart = (wanted - faces(DALI(folder, size=size, hardware=hardware), "cuda")).abs()
    assert float(apart.float().mean()) <= mean
    assert int(apart.max()) <= most


@pytest.mark.gpu
def test_gpu_memory_is_not_used_again_while_kernels_read_it(saved: Callable[..., Path]) -> None:
    folder = saved(*((photo(i, 48, 48), "png", {}) for i in range(40)))
    wanted = faces(Folder(folder, workers=0))
    with closing(Loader.open(DALI(folder), "train", batch_size=2, seed=0, device="cuda")) as loader:
        for _ in range(3):
            kept = []
            for batch in loader.epoch(0):
                torch.cuda._sleep(20_000_000)  # the copy is queued behind it; the batch is dropped at once
                kept.append(batch.store.clone())
                del batch
            assert torch.equal(torch.cat(kept).cpu().int(), wanted)


# --- order and memory --------------------------------------------------------------------------------------------


def test_batches_stay_as_they_are_when_they_are_kept(folders: Path) -> None:
    with closing(Loader.open(DALI(folders), "train", batch_size=2, seed=0, device="cpu")) as loader:
        kept: list[Batch] = list(loader.epoch(0))
        copies = [batch.store.clone() for batch in kept]
        list(loader.epoch(0))
    assert all(torch.equal(batch.store, copy) for batch, copy in zip(kept, copies, strict=True))


def test_epochs_may_run_at_once_and_be_left(folders: Path) -> None:
    with closing(Loader.open(DALI(folders), "train", batch_size=2, seed=0, device="cpu")) as loader:
        whole = [batch.store.clone() for batch in loader.epoch(0)]
        for _ in range(3):
            one, other = loader.epoch(0), loader.epoch(0, start=1)
            assert torch.equal(next(one).store, whole[0])
            assert torch.equal(next(other).store, whole[1])
            assert torch.equal(next(one).store, whole[1])
            del one, other
        assert all(torch.equal(a.store, b) for a, b in zip(loader.epoch(0), whole, strict=True))


# --- errors ------------------------------------------------------------------------------------------------------


def test_a_picture_that_changes_during_an_epoch_is_an_error_at_its_batch(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for place in range(8):
        Image.fromarray(picture(0, place, 40, 40)).save(tmp_path / "a" / f"{place}.png")
    file = tmp_path / "a" / "5.png"
    whole = file.read_bytes()
    with closing(Loader.open(DALI(tmp_path), "train", batch_size=2, seed=0, device="cpu")) as loader:

        def read_until(error: str) -> None:
            batches = loader.epoch(0)
            assert [next(batches).sample.tolist() for _ in range(2)] == [[0, 1], [2, 3]]
            with pytest.raises(ValueError, match=error):
                next(batches)

        file.write_bytes(whole[:100])
        read_until(r"dali: a/5.png must stay as it was when it was opened; it changed, open it again")
        file.write_bytes(whole + b"1")
        read_until(r"dali: a/5.png must stay as it was when it was opened; it changed, open it again")
        file.write_bytes(whole[:100] + bytes(len(whole) - 100))
        read_until(r"dali: a/5.png must stay readable while it is used; unreadable picture: .*, open the split again")
        file.unlink()
        read_until(r"dali: a/5.png must stay readable while it is used; .*No such file")
        file.write_bytes(whole)
        assert len(list(loader.epoch(0))) == 4


def test_a_picture_that_only_dali_cannot_read_is_named(
    saved: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = saved(*((photo(i, 40, 40), "png", {}) for i in range(4)))
    with closing(Loader.open(DALI(folder), "train", batch_size=2, seed=0, device="cpu")) as loader:
        monkeypatch.setattr("loaders.sources.encoded._read", lambda path, length: np.zeros(length, np.uint8))
        with pytest.raises(ValueError, match=r"dali: pictures \(=a/00.png, a/01.png\) must be readable by DALI"):
            next(loader.epoch(0))


def test_a_picture_of_another_size_is_an_error(saved: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = saved(*((photo(i, 40, 40), "bmp", {}) for i in range(4)))
    with closing(Loader.open(DALI(folder), "train", batch_size=2, seed=0, device="cpu")) as loader:
        data = (folder / "a" / "01.bmp").read_bytes()
        # Of the same length, but 20 x 80.
        (folder / "a" / "01.bmp").write_bytes(
            data[:18] + (20).to_bytes(4, "little") + (80).to_bytes(4, "little") + data[26:]
        )
        with pytest.raises(ValueError, match=r"dali: a/01.bmp must stay as it was when it was opened; it changed"):
            next(loader.epoch(0))


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"threads": 0}, r"DALI: threads \(=0\) must be at least 1; leave it out for one a core"),
        ({"hardware": 1.5}, r"DALI: hardware \(=1.5\) must be a share of 0 to 1"),
        ({"size": 0}, r"pictures: size \(=0\) must be 1 to 4096 pixels"),
    ],
)
def test_options_out_of_range_are_refused(folders: Path, options: dict[str, Any], error: str) -> None:
    with pytest.raises(ValueError, match=error):
        DALI(folders, **options).open("train", "cpu")


def test_without_the_package_it_says_what_to_run(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nvidia.dali", None)
    with pytest.raises(
        ValueError, match=r"DALI: package \(=nvidia.dali\) must be importable, .*; run `pip install 'hmtl\[dali\]'`"
    ):
        DALI(folders).open("train", "cpu")
