"""A wheel of the package, installed away from the checkout, runs the `hmtl` command and names its commit."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def run(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*map(str, words)], cwd=cwd, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of an environment that has the wheel and, by a .pth file, what it needs; not the checkout."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("needs a git checkout: a wheel is built of what git tracks")
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    assert run("git", "clone", "-q", "--shared", "--no-checkout", ROOT, source, cwd=folder).returncode == 0
    for name in run("git", "ls-files", "-z", cwd=ROOT).stdout.split("\0"):
        if name and (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    pip = (sys.executable, "-m", "pip", "-q", "--disable-pip-version-check")
    built = run(*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", folder, source, cwd=folder)
    assert built.returncode == 0, built.stderr
    venv.create(folder / "venv")
    place = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder / "venv")}))
    (place / "needed.pth").write_text("\n".join(p for p in sys.path if p.endswith("-packages")))
    python = folder / "venv" / "bin" / "python"
    (wheel,) = folder.glob("*.whl")
    done = run(*pip, "--python", python, "install", "--no-deps", "--no-index", wheel, cwd=folder)
    assert done.returncode == 0, done.stderr
    return python.parent


@pytest.mark.slow
def test_the_command_works_away_from_the_checkout(installed: Path, tmp_path: Path) -> None:
    hmtl = installed / "hmtl"
    assert run(hmtl, "--version", cwd=tmp_path).stdout == f"hmtl {VERSION}\n"
    assert "\ndemo " in run(hmtl, "recipes", cwd=tmp_path).stdout
    assert run(hmtl, "recipes", "copy", "demo", cwd=tmp_path).returncode == 0
    assert (tmp_path / "demo.py").read_text() == (ROOT / "recipes" / "demo.py").read_text()
    done = run(hmtl, "train", "demo", "--smoke", "--device", "cpu", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = json.loads((tmp_path / "runs" / "demo-smoke" / "environment.json").read_text())[-1]
    head = run("git", "rev-parse", "--short=12", "HEAD", cwd=installed.parents[1] / "source").stdout.strip()
    assert told["commit"].removesuffix("+") == head
    assert told["command"] == "hmtl train demo --smoke --device cpu"


@pytest.mark.slow
def test_a_foreign_file_in_a_room_is_named_with_what_to_do(installed: Path, tmp_path: Path) -> None:
    (place,) = installed.parent.glob("lib/python*/site-packages")
    foreign = place / "kernels" / "layer.py"
    foreign.touch()
    try:
        done = run(installed / "hmtl", "--version", cwd=tmp_path)
    finally:
        foreign.unlink()
    assert done.returncode == 1
    told = done.stderr.splitlines()[-1]
    assert told.startswith(f"ImportError: hmtl: kernels/layer.py in {place} must be as installed, but another package ")
    assert told.endswith("pip uninstall kernels, then install hmtl again with pip install --force-reinstall --no-deps")
