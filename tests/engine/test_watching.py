"""The page of a run follows its training: served to this machine alone, made anew where the run has changed."""

from __future__ import annotations

import http.client
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import engine.report
from engine.report import app
from engine.reports import watching
from engine.reports.watching import served
from tests.engine.fake_run import metrics_rows, write_fake_run, write_metrics


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run; its charts are empty files, which saves a second a report."""

    def write(run: Path) -> Path:
        if not (run / "recipe.json").is_file():
            raise ValueError("run must hold a recipe.json and has none")
        epochs = len((run / "metrics.csv").read_text().splitlines()) - 1
        (run / "report.md").write_text(f"# A run\n\nafter {epochs} epochs\n")
        return run / "report.md"

    monkeypatch.setattr(watching, "write_report", write)
    return write_fake_run(tmp_path / "run", epochs=2)


def ask(address: str, path: str = "/", method: str = "GET", host: str | None = None) -> tuple[int, str, str]:
    """Status, body and content type."""
    place = address.removeprefix("http://")
    connection = http.client.HTTPConnection(place, timeout=20)
    connection.request(method, path, headers={"Host": host or place})
    answer = connection.getresponse()
    found = answer.status, answer.read().decode(), answer.headers["Content-Type"]
    connection.close()
    return found


def test_the_page_is_made_anew_where_the_run_has_changed(run: Path) -> None:
    with served(run) as address:
        status, page, kind = ask(address)
        assert (status, kind) == (200, "text/html; charset=utf-8")
        assert "after 2 epochs" in page
        before = ask(address, "/state")[1]
        assert re.findall('now !== "([0-9a-f]{64})"', page) == [before]
        assert page.rstrip().endswith("</html>")
        assert (ask(address, "/state")[1], ask(address)[1]) == (before, page)  # nothing has changed
        write_metrics(run / "metrics.csv", metrics_rows(3, {"expression/accuracy": 0.5, "expression/macro_f1": 0.4}))
        assert ask(address, "/state")[1] != before
        assert "after 3 epochs" in ask(address)[1]


def test_only_the_page_is_served_and_only_to_this_machine(run: Path) -> None:
    with served(run) as address:
        assert address.startswith("http://127.0.0.1:")
        port = int(address.rpartition(":")[2])
        assert ask(address, host=f"localhost:{port}")[0] == 200
        for host in ("evil.example", f"evil.example:{port}", "127.0.0.1", "127.0.0.1:1"):
            assert ask(address, host=host)[:2] == (403, "this page is for this machine alone")
        for path in ("/recipe.json", "/../recipe.json", "/%2e%2e/", "/state/"):
            assert ask(address, path)[0] == 404
        assert ask(address, method="POST")[0] == 501
    with pytest.raises(OSError, match="refused"):
        ask(address)


def test_a_run_that_breaks_is_told_and_goes_on_when_it_is_whole(run: Path) -> None:
    with served(run) as address:
        recipe = (run / "recipe.json").read_bytes()
        (run / "recipe.json").unlink()
        status, page, _ = ask(address)
        assert status == 500
        assert "<p>run must hold a recipe.json and has none</p>" in page
        assert 'if (now !== "")' in page  # it asks again
        (run / "recipe.json").write_bytes(recipe)
        assert ask(address)[0] == 200


def call(*words: object) -> Result:
    return CliRunner().invoke(app, list(map(str, words)))


def test_the_command_serves_until_ctrl_c(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    @contextmanager
    def keep(folder: Path, port: int) -> Iterator[str]:
        with served(folder, port) as address:
            seen.append(ask(address)[1])
            yield address

    def interrupted(self: object) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(engine.report, "served", keep)
    monkeypatch.setattr(engine.report, "Event", type("Waits", (), {"wait": interrupted}))
    ended = call(run, "--watch")
    assert ended.exit_code == 0, ended.output
    assert re.fullmatch(rf"{re.escape(str(run))}: http://127\.0\.0\.1:\d+ until Ctrl-C\n", ended.stdout)
    assert "after 2 epochs" in seen[0]


def test_what_does_not_go_together_is_refused(run: Path, tmp_path: Path) -> None:
    said = "report: --watch must stand with one run (there are 2) and without --html; start it for each"
    assert said in call(run, run, "--watch").stderr
    assert "(there are 1) and without --html" in call(run, "--watch", "--html").stderr
    assert "report: port (=80) must go with --watch; add it, or leave this out" in call(run, "--port", "80").stderr
    assert (
        "report: port (=70000) must be in 0..65535; 0 takes a free one" in call(run, "--watch", "--port", 70000).stderr
    )
    assert call(tmp_path, "--watch").exit_code == 2
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = call(run, "--watch", "--port", port)
    assert result.exit_code == 2
    assert f"report: port (={port}) must be free, and is not (Address already in use); take another" in result.stderr
