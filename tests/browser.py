"""Drives a headless Chromium by its DevTools protocol, over two pipes: no driver and no port is needed."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SECONDS = 120.0
"""How long a page may take, on a busy machine."""


class Browser:
    """Shows one page. What it asked for stands in `asked`, what it complained of in `complaints`.

    Args:
        profile: An empty folder.
        width: Of the window, pixels.
        height: The same.
    """

    def __init__(self, profile: Path, width: int = 1200, height: int = 1000) -> None:
        assert CHROMIUM is not None
        self.asked: list[str] = []
        self.complaints: list[str] = []
        self._number = 0
        ours, theirs = os.pipe(), os.pipe()
        given, told = (fcntl.fcntl(end, fcntl.F_DUPFD, 50) for end in (ours[0], theirs[1]))

        words = ["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--no-first-run"]
        words += [f"--user-data-dir={profile}", f"--window-size={width},{height}", "about:blank"]
        begin = f'exec "$0" "$@" 3<&{given} 4>&{told} {given}<&- {told}>&-'  # where Chromium reads and writes
        self._process = subprocess.Popen(
            ["bash", "-c", begin, CHROMIUM, *words],
            pass_fds=(given, told),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for end in (ours[0], theirs[1], given, told):
            os.close(end)
        self._to, self._from = os.fdopen(ours[1], "wb"), os.fdopen(theirs[0], "rb")
        self._session: str | None = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log", "DOM"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Calls a method of the protocol, and takes in what happens meanwhile."""
        self._number += 1
        sent = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            sent["sessionId"] = self._session
        self._to.write(json.dumps(sent).encode() + b"\0")
        self._to.flush()
        while (came := self._read()).get("id") != self._number:
            pass
        assert "error" not in came, came["error"]
        result: dict[str, Any] = came["result"]
        return result

    def _read(self) -> dict[str, Any]:
        told = bytearray()
        while (byte := self._from.read(1)) != b"\0":
            assert byte, "Chromium ended"
            told += byte
        came: dict[str, Any] = json.loads(told)
        about = came.get("params", {})
        match came.get("method"):
            case "Network.requestWillBeSent":
                self.asked.append(about["request"]["url"])
            case "Runtime.exceptionThrown":
                self.complaints.append(str(about["exceptionDetails"].get("exception", about)))
            case "Log.entryAdded" if about["entry"]["level"] == "error":
                self.complaints.append(f"{about['entry']['text']} {about['entry'].get('url', '')}")
            case "Runtime.consoleAPICalled" if about["type"] == "error":
                self.complaints.append(str(about["args"]))
        return came

    def show(self, address: str) -> None:
        self.call("Page.navigate", url=address)

    def ask(self, script: str) -> Any:
        """Gives the value of an expression in the page."""
        return self.call("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def wait(self, script: str) -> Any:
        """Waits for an expression to be true, and gives its value."""
        until = time.monotonic() + SECONDS
        while not (value := self.ask(script)):
            assert time.monotonic() < until, f"{script}: {self.ask('document.body.innerText')}; {self.complaints}"
            time.sleep(0.1)
        return value

    def upload(self, selector: str, file: Path) -> None:
        """Chooses a file in an input of the page, as a person does in the dialog."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        assert node, f"no {selector}"
        self.call("DOM.setFileInputFiles", files=[str(file)], nodeId=node)

    def picture(self) -> bytes:
        """Gives a PNG of the whole page."""
        shown: str = self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        return base64.b64decode(shown)

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._to.close()
        self._from.close()
