"""The documents build into a site without a warning: every link leads somewhere, every page has its place."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
EXTRA = ("mkdocs", "material", "mkdocstrings")


def test_every_document_has_its_place_in_the_nav() -> None:
    """As a strict build asks, where the extra is not installed too."""
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
    assert [path.name for path in (ROOT / "docs").glob("*.md") if f": docs/{path.name}\n" not in nav] == []
    assert ": docs/nowhere.md\n" not in nav


@pytest.mark.slow
@pytest.mark.skipif(not all(map(find_spec, EXTRA)), reason="needs the extra `docs`: pip install 'hmtl[docs]'")
def test_the_site_is_built_strictly_with_every_document_and_the_reference(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for path in (ROOT / "docs").glob("*.md"):
        assert (tmp_path / "docs" / f"{path.stem}.html").is_file(), path
    for path in (ROOT / "benchmarks" / "results").glob("*.md"):
        assert (tmp_path / "benchmarks" / "results" / f"{path.stem}.html").is_file(), path
    assert (tmp_path / "docs" / "synthetic.png").read_bytes() == (ROOT / "docs" / "synthetic.png").read_bytes()
    views = (tmp_path / "reference" / "kernels.html").read_text(encoding="utf-8")
    assert 'id="kernels.render_views"' in views
    assert "store" in views
    found = json.loads((tmp_path / "search" / "search_index.json").read_text(encoding="utf-8"))["docs"]
    assert any(entry["location"].startswith("docs/predict.html") for entry in found)
    start = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "fonts.googleapis" not in start  # a page fetches nothing
    assert 'href="docs/tutorial.html"' in start
