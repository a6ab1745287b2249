"""The rooms in other people's training code: the examples run, and learn."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

from examples import lightning_style, plain_pytorch
from loaders import Loader, Shuffled, Synthetic
from loaders.decoding.pictures import Form
from loaders.importers import ClassFolders
from loaders.prepare import prepare

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"


def encoder() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 5, 4), nn.ReLU(), nn.Conv2d(8, 8, 3, 2), nn.ReLU(), nn.Flatten())


def test_plain_pytorch_with_torchvisions_image_folder(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(16):
            ramp = torch.linspace(0, 255, 96).expand(96, 96)
            noise = 20 * torch.rand(96, 96, generator=generator)
            picture = torch.stack([ramp, ramp.T, noise], dim=-1).clamp(0, 255).byte()
            Image.fromarray(picture.numpy()).save(tmp_path / name / f"{i}.png")
    tiles = nn.Linear(8 * 7 * 7, 81)
    losses = plain_pytorch.train(str(tmp_path), encoder(), tiles, 1e-2, epochs=40)
    assert len(losses) == 40
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])


def test_lightning_style_module_trains_on_a_source() -> None:
    loader = Loader.open(
        Synthetic(train=32, val=1, test=1, size=48), "train", batch_size=16, seed=0, device="cpu", sampler=Shuffled()
    )
    module = lightning_style.Hybrid(encoder(), 8 * 5 * 5, 7)
    optimiser = module.configure_optimizers()
    losses = []
    for epoch in range(6):
        module.current_epoch = epoch
        for index, batch in enumerate(loader.epoch(epoch)):
            loss = module.training_step(batch, index)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
    loader.close()
    assert losses[-1] < losses[0]


def test_the_page_on_reuse_shows_code_that_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "docs" / "reuse.md").read_text()
    code = next(
        block for block in re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL) if "draw(" in block
    )
    for kind in ("a", "b"):
        folder = tmp_path / "faces" / "train" / kind
        folder.mkdir(parents=True)
        for i in range(64):
            Image.new("L", (48, 48), i).save(folder / f"{i}.png")
    monkeypatch.chdir(tmp_path)
    prepare(ClassFolders(tmp_path / "faces"), Path("data/fer2013"), Form())
    defined: dict[str, Any] = {}
    exec(code, defined)
    assert defined["pictures"].shape == (128, 3, 48, 48)
    assert defined["pictures"].isfinite().all()


@pytest.mark.parametrize(("file", "function"), [("plain_pytorch.py", "train"), ("lightning_style.py", "training_step")])
def test_an_example_stays_under_fifteen_lines(file: str, function: str) -> None:
    tree = ast.parse((EXAMPLES / file).read_text())
    found = next(n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name == function)
    statements = [n for n in ast.walk(found) if isinstance(n, ast.stmt) and n is not found]
    docstring = 1 if ast.get_docstring(found) else 0
    assert len({s.lineno for s in statements}) - docstring <= 15
