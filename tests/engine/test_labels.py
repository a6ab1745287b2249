"""Suspect labels: whose answers count, what is found among planted ones, what is written, dropped and refused."""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from benchmarks import suspect_labels
from benchmarks.without_copies import copied, without
from engine.intervals.answers import ClassAnswers
from engine.labels import app
from engine.recipe import Recipe
from engine.recipe.written import describe
from engine.suspects.answers import HeldOut, read_answers
from engine.suspects.finding import find_suspects, seen_twice
from engine.tasks import SYNTHETIC_7, Expression, Number
from engine.views import Plain
from loaders import Classes, Folds, Numbers, Packed, Synthetic, WrongLabels, identity
from loaders.decoding.reading import Face
from loaders.importers import Record
from loaders.store.near_duplicates import NearDuplicates
from loaders.store.opening import open_store
from loaders.store.writing import new_store
from tests.engine import tiny
from tests.loaders.test_near_duplicates import compressed, photo

NAMES = ("calm", "glad", "sad")
FACES = 60
WRONG = (5, 16, 40)
"""Faces whose label was made wrong: the next class."""
YAW = Number(label="pose", column="yaw")
BOX = {"labels": {"mood": Classes(NAMES), "pose": Numbers(("yaw",))}, "origin": {"options": {"label": "mood"}}}


def kind(sample: int) -> int:
    """The class that a face shows."""
    return sample % 3


def given(sample: int) -> int:
    return (kind(sample) + (sample in WRONG)) % 3


def write_store(out: Path) -> Path:
    """Sixty faces; 50 equals 2 (in test) and has another label, 51 is 3 compressed and has the same; 59 has none."""
    pictures = [photo(sample, 16) for sample in range(FACES)]
    pictures[50], pictures[51] = pictures[2], compressed(pictures[3])
    with new_store(out, **BOX) as writer:  # type: ignore[arg-type]
        for sample, picture in enumerate(pictures):
            split = "test" if sample < 12 else "val" if sample < 20 else "train"
            values = {} if sample == 59 else {"mood": NAMES[0 if sample in (50, 51) else given(sample)]}
            writer.add([Face(Record(split, f"{sample:02}.png", values, picture), picture)])
    return out


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_store(tmp_path_factory.mktemp("labels") / "store")


def recipe(store: Path, **changes: Any) -> Recipe:
    tasks = (Expression(NAMES, label="mood"), YAW)
    return tiny.recipe(**{"data": Packed(store), "tasks": tasks, "views": {"plain": Plain()}} | changes)


def write_run(folder: Path, recipe: Recipe, *, finished: bool = True, sure: float = 0.9, on_test: float = 0.0) -> Path:
    """Writes the folder of a run that takes each face for what it shows, more surely by `on_test` on test."""
    (folder / "predictions").mkdir(parents=True)
    (folder / "recipe.json").write_text(json.dumps(describe(recipe)))
    (folder / "recipe.py").write_text("")
    (folder / "environment.json").write_text(json.dumps([{"data": identity(recipe.data)}]))
    (folder / "result.json").write_text(json.dumps({"finished": finished, "classes": {"expression": list(NAMES)}}))
    for split in {recipe.select, recipe.test} - {None}:
        part = recipe.data.open(split, "cpu").split
        right = np.array([kind(sample) for sample in part.sample.tolist()])
        said = sure + on_test * (split == "test")
        probability = np.full((len(right), 3), (1 - said) / 2, np.float32)
        probability[np.arange(len(right)), right] = said
        arrays = {
            "sample": part.sample.numpy(),
            "expression.target": part.target["mood"].numpy(),
            "expression.probability": probability,
        }
        np.savez(folder / "predictions" / f"{split}-last.npz", **arrays)  # type: ignore[arg-type]
    return folder


def folds(root: Path, store: Path, **options: Any) -> list[Path]:
    return [
        write_run(root / f"fold{fold}", replace(recipe(store), data=Folds(Packed(store), k=3, fold=fold)), **options)
        for fold in range(3)
    ]


def call(*words: object) -> Result:
    return CliRunner(env={"COLUMNS": "80"}).invoke(app, [str(word) for word in words])


def told(result: Result) -> str:
    return " ".join(result.stdout.split())


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines))


def test_folds_answer_every_labelled_face_once_and_test_goes_before_val(store: Path, tmp_path: Path) -> None:
    answers = read_answers(folds(tmp_path, store, on_test=0.05))
    assert answers.sample.tolist() == list(range(59))  # 59 has no label
    assert (answers.task, answers.label, answers.names) == ("expression", "mood", NAMES)
    np.testing.assert_allclose(answers.probability.max(axis=1), 0.95, rtol=1e-6)  # of test alone
    np.testing.assert_allclose(answers.probability.sum(axis=1), 1)
    assert answers.given[[5, 6, 50]].tolist() == [0, 0, 0]
    assert [len(held.sample) for held in answers.held] == [20, 20, 20]
    assert all(int(held.trained.sum()) == 20 for held in answers.held)
    assert all(not held.trained[held.sample].any() for held in answers.held)


def test_one_run_answers_its_val_and_test_and_several_are_averaged(store: Path, tmp_path: Path) -> None:
    one, other = (write_run(tmp_path / f"{sure}", recipe(store), sure=sure) for sure in (0.5, 0.9))
    answers = read_answers([one])
    assert answers.sample.tolist() == list(range(20))
    np.testing.assert_allclose(answers.probability.max(axis=1), 0.5, rtol=1e-6)
    np.testing.assert_allclose(read_answers([one, other]).probability.max(axis=1), 0.7, rtol=1e-6)
    assert read_answers([write_run(tmp_path / "c", recipe(store, test=None))]).sample.tolist() == list(range(12, 20))


def test_planted_labels_are_found_and_written(store: Path, tmp_path: Path, labels_extra: None) -> None:
    result = call(*folds(tmp_path, store), "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    # 51 shows class 0 in its pixels and so has the right label; 50 shows 2.
    found = rows(tmp_path / "out" / "suspects.csv")
    assert {int(row["sample"]) for row in found} == {*WRONG, 50}
    first = next(row for row in found if row["sample"] == "16")
    assert first == {
        "sample": "16",
        "split": "val",
        "path": "16.png",
        "mood": "sad",
        "said": "glad",
        "probability_of_mood": "0.05",
        "probability_of_said": "0.9",
    }
    lines = [line.split() for line in result.stdout.splitlines()]
    assert "mood: 59 of 60 faces were answered by one of 3 runs that had not been trained on them" in told(result)
    assert "not looked at: 1 of train" in told(result)
    assert ["all", "59", "4", "6.8", "%"] in lines
    assert all(len(line) <= 80 for line in result.stdout.splitlines() if str(tmp_path) not in line)
    for name in ("suspects", "near_duplicates"):
        with Image.open(tmp_path / "out" / f"{name}.png") as sheet:
            assert sheet.width > 500


def test_the_most_doubtful_are_kept(store: Path, tmp_path: Path, labels_extra: None) -> None:
    answers = read_answers(folds(tmp_path, store))
    whole, two = find_suspects(answers), find_suspects(answers, 2)
    assert len(whole.place) == 4
    assert two.place.tolist() == whole.place[:2].tolist()
    assert len(two.said) == 2


def test_faces_that_are_there_twice_are_told_from_the_store_alone(store: Path, labels_extra: None) -> None:
    result = call(store)
    assert result.exit_code == 0, result.output
    folder = store.with_name("store-labels")
    pairs = rows(folder / "near_duplicates.csv")
    assert [(row["sample"], row["other_sample"], row["kind"]) for row in pairs] == [
        ("2", "50", "equal"),
        ("3", "51", "near"),
    ]
    assert (pairs[0]["mood"], pairs[0]["other_mood"], pairs[0]["bits"]) == ("sad", "calm", "0")
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["train", "test", "1", "1", "1"] in lines
    assert ["test", "train", "1", "1", "1"] in lines
    assert not (folder / "suspects.csv").exists()
    again = call(store)
    assert again.exit_code == 2
    assert "store-labels) is there already; write over it by --force, or name another" in again.stderr
    assert call(store, "--force", "--near", "0").exit_code == 0
    assert len(rows(folder / "near_duplicates.csv")) == 1


def test_where_no_face_is_there_twice_it_says_so(tmp_path: Path, labels_extra: None) -> None:
    with new_store(tmp_path / "store", {}, origin={}) as writer:
        for seed in range(3):
            writer.add([Face(Record("train", f"{seed}.png", {}, photo(seed)), photo(seed))])
    result = call(tmp_path / "store")
    assert result.exit_code == 0, result.output
    assert "no two faces are equal, or nearly so (perceptual hashes that differ in at most 50 bits)" in told(result)


def test_accuracy_is_told_without_what_the_run_was_nearly_trained_on(
    store: Path, tmp_path: Path, labels_extra: None
) -> None:
    # Test has 0..11, of which 2 and 3 have a twin in train, and 5 a wrong label.
    result = call(write_run(tmp_path / "run", recipe(store)), "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    words = result.stdout.split()
    assert words.count("91.7") == 1  # 11 of 12
    assert words.count("90.0") == 1  # 9 of 10
    assert "not looked at: 40 of train" in told(result)


def test_what_was_seen_twice_is_found_on_both_sides_of_a_pair() -> None:
    trained = np.array([True, True, False, False, False, True])
    pairs = np.array([[0, 2], [3, 4], [3, 5], [0, 1]])
    twins = NearDuplicates(pairs, np.zeros(4, np.int64), np.zeros(4, bool))
    held = HeldOut("run", np.array([4, 3, 2]), np.zeros(3, int), np.ones((3, 1)), None, trained)
    assert seen_twice(held, twins).tolist() == [False, True, True]  # 4 is near 3, which is in test too


def test_a_new_store_is_without_suspects_and_without_conflicts(store: Path, tmp_path: Path, labels_extra: None) -> None:
    runs = folds(tmp_path / "runs", store)
    result = call(*runs, "--out", tmp_path / "a", "--drop", tmp_path / "dropped")
    assert result.exit_code == 0, result.output
    dropped = open_store(tmp_path / "dropped", check_pixels=True)
    gone = {f"{sample:02}.png" for sample in (*WRONG, 50)}
    assert set(open_store(store).manifest.path) - set(dropped.manifest.path) == gone
    assert dropped.source["notes"] == [
        "dropped by hmtl labels: 1 suspect mood in test, 2 suspect mood in train, 1 suspect mood in val"
    ]
    assert dropped.source["origin"]["options"] == {"label": "mood", "dropped_labels": "mood", "drop_conflicts": False}
    with (tmp_path / "dropped" / "skipped.csv").open(newline="") as file:
        assert ["16.png", "suspect mood in val", "is sad, runs say glad"] in list(csv.reader(file))
    result = call(*runs, "--out", tmp_path / "b", "--drop", tmp_path / "both", "--drop-conflicts")
    assert result.exit_code == 0, result.output
    assert f"{FACES - 5} faces; dropped by hmtl labels: 1 conflict of mood in test, 1 suspect" in told(result)  # 2 too
    result = call(store, "--out", tmp_path / "c", "--drop", tmp_path / "alone", "--drop-conflicts")
    assert result.exit_code == 0, result.output
    assert "58 faces; dropped by hmtl labels: 1 conflict of mood in test, 1 conflict of mood in train" in told(result)


def change(run: Path, split: str, **arrays: np.ndarray) -> None:
    """Replaces arrays of a run's predictions."""
    file = run / "predictions" / f"{split}-last.npz"
    with np.load(file) as kept:
        whole = dict(kept) | arrays
    np.savez(file, **whole)  # type: ignore[arg-type]


def write_bad(store: Path, folder: Path, what: str) -> Path:
    plain = recipe(store)
    changed = {
        "train is test": {"test": "train"},
        "train is select": {"select": "train"},
        "drawn": {"data": Synthetic(train=8, val=4, test=4, size=16), "tasks": (Expression(SYNTHETIC_7),)},
        "pose": {"tasks": (YAW,)},
        "wrong": {"data": WrongLabels(Packed(store), share=1.0, label="mood", split="test")},
        "classes": {"tasks": (Expression(("calm", "glad", "joy"), label="mood"),)},
    }.get(what, {})
    if what == "drawn":
        folder.mkdir(parents=True)
        write_run(folder / "x", plain)
        (folder / "x" / "recipe.json").write_text(json.dumps(describe(replace(plain, **changed))))
        (folder / "x" / "environment.json").write_text("[]")
        return folder / "x"
    run = write_run(folder, replace(plain, **changed), finished=what != "unfinished")
    if what == "other data":
        (run / "environment.json").write_text(json.dumps([{"data": {"kind": "Packed"}}]))
    if what == "diverged":
        change(run, "test", **{"expression.probability": np.full((12, 3), np.nan)})
    return run


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("unfinished", "must have ended; go on with it by hmtl train RECIPE --out"),
        ("train is test", r"predicts the faces it was trained on, which it may know by heart .* data=Folds\(Packed"),
        ("train is select", "predicts the faces it was trained on"),
        (
            "drawn",
            "must be trained on one prepared store, as it is or in Folds, .*; it was trained on Synthetic, whose",
        ),
        ("pose", "its tasks must have one that has classes, and have .*; name other runs"),
        ("other data", "was trained on other data than is here, by the hashes in its environment.json"),
        ("diverged", "holds probabilities that are not finite: it has diverged; train it again"),
    ],
)
def test_runs_that_tell_nothing_are_refused(store: Path, tmp_path: Path, what: str, message: str) -> None:
    with pytest.raises(ValueError, match=rf"^labels: .*{message}"):
        read_answers([write_bad(store, tmp_path / "run", what)])


def test_runs_that_do_not_go_together_are_refused(store: Path, tmp_path: Path) -> None:
    one = write_run(tmp_path / "one", recipe(store))
    with pytest.raises(ValueError, match=r"was given another label of 12 faces than runs named before it; name runs"):
        read_answers([one, write_bad(store, tmp_path / "wrong", "wrong")])
    with pytest.raises(ValueError, match=r"classes must have the names of .*one \(=.*\), and has .*; name runs o"):
        read_answers([one, write_bad(store, tmp_path / "classes", "classes")])
    elsewhere = write_run(tmp_path / "other", recipe(write_store(tmp_path / "elsewhere")))
    with pytest.raises(ValueError, match=r"other must have the store of .*one \(=.*store\), and has .*elsewhere; name"):
        read_answers([one, elsewhere])
    with pytest.raises(ValueError, match=r"task \(='pose'\) must be one with classes; those are expression"):
        read_answers([one], "pose")


def test_a_run_that_started_from_others_is_warned_of(store: Path, tmp_path: Path, labels_extra: None) -> None:
    run = write_run(tmp_path / "run", recipe(store))
    (run / "result.json").write_text(json.dumps({"finished": True, "init": {"path": "somewhere"}}))
    result = call(run, "--out", tmp_path / "out")
    assert f"warning: {run} started from other weights; if these were trained on its test faces" in told(result)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--drop-conflicts"], "labels: drop-conflicts (=True) needs the new store's folder; name it by --drop"),
        (["--drop", "OUT"], "leaves out what runs suspect; name runs, or add --drop-conflicts"),
        (["--drop", "STORE", "--drop-conflicts"], "store) must be new or empty; choose another folder"),
        (["--task", "expression"], "labels: task (='expression') is of runs, and"),
        (["--most", "0"], "labels: most (=0) must be 1 or more suspects; leave it out for all"),
        (["--near", "300"], "labels: near (=300) must be in 0..256"),
    ],
)
def test_options_that_cannot_be_followed_are_refused_first(
    store: Path, tmp_path: Path, labels_extra: None, words: list[str], message: str
) -> None:
    words = [{"OUT": str(tmp_path / "new"), "STORE": str(store)}.get(word, word) for word in words]
    result = call(store, "--out", tmp_path / "out", *words)
    assert (result.exit_code, message in result.stderr) == (2, True), result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_store_without_such_a_label_is_refused(store: Path, tmp_path: Path, labels_extra: None) -> None:
    run = write_run(tmp_path / "run", recipe(store))
    for split, faces in (("val", 8), ("test", 12)):
        change(run, split, **{"expression.target": np.full(faces, -1)})
    result = call(run, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "that was held out has the label 'mood'" in result.stderr


@pytest.mark.parametrize("package", ["cleanlab", "imagehash"])
def test_without_the_extra_it_says_what_to_install(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    for name in ("cleanlab", "imagehash"):
        monkeypatch.setitem(sys.modules, name, None if name == package else sys)
    result = call("no-run", "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert f"labels: package (={package}) must be importable, and is not" in result.stderr
    assert "run `pip install 'hmtl[labels]'`" in result.stderr


def test_figures_are_told_without_the_test_faces_that_train_holds_too(store: Path, tmp_path: Path) -> None:
    file = tmp_path / "near_duplicates.csv"
    file.write_text(
        "sample,split,other_sample,other_split\n2,test,50,train\n51,train,3,test\n4,test,5,test\n13,val,52,train\n"
    )
    samples, copies = copied(store, file)
    assert np.flatnonzero(copies).tolist() == [2, 3]
    answers = ClassAnswers(np.arange(12) % 3, np.array([0, 1, 0, 1, *([2] * 8)]), 3)
    kept = {"mood": answers.pack(), "samples": samples}
    figures = {"epoch": 2, "test": {"mood/accuracy": 0.5, "mood/cross_entropy": 1.0}}
    content = {"name": "one", "last": figures, "best": figures, "pictures": {"test": {"last": kept, "best": kept}}}
    fewer = without(content, samples, copies)
    # Of the ten others 0 and 1 are right, and of the eight that are called 2 those are that are.
    assert fewer["last"]["test"]["mood/accuracy"] == pytest.approx((2 + sum(i % 3 == 2 for i in range(4, 12))) / 10)
    assert "mood/cross_entropy" not in fewer["best"]["test"]
    assert content["last"]["test"]["mood/accuracy"] == 0.5
    with pytest.raises(ValueError, match="one was tested on other faces than the store's test"):
        without(content, "others", copies)
    assert without({**content, "pictures": {}}, samples, copies)["last"] == figures


def test_the_benchmark_plants_wrong_labels_in_the_training_split_of_a_store(tmp_path: Path) -> None:
    suspect_labels.write_store(tmp_path / "store", 300, 0)
    made = suspect_labels.recipe(tmp_path / "store", fold=1, folds=3, share=0.2, epochs=1)
    split = made.data.open("train", "cpu").split
    right = open_store(tmp_path / "store").manifest.target["expression"][split.sample]
    assert len(split.sample) == 100
    assert 8 < int((split.target["expression"] != right).sum()) < 32
    assert isinstance(made.tasks[0], Expression)
    assert made.tasks[0].names == SYNTHETIC_7
