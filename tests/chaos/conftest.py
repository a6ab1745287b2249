"""Lends the warmed process to all tests of the suite, and prints at the end what befell whom."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.chaos.server import Server

ROW = "chaos"


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints a row for each case of the suite: the moment, what came, how the command ended."""
    reports = [report for word in ("passed", "failed") for report in terminalreporter.stats.get(word, ())]
    told = [(dict(report.user_properties).get(ROW), report) for report in reports if report.when == "call"]
    rows = sorted(f"{row}  {report.outcome}" for row, report in told if row)
    if rows:
        terminalreporter.section("chaos")
        passed = sum(row.endswith("passed") for row in rows)
        terminalreporter.write_line("\n".join([*rows, f"chaos {passed}/{len(rows)}"]))
