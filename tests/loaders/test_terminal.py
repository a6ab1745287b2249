"""What is printed never changes how a command ends: names that are no text, markup in paths, narrow terminals."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.cells import cell_len
from typer.testing import CliRunner

from loaders import Classes, Numbers
from loaders.decoding.pictures import Form
from loaders.files import json_text
from loaders.importers import ClassFolders, ManifestFile
from loaders.prepare import command_line, prepare
from loaders.terminal import Terminal, print_table

app = command_line()
BYTES = os.fsdecode(b"bad\xfc")
"""A name of bytes that are not UTF-8, as Python reads it from a disk."""


def faces(folder: Path, *names: str) -> Path:
    for place, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8, 3), 10 * place, np.uint8)).save(folder / name, "PNG")
    return folder


def command(*words: object, **environment: str) -> subprocess.CompletedProcess[bytes]:
    known: Mapping[str, str] = os.environ | {"OMP_NUM_THREADS": "1"} | environment
    return subprocess.run([sys.executable, "-m", *map(str, words)], capture_output=True, env=known, check=False)


@pytest.mark.parametrize("encoding", ["utf-8:strict", "ascii:strict"])
def test_a_name_that_cannot_be_shown_is_escaped_and_the_command_ends_well(tmp_path: Path, encoding: str) -> None:
    source = faces(tmp_path / "faces", "a/1.png", "a/2.png", "b/grün★.png")
    (source / "a" / f"{BYTES}.png").write_text("x")
    ended = command("loaders.prepare", "folder", source, "--out", tmp_path / "out", PYTHONIOENCODING=encoding)
    assert ended.returncode == 0, ended.stderr
    assert rb"\udcfc" in ended.stdout
    again = command("loaders.prepare", "--check", tmp_path / "out", PYTHONIOENCODING=encoding)
    assert again.returncode == 0, again.stderr


@pytest.mark.parametrize("text", ["run[lr=1]", "[red]x[/red]", ":smile:", "[/]", "1e-3 'a' 0x1F", "a" + "b" * 299])
def test_text_is_printed_as_it_is(text: str) -> None:
    console = Terminal(io.StringIO(), width=40)
    console.print(text)
    assert console.file.getvalue() == text + "\n"  # type: ignore[attr-defined]
    print_table(console, ("name", "n"), [(text[:30], "1")], title=text[:30])
    assert console.file.getvalue().count(text[:30]) == 3  # type: ignore[attr-defined]


@pytest.mark.parametrize("columns", [20, 40, 79])
def test_the_tables_of_a_check_lose_nothing_on_a_narrow_terminal(tmp_path: Path, columns: int) -> None:
    names = [f"{split}/{kind}/{i}.png" for split in ("train", "val") for kind in "ab" for i in (1, 2)]
    prepare(ClassFolders(faces(tmp_path / "faces", *names)), tmp_path / "out", Form(), workers=1)
    ended = CliRunner(env={"COLUMNS": str(columns)}).invoke(app, ["--check", str(tmp_path / "out")])
    tables = ended.stdout[: ended.stdout.index("examples, all duplicates")]
    assert max(map(cell_len, tables.splitlines())) <= columns, tables
    for head in ("split", "pictures", "mean", "std", "dark", "bright", "blank", "copies"):
        assert head in tables
    assert "…" not in tables


def test_json_is_strict() -> None:
    value = {"a": float("nan"), "b": [float("inf"), 1.5, None], "c": {"d": (-float("inf"), "NaN", True, 3)}}
    assert json_text(value) == '{"a": null, "b": [null, 1.5, null], "c": {"d": [null, "NaN", true, 3]}}'


@pytest.mark.parametrize("name", [BYTES, "a\nb", "a\x00", "a\x7f", "\x1b[31mred"])
def test_a_class_or_a_column_that_cannot_be_shown_is_refused_with_escapes(name: str) -> None:
    with pytest.raises(ValueError, match=r"label: class \(='[ -~]*\\[ -~]*'\) must be UTF-8 text without control"):
        Classes(("a", name))
    with pytest.raises(ValueError, match=r"label: column \(='[ -~]*\\[ -~]*'\) must be UTF-8 text"):
        Numbers(("a", name))
    assert Classes(("ärger", "喜び", "a b", "x\u00a0y", "👍🏽", "\u0939\u093f")).names[0] == "ärger"


def test_a_class_folder_of_other_bytes_is_refused_before_anything_is_decoded(tmp_path: Path) -> None:
    source = faces(tmp_path / "faces", "a/1.png", f"{BYTES}/2.png")
    with pytest.raises(ValueError, match=r"class \(='bad\\udcfc'\) must be UTF-8 text.*rename it, or the folder"):
        ClassFolders(source).survey()
    (tmp_path / "m.csv").write_bytes(b"path,split,mood\nfaces/a/1.png,train,fr\xf6h\n")
    with pytest.raises(ValueError, match=r"class \(='fr\\udcf6h'\) must be UTF-8 text"):
        ManifestFile(tmp_path / "m.csv").survey()


@pytest.mark.parametrize(("one", "other"), [("Happy", "happy"), ("STRASSE", "straße"), ("caf\u00e9", "cafe\u0301")])
def test_class_folders_that_differ_by_case_or_form_are_one_class(tmp_path: Path, one: str, other: str) -> None:
    source = faces(tmp_path, f"train/{one}/1.png", f"test/{other}/2.png", "train/z/3.png", "test/Z/4.png")
    contents = ClassFolders(source).survey()
    assert contents.labels == {"expression": Classes(tuple(sorted((one, "z"))))}
    assert f"the folder {other} is the class {one}" in contents.notes
    assert [record.labels["expression"] for record in contents.records()].count(one) == 2  # type: ignore[union-attr]
    faces(tmp_path, f"train/{other}/5.png")
    with pytest.raises(ValueError, match=f"train has two folders of class '({one}|{other})'; merge them"):
        ClassFolders(source).survey()
