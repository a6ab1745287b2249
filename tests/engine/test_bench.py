"""`engine.bench`: what is measured is checked first, and what is reported was measured."""

from __future__ import annotations

import dataclasses
import io
import json
import mmap
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from engine.bench import page_cache, peak, report, usage
from engine.bench.__main__ import _work, app
from engine.bench.agreement import Truth
from engine.bench.both_ways import of_recipe
from engine.bench.cases import Case, find, kind_of, of_source
from engine.bench.excerpt import Excerpt, StoreFaces
from engine.bench.feeds import Opened
from engine.bench.peak import Work
from engine.bench.process import CaseProcess
from engine.bench.stepping import CEILING, measure_steps, summary
from engine.bench.throughput import Row, measure, ratio
from engine.reports.table import Table
from engine.training.cost import cost_of_step
from loaders import FFCV, Folder, HideLabels, Loader, Packed, Synthetic
from loaders.decoding.pictures import Form
from loaders.importers import ClassFolders, Record
from loaders.prepare import prepare
from loaders.store.opening import open_store
from loaders.terminal import Terminal
from tests.engine import tiny

CHARTS_ARE_DRAWN = True

CPU = torch.device("cpu")
CLASSES = ("Angry", "Happy", "Sad")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """train/<class>/*.png: 3 x 20 gray faces of 16 px, and 3 of val."""
    root = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(0)
    for split, count in (("train", 20), ("val", 1)):
        for name in CLASSES:
            (root / split / name).mkdir(parents=True)
            for place in range(count):
                face = generator.integers(0, 256, (16, 16), dtype=np.uint8)
                Image.fromarray(face).save(root / split / name / f"{place:02}.png")
    return root


@pytest.fixture(scope="module")
def store(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("store") / "faces"
    prepare(ClassFolders(pictures), out, Form())
    return out


def records(importer: Any) -> list[Record]:
    with closing(importer.survey().records()) as found:
        return list(found)


def test_an_excerpt_is_spread_evenly_and_keeps_labels_and_order(pictures: Path, store: Path) -> None:
    whole = [record for record in records(ClassFolders(pictures)) if record.split == "train"]
    part = records(Excerpt(ClassFolders(pictures), "train", 12))
    assert len(part) == 12
    assert [record.labels["expression"] for record in part] == [name for name in CLASSES for _ in range(4)]
    assert [whole.index(record) for record in part] == [5 * place for place in range(12)]
    assert records(Excerpt(ClassFolders(pictures), "train", 0)) == whole
    assert records(Excerpt(ClassFolders(pictures), "train", 1000)) == whole
    again = records(StoreFaces(store))
    assert [record.labels for record in again if record.split == "train"] == [record.labels for record in whole]
    with pytest.raises(ValueError, match=r"bench .*: split \(='dev'\) must be one of the data"):
        Excerpt(ClassFolders(pictures), "dev", 0).survey()


def test_files_leave_the_page_cache_and_files_that_stay_are_told(tmp_path: Path) -> None:
    file = tmp_path / "faces"
    file.write_bytes(os.urandom(64 * mmap.PAGESIZE))
    assert page_cache.resident_pages(file) == (64, 64)
    if page_cache.drop([file]) == 1.0:
        pytest.skip("this file system keeps its files in memory")
    assert page_cache.resident_pages(file)[0] == 0
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as view:
        assert sum(view[:: mmap.PAGESIZE]) > 0
        assert page_cache.drop([file]) > 0.9  # mapped and touched


def test_time_and_memory_of_children_count() -> None:
    told = "print('here', flush=True)\ninput()\n"
    spin = f"import time\nblock = bytearray(50 << 20)\nwhile time.process_time() < 0.5: pass\n{told}"
    code = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {spin!r}])\n{told}"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdin is not None
    assert child.stdout is not None
    with child:
        assert child.stdout.readline() == b"here\n"
        assert usage.cpu_seconds(child.pid) >= 0.4
        most = usage.memory(child.pid)
        assert most.resident >= most.own > 50 << 20
        child.stdin.write(b"\n")
        child.stdin.flush()
        assert child.stdout.readline() == b"here\n"  # its own child has ended, whose time still counts
        assert usage.cpu_seconds(child.pid) >= 0.4
        assert usage.memory(child.pid).own < 50 << 20
        child.stdin.write(b"\n")
    assert usage.family(child.pid) == [child.pid]  # gone, and no error


@dataclasses.dataclass(frozen=True)
class Wrong:
    """A feed that brightens every face, or raises."""

    store: Path
    brighter: int
    fails: bool = False

    def open(self, batch_size: int, device: str) -> Opened:
        return _OpenedWrong(self, batch_size)


class _OpenedWrong:
    def __init__(self, feed: Wrong, batch_size: int) -> None:
        self.feed, self.batch_size = feed, batch_size
        self.images = open_store(feed.store).images[:32]

    def epoch(self, epoch: int) -> Iterator[np.ndarray]:
        if self.feed.fails and epoch == 1:
            raise RuntimeError("out of film")
        yield self.images[: self.batch_size]

    def count(self, batch: np.ndarray) -> int:
        return len(batch)

    def show(self, batch: np.ndarray) -> tuple[list[int] | None, np.ndarray]:
        return None, np.clip(batch.astype(int) + self.feed.brighter, 0, 255).astype(np.uint8)

    def close(self) -> None:
        pass


def test_what_delivers_other_pixels_is_not_timed(store: Path, tmp_path: Path) -> None:
    data = find(store, tmp_path, names=("packed",))
    truth = Truth(data, 8)
    face = truth.faces[:4]
    assert truth.check(data.cases[0], truth.sample, face).most == 0
    with pytest.raises(ValueError, match=r"bench: packed must give the stored faces within 0 gray levels; it is \d+"):
        truth.check(data.cases[0], truth.sample, np.where(face > 200, face - 1, face))
    with pytest.raises(ValueError, match=r"bench: packed must give the samples of the order"):
        truth.check(data.cases[0], truth.sample[::-1], face)
    with pytest.raises(ValueError, match=r"bench: packed must give faces of shape"):
        truth.check(data.cases[0], truth.sample, face[:, :8])
    own_order = Case("loop", Wrong(store, 0))
    assert truth.check(own_order, None, truth.faces[::-1][:4]).most == 0
    with pytest.raises(ValueError, match=r"bench: loop must give the stored faces"):
        truth.check(own_order, None, 255 - truth.faces[:4])


@pytest.mark.slow
def test_a_case_that_fails_is_named_and_leaves_no_process(store: Path) -> None:
    with closing(CaseProcess(Case("film", Wrong(store, 0, fails=True)), 8, "cpu")) as process:
        process.started()
        process.first()
        assert process.turn(0.0)[0].faces == 8
        with pytest.raises(ValueError, match=r"bench: film must deliver to the end; RuntimeError: out of film"):
            process.turn(0.0)
        pid = process.pid
    assert not Path(f"/proc/{pid}").exists()


@pytest.mark.slow
def test_the_table_of_loaders_is_measured_and_written(pictures: Path, tmp_path: Path) -> None:
    names = [word for name in ("packed", "torchvision") for word in ("--source", name)]
    options = ["--faces", "48", "--batch-size", "8", "--rounds", "2", "--seconds", "0", "--device", "cpu"]
    done = CliRunner().invoke(app, ["loaders", str(pictures), *names, *options, "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    text = (tmp_path / "loaders.md").read_text()
    for word in ("| packed", "| torchvision", "exact", "commit", "torch: 2", "date", "batch size: 8"):
        assert word in text
    found = json.loads((tmp_path / "loaders.json").read_text())
    assert [row["name"] for row in found["rows"]] == ["packed", "torchvision"]
    for row in found["rows"]:
        assert len(row["turns"]) == len(row["cpu"]) == 2
        assert row["warm"] > 0
        assert row["off_most"] == 0
        assert row["peak"]["resident"] >= row["base"]["resident"] > 50 << 20
        assert row["cold"] is None or row["cold"] > 0
    assert (tmp_path / "loaders.png").read_bytes().startswith(b"\x89PNG")


def test_the_training_step_is_measured_from_one_batch_and_from_each_source(store: Path, tmp_path: Path) -> None:
    labelled = tiny.recipe(data=Packed(store), batch_size=8)
    task = dataclasses.replace(labelled.tasks[0], names=CLASSES)  # type: ignore[type-var]
    recipe = dataclasses.replace(labelled, tasks=(task, *labelled.tasks[1:]))
    data = of_recipe(recipe, tmp_path, faces=0, names=("packed", "folder"))
    rows, compiled = measure_steps(recipe, data, device=CPU, steps=2, rounds=2)
    assert [row.name for row in rows] == [CEILING, "packed", "folder"]
    found = report.of_steps(data, rows, {"recipe": "tiny"}, CPU, compiled, Work(flops=2e9, peak=4e12))
    assert [len(row.turns) for row in rows] == [2, 2, 2]
    for row in rows:
        one = summary(row, rows[0], CPU, compiled)
        assert len(row.clock.steps) == 4
        assert row.clock.images == 32
        assert 0 <= one["wait_share"] < 1
        assert one["step_p20_ms"] <= one["step_p50_ms"] <= one["step_p80_ms"]
        assert one["views_off"] is None
    assert summary(rows[0], rows[0], CPU, compiled)["of_ceiling"] == 1.0
    assert found.table.heads[3] == "waiting"
    for one, cells in zip(found.figures["rows"], found.table.rows, strict=True):
        assert one["of_peak"] == pytest.approx(one["images_per_second"] / 8 * 2e9 / 4e12)
        assert cells[-1] == f"{100 * one['of_peak']:.1f} %"
    assert any("ran at 4,000 GFLOP/s in the recipe's precision; a step has 2.0 GFLOP" in note for note in found.notes)
    unknown = report.of_steps(data, rows, {"recipe": "tiny"}, CPU, compiled, "for a reason")
    assert [cells[-1] for cells in unknown.table.rows] == ["–"] * 3
    assert "of the peak is not known: for a reason." in unknown.notes


def test_the_peak_is_that_of_the_fastest_convolution(monkeypatch: pytest.MonkeyPatch) -> None:
    flops = 2 * 16 * 28 * 28 * 256 * 256 * 9
    assert 0 < peak.measure_peak(CPU, torch.float32, seconds=0.0) < 1e15
    clock = iter(
        [0.0, 0.0, 4.0, 4.0, 6.0, 6.0, 9.0, 9.0]
    )  # when it began, around three runs, and whether there is time
    monkeypatch.setattr(peak.time, "perf_counter", lambda: next(clock))
    assert peak.measure_peak(CPU, torch.bfloat16, seconds=0.0) == flops / 2.0


def test_what_a_step_computes_is_counted_or_the_reason_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peak, "measure_peak", lambda device, dtype: 1e9 if dtype == torch.float32 else 0.0)
    recipe = dataclasses.replace(tiny.recipe(), precision="fp32")
    assert _work(recipe, CPU, 1) == Work(float(cost_of_step(recipe).flops or 0), 1e9)
    assert _work(recipe, CPU, 2) == "several ranks took the steps, which may share a device"
    monkeypatch.setattr(peak, "cost_of_step", lambda recipe: cost_of_step(dataclasses.replace(recipe, image_size=0)))
    assert "image_size (=0)" in str(_work(recipe, CPU, 1))


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_source_without_files_of_its_own_is_measured_as_it_is(tmp_path: Path, wrapped: bool) -> None:
    recipe = tiny.recipe()
    if wrapped:
        recipe = dataclasses.replace(recipe, data=HideLabels(recipe.data, keep=20))
    data = of_recipe(recipe, tmp_path, faces=0)
    assert [case.name for case in data.cases] == ["HideLabels" if wrapped else "Synthetic"]
    rows, _ = measure_steps(recipe, data, device=CPU, steps=1, rounds=1)
    assert len(rows) == 2


def test_ratios_compare_the_same_round() -> None:
    assert ratio(Row("a", turns=[10, 30, 2]), Row("b", turns=[10, 10, 1])) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["loaders", "nowhere"], r"bench: DATA \(=nowhere\) must be a prepared store or a folder of pictures"),
        (["loaders", ".", "--source", "disk"], r"bench: source \(='disk'\) must be one of packed"),
        (["loaders", ".", "--faces", "-1"], r"bench: faces \(=-1\) must be 1 or more, or 0 for all"),
        (["loaders", ".", "--importer", "fer"], r"bench: importer \(='fer'\) must be one of"),
        (["loaders", ".", "--scratch", "nowhere"], r"bench: scratch \(=nowhere\) must be a folder"),
        (
            ["step", "recipes/demo.py", "--source", "torchvision"],
            r"bench: source \(='torchvision'\) must be one of .*; o",
        ),
        (
            ["loaders", ".", "--source", "dali augment=loader"],
            r"bench: source \(='dali augment=loader'\) must be one of",
        ),
        (
            ["step", "recipes/synthetic_pose_hmtl.py", "--source", "dali"],
            r"bench: source \(='dali'\) must be there to be measured",
        ),
        (["step", "recipes/nothing.py"], r"recipe: recipes/nothing.py is not there"),
    ],
)
def test_what_cannot_be_measured_is_refused(arguments: list[str], message: str) -> None:
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 2
    assert re.search(message, " ".join(done.stderr.split())), done.stderr


def test_numbers_below_one_and_augmentation_of_others_are_refused(store: Path, tmp_path: Path) -> None:
    data = find(store, tmp_path / "a", names=("packed",))
    with pytest.raises(ValueError, match=r"bench: rounds \(=0\) must be 1 or more"):
        measure(data, batch_size=8, rounds=0, seconds=0)
    with pytest.raises(ValueError, match=r"bench: steps \(=0\) and rounds \(=1\) must be 1 or more"):
        measure_steps(tiny.recipe(), data, device=CPU, steps=0, rounds=1)
    augmenting = HideLabels(FFCV("faces", augment="loader"))
    with pytest.raises(ValueError, match=r"bench: data \(=HideLabels\) must leave augmentation to the kernel; set aug"):
        of_source(augmenting, tmp_path, split="train", faces=0)
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        ValueError, match=r"bench: DATA \(=.*empty\) must be a prepared store .*; it is empty, fill it w"
    ):
        kind_of(tmp_path / "empty")
    (tmp_path / "source.json").write_text("{")
    with pytest.raises(ValueError, match=r"source.json must be that of a prepared store; it is damaged"):
        kind_of(tmp_path)


def test_a_package_that_is_not_installed_is_left_out_with_its_install_line(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    data = find(store, tmp_path)
    assert [case.name for case in data.cases] == ["packed", "resident", "folder", "torchvision"]
    assert "pip install 'hmtl[dali]'" in data.left_out["dali"]
    assert "pip install 'hmtl[ffcv]'" in data.left_out["ffcv"]
    assert "pip install 'hmtl[ffcv]'" in data.left_out["ffcv-jpeg"]


def test_what_is_shown_escapes_names_and_keeps_its_columns(tmp_path: Path) -> None:
    table = Table(("source", "images/s", "own"), [["[red]a", "1", "2"]], title="Loaders on a|b")
    bars = [report.Bar("a", 1, 1, 2, "1"), report.Bar("b", 90, 80, 99, "90")]
    facts = {"data": "a_b", "command": "python -m x"}
    found = report.Measurement("x", facts, table, ["left out: none"], bars, "images/s", {"rows": []})
    found.print(Terminal(screen := io.StringIO(), width=60))
    shown = screen.getvalue()
    assert "[red]a" in shown
    assert "own" in shown
    assert "left out: none" in shown
    files = found.write(tmp_path / "out")
    assert "| [red]a" in files[0].read_text().replace("\\", "")
    assert "`python -m x`" in files[0].read_text()
    assert json.loads(files[1].read_text())["facts"]["data"] == "a_b"


def test_the_command_of_a_figure_is_the_one_that_was_typed() -> None:
    code = "import sys; sys.argv = ['x', 'a', 'F(1, 2)']; from engine.runs.environment import command; print(command())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "x a 'F(1, 2)'"


def test_sources_of_recipes_are_found(store: Path, pictures: Path, tmp_path: Path) -> None:
    one = of_source(Packed(store), tmp_path / "a", split="train", faces=6, names=("packed",))
    other = of_source(Folder(pictures), tmp_path / "b", split="train", faces=6, names=("packed",))
    opened = [Loader.open(data.truth, "train", batch_size=6, seed=0, device="cpu") for data in (one, other)]
    faces = [next(iter(loader.epoch(0))).store for loader in opened]
    assert torch.equal(*faces)
    assert of_source(Synthetic(train=8, val=1, test=1, size=16), tmp_path, split="train", faces=0).left_out
