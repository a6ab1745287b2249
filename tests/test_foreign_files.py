"""A package that writes into the rooms, as the package index's `kernels` does, is noticed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from base64 import urlsafe_b64encode
from hashlib import sha256
from importlib.metadata import PathDistribution
from pathlib import Path

from engine.foreign_files import ROOMS, foreign_files

ROOT = Path(__file__).parents[1]


def install(root: Path) -> PathDistribution:
    """What an installer leaves of a small package with our rooms."""
    lines = []
    for name in [*(f"{room}/__init__.py" for room in ROOMS), "kernels/views/op.py"]:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# {name}\n")
        digest = urlsafe_b64encode(sha256(path.read_bytes()).digest()).rstrip(b"=").decode()
        lines.append(f"{name},sha256={digest},{path.stat().st_size}")
    about = root / "hmtl-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: hmtl\nVersion: 1\n")
    (about / "RECORD").write_text("\n".join(lines) + "\nengine/py.typed,,\n")
    return PathDistribution(about)


def test_foreign_replaced_and_missing_files_are_named(tmp_path: Path) -> None:
    installed = install(tmp_path).files or []
    assert foreign_files(tmp_path, installed) == []
    (tmp_path / "kernels" / "layer.py").touch()
    assert foreign_files(tmp_path, installed) == ["kernels/layer.py"]
    (tmp_path / "kernels" / "__init__.py").write_text("# theirs\n")
    (tmp_path / "loaders" / "__init__.py").unlink()
    assert foreign_files(tmp_path, installed) == ["kernels/__init__.py", "kernels/layer.py", "loaders/__init__.py"]


def test_a_checkout_may_hold_what_it_likes(tmp_path: Path) -> None:
    installed = [file for file in install(tmp_path).files or [] if file.parts[0] != "engine"]
    (tmp_path / "kernels" / "layer.py").touch()
    assert foreign_files(tmp_path, installed) == []


def test_a_checkout_that_was_installed_before_a_file_came_is_no_mixture(tmp_path: Path) -> None:
    for room in ("engine", "kernels", "loaders"):
        (tmp_path / room).mkdir()
        (tmp_path / room / "__init__.py").touch()
    for name in ("__init__.py", "foreign_files.py"):
        shutil.copy(ROOT / "engine" / name, tmp_path / "engine")
    about = tmp_path / "hmtl.egg-info"  # what `pip install -e` leaves in a checkout
    about.mkdir()
    (about / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: hmtl\nVersion: 1\n")
    (about / "SOURCES.txt").write_text("engine/__init__.py\nengine/foreign_files.py\n")
    assert imported(tmp_path) == ""


def imported(*before: Path) -> str:
    """What importing the engine says where these folders come first."""
    code = f"import sys; sys.path[:0] = {[*map(str, before)]}\nimport engine"
    return subprocess.run([sys.executable, "-SP", "-c", code], capture_output=True, text=True, check=False).stderr


def test_a_package_that_hides_a_room_is_named(tmp_path: Path) -> None:
    (tmp_path / "kernels").mkdir()
    assert imported(tmp_path, ROOT) == ""  # a folder without __init__.py hides nothing
    (tmp_path / "kernels" / "__init__.py").touch()
    told = f"ImportError: hmtl: the package 'kernels' must lie in {ROOT} but is taken from {tmp_path / 'kernels'}; "
    assert told + "uninstall the other package of that name (pip uninstall kernels)" in imported(tmp_path, ROOT)


def test_a_room_that_another_package_took_along_is_named(tmp_path: Path) -> None:
    for room in ("engine", "loaders"):
        (tmp_path / room).mkdir()
        shutil.copy(ROOT / room / "__init__.py", tmp_path / room)
    shutil.copy(ROOT / "engine" / "foreign_files.py", tmp_path / "engine")
    (tmp_path / "kernels").mkdir()
    told = f"ImportError: hmtl: {tmp_path / 'kernels'} must be whole, but its __init__.py is gone; install hmtl again"
    assert told in imported(tmp_path)
