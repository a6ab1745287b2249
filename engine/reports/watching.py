"""Serves the report of a run as a page that follows its training: on this machine alone, by the standard library."""

from __future__ import annotations

import errno
import hashlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Any

from engine.reports import markdown
from engine.reports.page import as_html
from engine.reports.report import write_report

LOOPBACK = "127.0.0.1"
SECONDS = 2
"""How often a page asks whether its run has changed."""
_READ = ("recipe.json", "environment.json", "metrics.csv", "result.json", "predictions/*.npz")
"""What a report is made of."""
_FOLLOW = """<script>
const follow = async () => {
  try {
    const now = await (await fetch("/state", {cache: "no-store"})).text();
    if (now !== "%s") return location.reload();
  } catch { document.title = "(not served) " + document.title.replace("(not served) ", ""); }
  setTimeout(follow, %d);
};
setTimeout(follow, %d);
</script>
</body>"""


class Watched:
    """Holds the page of a run, and makes it anew where the run has changed.

    Args:
        run: Its folder; `report.md` and the charts in it are written, as by `hmtl report`.
    """

    def __init__(self, run: Path) -> None:
        self._run = run
        self._lock = Lock()
        self._state, self._page = "", ""

    def state(self) -> str:
        """Tells states of the run apart, by the sizes and times of the files that its report is made of."""
        digest = hashlib.sha256()
        for file in sorted(path for pattern in _READ for path in self._run.glob(pattern)):
            try:
                found = file.stat()
            except OSError:  # it was replaced this very moment: the next look sees it
                continue
            digest.update(f"{file} {found.st_size} {found.st_mtime_ns}".encode(errors="surrogateescape"))
        return digest.hexdigest()

    def page(self) -> str:
        """Gives the page of the run as it is now.

        Raises:
            ValueError: It is no run any more.
            OSError: The report cannot be written.
        """
        with self._lock:
            state = self.state()
            if state != self._state:
                report = write_report(self._run)
                page = as_html(report.read_text(encoding="utf-8"), self._run)
                self._page, self._state = _following(page, state), state
            return self._page


def _following(page: str, state: str) -> str:
    """Lets a page load again where the run is in another state."""
    return page.replace("</body>", _FOLLOW % (state, 1000 * SECONDS, 1000 * SECONDS))


@contextmanager
def served(run: Path, port: int = 0) -> Iterator[str]:
    """Serves the page of a run while the block runs; gives its address.

    Requests under another host name are refused, so that no page of the web reads it through a name of its own.

    Args:
        run: Its folder.
        port: On the loopback; 0 takes a free one.

    Raises:
        ValueError: `run` is not the folder of a run, or the port is out of range or taken.
    """
    if not 0 <= port <= 65535:
        raise ValueError(f"report: port (={port}) must be in 0..65535; 0 takes a free one")
    watched = Watched(run)
    watched.page()  # what is no run is refused before anybody asks
    try:
        server = _Server((LOOPBACK, port), _handler(watched))
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise
        raise ValueError(
            f"report: port (={port}) must be free, and is not ({error.strerror}); take another, or 0 for any"
        ) from error
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://{LOOPBACK}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing of a browser that went away before it had its answer."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def _handler(watched: Watched) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            port = self.connection.getsockname()[1]
            if self.headers.get("Host") not in (f"{LOOPBACK}:{port}", f"localhost:{port}"):
                self._answer(HTTPStatus.FORBIDDEN, "text/plain", "this page is for this machine alone")
            elif self.path == "/state":
                self._answer(HTTPStatus.OK, "text/plain", watched.state())
            elif self.path == "/":
                try:
                    self._answer(HTTPStatus.OK, "text/html", watched.page())
                except (ValueError, OSError) as error:
                    said = as_html(f"# No report now\n\n{markdown.plain(str(error))}", Path())
                    # Of no state, so that it is asked for again until there is a report.
                    self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, "text/html", _following(said, ""))
            else:
                self._answer(HTTPStatus.NOT_FOUND, "text/plain", "there is / alone")

        def _answer(self, status: HTTPStatus, kind: str, text: str) -> None:
            body = text.encode(errors="replace")
            self.send_response(status)
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            inline = "'unsafe-inline'"
            self.send_header(
                "Content-Security-Policy",
                f"default-src 'none'; img-src data:; style-src {inline}; script-src {inline}; connect-src 'self'",
            )
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Prints nothing: the terminal is for what the user did."""

    return Handler
