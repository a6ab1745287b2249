"""A report becomes one HTML file: all of it inside, nothing from data acts as a mark, and a browser shows it whole."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from engine.report import app
from engine.reports.page import as_html, write_page
from engine.reports.report import write_report
from tests.engine.fake_run import write_fake_run

CHARTS_ARE_DRAWN = True

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium, to show the page")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(write_fake_run(tmp_path_factory.mktemp("run") / "run"))


def test_the_page_holds_all_of_the_report_and_needs_no_other_file(report: Path) -> None:
    text, page = report.read_text(), write_page(report).read_text()
    assert report.with_suffix(".html").read_text() == page
    assert page.count("<h2") == len(re.findall(r"^## ", text, re.MULTILINE)) > 5
    assert page.count("<img") == len(re.findall(r"^!\[", text, re.MULTILINE)) > 0
    assert len(re.findall(r'src="data:image/png;base64,[A-Za-z0-9+/=]+"', page)) == page.count("<img")
    for name in re.findall(r'<a href="#([^"]+)"', page):
        assert page.count(f'id="{name}"') == 1
    assert not re.findall(r'(?:href|src)="(?!#|data:|https?://)', page)
    assert page.count("<details>") == page.count("</details>") == page.count("<summary>") == 1


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "<b>", "a|b", "</table>", "&lt;", "[x](javascript:1)"])
def test_what_comes_from_data_stays_text(tmp_path: Path, name: str) -> None:
    page = as_html(f"# {name}\n\n## One\n\n{name} and `{name}`\n\n## Two\n", tmp_path)
    body = page[page.index("<main>") : page.index("</main>")]
    assert "<script" not in body
    assert "<b>" not in body
    assert "</table>" not in body
    assert "javascript:" not in "".join(re.findall(r"<a [^>]*>", page))


def test_links_to_files_are_text_and_others_stay(tmp_path: Path) -> None:
    page = as_html("[log](log.jsonl) and [paper](https://example.org/x)", tmp_path)
    assert '<span title="log.jsonl">log</span>' in page
    assert '<a href="https://example.org/x">paper</a>' in page


def test_a_missing_picture_and_what_is_no_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"page: .*gone\.png must be a picture; there is none, write the report anew"):
        as_html("![x](gone.png)", tmp_path)
    (tmp_path / "x.md").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"page: .*x\.md must be a Markdown file .*; name a report\.md or a table\.md"):
        write_page(tmp_path / "x.md")
    assert not (tmp_path / "x.html").exists()
    (tmp_path / "y.html").write_text("# kept")
    with pytest.raises(ValueError, match=r"page: .*y\.html must not end in \.html, as its page does; call it y"):
        write_page(tmp_path / "y.html")
    assert (tmp_path / "y.html").read_text() == "# kept"


def test_the_command_makes_pages_of_runs_and_of_markdown_files(report: Path, tmp_path: Path) -> None:
    (tmp_path / "table.md").write_text("# A table\n\n| a | b |\n| - | -: |\n| x | 1 |\n")
    ended = CliRunner().invoke(app, [str(report.parent), str(tmp_path / "table.md"), "--html"])
    assert ended.exit_code == 0, ended.output
    assert ended.stdout.split() == [str(report.with_suffix(".html")), str(tmp_path / "table.html")]
    assert CliRunner().invoke(app, [str(tmp_path / "gone.md"), "--html"]).exit_code == 2


def shown(page: Path, width: int) -> str:
    """What a browser makes of a page: the document after its scripts have run."""
    words = ("--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", f"--window-size={width},900")
    ended = subprocess.run(
        [str(CHROMIUM), *words, f"--user-data-dir={page.parent / 'profile'}", "--dump-dom", page.as_uri()],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    assert "CONSOLE" not in ended.stderr, ended.stderr
    return ended.stdout


@needs_browser
@pytest.mark.slow
@pytest.mark.parametrize("width", [500, 768, 1440])  # headless Chromium has no window below 500
def test_nothing_is_cut_off_and_every_picture_loads(report: Path, tmp_path: Path, width: int) -> None:
    asked = """<script>addEventListener("load", () => { document.title = JSON.stringify([
        document.documentElement.scrollWidth <= innerWidth,
        [...document.images].every(image => image.complete && image.naturalWidth > 0),
        [...document.querySelectorAll("main > :not(.wide)")].every(each => each.scrollWidth <= each.clientWidth + 1)])
    })</script></body>"""
    page = tmp_path / "page.html"
    page.write_text(write_page(report).read_text().replace("</body>", asked))
    assert "<title>[true,true,true]</title>" in shown(page, width)


@needs_browser
@pytest.mark.slow
def test_a_table_sorts_by_a_click_and_says_so(tmp_path: Path) -> None:
    rows = ("| b | 1,200 |", "| a | 9.5 % |", "| c | – |", "| d | -3 |")
    text = "\n".join(("# T", "", "| name | figure |", "| --- | ---: |", *rows))
    for clicks, order in ((1, "dabc"), (2, "badc")):
        page = tmp_path / f"{clicks}.html"
        click = "<script>" + "document.querySelectorAll('th button')[1].click();" * clicks + "</script></body>"
        page.write_text(as_html(text, tmp_path).replace("</body>", click))
        dom = shown(page, 800)
        assert "".join(re.findall(r"<td>(\w)</td>", dom)) == order
        assert f'aria-sort="{"ascending" if clicks == 1 else "descending"}"' in dom
