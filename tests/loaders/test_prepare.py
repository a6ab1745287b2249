"""`hmtl prepare`: what it prints, what it refuses, and that no half-made store is ever found."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import tracemalloc
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from loaders.decoding.pictures import Form
from loaders.decoding.records import Contents
from loaders.importers import IMPORTERS, ClassFolders, Fer2013
from loaders.prepare import app, command_line, prepare
from loaders.store.opening import open_store
from tests.loaders.data_sets import fer_rows, fer_text, picture, write_folders
from tests.loaders.test_fer2013 import plus_text, votes


def run(*arguments: object, app: typer.Typer = app) -> tuple[int, str]:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, " ".join((result.stdout + result.stderr).split())


def test_a_run_prints_counts_and_a_second_one_finds_it_finished(folders: Path, tmp_path: Path) -> None:
    code, text = run("folder", folders, "--out", tmp_path / "s")
    assert code == 0
    assert "angry 11 3 1 15" in text
    assert "sad 4 0 1 5" in text
    assert "all 23 7 3 33" in text
    assert "33 faces of 10 x 10, RGB" in text
    assert "faces/s" in text
    written = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in (tmp_path / "s").iterdir()}
    code, text = run("folder", folders, "--out", tmp_path / "s")
    assert code == 0
    assert "is finished: 33 faces, expression; --force makes it again" in text
    assert {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in (tmp_path / "s").iterdir()} == written


def test_a_store_made_before_an_option_was_added_is_finished(folders: Path, tmp_path: Path) -> None:
    assert run("folder", folders, "--out", tmp_path / "s")[0] == 0
    file = tmp_path / "s" / "source.json"
    source = json.loads(file.read_text())
    assert source["origin"]["options"].pop("unlabelled") is False
    file.write_text(json.dumps(source))
    assert "is finished: 33 faces" in run("folder", folders, "--out", tmp_path / "s")[1]
    assert run("folder", folders, "--unlabelled", "--out", tmp_path / "s")[0] == 2
    assert "23 faces of 10 x 10" in run("folder", folders / "train", "--unlabelled", "--out", tmp_path / "t")[1]


def test_classes_that_a_split_or_all_faces_lack_are_said(folders: Path, tmp_path: Path) -> None:
    _, text = run("folder", folders, "--out", tmp_path / "s")
    assert "note: no face of val has expression sad" in text
    assert text.count("note: no face") == 1
    write_folders(tmp_path / "in", {"train": (2, 0, 1), "val": (0, 0, 1)})
    code, text = run("folder", tmp_path / "in", "--out", tmp_path / "t")
    assert (code, "class folders (=happy) must each hold a picture in one split" in text) == (2, True)
    assert not (tmp_path / "t").exists()
    code, text = run("folder", tmp_path / "in", "--out", tmp_path / "t", "--classes", "angry,happy,sad,shy")
    assert code == 0
    assert "note: no face has expression happy or shy note: no face of val has expression angry" in text


def test_equal_runs_write_equal_stores(folders: Path, tmp_path: Path) -> None:
    for name, workers in (("a", 1), ("b", 4)):
        assert run("folder", folders, "--out", tmp_path / name, "--workers", workers, "--size", 8)[0] == 0
    for file in ("images.npy", "manifest.csv", "source.json", "skipped.csv"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_other_settings_ask_for_force(folders: Path, tmp_path: Path) -> None:
    out = tmp_path / "s"
    run("folder", folders, "--out", out)
    code, text = run("folder", folders, "--out", out, "--size", 8)
    assert code == 2
    assert "must be new or made from the same source and settings (size None there, 8 here); " in text
    assert "choose another --out, or replace it with --force" in text
    assert open_store(out).shape == (10, 10, 3)
    assert run("folder", folders, "--out", out, "--label", "mood")[0] == 2
    assert run("folder", folders, "--out", out, "--size", 8, "--force")[0] == 0
    assert open_store(out).shape == (8, 8, 3)
    assert [p.name for p in tmp_path.iterdir()] == ["s"]


def test_a_damaged_store_is_not_taken_for_finished(folders: Path, tmp_path: Path) -> None:
    out = tmp_path / "s"
    run("folder", folders, "--out", out)
    with (out / "images.npy").open("r+b") as stream:
        stream.truncate(500)
    code, text = run("folder", folders, "--out", out)
    assert code == 2
    assert "so it was cut, prepare it again with --force" in text
    assert run("folder", folders, "--out", out, "--force")[0] == 0
    open_store(out)


def test_a_folder_that_holds_something_else_is_never_replaced(folders: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    for force in ([], ["--force"]):
        code, text = run("folder", folders, "--out", tmp_path, *force)
        assert code == 2
        assert "must be new, empty or a prepared store; choose another folder" in text
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_an_empty_folder_may_be_the_target(folders: Path, tmp_path: Path) -> None:
    (tmp_path / "deep" / "s").mkdir(parents=True)
    assert run("folder", folders, "--out", tmp_path / "deep" / "s")[0] == 0
    assert run("folder", folders, "--out", tmp_path / "new" / "er" / "s")[0] == 0


def test_unreadable_pictures_are_counted_listed_and_skipped(tmp_path: Path) -> None:
    source = write_folders(tmp_path / "in", {"train": (4, 2, 1)})
    whole = (source / "train" / "happy" / "000.png").read_bytes()
    (source / "train" / "angry" / "001.png").write_bytes(whole[:200])
    (source / "train" / "angry" / "002.png").write_bytes(b"")
    code, text = run("folder", source, "--out", tmp_path / "s")
    assert code == 0
    assert "skipped: 2" in text
    assert "train/angry/001.png unreadable picture" in text
    store = open_store(tmp_path / "s")
    assert store.source["skipped"]["reasons"] == {"unreadable picture": 2}
    assert "train/angry/002.png,unreadable picture," in (tmp_path / "s" / "skipped.csv").read_text()
    kept = [(0, 0), (0, 3), (1, 0), (1, 1), (2, 0)]
    np.testing.assert_array_equal(store.images, [picture(*which) for which in kept])
    assert store.manifest.target["expression"].tolist() == [kind for kind, _ in kept]


def test_no_readable_picture_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "in" / "a").mkdir(parents=True)
    (tmp_path / "in" / "a" / "x.png").write_bytes(b"none")
    code, text = run("folder", tmp_path / "in", "--out", tmp_path / "s")
    assert code == 2
    assert "must hold a readable picture; it has none and 1 were skipped; first: a/x.png: unreadable picture" in text
    assert [p.name for p in tmp_path.iterdir()] == ["in"]


def test_pictures_of_several_sizes_ask_for_one(tmp_path: Path) -> None:
    source = write_folders(tmp_path / "in", {"train": (1, 1, 1)})
    Image.fromarray(picture(0, 0, 8, 9)).save(source / "train" / "happy" / "x.png")
    code, text = run("folder", source, "--out", tmp_path / "s")
    assert code == 2
    assert "train/angry/000.png is 10 x 10 and train/happy/x.png is 9 x 8 (width x height); give --size N" in text
    assert [p.name for p in tmp_path.iterdir()] == ["in"]
    assert run("folder", source, "--out", tmp_path / "s", "--size", 10)[0] == 0


def test_a_set_is_gray_only_if_every_picture_is(tmp_path: Path) -> None:
    (tmp_path / "in" / "a").mkdir(parents=True)
    for place in range(3):
        Image.fromarray(picture(0, place)[:, :, 1]).save(tmp_path / "in" / "a" / f"{place}.png")
    prepare(ClassFolders(tmp_path / "in"), tmp_path / "gray", Form())
    assert open_store(tmp_path / "gray").shape == (10, 10, 1)
    Image.fromarray(picture(0, 3)).save(tmp_path / "in" / "a" / "3.png")
    prepare(ClassFolders(tmp_path / "in"), tmp_path / "mixed", Form())
    mixed = open_store(tmp_path / "mixed").images
    assert mixed.shape[3] == 3
    np.testing.assert_array_equal(mixed[3], picture(0, 3))
    np.testing.assert_array_equal(mixed[2], picture(0, 2)[:, :, [1, 1, 1]])
    prepare(ClassFolders(tmp_path / "in"), tmp_path / "made_gray", Form(colour="gray"))
    assert open_store(tmp_path / "made_gray").shape == (10, 10, 1)


def test_the_choices_of_the_command_line_reach_the_importer(tmp_path: Path, folders: Path) -> None:
    write_folders(tmp_path / "in", {"": (8, 4, 2)})
    arguments = ("--val-share", 0.5, "--seed", 3, "--label", "mood", "--classes", "sad,happy,angry")
    code, text = run("folder", tmp_path / "in", "--out", tmp_path / "s", *arguments)
    assert code == 0, text
    source = open_store(tmp_path / "s").source
    assert source["origin"]["options"] == {
        "label": "mood",
        "classes": ["sad,happy,angry"],
        "map": "",
        "val_share": 0.5,
        "test_share": 0.0,
        "seed": 3,
        "group": None,
        "unlabelled": False,
        "find": False,
        "crop": "none",
        "margin": 0.0,
    }
    assert source["counts"]["val"] == {"total": 7, "mood": {"sad": 1, "happy": 2, "angry": 4}}
    assert "note: val is a stratified 0.5 of train, chosen by seed 3" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("celebs x", f"NAME (='celebs') must be one of {', '.join(IMPORTERS)}; did you mean 'celeba'?"),
        ("photographs x", f"must be one of {', '.join(IMPORTERS)}; choose one"),
        ("--crop box folder x", "--crop must follow NAME; it is an option of affectnet2017, "),
        ("--outt x folder x", "--outt must be an option of NAME; did you mean --out?"),
        ("folder x --val-shar 0.5", "--val-shar must be an option of folder; did you mean --val-share?"),
        ("folder --xyzzy", "--xyzzy must be an option of folder; `hmtl prepare folder --help` lists them"),
        (
            "folder x --skip-damaged",
            "--skip-damaged must be left out for folder; it takes --label expression, --classes, --map, "
            "--val-share 0.0, --test-share 0.0, --seed 0, --group, --unlabelled, --find, --crop none, --margin 0.0 "
            "(--skip-damaged is of fer2013)",
        ),
        ("folder x --no-ferplus", "--no-ferplus must be left out for folder"),
        ("folder x y --out z", "folder must get one SOURCE; drop 'y', or quote a path with blanks"),
        ("folder x --out y --fit fill", "fit (='fill') must be one of crop, stretch, pad"),
        ("folder x --out y --workers 0", "workers (=0) must be 1 or more; leave it out"),
        ("folder x --out y", "must be a folder of pictures; there is none"),
    ],
)
def test_wrong_names_and_options_are_refused(
    arguments: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, text = run(*arguments.split())
    assert (code, message in text) == (2, True), text
    assert list(tmp_path.iterdir()) == []


def test_fer2013_from_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "fer2013.csv").write_text(fer_text(fer_rows()))
    code, text = run("fer2013", tmp_path, "--out", tmp_path / "s", "--size", 32)
    assert code == 0
    assert "70 faces of 32 x 32, gray" in text
    assert open_store(tmp_path / "s").shape == (32, 32, 1)


def test_it_runs_as_a_module_and_prints_plain_lines_where_there_is_no_terminal(folders: Path, tmp_path: Path) -> None:
    arguments = ["-W", "error", "-m", "loaders.prepare", "folder", str(folders), "--out", str(tmp_path / "s")]
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "\x1b" not in done.stdout
    assert "33 faces of 10 x 10, RGB" in done.stdout


SHARED = ["--out", "--force", "--workers", "--format", "--jpeg", "--size", "--fit", "--colour"]


def test_a_name_alone_lists_all_options_that_hold_for_it_and_no_others() -> None:
    assert run()[1].endswith("NAME, SOURCE and --out must be given; or --check STORE looks through a store")
    for name, importer in IMPORTERS.items():
        code, text = run(name)
        assert code == 2
        assert text.endswith("NAME, SOURCE and --out must be given; or --check STORE looks through a store")
        own = {f"--{field.name.replace('_', '-')}" for field in fields(importer)} - {"--source"}  # type: ignore[arg-type]
        listed = CliRunner().invoke(app, [name, "--help"]).stdout
        assert set(re.findall(r"^  (--[a-z-]+)", listed, re.M)) - {"--no-ferplus"} == {*own, *SHARED, "--help"}
        assert " ".join(listed.split()) == text[: text.index(" error: ")]
    _, text = run("pointing04")
    assert re.search(r"--margin .* \[default: 0.25\] .* --test-share .* \[default: 0.2\]", text)
    _, text = run("affectnet2021")
    assert "--contempt / --no-contempt" in text
    assert "--crop none|box|align" in text


def test_help_is_short_and_lists_sources_and_shared_options() -> None:
    result = CliRunner(env={"COLUMNS": "100"}).invoke(app, ["--help"])
    assert len(result.stdout.splitlines()) < 70
    first = re.findall(r"^  (--[a-z-]+|[a-z0-9]+) ", result.stdout.partition("Options:")[2], re.M)
    assert first == [*SHARED, "--check", "--report", "--drop-duplicates", "--help", *IMPORTERS]


def test_shared_options_may_stand_before_the_name(folders: Path, tmp_path: Path) -> None:
    code, text = run("--size", 8, "--force", "folder", folders, "--out", tmp_path / "s")
    assert code == 0, text
    assert open_store(tmp_path / "s").shape == (8, 8, 3)


@dataclass(frozen=True, slots=True)
class Planted:
    """Reads nothing.

    Attributes:
        source: Nowhere.
        depth: How deep [it] lies,
            in metres.
        kind: Which one.
        names: Some names.
        beside: A file beside it.
        strict: Refuse more.
        quick: Refuse less.
    """

    source: Path
    depth: float = 1.5
    kind: Literal["a", "b"] | None = None
    names: tuple[str, ...] = ()
    beside: Path | Literal[False] | None = None
    strict: bool = True
    quick: bool = False

    def survey(self) -> Contents:
        raise ValueError(f"planted: {self}")


def test_an_importer_has_its_options_without_a_line_elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(IMPORTERS, "planted", Planted)
    planted = command_line()
    assert "planted Reads nothing." in run("--help", app=planted)[1]
    _, text = run("planted", app=planted)
    for option, said in {
        "SOURCE": "Nowhere.",
        "--depth": "How deep [it] lies, in metres. [default: 1.5]",
        "--kind a|b": "Which one.",
        "--names": "Some names.",
        "--beside": "A file beside it.",
        "--no-beside": "Take none, not even what is found without --beside.",
        "--strict / --no-strict": "Refuse more. [default: strict]",
        "--quick": "Refuse less.",
    }.items():
        assert re.search(rf"{re.escape(option)}( \S+)? {re.escape(said)}", text), option
    arguments = ("--depth", 2, "--kind", "b", "--names", "x", "--names", "y", "--no-beside", "--no-strict", "--quick")
    code, text = run("planted", "here", "--out", tmp_path / "s", *arguments, app=planted)
    assert code == 2
    assert text == f"error: planted: {Planted(Path('here'), 2.0, 'b', ('x', 'y'), False, False, True)}"


def test_votes_beside_the_csv_are_announced_and_can_be_left_out(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "fer2013.csv").write_text(fer_text(fer_rows()))
    (tmp_path / "in" / "fer2013new.csv").write_text(plus_text(votes()))
    code, text = run("fer2013", tmp_path / "in", "--out", tmp_path / "with")
    assert code == 0
    assert "note: fer2013new.csv lay beside the csv and was joined; --no-ferplus leaves its votes out" in text
    code, text = run("fer2013", tmp_path / "in", "--out", tmp_path / "without", "--no-ferplus")
    assert (code, "ferplus" in text) == (0, False)
    assert set(open_store(tmp_path / "without").manifest.labels) == {"expression"}
    named = tmp_path / "in" / "fer2013new.csv"
    code, text = run("fer2013", tmp_path / "in", "--out", tmp_path / "named", "--ferplus", named)
    assert (code, "lay beside" in text, "Joined by row" in text) == (0, False, True)
    code, text = run("fer2013", tmp_path / "in", "--out", tmp_path / "both", "--ferplus", named, "--no-ferplus")
    assert (code, "must be left out where --no-ferplus is given; drop one" in text) == (2, True)


def test_a_test_set_is_made_from_folders(tmp_path: Path) -> None:
    write_folders(tmp_path / "in", {"": (20, 10, 10)})
    code, text = run("folder", tmp_path / "in", "--out", tmp_path / "s", "--test-share", 0.2, "--val-share", 0.1)
    assert code == 0, text
    counts = open_store(tmp_path / "s").source["counts"]
    assert {split: of["total"] for split, of in counts.items()} == {"train": 28, "val": 4, "test": 8}
    assert "note: test is a stratified 0.2 of train, chosen by seed 0; the source has none" in text
    assert re.search(r"class train val test all", text)


@pytest.mark.slow
def test_a_killed_run_leaves_nothing_that_looks_finished(tmp_path: Path) -> None:
    # Hard links to one large picture: seconds of decoding that cost no disk.
    (tmp_path / "in" / "a").mkdir(parents=True)
    first = tmp_path / "in" / "a" / "0000.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (1500, 1500, 3), dtype=np.uint8)).save(first)
    for place in range(1, 300):
        os.link(first, first.with_name(f"{place:04}.jpg"))
    out = tmp_path / "s"
    arguments = ["-m", "loaders.prepare", "folder", str(tmp_path / "in"), "--out", str(out), "--size", "16"]
    process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL)
    while not list(tmp_path.glob(".s.partial-*/images.npy")):
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not out.exists()
    (left,) = tmp_path.glob(".s.partial-*")
    assert not (left / "source.json").exists()
    with pytest.raises(ValueError, match=r"must be a folder; there is none, run `hmtl prepare"):
        open_store(out)
    for place in range(20, 300):  # the rest would only take time
        first.with_name(f"{place:04}.jpg").unlink()
    prepare(ClassFolders(tmp_path / "in"), out, Form(16))
    assert len(open_store(out, check_pixels=True).manifest) == 20
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "s"]  # the lock of the killed one is gone too


def test_an_interrupt_leaves_nothing(tmp_path: Path, folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from loaders.store.writing import StoreWriter

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(StoreWriter, "finish", interrupt)
    with pytest.raises(KeyboardInterrupt):
        prepare(ClassFolders(folders), tmp_path / "s", Form())
    assert list(tmp_path.iterdir()) == []


def test_memory_does_not_grow_with_the_data_set(tmp_path: Path) -> None:
    rows = fer_rows()
    peaks = []
    for times in (20, 80):
        file = tmp_path / f"{times}.csv"
        file.write_text(fer_text(rows) + fer_text(rows).partition("\n")[2] * (times - 1))
        tracemalloc.start()
        prepare(Fer2013(file), tmp_path / str(times), Form())
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert json.loads((tmp_path / str(times) / "source.json").read_text())["shape"][0] == 70 * times
    assert peaks[1] < 1.1 * peaks[0]
