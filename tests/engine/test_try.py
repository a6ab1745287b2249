"""`hmtl try`: a picture is answered as `hmtl predict` answers it, and the page is for this machine alone."""

from __future__ import annotations

import http.client
import re
import socket
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from benchmarks.face_scenes import drawn, ground, pasted
from engine.deployed import Deployed, load
from engine.deployed.finding import FaceFinder
from engine.deployed.pictures import answers_of
from engine.deployed.try_page import served
from engine.deployed.trying import MOST, Trial
from engine.tasks import SYNTHETIC_7, Attribute, Expression, Number, PoseRegression
from engine.tryout import app
from engine.views import Plain
from kernels import Augment
from loaders import Synthetic
from loaders.base import Preparation
from loaders.decoding.pictures import UnreadableError
from loaders.detection import Detection, FaceDetector
from tests.browser import CHROMIUM, Browser
from tests.engine import tiny

CLEAR = (23, 30)
"""Drawn faces that the network is sure of."""
needs_gradio = pytest.mark.skipif(find_spec("gradio") is None, reason="needs the extra `try`: pip install 'hmtl[try]'")
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium, to show the page")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of an epoch that says expression, glasses, pose and age of drawn faces."""
    tasks = (
        Expression(SYNTHETIC_7),
        Attribute(("no", "yes"), label="glasses"),
        PoseRegression(name="pose"),
        Number(label="age", column="years"),
    )
    recipe = tiny.recipe(
        data=Synthetic(train=32, val=12, test=12, size=32),
        views={"plain": Plain()},
        augment=Augment(),
        tasks=tasks,
        epochs=1,
    )
    return tiny.trained(recipe, tmp_path_factory.mktemp("trying") / "run")


@pytest.fixture(scope="module")
def model(run: Path) -> Deployed:
    model = load(run)
    model.prepared = (Preparation(32, crop="box", margin=0.25),)
    return model


@pytest.fixture(scope="module")
def party(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photo of two faces."""
    scene = ground(700, 500)
    for index, size, corner in zip(CLEAR, (160, 220), ((60, 80), (400, 200)), strict=True):
        scene, _ = pasted(scene, *drawn(0, [index], size), [corner])
    file = tmp_path_factory.mktemp("party") / "party.png"
    scene.save(file)
    return file


# --- answers ------------------------------------------------------------------------------------------------------


def test_a_picture_that_is_a_face_is_answered_as_predict_answers_it(model: Deployed, party: Path) -> None:
    tried = Trial(model, None)(party, search=True)
    assert tried.words == "the picture is taken for a face, none is searched for"
    assert tried.picture.size == (700, 500)
    (face,) = tried.faces
    ((_, said),), _ = answers_of(model, [party])
    for task in ("expression", "glasses"):
        np.testing.assert_allclose(list(face.classes[task].values()), said[task], atol=1e-6)
        assert list(face.classes[task]) == list(model.answers[task])
        heat = face.heat[task]
        assert (heat.ndim, heat.shape[2], heat.dtype) == (3, 3, np.uint8)
        assert heat.std() > 5
    assert list(face.numbers) == ["pose", "age"]
    np.testing.assert_allclose(list(face.numbers["pose"].values()), said["pose"], rtol=1e-5)
    drawn_in = np.asarray(tried.picture).astype(int) - np.asarray(Image.open(party).convert("RGB"))
    assert np.abs(drawn_in[150:350, 250:450]).max() > 50  # the axes of the head, from the middle


def test_faces_are_found_and_each_is_answered(model: Deployed, party: Path, faces_extra: None) -> None:
    detector = FaceDetector("test", threads=1)
    trial = Trial(model, detector)
    tried = trial(party, search=True)
    assert (tried.words, len(tried.faces)) == ("2 faces found", 2)
    wanted = FaceFinder(model, detector)(np.asarray(Image.open(party).convert("RGB")))
    for face, found in zip(tried.faces, wanted, strict=True):
        assert found.said is not None
        np.testing.assert_allclose(list(face.classes["expression"].values()), found.said["expression"], atol=1e-6)
    assert trial.searches
    assert trial.treatment == FaceFinder(model, detector).treatment
    assert len(trial(party, search=False).faces) == 1


class Everywhere:
    """Finds so many faces, all at one place."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __call__(self, picture: np.ndarray) -> list[Detection]:
        marks = np.array([(80.0, 90.0), (120.0, 90.0), (100.0, 110.0), (85.0, 130.0), (115.0, 130.0)])
        return [Detection((60.0, 60.0, 140.0, 150.0), 0.9, marks)] * self._count


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "no face found"), (1, "1 face found"), (MOST + 3, f"{MOST + 3} faces found, of which the likeliest {MOST} ")],
)
def test_what_was_found_is_said(model: Deployed, party: Path, count: int, words: str) -> None:
    tried = Trial(model, Everywhere(count))(party, search=True)  # type: ignore[arg-type]
    assert tried.words.startswith(words)
    assert len(tried.faces) == min(count, MOST)


def test_what_is_no_picture_and_faces_that_are_not_square_are_refused(model: Deployed, tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    with pytest.raises(UnreadableError, match="unreadable picture"):
        Trial(model, None)(tmp_path / "x.png", search=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "faces", (32, 24, 3))
        with pytest.raises(ValueError, match=r"try: the model \(of faces of 24 x 32 pixels\) must take square ones"):
            Trial(model, None)


# --- the command --------------------------------------------------------------------------------------------------


def call(*words: object) -> Result:
    return CliRunner().invoke(app, [*map(str, words), "--device", "cpu"])


def test_what_is_missing_is_said(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)

    def missing(where: str) -> None:
        raise ValueError("why")

    monkeypatch.setattr("engine.tryout.FaceDetector", missing)
    ended = call(run)
    assert ended.exit_code == 2
    assert "faces are not searched for, each picture is taken for one: why" in " ".join(ended.stdout.split())
    assert "try: package (=gradio) must be importable, and is not" in ended.stderr
    assert "pip install 'hmtl[try]'" in ended.stderr
    assert "try: port (=0) must be in 1..65535; leave it out for a free one" in call(run, "--port", 0).stderr


# --- the page -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def address(model: Deployed) -> Iterator[str]:
    with served(Trial(model, None), "hmtl try <run>") as address:
        yield address


def ask(address: str, path: str = "/", host: str | None = None) -> tuple[int, str, http.client.HTTPMessage]:
    place = address.removeprefix("http://")
    connection = http.client.HTTPConnection(place, timeout=60)
    connection.request("GET", path, headers={"Host": host or place})
    answer = connection.getresponse()
    found = answer.status, answer.read().decode(errors="replace"), answer.headers
    connection.close()
    return found


@needs_gradio
@pytest.mark.slow
def test_the_page_is_for_this_machine_alone_and_names_no_other(address: str) -> None:
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", address)
    port = int(address.rpartition(":")[2])
    status, page, headers = ask(address)
    assert status == 200
    assert "default-src 'self'" in headers["Content-Security-Policy"]
    assert not re.findall(r"""<(?:script|link|img|iframe)[^>]*(?:src|href)=["']?https?:""", page)
    assert "googleapis" not in page
    assert ask(address, host=f"localhost:{port}")[0] == 200
    for host in ("evil.example", f"evil.example:{port}", "127.0.0.1"):
        assert ask(address, host=host)[:2] == (403, "this page is for this machine alone")
    assert ask(address, "/gradio_api/file=/etc/passwd")[0] in (403, 404)
    others = {each[4][0] for each in socket.getaddrinfo(socket.gethostname(), port, socket.AF_INET)} - {"127.0.0.1"}
    for other in others:
        with pytest.raises(OSError, match="refused"):
            socket.create_connection((other, port), timeout=5)


@needs_gradio
@pytest.mark.slow
def test_a_port_that_is_taken_is_refused(model: Deployed, address: str) -> None:
    port = int(address.rpartition(":")[2])
    with (
        pytest.raises(ValueError, match=rf"try: port \(={port}\) must be free, and is not; name another by --port"),
        served(Trial(model, None), "again", port),
    ):
        pass


@needs_gradio
@needs_browser
@pytest.mark.slow
def test_a_photo_is_answered_in_a_browser(address: str, party: Path, tmp_path: Path) -> None:
    with Browser(tmp_path / "profile") as browser:
        browser.show(address)
        browser.wait("!!document.querySelector('#photo input[type=file]')")
        browser.upload("#photo input[type=file]", party)
        browser.wait("document.querySelector('#words')?.innerText.includes('taken for a face')")
        browser.wait("[...document.images].filter(image => image.naturalWidth > 0).length >= 3")
        text = browser.ask("document.body.innerText")
        assert all(name in text for name in SYNTHETIC_7)
        assert "pose: yaw" in text
        assert browser.ask("document.documentElement.scrollWidth <= innerWidth")
        assert [each for each in browser.asked if not each.startswith((address, "data:", "blob:", "about:"))] == []
        assert browser.complaints == []
        (tmp_path / "page.png").write_bytes(browser.picture())
