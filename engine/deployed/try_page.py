"""Serves a page on which a model is tried with a photo or the webcam: on this machine alone, by gradio.

gradio would ask its makers' server for its newest version, tell it what is used, load fonts of the web and keep what is
uploaded. None of that here: analytics are off, fonts are the machine's own, uploads go with the server, and a policy
keeps the browser from whatever is not on this address. Requests under another host name are refused, so that no page of
the web reads it through a name of its own.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engine.deployed.trying import Trial, TriedFace
from engine.reports.markdown import bullets, plain
from loaders.decoding.pictures import UnreadableError
from loaders.extras import require

LOOPBACK = "127.0.0.1"
LARGEST_UPLOAD = "200mb"
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)

Message = MutableMapping[str, Any]
"""What an ASGI server and its application send each other."""
Send = Callable[[Message], Awaitable[None]]


@contextmanager
def served(trial: Trial, title: str, port: int | None = None) -> Iterator[str]:
    """Serves the page while the block runs; gives its address.

    Args:
        trial: Answers the pictures, one at a time.
        title: Of the page.
        port: On the loopback; a free one of gradio's, from 7860 on, if not given.

    Raises:
        ValueError: gradio is missing, or the port is out of range or taken.
    """
    if port is not None and not 1 <= port <= 65535:
        raise ValueError(f"try: port (={port}) must be in 1..65535; leave it out for a free one")
    with tempfile.TemporaryDirectory(prefix="hmtl-try-") as uploads:
        # Read where gradio is imported, and when it is launched.
        os.environ |= {
            "GRADIO_ANALYTICS_ENABLED": "False",
            "GRADIO_TEMP_DIR": uploads,
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }
        gradio = require("gradio", extra="try", where="try")
        page = _page(gradio, trial, title)
        fonts: Any = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}
        try:
            _, address, _ = page.launch(
                server_name=LOOPBACK,
                server_port=port,
                share=False,
                inbrowser=False,
                prevent_thread_lock=True,
                quiet=True,
                footer_links=[],
                run_history=False,
                max_file_size=LARGEST_UPLOAD,
                enable_monitoring=False,
                ssr_mode=False,
                pwa=False,
                mcp_server=False,
                theme=gradio.themes.Default(**fonts),
                app_kwargs={"middleware": [(_Guard, (), {})]},  # as Starlette unpacks its own Middleware
            )
        except OSError as error:  # gradio's words for a port that is taken
            at = f"port (={port})" if port is not None else "a port from 7860 on"
            raise ValueError(f"try: {at} must be free, and is not; name another by --port") from error
        try:
            yield address.rstrip("/")
        finally:
            page.close(verbose=False)


def _page(gradio: Any, trial: Trial, title: str) -> Any:
    """Lays the page out: what comes in, the picture with what is said of it, and one of its faces by itself."""
    model = trial.model
    with_classes = [task for task in model.tasks if task in model.about["classes"]]
    # No label, which would stand on what is drawn, and no button that shares.
    drawn: Any = {"show_label": False, "interactive": False, "format": "png", "buttons": ["fullscreen", "download"]}
    with gradio.Blocks(analytics_enabled=False, title=title) as page:
        gradio.Markdown(f"# {plain(title)}\n\n{plain(model.taken)}; {plain(trial.treatment)}.")
        with gradio.Row():
            photo = gradio.Image(
                type="filepath",  # the file itself: it is decoded as all pictures are
                image_mode=None,
                sources=["upload", "webcam", "clipboard"],
                label="photo",
                elem_id="photo",
            )
            shown = gradio.Image(**drawn)
        search = gradio.Checkbox(trial.searches, label="search for faces", interactive=trial.searches)
        words = gradio.Markdown(elem_id="words")
        which = gradio.Radio([], label="face", visible=False)
        kept = gradio.State([])
        bars, heat = [], []
        if with_classes:
            gradio.Markdown("Beside the bars: where the face speaks most for the likeliest class (Grad-CAM), bright.")
        for task in with_classes:
            with gradio.Row():
                bars.append(gradio.Label(label=task, num_top_classes=len(model.answers[task])))
                heat.append(gradio.Image(**drawn))
        numbers = gradio.Markdown()
        of_face = [*bars, *heat, numbers]

        def show(faces: list[TriedFace], number: int) -> list[Any]:
            if not faces:
                return [None] * (len(bars) + len(heat)) + [""]
            face = faces[number]
            return [
                *(face.classes[task] for task in with_classes),
                *(face.heat[task] for task in with_classes),
                bullets(map(_line, face.numbers.items())),
            ]

        def answer(file: str | None, searched: bool) -> list[Any]:
            if file is None:
                return [None, "", gradio.Radio([], visible=False), [], *show([], 0)]
            try:
                tried = trial(Path(file), search=searched)
            except UnreadableError as error:
                return [None, plain(str(error)), gradio.Radio([], visible=False), [], *show([], 0)]
            names = [f"face {number}" for number in range(1, len(tried.faces) + 1)]
            choice = gradio.Radio(names, value=names[0] if names else None, visible=len(names) > 1)
            return [tried.picture, plain(tried.words), choice, tried.faces, *show(tried.faces, 0)]

        def choose(name: str | None, faces: list[TriedFace]) -> list[Any]:
            return show(faces, 0 if name is None else int(name.rpartition(" ")[2]) - 1)

        private: Any = {"api_visibility": "private", "concurrency_limit": 1, "concurrency_id": "model"}
        gradio.on(
            [photo.change, search.change],
            answer,
            [photo, search],
            [shown, words, which, kept, *of_face],
            **private,
        )
        which.input(choose, [which, kept], of_face, **private)
    return page


def _line(task: tuple[str, dict[str, float]]) -> str:
    name, numbers = task
    return f"{plain(name)}: {', '.join(f'{plain(answer)} {value:.3g}' for answer, value in numbers.items())}"


class _Guard:
    """Refuses requests under another host name than this machine's, and sends the policy with every answer."""

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        port = scope["server"][1]
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        if hosts not in ([f"{LOOPBACK}:{port}".encode()], [f"localhost:{port}".encode()]):
            await _refuse(scope, send)
            return

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"content-security-policy", POLICY.encode())]
            await send(message)

        await self._app(scope, receive, sent)


async def _refuse(scope: Message, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    await send({"type": "http.response.start", "status": 403, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"this page is for this machine alone"})
