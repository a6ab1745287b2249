"""What is fuzzed: for each door of the engine, a strategy of what comes in, and the function that takes it.

Each target starts from something good, which hypothesis damages: bytes are cut, doubled, replaced and inserted, and
lists of words are filled with odd ones. A target may end well, or in a ValueError that a line of ours
raised and that says something; anything else is a find.
"""

from __future__ import annotations

import io
import json
import shutil
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save

from engine.recipe.settings import apply, vocabulary
from engine.reports.report import print_summary
from engine.runs.folder import RunDir, read_metrics
from engine.runs.result import read_run
from engine.weights import load_weights, read_encoder
from loaders.decoding.pictures import Form, UnreadableError, decode
from loaders.decoding.records import Importer
from loaders.decoding.video import frames, video_writer
from loaders.ffcv.store import open_ffcv_store
from loaders.importers import (
    AffectNet2017,
    Aflw2000,
    Biwi,
    CelebA,
    FairFace,
    Fer2013,
    ManifestFile,
    Pointing04,
    RafDb,
)
from loaders.prepare import prepare
from loaders.store.opening import open_store, sha256
from loaders.terminal import Terminal
from tests.engine import tiny
from tests.engine.fake_run import write_fake_run
from tests.loaders.test_importer_pose import write_biwi, write_crops, write_frame, write_head

ROOT = str(Path(__file__).parents[2])
SECONDS = 10.0
"""How much time of a core one case may take; good ones take less than one."""


@dataclass(frozen=True, slots=True)
class Target:
    """Holds what one door is given, and the door."""

    cases: st.SearchStrategy[Any]
    take: Callable[[Any], object]


def check(target: Target, case: Any) -> None:
    """Gives a case to its door and refuses every other ending than success and a sentence of ours.

    Raises:
        AssertionError: It ended in another way, or took too long.
    """
    refused: Exception | None = None
    start = time.process_time()
    try:
        target.take(case)
    except (ValueError, UnreadableError) as error:
        refused = error
    seconds = time.process_time() - start
    if refused is not None:
        raised = traceback.extract_tb(refused.__traceback__)[-1].filename
        assert raised.startswith(ROOT) and "site-packages" not in raised, f"a library's {type(refused)}: {refused}"  # noqa: PT018
        assert len(str(refused).split()) > 3, f"no sentence: {refused!r}"
    assert seconds < SECONDS, f"took {seconds:.1f} s"


# --- strategies ----------------------------------------------------------------------------------------------------

_DAMAGES = st.lists(
    st.tuples(
        st.sampled_from(("cut", "drop", "double", "insert", "replace", "flip")),
        st.floats(0, 1),
        st.integers(1, 64),
        st.binary(min_size=1, max_size=24),
    ),
    min_size=1,
    max_size=6,
)


def damaged(good: bytes, damages: list[tuple[str, float, int, bytes]]) -> bytes:
    """Carries out what hypothesis chose to do to good bytes."""
    for kind, where, length, new in damages:
        at = int(where * len(good))
        match kind:
            case "cut":
                good = good[:at]
            case "drop":
                good = good[:at] + good[at + length :]
            case "double":
                good = good[:at] + good[at : at + length] * 2 + good[at + length :]
            case "insert":
                good = good[:at] + new + good[at:]
            case "replace":
                good = good[:at] + new + good[at + len(new) :]
            case "flip":
                good = good[:at] + bytes(byte ^ 1 << (length % 8) for byte in good[at : at + 1]) + good[at + 1 :]
    return good


_ODD = "|nan|inf|-1|0|1e999|1_0|٣|a,b|;|é|None|train|../x|/|path|split|1.5|-0|#|'|%s|{}|[/]"
_ODD_WORDS = st.sampled_from(
    [*_ODD.split("|"), " ", '"', '""', "\\", "\t", "\n", "\r\n", "\x00", "\udcff", "9" * 40, "x" * 300]
)


def _lines(good: str, separator: str) -> st.SearchStrategy[bytes]:
    """Lists in which some cells are odd, and lists of damaged bytes."""

    def with_odd_cells(changes: list[tuple[int, str]]) -> bytes:
        cells = [line.split(separator) for line in good.splitlines()]
        flat = [(row, column) for row, line in enumerate(cells) for column in range(len(line))]
        for place, word in changes:
            row, column = flat[place % len(flat)]
            cells[row][column] = word
        return "\n".join(separator.join(line) for line in cells).encode(errors="surrogateescape")

    odd = st.lists(st.tuples(st.integers(0, 10_000), _ODD_WORDS), min_size=1, max_size=4).map(with_odd_cells)
    return st.one_of(odd, _DAMAGES.map(lambda damages: damaged(good.encode(), damages)))


# --- recipes -------------------------------------------------------------------------------------------------------


@cache
def _paths() -> tuple[str, ...]:
    """Lists every field of a recipe, nested ones too, as `--set` names them."""

    def below(value: Any, path: str) -> Iterator[str]:
        yield path
        if is_dataclass(value):
            for field in fields(value):
                yield from below(getattr(value, field.name), f"{path}.{field.name}")
        elif isinstance(value, dict):
            for key, item in value.items():
                yield from below(item, f"{path}.{key}")
        elif isinstance(value, tuple):
            for index, item in enumerate(value):
                yield from below(item, f"{path}.{index}")

    recipe = tiny.recipe()
    return tuple(path for field in fields(recipe) for path in below(getattr(recipe, field.name), field.name))


_PLAIN = st.one_of(
    st.integers(),
    st.floats().map(lambda value: float(f"{value:.6g}")),
    st.booleans(),
    st.none(),
    st.sampled_from(("", "plain", "puzzle", "expression", "auto", "fp32", "joint", "train", "a b", "é", "x" * 200)),
)
_VALUES = st.recursive(
    _PLAIN,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(tuple), st.dictionaries(st.sampled_from(("plain", "a", "")), inner, max_size=2)
    ),
    max_leaves=5,
).map(repr)


def _calls() -> st.SearchStrategy[str]:
    """Values of the words that `--set` knows: `Steps(15)`, `Puzzle(grid=nan)`."""
    words = sorted(vocabulary())
    argument = st.tuples(
        st.sampled_from(("", "grid=", "lr=", "at=", "size=", "name=", "on=", "keep=", "weight=")), _VALUES
    )
    return st.builds(
        lambda word, arguments: f"{word}({', '.join(name + value for name, value in arguments)})",
        st.sampled_from(words),
        st.lists(argument, max_size=3),
    )


_ASSIGNMENTS = st.builds(lambda path, value: f"{path}={value}", st.sampled_from(_paths()), st.one_of(_VALUES, _calls()))
_TEXTS = st.one_of(
    st.text(max_size=60),
    st.builds(lambda path, text: f"{path}={text}", st.sampled_from(_paths()), st.text(max_size=40)),
    st.builds(
        lambda good, damages: damaged(good.encode(), damages).decode(errors="replace"),
        st.sampled_from(("optim=AdamW(lr=1e-3)", "views={'plain': Plain(), 'puzzle': Puzzle(grid=3)}", "seed=2**40")),
        _DAMAGES,
    ),
)


# --- files ---------------------------------------------------------------------------------------------------------


@contextmanager
def _folder(template: Path) -> Iterator[Path]:
    """Gives a copy of a good folder."""
    with tempfile.TemporaryDirectory(prefix="fuzz") as place:
        yield Path(shutil.copytree(template, Path(place, "it"), symlinks=True))


@cache
def _template(name: str) -> Path:
    """Makes a good folder once: of a data set, a store or a run."""
    folder = Path(tempfile.mkdtemp(prefix=f"fuzz-{name}"))
    face = Image.fromarray(np.arange(12 * 12 * 3, dtype=np.uint8).reshape(12, 12, 3))
    match name:
        case "manifest":
            face.save(folder / "a.png")
            (folder / "manifest.csv").write_text(MANIFEST)
        case "affectnet2017":
            (folder / "Manually_Annotated_Images" / "1").mkdir(parents=True)
            face.save(folder / "Manually_Annotated_Images" / "1" / "a.jpg")
            (folder / "training.csv").write_text(AFFECTNET)
        case "celeba":
            (folder / "img_celeba").mkdir()
            face.save(folder / "img_celeba" / "000001.jpg")
            (folder / "list_attr_celeba.txt").write_text("1\nMale Young\n000001.jpg 1 -1\n")
            (folder / "list_eval_partition.txt").write_text("000001.jpg 0\n")
            (folder / "list_bbox_celeba.txt").write_text(CELEBA_BOX)
        case "rafdb":
            (folder / "EmoLabel").mkdir()
            (folder / "Image" / "aligned").mkdir(parents=True)
            face.save(folder / "Image" / "aligned" / "train_00001_aligned.jpg")
            (folder / "EmoLabel" / "list_patition_label.txt").write_text(RAFDB)
        case "fairface":
            (folder / "train").mkdir()
            face.save(folder / "train" / "1.jpg")
            (folder / "fairface_label_train.csv").write_text(FAIRFACE)
        case "pointing04":
            write_crops(folder)
        case "biwi":
            write_frame(write_biwi(folder) / "01", 3, (10, 20, 0))
        case "aflw2000":
            write_head(folder / "image00002.jpg", (10, 20, 0))
        case "fer2013":
            (folder / "fer2013.csv").write_text(FER2013)
            (folder / "fer2013new.csv").write_text(FERPLUS)
        case "store":
            with _folder(_template("manifest")) as source:
                prepare(ManifestFile(source), folder / "store", Form())
            return folder / "store"
        case "beton":
            with _folder(_template("manifest")) as source:
                prepare(ManifestFile(source), folder / "store", Form(8), format="ffcv")
            return folder / "store"
        case "run":
            return write_fake_run(folder / "run", epochs=3)
    return folder


MANIFEST = (
    "path,split,mood,age.years,box_left,box_top,box_right,box_bottom\na.png,train,sad,3.5,0,0,8,8\na.png,val,,,,,,\n"
)
AFFECTNET = (
    "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal\n"
    f"1/a.jpg,1,1,8,8,{';'.join(['3.5'] * 136)},1,0.5,-0.5\n1/a.jpg,1,1,8,8,,9,-2,-2\n"
)
CELEBA_BOX = "1\nimage_id x_1 y_1 width height\n000001.jpg 1 2 8 8\n"
RAFDB = "train_00001.jpg 4\ntest_00001.jpg 1\n"
FAIRFACE = (
    "file,age,gender,race,service_test\ntrain/1.jpg,20-29,Male,East Asian,True\ntrain/1.jpg,3-9,Female,White,False\n"
)
POINTING = (
    "file,person,series,number,tilt,pan,cx,cy,w,h\n"
    "person01100-90+0.jpg,01,1,00,-90,0,192,237,126,94\nperson01207+15-30.jpg,01,2,07,15,-30,1,1,1,1\n"
)
FER2013 = f"emotion,pixels,Usage\n0,{' '.join(['7'] * 2304)},Training\n"
FERPLUS = (
    "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF\n"
    "Training,fer0000000.png,4,0,0,1,3,2,0,0,0,0\n"
)
_LISTS: dict[str, tuple[str, str, str, Callable[[Path], Importer]]] = {
    "manifest": ("manifest.csv", MANIFEST, ",", ManifestFile),
    "affectnet2017": ("training.csv", AFFECTNET, ",", AffectNet2017),
    "celeba": ("list_bbox_celeba.txt", CELEBA_BOX, " ", lambda folder: CelebA(folder, wild=True, crop="box")),
    "rafdb": ("EmoLabel/list_patition_label.txt", RAFDB, " ", RafDb),
    "fairface": ("fairface_label_train.csv", FAIRFACE, ",", lambda folder: FairFace(folder, val_share=0.0)),
    "pointing04": ("labels.csv", POINTING, ",", Pointing04),
    "fer2013": ("fer2013.csv", FER2013, ",", Fer2013),
    "ferplus": ("fer2013new.csv", FERPLUS, ",", Fer2013),
}


def _import(name: str, content: bytes) -> None:
    file, _, _, make = _LISTS[name]
    with _folder(_template("fer2013" if name == "ferplus" else name)) as folder:
        (folder / file).write_bytes(content)
        prepare(make(folder), folder / "out", Form(8), workers=1)


_ANNOTATIONS: dict[str, tuple[tuple[str, ...], Callable[[Path], Importer]]] = {
    "biwi": (("01/rgb.cal", "01/frame_00003_pose.txt"), Biwi),
    "aflw2000": (("image00002.mat",), Aflw2000),
}
"""Files beside pictures, by data set: text, and MATLAB's."""


def _annotated(name: str, case: tuple[str, list[Any]]) -> None:
    file, damages = case
    with _folder(_template(name)) as folder:
        (folder / file).write_bytes(damaged((folder / file).read_bytes(), damages))
        prepare(_ANNOTATIONS[name][1](folder), folder.with_name("out"), Form(8), workers=1)


def _store(case: tuple[str, list[Any], bool]) -> None:
    name, damages, signed = case
    with _folder(_template("store")) as folder:
        file = folder / name
        file.write_bytes(damaged(file.read_bytes(), damages))
        if signed and name == "manifest.csv":  # as somebody who edits a store and mends its hash
            source = json.loads((folder / "source.json").read_text())
            (folder / "source.json").write_text(json.dumps(source | {"manifest_sha256": sha256(file)}))
        store = open_store(folder)
        store.check_uncut()
        store.images[len(store.images) - 1].sum()


def _beton(damages: list[Any]) -> None:
    with _folder(_template("beton")) as folder:
        (file,) = sorted(folder.glob("*.beton"))[:1]
        file.write_bytes(content := damaged(file.read_bytes(), damages))
        source = json.loads((folder / "source.json").read_text())
        source["files"][file.stem]["bytes"] = len(content)  # so that more than the length is looked at
        (folder / "source.json").write_text(json.dumps(source))
        open_ffcv_store(folder).file(file.stem)


def _run(case: tuple[str, list[Any]]) -> None:
    name, damages = case
    with _folder(_template("run")) as folder:
        file = folder / name
        file.write_bytes(damaged(file.read_bytes(), damages))
        read_run(folder)
        read_metrics(folder)
        print_summary(folder, console=Terminal(quiet=True))
        with closing(RunDir.reopen(folder, [], [])):
            pass


@cache
def _weights(ending: str) -> bytes:
    tensors = {"encoder.conv.weight": torch.ones(2, 3), "heads.expression.bias": torch.zeros(7)}
    about = {"about": json.dumps({"classes": {}, "backbone": {"name": "x"}, "preprocessing": {}, "tasks": []})}
    if ending == ".safetensors":
        return save(tensors, about)
    buffer = io.BytesIO()
    torch.save({"state_dict": tensors}, buffer)
    return buffer.getvalue()


def _read_weights(case: tuple[str, list[Any]]) -> None:
    ending, damages = case
    with tempfile.TemporaryDirectory(prefix="fuzz") as place:
        file = Path(place, f"w{ending}")
        file.write_bytes(damaged(_weights(ending), damages))
        if ending == ".safetensors":
            load_weights(file)
        read_encoder(file, f"Recipe: init (={file})")


FORMATS = (
    "PNG",
    "JPEG",
    "GIF",
    "WEBP",
    "TIFF",
    "BMP",
    "PPM",
    "TGA",
    "JPEG2000",
    "ICO",
    "DDS",
    "PCX",
    "SGI",
    "AVIF",
    "MPO",
)


@cache
def _encoded(form: str, mode: str) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 24, 4), dtype=np.uint8)
    image = Image.fromarray(pixels).convert("RGB").convert(mode)
    for attempt in (image, image.convert("RGB")):
        buffer = io.BytesIO()
        try:
            attempt.save(buffer, form)
        except (OSError, ValueError, KeyError):
            continue
        return buffer.getvalue()
    return b""


def _decode(case: tuple[str, str, list[Any], Form]) -> None:
    form, mode, damages, wanted = case
    decode(damaged(_encoded(form, mode), damages), wanted)


@cache
def _clip() -> bytes:
    """Encodes a short video: a square that moves, twelve pictures of 48 x 32."""
    with tempfile.TemporaryDirectory(prefix="fuzz") as place:
        file = Path(place, "clip.mp4")
        with video_writer(file, 48, 32, 12.5, where="fuzz") as write:
            for number in range(12):
                picture = np.full((32, 48, 3), 20 * number, np.uint8)
                picture[8:24, 2 * number : 2 * number + 16] = 255
                write(picture)
        return file.read_bytes()


def _video(damages: list[Any]) -> None:
    with tempfile.TemporaryDirectory(prefix="fuzz") as place:
        file = Path(place, "clip.mp4")
        file.write_bytes(damaged(_clip(), damages))
        for frame in frames(file):
            assert frame.pixels.ndim == 3


TARGETS: dict[str, Target] = {
    "recipe": Target(st.lists(_ASSIGNMENTS, min_size=1, max_size=3), lambda case: apply(tiny.recipe(), case)),
    "set": Target(st.lists(_TEXTS, min_size=1, max_size=2), lambda case: apply(tiny.recipe(), case)),
    **{
        name: Target(_lines(good, separator), lambda case, name=name: _import(name, case))
        for name, (_, good, separator, _) in _LISTS.items()
    },
    **{
        name: Target(st.tuples(st.sampled_from(files), _DAMAGES), lambda case, name=name: _annotated(name, case))
        for name, (files, _) in _ANNOTATIONS.items()
    },
    "store": Target(
        st.tuples(st.sampled_from(("source.json", "manifest.csv", "images.npy")), _DAMAGES, st.booleans()), _store
    ),
    "beton": Target(_DAMAGES, _beton),
    "run": Target(
        st.tuples(
            st.sampled_from(("recipe.json", "environment.json", "metrics.csv", "result.json", "figures.json")), _DAMAGES
        ),
        _run,
    ),
    "weights": Target(st.tuples(st.sampled_from((".safetensors", ".pth")), _DAMAGES), _read_weights),
    "picture": Target(
        st.tuples(
            st.sampled_from(FORMATS),
            st.sampled_from(("RGB", "L", "P", "RGBA", "LA", "1", "I;16", "CMYK")),
            _DAMAGES,
            st.sampled_from((Form(), Form(8), Form(8, "stretch"), Form(8, "pad"), Form(8, colour="gray"))),
        ),
        _decode,
    ),
    "video": Target(_DAMAGES, _video),
}
