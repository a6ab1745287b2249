"""`loaders.prepare --check`: what it counts, what it writes, and a store without duplicates."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner

import loaders.store.pixel_statistics
from loaders.decoding.pictures import Form
from loaders.importers import Aflw2000, ManifestFile
from loaders.prepare import app, prepare
from loaders.store.checking import Findings, check
from loaders.store.duplicates import drop_duplicates
from loaders.store.opening import open_store
from tests.loaders.imported import save
from tests.loaders.test_importer_pose import write_head


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, " ".join((result.stdout + result.stderr).split())


def face(seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)


def flat(level: int) -> NDArray[np.uint8]:
    return np.full((8, 8, 3), level, np.uint8)


# Faces 1 and 2 are in two splits, 1 with another label; 3 is twice in train, 4 with a label missing; 5 thrice in test.
ROWS: list[tuple[str, str, str, NDArray[np.uint8]]] = [
    ("train", "a", "1.5", face(1)),
    ("train", "b", "2.5", face(2)),
    ("train", "a", "", face(3)),
    ("train", "a", "3", face(3)),
    ("val", "b", "1.5", face(1)),
    ("test", "b", "2.5", face(2)),
    ("train", "", "", face(4)),
    ("train", "b", "", face(4)),
    ("test", "a", "", face(5)),
    ("test", "a", "", face(5)),
    ("test", "a", "", face(5)),
    ("extra", "a", "", face(2)),
    ("extra", "a", "", face(6)),
    ("train", "a", "", flat(0)),
    ("val", "a", "", flat(255)),
    ("val", "b", "", flat(120) + (np.arange(192).reshape(8, 8, 3) == 5).astype(np.uint8)),
]


def write_store(root: Path, rows: list[tuple[str, str, str, NDArray[np.uint8]]] = ROWS) -> Path:
    lines = ["path,split,kind,age.years"]
    for place, (split, kind, age, pixels) in enumerate(rows):
        save(root / "pictures" / f"{place:02}.png", pixels)
        lines.append(f"{place:02}.png,{split},{kind},{age}")
    (root / "pictures" / "manifest.csv").write_text("\n".join(lines) + "\n")
    prepare(ManifestFile(root / "pictures"), root / "store", Form())
    return root / "store"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Do not change it."""
    return write_store(tmp_path_factory.mktemp("check"))


@pytest.fixture(scope="module")
def findings(store: Path) -> Findings:
    return check(store)


def test_splits_and_classes_are_counted(findings: Findings) -> None:
    assert {name: split.pictures for name, split in findings.splits.items()} == {
        "train": 7,
        "val": 3,
        "test": 4,
        "extra": 2,
    }
    assert findings.splits["train"].classes == {"kind": {"a": 4, "b": 2, "(missing)": 1}}
    assert findings.splits["val"].classes == {"kind": {"a": 1, "b": 2}}


def test_mean_and_deviation_are_those_of_all_pixels(store: Path, findings: Findings) -> None:
    opened = open_store(store)
    for number, (name, split) in enumerate(findings.splits.items()):
        pixels = opened.images[opened.manifest.split.numpy() == number].reshape(-1, 3).astype(float)
        np.testing.assert_allclose(split.mean, pixels.mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(split.std, pixels.std(axis=0), rtol=1e-9)
        assert name


def test_dark_bright_and_blank_pictures_are_counted(findings: Findings) -> None:
    assert {name: (s.dark, s.bright, s.blank) for name, s in findings.splits.items()} == {
        "train": (1, 0, 1),
        "val": (0, 1, 2),  # one of them has a pixel of another shade
        "test": (0, 0, 0),
        "extra": (0, 0, 0),
    }
    assert findings.blank.tolist() == [13, 14, 15]


def test_copies_are_found_within_and_across_splits(findings: Findings) -> None:
    assert [group.tolist() for group in findings.groups] == [[0, 4], [1, 5, 11], [2, 3], [6, 7], [8, 9, 10]]
    assert {name: split.copies for name, split in findings.splits.items()} == {
        "train": 2,
        "val": 0,
        "test": 2,
        "extra": 0,
    }
    assert findings.shared == {("train", "val"): 1, ("train", "test"): 1, ("train", "extra"): 1, ("test", "extra"): 1}


def test_a_picture_that_differs_in_one_level_is_no_copy(tmp_path: Path) -> None:
    other = face(1)
    other[7, 7, 2] ^= 1
    found = check(write_store(tmp_path, [("train", "a", "1", face(1)), ("train", "a", "1", other)]))
    assert found.groups == ()


def test_labels_that_differ_are_conflicts_and_missing_ones_are_not(findings: Findings) -> None:
    assert [(c.label, c.samples, c.values) for c in findings.conflicts] == [
        ("kind", (0, 4), ("a", "b")),
        ("kind", (1, 5, 11), ("b", "b", "a")),
    ]


def test_numbers_that_differ_are_conflicts(tmp_path: Path) -> None:
    rows = [("train", "a", "1", face(1)), ("train", "a", "2.5", face(1)), ("train", "a", "", face(1))]
    assert [(c.label, c.samples, c.values) for c in check(write_store(tmp_path, rows)).conflicts] == [
        ("age", (0, 1), ("1", "2.5"))
    ]


def test_small_blocks_find_the_same(store: Path, findings: Findings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loaders.store.pixel_statistics, "BLOCK_BYTES", 5 * 8 * 8 * 3 + 1)
    again = check(store)
    assert [g.tolist() for g in again.groups] == [g.tolist() for g in findings.groups]
    assert again.splits == findings.splits
    assert again.conflicts == findings.conflicts


def test_changed_pixels_are_refused(tmp_path: Path) -> None:
    store = write_store(tmp_path)
    with (store / "images.npy").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x07")
    with pytest.raises(ValueError, match=r"check .*: pixels must have the hash they were written with; .*--force"):
        check(store)


# --- without duplicates -------------------------------------------------------------------------------------------


def test_of_equal_pictures_the_one_nearest_to_the_test_stays(store: Path, findings: Findings, tmp_path: Path) -> None:
    before = {path.name: path.read_bytes() for path in store.iterdir()}
    opened = open_store(drop_duplicates(store, tmp_path / "out", findings), check_pixels=True)
    assert {path.name: path.read_bytes() for path in store.iterdir()} == before
    kept = [int(Path(path).stem) for path in opened.manifest.path]
    assert kept == [2, 4, 5, 6, 8, 12, 13, 14, 15]
    np.testing.assert_array_equal(opened.images, np.stack([ROWS[place][3] for place in kept]))
    names = [opened.manifest.splits[number] for number in opened.manifest.split.tolist()]
    assert names == [ROWS[place][0] for place in kept]
    assert opened.manifest.target["kind"].tolist() == [
        ["a", "b", ""].index(ROWS[p][1]) if ROWS[p][1] else -1 for p in kept
    ]
    years = opened.manifest.target["age"][:, 0].nan_to_num(-1.0).tolist()
    assert years == [float(ROWS[place][2] or -1) for place in kept]
    np.testing.assert_array_equal(opened.manifest.mean, open_store(store).manifest.mean[kept])
    assert check(opened.path).groups == ()


def test_what_was_dropped_is_listed(store: Path, findings: Findings, tmp_path: Path) -> None:
    source = open_store(drop_duplicates(store, tmp_path / "out", findings)).source
    with (tmp_path / "out" / "skipped.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["path"], row["reason"], row["detail"]) for row in rows][:2] == [
        ("00.png", "duplicate in train", "equals 04.png in val"),
        ("01.png", "duplicate in train", "equals 05.png in test"),
    ]
    assert source["skipped"]["reasons"] == {"duplicate in train": 4, "duplicate in test": 2, "duplicate in extra": 1}
    assert any("4 from train, 0 from val, 2 from test, 1 from extra" in note for note in source["notes"])


def test_a_store_without_duplicates_is_not_taken_for_the_one_with_them(
    store: Path, findings: Findings, tmp_path: Path
) -> None:
    drop_duplicates(store, tmp_path / "out", findings)
    with pytest.raises(ValueError, match="must be new or made from the same source and settings"):
        prepare(ManifestFile(store.parent / "pictures"), tmp_path / "out", Form())


def test_a_full_folder_is_refused(store: Path, findings: Findings, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"check: drop-duplicates \(=.*\) must be new or empty; choose another folder"):
        drop_duplicates(store, tmp_path, findings)
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]
    code, text = run("--check", store, "--report", tmp_path / "r", "--drop-duplicates", tmp_path)
    assert (code, "must be new or empty; choose another folder" in text) == (2, True)
    assert not (tmp_path / "r").exists()  # refused before the store is looked through


# --- the command --------------------------------------------------------------------------------------------------


def test_the_command_prints_and_writes_what_was_found(store: Path, tmp_path: Path) -> None:
    code, text = run("--check", store, "--report", tmp_path / "r", "--drop-duplicates", tmp_path / "out")
    assert code == 0
    assert "a 4 1 3 2" in text
    assert "train 7 1" in text
    assert "1 (14.3%)" in text
    assert "in both train and val: 1 different pictures" in text
    assert "2 of 5 sets of equal pictures have different kind" in text
    assert "9 faces without duplicates" in text
    assert sorted(path.name for path in (tmp_path / "r").iterdir()) == ["check.json", "duplicates.csv", "sheet.png"]
    report: Mapping[str, Any] = json.loads((tmp_path / "r" / "check.json").read_text())
    assert report["splits"]["train"]["copies"] == 2
    assert report["in_two_splits"]["train and val"] == 1
    assert report["label_conflicts"]["kind"]["sets"] == 2
    assert report["label_conflicts"]["kind"]["examples"][0] == {"paths": ["00.png", "04.png"], "values": ["a", "b"]}
    assert report["blank"] == ["13.png", "14.png", "15.png"]
    with (tmp_path / "r" / "duplicates.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert len(rows) == 1 + 7
    assert rows[1] == ["4", "val", "04.png", "0", "train", "00.png"]
    assert len(open_store(tmp_path / "out").manifest) == 9


def test_the_report_stands_beside_the_store(tmp_path: Path) -> None:
    store = write_store(tmp_path)
    before = sorted(path.name for path in store.iterdir())
    assert run("--check", store)[0] == 0
    assert sorted(path.name for path in store.iterdir()) == before
    assert (tmp_path / "store-check" / "sheet.png").is_file()


def test_the_sheet_shows_classes_and_suspects(store: Path, tmp_path: Path) -> None:
    run("--check", store, "--report", tmp_path)
    with Image.open(tmp_path / "sheet.png") as sheet:
        pixels = np.asarray(sheet)
    tile = 98
    assert pixels.shape[0] == tile * (4 * 2 + 3)  # two classes in four splits; blank, duplicates, conflicts
    enlarged = np.asarray(Image.fromarray(ROWS[0][3]).resize((96, 96), Image.Resampling.NEAREST))
    train_a = pixels[:96, 170 : 170 + 4 * tile]
    assert any(np.array_equal(train_a[:, k * tile : k * tile + 96], enlarged) for k in range(4))
    blank = pixels[8 * tile : 8 * tile + 96, 170 : 170 + 3 * tile : tile]
    assert blank[0].tolist() == [[0] * 3, [255] * 3, [120] * 3]


def test_the_sheet_of_numbers_runs_from_low_to_high(tmp_path: Path) -> None:
    for place, yaw in enumerate((20.0, -30.0, 60.0, 0.0, -60.0)):
        write_head(tmp_path / "faces" / f"image{place:05}.png", (yaw, 0, 0))
    prepare(Aflw2000(tmp_path / "faces", margin=0.0), tmp_path / "store", Form(48))
    assert run("--check", tmp_path / "store", "--report", tmp_path / "r")[0] == 0
    store = open_store(tmp_path / "store")
    with Image.open(tmp_path / "r" / "sheet.png") as sheet:
        pixels = np.asarray(sheet)
    assert pixels.shape[0] == 3 * 98  # yaw, pitch, roll
    first = Image.fromarray(np.array(store.images[4])).resize((96, 96), Image.Resampling.NEAREST)
    np.testing.assert_array_equal(pixels[:96, 170:266], np.asarray(first))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--check", "s", "folder"], r"prepare: --check (=s) must stand alone or with --report and --drop-duplicates"),
        (["--check", "s", "--seed", "1"], "leave NAME, SOURCE and their options out"),
        (["--check", "gone"], "store gone: must be a folder; there is none"),
        (["folder", "x", "--out", "y", "--report", "z"], "--report and --drop-duplicates must go with --check; add"),
        (["folder", "x", "--out", "y", "--drop-duplicates", "z"], "must go with --check; add --check STORE"),
        (["--report", "z"], "--report and --drop-duplicates must go with --check; add --check STORE"),
        (["folder", "x"], "prepare: NAME, SOURCE and --out must be given; or --check STORE looks through a store"),
        ([], "prepare: NAME, SOURCE and --out must be given"),
        (
            ["aflw2000", "x", "--out", "y", "--seed", "1"],
            "--seed must be left out for aflw2000; it takes --crop box, --margin 0.25 (--seed is of affectnet2017, ",
        ),
    ],
)
def test_arguments_that_do_not_go_together_are_refused(arguments: list[str], message: str) -> None:
    code, text = run(*arguments)
    assert code == 2
    assert message in text


def test_options_reach_the_importer(tmp_path: Path) -> None:
    write_head(tmp_path / "faces" / "image00002.jpg")
    code, text = run("aflw2000", tmp_path / "faces", "--out", tmp_path / "s", "--size", 16, "--margin", 0.5)
    assert code == 0, text
    origin = open_store(tmp_path / "s").source["origin"]
    assert origin["options"] == {"crop": "box", "margin": 0.5}


def test_numbers_are_described(findings: Findings) -> None:
    of = {name: split.numbers["age.years"] for name, split in findings.splits.items()}
    assert (of["train"].missing, of["train"].lowest, of["train"].highest) == (4, 1.5, 3.0)
    assert of["train"].mean == pytest.approx((1.5 + 2.5 + 3) / 3)
    assert (of["extra"].missing, np.isnan(of["extra"].mean)) == (2, True)


def test_splits_are_shown_in_the_usual_order(findings: Findings) -> None:
    assert list(findings.splits) == ["train", "val", "test", "extra"]


def test_other_formats_are_told_what_to_check_instead(tmp_path: Path) -> None:
    write_store(tmp_path)
    prepare(ManifestFile(tmp_path / "pictures"), tmp_path / "folder", Form(), format="folder")
    code, text = run("--check", tmp_path / "folder")
    assert code == 2
    assert "must be a packed store; it is a hmtl plain folder. Prepare the same source into another folder" in text
    source = json.loads((tmp_path / "store" / "source.json").read_text())
    (tmp_path / "store" / "source.json").write_text(json.dumps(source | {"format": "hmtl ffcv store"}))
    assert "must be a packed store; it is a hmtl ffcv store. Prepare" in run("--check", tmp_path / "store")[1]
    assert "must be a folder; there is none" in run("--check", tmp_path / "none")[1]
