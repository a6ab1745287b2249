"""Writes the model card of an exported run: what it is, what it was trained and measured on, and what it cannot do."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import engine.tasks
from engine.deployed.export import Agreement
from engine.deployed.model import Deployed
from engine.figures import Figure
from engine.reports import markdown
from engine.reports.calibration import calibrate
from engine.reports.evaluation import class_table
from engine.reports.facts import describe_data, describe_stores, drawn_note
from engine.reports.intervals import describe_intervals
from engine.reports.report import describe_cost, results_table
from engine.runs.result import Run, as_mapping, read_predictions

CARD = "README.md"
_ERROR = Figure("calibration_error", unit="%")


def model_card(model: Deployed, run: Run, found: Sequence[Agreement], split: str, *, licence: str) -> str:
    """Writes the README.md of an exported folder, with the head that hubs read.

    Args:
        found: How the exported file agrees with the model on the faces of `split`; of the encoder alone where the
            heads were left out.
        licence: Of the weights, by its name on hubs.
    """
    task = next((name for name in model.tasks if found[0].task == name), None)
    kind = "image-feature-extraction" if task is None else "image-classification"
    head = {"license": licence, "library_name": "timm", "pipeline_tag": kind, "tags": ["timm", kind, "faces"]}
    return markdown.document(
        [
            "\n".join(["---", *(f"{key}: {json.dumps(value)}" for key, value in head.items()), "---"]),
            f"# {markdown.plain(run.name)}",
            drawn_note(run),
            _what(model, run, task),
            f"## Use\n\n{markdown.fence(_code(model, task), 'python')}",
            f"## Preprocessing\n\n{markdown.bullets(_preprocessing(model, found, split))}",
            f"## Data\n\n{describe_data(run)}\n\n{describe_stores(run)}",
            f"## Training\n\n{markdown.bullets(_tasks(run))}\n\n{describe_cost(run)}",
            "## Figures",
            "Of the run with its heads, which are not here." if task is None and model.tasks else "",
            *_figures(model, run),
            *_classes(model, run),
            f"## Limits\n\n{markdown.bullets(_limits(model, run))}",
        ]
    )


def _what(model: Deployed, run: Run, task: str | None) -> str:
    backbone = markdown.plain(model.about["backbone"]["name"])
    weights = f"The weights are those of the {model.checkpoint.name} epoch, {model.about['epoch']}."
    if task is None:
        others = "its heads were left out" if model.tasks else "it has no supervised head"
        return f"The encoder of a run of hmtl ({others}): `{backbone}` of timm, from faces to features. {weights}"
    classes = markdown.plain(", ".join(model.answers[task]))
    said = ""
    if task in model.temperatures:
        said = (
            " Its probabilities are calibrated: the last layer is divided by a temperature, "
            f"{model.temperatures[task]:.2f}, which suits val best."
        )
    return (
        f"`{backbone}` of timm, trained by hmtl (Hybrid Multi-Task Learning). It takes a face that is cut out of its "
        f"picture and says its {markdown.plain(task)}: {classes}. {weights}{said}"
    )


def _code(model: Deployed, task: str | None) -> str:
    face = 'Image.open("face.png")' + ('.convert("L")' if model.faces[2] == 1 else "") + '.convert("RGB")'
    lines = [
        "import timm",
        "import torch",
        "from PIL import Image",
        "",
        'model = timm.create_model("local-dir:.", pretrained=True).eval()  # this folder',
        "prepare = timm.data.create_transform(**timm.data.resolve_data_config({}, model=model))",
        f"face = prepare({face})",
        "with torch.no_grad():",
    ]
    if task is None:
        return "\n".join([*lines, "    features = model(face[None])  # one row a face"])
    lines += [
        "    probabilities = model(face[None]).softmax(1)[0].tolist()",
        'for name, probability in zip(model.pretrained_cfg["label_names"], probabilities):',
        '    print(f"{name}: {probability:.3f}")',
    ]
    return "\n".join(lines)


def _preprocessing(model: Deployed, found: Sequence[Agreement], split: str) -> Iterator[str]:
    height, width, channels = model.faces
    known = model.about["preprocessing"]
    yield f"Faces of the training were {width} x {height} pixels, {'gray' if channels == 1 else 'RGB'}."
    if channels == 1:
        yield 'timm\'s config cannot say that pictures must be gray: `.convert("L")` above makes them so.'
    for each in model.prepared:
        yield f"Their pictures were {markdown.plain(str(each))}; cut and fit others alike."
    if known["evaluation_crop"] < 1:
        yield f"The network sees the central {100 * known['evaluation_crop']:g} % of their side (`crop_pct`)."
    yield f"Tried on the faces of {markdown.plain(split)} against the run: {'; '.join(map(str, found))}."


def _tasks(run: Run) -> Iterator[str]:
    """Says what each task of the training was; the pretext ones have no head here."""
    for task in map(as_mapping, run.recipe.get("tasks") or ()):
        name, kind = str(task.get("name")), str(task.get("kind"))
        about = (inspect.getdoc(getattr(engine.tasks, kind, None)) or "").partition("\n")[0]
        what = "supervised" if name in run.supervised else "pretext, its head is not in these weights"
        views = as_mapping(run.recipe.get("views"))
        seen = ", ".join(_view(view, as_mapping(views.get(view))) for view in task.get("on") or ())
        yield f"{markdown.plain(name)} ({what}), `{kind}` on {seen}. {about}"
    if init := run.recipe.get("init"):
        yield f"The encoder began with the weights of `{init}`."


def _view(name: str, view: Mapping[str, Any]) -> str:
    grid = f", {view['grid']} x {view['grid']} cells" if "grid" in view else ""
    return f"{markdown.plain(name)} (`{view.get('kind')}`{grid})"


def _figures(model: Deployed, run: Run) -> Iterator[str]:
    which = model.checkpoint.name
    intervals = list(describe_intervals(run, which))
    yield from intervals
    if not intervals:
        yield results_table(run).markdown() if run.figures else "None: the run has not ended."
    if which == "best":
        yield f"That epoch was chosen by `{run.select_on}`, so figures of that split are optimistic."
    for name in run.headlines:
        figure, constant = run.figures[name], run.constant_guess(run.splits[-1], name)
        reached = [
            f"{figure.write(value)} {how}"
            for value, how in ((figure.chance, "by chance"), (constant, f"by one constant answer to {run.splits[-1]}"))
            if value is not None
        ]
        if reached:
            yield f"Guessing {markdown.plain(name.replace('/', ' '))} reaches {', '.join(reached)}."


def _classes(model: Deployed, run: Run) -> Iterator[str]:
    for task, items in read_predictions(run)[0].items():
        for item in items:
            if item.checkpoint == model.checkpoint.name and item.split == run.result.get("test"):
                table = class_table(run.classes[task], item.target, item.probability, item.groups)
                yield f"Classes of {markdown.plain(task)} on {item.split}:"
                yield table.markdown()
        for each in calibrate(items):
            if each.checkpoint == model.checkpoint.name:
                before, after = (_ERROR.write(error) for error in each.error)
                yield (
                    f"Calibration error of {markdown.plain(task)} on test: {before} as trained, {after} at the "
                    f"temperature {each.temperature:.2f} that suits val."
                )


def _limits(model: Deployed, run: Run) -> Iterator[str]:
    yield (
        "The figures are of faces from the same source as those of the training, cut and prepared alike. On others it "
        "may do much worse: measure first, by `hmtl evaluate`."
    )
    yield "It answers for any picture, also for one without a face, and does not say that it does not know."
    tasks = map(as_mapping, run.recipe.get("tasks") or ())
    measured = [f"{task['name']} by {task['group']}" for task in tasks if task.get("group")]
    if measured:
        yield f"Errors differ between groups of people: {markdown.plain('; '.join(measured))} stand among the figures."
    else:
        yield "How its errors differ between groups of people was not measured; they may differ much."
    if model.tasks:
        yield "A label is what somebody said of a picture; the answer guesses at that, not at what a person feels."
    yield "Do not decide about people by it."
