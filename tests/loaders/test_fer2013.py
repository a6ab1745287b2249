"""FER2013 in each of its layouts, with FER+ beside it, and what is refused."""

from __future__ import annotations

import gzip
import io
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from loaders import Classes, HideLabels, Numbers, Packed
from loaders.decoding.pictures import Form
from loaders.importers import Fer2013, Record, Skipped
from loaders.importers.fer2013 import parse_pixels
from loaders.prepare import prepare
from loaders.store.checking import check as check_store
from loaders.store.duplicates import drop_duplicates
from loaders.store.opening import Store, open_store
from tests.loaders.data_sets import fer_rows, fer_text, pixel_text

NAMES = ("Angry", "Disgust", "Fear", "Happy", "Sad", "Surprise", "Neutral")
SPLIT = {"Training": "train", "PublicTest": "val", "PrivateTest": "test"}
ROWS = fer_rows()
TEXT = fer_text(ROWS)
PLUS = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"


def store_of(source: Path, out: Path, **options: Any) -> Store:
    prepare(Fer2013(source, **options), out, Form())
    return open_store(out, check_pixels=True)


def records(source: Path, **options: Any) -> list[Record | Skipped]:
    return list(Fer2013(source, **options).survey().records())


def check(store: Store) -> None:
    np.testing.assert_array_equal(store.images[..., 0], [pixels for _, pixels, _ in ROWS])
    manifest = store.manifest
    assert manifest.labels["expression"] == Classes(NAMES)
    assert manifest.target["expression"].tolist() == [emotion for emotion, _, _ in ROWS]
    assert [manifest.splits[i] for i in manifest.split.tolist()] == [SPLIT[usage] for _, _, usage in ROWS]


def icml(text: str) -> str:
    """The other column order, with blanks in the names, as `icml_face_data.csv` has them."""
    lines = [line.split(",") for line in text.splitlines()[1:]]
    return "\n".join(["emotion, Usage, pixels", *(f"{e},{u},{p}" for e, p, u in lines)]) + "\n"


LAYOUTS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "csv": ("fer2013.csv", TEXT.encode),
    "without a last newline": ("fer2013.csv", lambda: TEXT.rstrip("\n").encode()),
    "windows lines and a mark": ("fer2013.csv", lambda: b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode()),
    "blank lines": ("fer2013.csv", lambda: TEXT.replace("\n", "\n\n").encode()),
    "icml": ("icml_face_data.csv", lambda: icml(TEXT).encode()),
    "xz": ("fer2013.csv.xz", lambda: lzma.compress(TEXT.encode())),
    "gz": ("fer2013.csv.gz", lambda: gzip.compress(TEXT.encode())),
    "joined xz": (
        "fer2013.csv.xz",
        lambda: lzma.compress(TEXT[:9999].encode()) + b"\0" * 8 + lzma.compress(TEXT[9999:].encode()),
    ),
    "joined gz": ("fer2013.csv.gz", lambda: gzip.compress(TEXT[:9999].encode()) + gzip.compress(TEXT[9999:].encode())),
    "icml xz": ("icml_face_data.csv.xz", lambda: lzma.compress(icml(TEXT).encode())),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_csv_layout_gives_the_same_faces(tmp_path: Path, layout: str) -> None:
    name, data = LAYOUTS[layout]
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / name).write_bytes(data())
    check(store_of(tmp_path / "in" / name, tmp_path / "by_file"))
    check(store_of(tmp_path / "in", tmp_path / "by_folder"))


def test_quoted_cells_and_the_unpacked_archive(tmp_path: Path) -> None:
    header, *lines = TEXT.splitlines()
    quoted = "\n".join([header, *(",".join(f'"{cell}"' for cell in line.split(",")) for line in lines)])
    (tmp_path / "fer2013").mkdir()
    (tmp_path / "fer2013" / "fer2013.csv").write_text(quoted)
    check(store_of(tmp_path, tmp_path / "out"))


def test_the_manifest_says_the_row(tmp_path: Path) -> None:
    (tmp_path / "fer2013.csv").write_text(TEXT)
    assert store_of(tmp_path, tmp_path / "out").manifest.path[:2] == ("fer2013.csv#1", "fer2013.csv#2")


def class_folders(root: Path) -> None:
    for place, (emotion, pixels, usage) in enumerate(ROWS):
        folder = root / {"Training": "train"}.get(usage, "test") / NAMES[emotion].lower()
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{usage}_{place}.png")


def test_class_folders_are_matched_by_name(tmp_path: Path) -> None:
    class_folders(tmp_path / "in")
    store = store_of(tmp_path / "in", tmp_path / "out")
    assert store.manifest.labels["expression"] == Classes(NAMES)
    assert store.manifest.splits == ("train", "test")
    assert store.shape == (48, 48, 1)
    faces = {pixels.tobytes(): emotion for emotion, pixels, _ in ROWS}
    for image, label in zip(store.images, store.manifest.target["expression"].tolist(), strict=True):
        assert faces[image.tobytes()] == label
    assert any("has no val" in note for note in store.source["notes"])


def test_class_folders_get_a_val_on_demand(tmp_path: Path) -> None:
    class_folders(tmp_path / "in")
    counts = store_of(tmp_path / "in", tmp_path / "out", val_share=0.2, seed=4).source["counts"]
    assert {split: of["total"] for split, of in counts.items()} == {"train": 40, "val": 10, "test": 20}
    assert set(counts["val"]["expression"].values()) <= {1, 2}


def test_a_folder_that_is_no_class_of_fer2013_is_refused(tmp_path: Path) -> None:
    class_folders(tmp_path)
    (tmp_path / "train" / "happy").rename(tmp_path / "train" / "hapy")
    with pytest.raises(ValueError, match=r"class folder \(='hapy'\) must be one of Angry, .*; did you mean 'Happy'\?"):
        Fer2013(tmp_path).survey()


def test_parsing_many_rows_equals_parsing_one_by_one() -> None:
    texts = [pixel_text(pixels).encode() for _, pixels, _ in ROWS]
    np.testing.assert_array_equal(parse_pixels(texts), [pixels for _, pixels, _ in ROWS])
    same = [" ".join(["7"] * 2304).encode(), " ".join(["255"] * 2304).encode(), " ".join(["0"] * 2304).encode()]
    parsed = parse_pixels(same)
    assert parsed is not None
    assert [np.unique(face).tolist() for face in parsed] == [[7], [255], [0]]


def test_a_row_is_read_with_its_pixels_row_by_row() -> None:
    # Row-major: the second number is the second pixel of the first line.
    pixels = np.arange(2304).reshape(48, 48) % 251
    text = "emotion,pixels,Usage\n3," + " ".join(map(str, pixels.ravel())) + ",PrivateTest\n"
    file = io.StringIO(text)
    assert file.readline().startswith("emotion")
    parsed = parse_pixels([text.splitlines()[1].split(",")[1].encode()])
    assert parsed is not None
    np.testing.assert_array_equal(parsed[0], pixels)


@pytest.mark.parametrize(
    "text",
    [
        "1 " * 2303,
        "1 " * 2305 + "1",
        "  ".join(["1"] * 2304),
        " " + "1 " * 2303 + "1",
        "1\t" * 2303 + "1",
        *("1 " * 2303 + last for last in ("256", "1000", "0001", "x", "-1", "1.", "")),
        "",
        " ",
    ],
)
def test_the_fast_parser_takes_nothing_but_the_plain_form(text: str) -> None:
    plain = " ".join(["9"] * 2304).encode()
    assert parse_pixels([plain, text.encode(), plain]) is None
    assert parse_pixels([text.encode()]) is None


def test_counts_that_only_even_out_are_not_taken() -> None:
    short, long = " ".join(["1"] * 2303).encode(), " ".join(["1"] * 2305).encode()
    assert parse_pixels([short, long]) is None


def test_odd_spacing_is_read_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "fer2013.csv").write_text(TEXT.replace(" ", "  ").replace("\n3,", "\n3, 00"))
    check(store_of(tmp_path, tmp_path / "out"))


def replaced(row: int, *, emotion: str | None = None, pixels: str | None = None, usage: str | None = None) -> str:
    lines = TEXT.splitlines()
    e, p, u = lines[row].split(",")
    lines[row] = ",".join([emotion or e, p if pixels is None else pixels, u if usage is None else usage])
    return "\n".join(lines) + "\n"


BAD_PIXELS = [
    (
        "1 " * 2302 + "1",
        r"row 66 has 2,303 pixels and must have 2,304; the file is damaged, get it again or leave such",
    ),
    ("", r"row 66 has 0 pixels and must have 2,304"),
    ("1 " * 2303 + "256", r"row 66 has the pixel '256' and must have whole numbers in 0..255"),
    ("1 " * 2303 + "-1", r"row 66 has the pixel '-1' and must have"),
    ("1 " * 2303 + "1.5", r"row 66 has the pixel '1.5' and must have"),
]


@pytest.mark.parametrize(("pixels", "message"), BAD_PIXELS)
def test_broken_pixels_are_refused_or_skipped_on_demand(tmp_path: Path, pixels: str, message: str) -> None:
    (tmp_path / "fer2013.csv").write_text(replaced(66, pixels=pixels))
    with pytest.raises(ValueError, match=message):
        prepare(Fer2013(tmp_path), tmp_path / "out", Form())
    assert [p.name for p in tmp_path.iterdir()] == ["fer2013.csv"]
    store = store_of(tmp_path, tmp_path / "out", skip_damaged=True)
    assert store.source["skipped"]["reasons"] == {"damaged pixels": 1}
    assert store.source["skipped"]["examples"][0]["path"] == "fer2013.csv#66"
    np.testing.assert_array_equal(store.images[..., 0], [pixels for i, (_, pixels, _) in enumerate(ROWS) if i != 65])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (replaced(3, emotion="7"), r"row 3: emotion \(='7'\) must be 0 to 6; correct the row"),
        (replaced(3, emotion="-1"), r"row 3: emotion \(='-1'\) must be 0 to 6"),
        (replaced(3, emotion="happy"), r"row 3: emotion \(='happy'\) must be 0 to 6"),
        (replaced(3, usage="Train"), r"row 3: Usage \(='Train'\) must be one of Training, PublicTest, PrivateTest"),
        (replaced(3, usage=""), r"row 3: Usage \(=''\) must be one of"),
        (replaced(3, usage="Training,x"), r"row 3 has 4 columns and must have 3; the file is damaged"),
        (TEXT[:-4000], r"row 70 has 2 columns and must have 3; the file is damaged"),
        (
            "emotion,pixels\n0,1 2 3\n",
            r"columns \(=emotion,pixels\) must have Usage; take fer2013.csv",
        ),
        ("", r"must have a header with the columns emotion, pixels, Usage; it is empty, take fer2013.csv or icml_face"),
        (
            TEXT.partition("\n")[2],
            r"must have a header with the columns .*; its first row \(=0,\d.*\.\.\.\) looks like data, put",
        ),
        (
            "emotion,pixels,Usage,more\n",
            r"columns \(=emotion,pixels,Usage,more\) must be emotion, pixels, Usage alone;",
        ),
        (
            "\x89PNG\x1a\0,\x07",
            r"must be a csv file; its first row \(=\\x89PNG\\x1a\\x00,\\x07\) is no text, unpack it or take",
        ),
        ("emotion,pixels,Usage\n", r"must have rows; there is nothing below its header"),
    ],
)
def test_wrong_columns_labels_and_usages_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "fer2013.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        prepare(Fer2013(tmp_path, skip_damaged=True), tmp_path / "out", Form())
    assert [p.name for p in tmp_path.iterdir()] == ["fer2013.csv"]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("fer2013.csv.xz", lzma.compress(TEXT.encode())[:-500]),
        ("fer2013.csv.xz", b"not packed at all"),
        ("fer2013.csv.gz", gzip.compress(TEXT.encode())[:-500]),
        ("fer2013.csv.gz", b"not packed at all"),
    ],
)
def test_a_cut_archive_is_refused(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match=r"must unpack; it is cut or damaged \(.*\), get it again"):
        prepare(Fer2013(tmp_path), tmp_path / "out", Form())
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_sources_without_fer2013_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must be a csv file or a folder; there is none"):
        Fer2013(tmp_path / "none").survey()
    with pytest.raises(ValueError, match=r"must hold fer2013.csv or icml_face_data.csv \(also .xz, .gz\) or folders"):
        Fer2013(tmp_path).survey()
    for name in ("fer2013.csv", "icml_face_data.csv"):
        (tmp_path / name).write_text(TEXT)
    with pytest.raises(ValueError, match=r"must hold one csv file; it holds .*fer2013.csv, .*icml_face_data.csv, name"):
        Fer2013(tmp_path).survey()


def test_a_val_share_of_the_csv_is_refused(tmp_path: Path) -> None:
    (tmp_path / "fer2013.csv").write_text(TEXT)
    with pytest.raises(ValueError, match=r"val_share \(=0.1\) must be 0 for the csv; it has its own val, PublicTest"):
        Fer2013(tmp_path, val_share=0.1).survey()


# --- FER+ --------------------------------------------------------------------------------------------------------


def votes() -> list[list[int]]:
    draw = np.random.default_rng(3)
    rows: list[list[int]] = draw.multinomial(
        10, [0.3, 0.3, 0.1, 0.1, 0.05, 0.05, 0.03, 0.03, 0.02, 0.02], len(ROWS)
    ).tolist()
    rows[0] = [4, 0, 0, 1, 3, 2, 0, 0, 0, 0]
    rows[1] = [5, 5, 0, 0, 0, 0, 0, 0, 0, 0]  # a tie
    rows[2] = [0, 0, 0, 0, 0, 0, 0, 0, 4, 6]  # nothing remains
    rows[3] = [0, 0, 0, 0, 0, 0, 0, 1, 9, 0]
    return rows


def plus_text(rows: list[list[int]]) -> str:
    # The published names go out of step with the rows (here from row 5 on): they must not be used.
    lines = [
        f"{usage},{'' if i == 4 else f'fer{i - (i > 4):07}.png'},{','.join(map(str, row))}"
        for i, ((_, _, usage), row) in enumerate(zip(ROWS, rows, strict=False))
    ]
    return "\n".join([PLUS, *lines]) + "\n"


def test_votes_are_joined_by_row(tmp_path: Path) -> None:
    (tmp_path / "fer2013.csv").write_text(TEXT)
    (tmp_path / "fer2013new.csv").write_text(plus_text(votes()))
    store = store_of(tmp_path, tmp_path / "out")
    check(store)
    names = tuple(PLUS.split(",")[2:10])
    assert store.manifest.labels["ferplus"] == Classes(names)
    assert store.manifest.labels["ferplus_votes"] == Numbers(names)
    majority, shares = store.manifest.target["ferplus"].tolist(), store.manifest.target["ferplus_votes"].numpy()
    assert majority[:4] == [0, -1, -1, 7]
    for row, label, share in zip(votes(), majority, shares, strict=True):
        kept = np.array(row[:8])
        if kept.sum() == 0:
            assert label == -1
            assert np.isnan(share).all()
            continue
        np.testing.assert_allclose(share, kept / kept.sum(), rtol=1e-6)
        winners = np.flatnonzero(kept == kept.max())
        assert label == (winners[0] if len(winners) == 1 else -1)
    assert any(note.startswith("ferplus: the class with the most") for note in store.source["notes"])


def test_votes_may_lie_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "fer2013.csv").write_text(TEXT)
    assert set(Fer2013(tmp_path / "a").survey().labels) == {"expression"}
    (tmp_path / "votes.csv").write_text(plus_text(votes()))
    found = Fer2013(tmp_path / "a", ferplus=tmp_path / "votes.csv").survey()
    assert set(found.labels) == {"expression", "ferplus", "ferplus_votes"}
    assert found.total == 70


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            plus_text(votes()[:-1]),
            r"ferplus: must have one row of votes for each row of fer2013.csv; it has 69 for more",
        ),
        (plus_text(votes()) + "Training,x" + ",1" * 10, r"it has 71 for 70 rows, take fer2013new.csv"),
        (
            plus_text(votes()).replace("Training", "PublicTest", 1),
            r"row 1 must have the Usage of the same row of fer2013.csv; it is 'PublicTest' against 'Training'",
        ),
        (
            "Usage,Image name,neutral\n",
            r"columns \(=Usage,Image name,neutral\) must have happiness, surprise",
        ),
        (f"{PLUS}\nTraining,x,1\n", r"row 1 \(=Training,x,1\) must be a usage, a name and 10 counts of votes"),
        (f"{PLUS}\nTraining,x,-1{',1' * 9}\n", r"row 1 \(=Training,x,-1,.*\) must be a usage, a name and 10 counts"),
    ],
)
def test_votes_that_do_not_fit_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "fer2013.csv").write_text(TEXT)
    (tmp_path / "fer2013new.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        prepare(Fer2013(tmp_path), tmp_path / "out", Form())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["fer2013.csv", "fer2013new.csv"]


def test_missing_votes_and_votes_for_folders_are_refused(tmp_path: Path) -> None:
    class_folders(tmp_path / "in")
    with pytest.raises(
        ValueError, match=r"ferplus \(=.*\) must be left out for class folders; votes are joined by the"
    ):
        Fer2013(tmp_path / "in", ferplus=tmp_path / "v.csv").survey()
    (tmp_path / "fer2013.csv").write_text(TEXT)
    with pytest.raises(ValueError, match=r"must be the file fer2013new.csv of FER\+; there is none"):
        Fer2013(tmp_path / "fer2013.csv", ferplus=tmp_path / "v.csv").survey()


# --- the real file -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real(hmtl_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The store of the published file with its votes. Do not change it."""
    source = hmtl_data / "fer2013"
    if not source.is_dir():
        pytest.skip("needs fer2013/ under HMTL_DATA")
    return store_of(source, tmp_path_factory.mktemp("real") / "out")


@pytest.mark.slow
def test_the_real_file_has_the_official_counts(real: Store) -> None:
    counts = real.source["counts"]
    assert {split: of["total"] for split, of in counts.items()} == {"train": 28709, "val": 3589, "test": 3589}
    totals = [sum(of["expression"][name] for of in counts.values()) for name in NAMES]
    assert totals == [4953, 547, 5121, 8989, 6077, 4002, 6198]
    assert real.images.shape == (35887, 48, 48, 1)
    # The first row of the published file, and its ten votes.
    assert real.images[0, 0, :5, 0].tolist() == [70, 80, 82, 72, 58]
    np.testing.assert_allclose(real.manifest.target["ferplus_votes"][0], [0.4, 0, 0, 0.1, 0.3, 0.2, 0, 0], rtol=1e-6)


@pytest.mark.slow
def test_what_is_wrong_with_the_real_file_is_found(real: Store, tmp_path: Path) -> None:
    found = check_store(real.path)
    assert {name: split.copies for name, split in found.splits.items()} == {"train": 1234, "val": 26, "test": 17}
    assert len(found.blank) == 13
    assert found.shared == {("train", "val"): 270, ("train", "test"): 278, ("val", "test"): 43}
    assert sum(conflict.label == "expression" for conflict in found.conflicts) == 57
    # Not black and not turned round: the levels that these faces had when they were looked at.
    for split in found.splits.values():
        assert split.mean == pytest.approx((129,), abs=2)
        assert split.std == pytest.approx((65,), abs=2)
    without = open_store(drop_duplicates(real.path, tmp_path / "without", found))
    assert {name: counts["total"] for name, counts in without.source["counts"].items()} == {
        "train": 26944,
        "val": 3520,
        "test": 3572,
    }


@pytest.mark.slow
def test_the_labels_that_the_real_file_keeps_at_seed_0(real: Store) -> None:
    counts = {}
    for keep in (0.014, 0.07):
        target = HideLabels(Packed(real.path), keep).open("train", "cpu").split.target["expression"]
        counts[keep] = torch.bincount(target + 1).tolist()
    assert counts == {
        0.014: [28307, 56, 6, 57, 101, 68, 44, 70],  # 402
        0.07: [26699, 280, 31, 287, 505, 338, 222, 347],  # 2,010
    }
