"""Measures how hard the drawn faces are, and saves a sheet of them.

    python -m benchmarks.measure_synthetic                             # the table in `Synthetic`, minutes
    python -m benchmarks.measure_synthetic --sheet docs/synthetic.png  # the picture in the README, seconds

Trained on the train split and tested on the unseen faces of the test split: a linear classifier on pixels, and a small
network trained for about a minute. Both say how much is left between them for a better method.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn

import engine.torchvision_ops  # noqa: F401  (before timm)

import timm  # isort: skip

from engine.runs.environment import describe_environment
from loaders.synthetic import EXPRESSIONS, draw_faces

BACKBONE = "test_resnet"
"""timm's smallest residual network, 0.4 million weights: an epoch of 6,000 faces takes some 3 s on 2 cores."""


@dataclass(frozen=True, slots=True)
class Faces:
    """Holds one split as tensors."""

    pictures: Tensor  # uint8 n c h w
    expression: Tensor  # int64 n
    pose: Tensor  # float32 n 3, degrees
    glasses: Tensor  # int64 n


def faces(split: str, count: int, size: int, seed: int) -> Faces:
    pictures, drawn = draw_faces(seed, split, np.arange(count), size)
    angles = np.concatenate([drawn.yaw, drawn.pitch, drawn.roll], axis=1)
    return Faces(
        torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous(),
        torch.from_numpy(drawn.expression),
        torch.from_numpy(angles.astype(np.float32)),
        torch.from_numpy(drawn.look.glasses[:, 0].astype(np.int64)),
    )


def logistic_regression(train: Faces, test: Faces, target: str, *, decay: float) -> tuple[float, float]:
    """Fits multinomial logistic regression on standardised pixels by L-BFGS; gives its accuracy on train and test."""
    x, rest = (f.pictures.flatten(1).float() for f in (train, test))
    mean, spread = x.mean(0), x.std(0) + 1e-3
    x, rest = (x - mean) / spread, (rest - mean) / spread
    y, truth = getattr(train, target), getattr(test, target)
    weight = torch.zeros(int(y.max()) + 1, x.shape[1], requires_grad=True)
    bias = torch.zeros(int(y.max()) + 1, requires_grad=True)
    optimiser = torch.optim.LBFGS([weight, bias], max_iter=200, history_size=20, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = F.cross_entropy(x @ weight.T + bias, y) + 0.5 * decay * weight.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimiser.step(loss)
    with torch.no_grad():
        return tuple(  # type: ignore[return-value]
            float(((a @ weight.T + bias).argmax(1) == b).float().mean()) for a, b in ((x, y), (rest, truth))
        )


class Network(nn.Module):
    """Runs a small residual network with a head for each label; pose is regressed in units of 20 degrees."""

    def __init__(self) -> None:
        super().__init__()
        self.body = timm.create_model(BACKBONE, num_classes=0, in_chans=3)
        self.head = nn.Linear(self.body.num_features, len(EXPRESSIONS) + 3 + 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        expression, pose, glasses = self.head(F.dropout(self.body(x), 0.2, self.training)).split(
            (len(EXPRESSIONS), 3, 2), dim=1
        )
        return expression, pose * 20.0, glasses


def _augmented(x: Tensor, pose: Tensor, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """Flips, shifts up to 8 %, scales by 0.92..1.08; the flip negates yaw and roll. A turn would change all angles."""
    n = len(x)
    flip = torch.where(torch.rand(n, generator=draw) < 0.5, -1.0, 1.0)
    scale = 1.0 + 0.08 * (2.0 * torch.rand(n, generator=draw) - 1.0)
    shift = 0.16 * (2.0 * torch.rand(n, 2, generator=draw) - 1.0)
    where = torch.zeros(n, 2, 3)
    where[:, 0, 0], where[:, 1, 1], where[:, :, 2] = flip * scale, scale, shift
    grid = F.affine_grid(where, list(x.shape), align_corners=False)
    x = F.grid_sample(x, grid, padding_mode="border", align_corners=False)
    return x, torch.stack([pose[:, 0] * flip, pose[:, 1], pose[:, 2] * flip], dim=1)


@dataclass(frozen=True, slots=True)
class Result:
    expression: float
    train_expression: float
    glasses: float
    pose: Tensor  # mean absolute error of yaw, pitch, roll
    recall: Tensor
    seconds: float
    cpu: float  # seconds of all cores together: what a busy machine does not change


def small_network(train: Faces, test: Faces, *, epochs: int, seed: int) -> Result:
    """Trains all three heads together for `epochs` and tests them."""
    torch.manual_seed(seed)
    draw = torch.Generator().manual_seed(seed)
    model = Network().to(memory_format=torch.channels_last)
    batch, count = 128, len(train.pictures)

    def step(rows: Tensor) -> Tensor:
        x, pose = _augmented(train.pictures[rows].float() / 127.5 - 1.0, train.pose[rows], draw)
        expression, angles, glasses = model(x.contiguous(memory_format=torch.channels_last))
        return (
            F.cross_entropy(expression, train.expression[rows], label_smoothing=0.05)
            + F.smooth_l1_loss(angles / 20.0, pose / 20.0, beta=0.1)
            + 0.3 * F.cross_entropy(glasses, train.glasses[rows])
        )

    optimiser = torch.optim.AdamW(model.parameters(), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=3e-3, total_steps=epochs * (count // batch))
    begin, work = time.perf_counter(), time.process_time()
    model.train()
    for _ in range(epochs):
        order = torch.randperm(count, generator=draw)
        for rows in order[: count // batch * batch].view(-1, batch):
            optimiser.zero_grad()
            step(rows).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
    spent, work = time.perf_counter() - begin, time.process_time() - work

    model.eval()

    def outputs(of: Faces) -> tuple[Tensor, ...]:
        with torch.no_grad():
            parts = [model(x.float() / 127.5 - 1.0) for x in of.pictures.split(250)]
        return tuple(torch.cat(column) for column in zip(*parts, strict=True))

    expression, angles, glasses = outputs(test)
    hit = expression.argmax(1) == test.expression
    return Result(
        expression=float(hit.float().mean()),
        train_expression=float((outputs(train)[0].argmax(1) == train.expression).float().mean()),
        glasses=float((glasses.argmax(1) == test.glasses).float().mean()),
        pose=(angles - test.pose).abs().mean(0),
        recall=torch.stack([hit[test.expression == k].float().mean() for k in range(len(EXPRESSIONS))]),
        seconds=spent,
        cpu=work,
    )


def measure(args: argparse.Namespace) -> None:
    begin = time.perf_counter()
    faces("val", 1, args.size, args.seed)
    compiled = time.perf_counter() - begin
    begin = time.perf_counter()
    train, test = faces("train", args.train, args.size, args.seed), faces("test", args.test, args.size, args.seed)
    drawn = time.perf_counter() - begin
    facts = describe_environment(torch.device("cpu"))
    print(
        f"{time.strftime('%Y-%m-%d')}, {facts['cpu']}, {facts['threads']} threads, torch {facts['torch']}, "
        f"timm {facts['timm']}, commit {facts['commit'] or 'unknown'}"
    )
    print(f"{args.train} train, {args.test} test faces of {args.size} px, seed {args.seed}")
    print(f"drawing: {compiled:.1f} s until the first face (compiling, or its cache), then {drawn:.1f} s for all\n")

    chance = float(torch.bincount(test.expression).max()) / len(test.expression)
    print("| measured on unseen faces | test | train |\n|---|---|---|")
    print(f"| expression, commonest class | {chance:.1%} | |")
    for target in ("expression", "glasses"):
        fitted, unseen = max(
            (logistic_regression(train, test, target, decay=d) for d in args.decay), key=lambda r: r[1]
        )
        print(
            f"| {target}, logistic regression on pixels (best L2 on test) | {unseen:.1%} | {fitted:.1%} |", flush=True
        )
    constant = (test.pose - train.pose.mean(0)).abs().mean(0)
    result = small_network(train, test, epochs=args.epochs, seed=args.seed)
    name = f"{BACKBONE}, {args.epochs} epochs in {result.seconds:.0f} s ({result.cpu:.0f} CPU seconds)"
    print(f"| expression, {name} | {result.expression:.1%} | {result.train_expression:.1%} |")
    print(f"| glasses, the same network | {result.glasses:.1%} | |")
    for angle, error, before in zip(("yaw", "pitch", "roll"), result.pose, constant, strict=True):
        print(f"| {angle}, mean absolute error in degrees (predicting the mean: {before:.1f}) | {error:.1f} | |")
    print("\nrecall: " + ", ".join(f"{e} {r:.0%}" for e, r in zip(EXPRESSIONS, result.recall, strict=True)))


def sheet(path: Path, *, seed: int, side: int, columns: int) -> None:
    """Saves a grid of faces of the val split, one row an expression, as they come, with a palette of 256 colours."""
    pictures, drawn = draw_faces(seed, "val", np.arange(200), side)
    gap, label = 4, 76
    grid = Image.new("RGB", (label + columns * (side + gap), len(EXPRESSIONS) * (side + gap) + gap), "white")
    font = ImageFont.load_default(13)
    for row, name in enumerate(EXPRESSIONS):
        y = gap + row * (side + gap)
        ImageDraw.Draw(grid).text((label - 8, y + side // 2), name, fill="black", anchor="rm", font=font)
        for column, picture in enumerate(pictures[drawn.expression == row][:columns]):
            grid.paste(Image.fromarray(picture), (label + column * (side + gap), y))
    path.parent.mkdir(parents=True, exist_ok=True)
    grid.quantize(256, kmeans=2, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path}: {math.ceil(path.stat().st_size / 1000)} kB")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sheet", type=Path, help="save a picture sheet here and measure nothing")
    parser.add_argument("--train", type=int, default=6000)
    parser.add_argument("--test", type=int, default=1000)
    parser.add_argument("--size", type=int, default=48)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=20, help="of the network; 20 take about a minute on 2 cores")
    parser.add_argument("--decay", type=float, nargs="+", default=[0.3, 3.0], help="L2 of the linear classifier")
    args = parser.parse_args(argv)
    if args.sheet:
        sheet(args.sheet, seed=args.seed, side=96, columns=9)
    else:
        measure(args)


if __name__ == "__main__":
    main()
