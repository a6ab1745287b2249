"""The machine of a run in words: how fast it was, with which versions, and how it was started."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

from engine.quantities import label_of
from engine.reports import markdown
from engine.runs.result import Run, as_mapping, as_number

_ENCODED = "encoded_per_second"
_SPEED: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("images_per_second", "faces per second, overall", lambda x: f"{x:,.1f}"),
    ("compute_images_per_second", "faces per second, compute only", lambda x: f"{x:,.1f}"),
    (_ENCODED, "pictures through the encoder per second, overall", lambda x: f"{x:,.1f}"),
    ("wait_share", "share of time waiting for data", lambda x: f"{100 * x:.2f} %"),
    ("step_p50_ms", "step, median", lambda x: f"{x:,.2f} ms"),
    ("step_p99_ms", "step, 99th percentile", lambda x: f"{x:,.2f} ms"),
    ("compile_seconds", "compiling, not in the above", lambda x: f"{x:,.1f} s"),
    ("peak_memory_mib", "peak memory", lambda x: f"{x:,.0f} MiB"),
)


def describe_speed(run: Run) -> str:
    """The section on speed; empty where nothing was measured."""
    speed = dict(as_mapping(run.result.get("speed")))
    if not speed:
        return ""
    wait = speed.pop("wait_label", None)
    overall, a_face = as_number(speed.get("images_per_second")), as_number(run.result.get("pictures_a_face"))
    if overall is not None and a_face is not None:
        speed[_ENCODED] = overall * a_face
    rows = []
    for key, label, form in _SPEED:
        if key == _ENCODED and key not in speed:
            continue
        value = speed.pop(key, None)
        if key == "wait_share" and wait:
            label = f"{label} ({wait})"
        number = as_number(value)
        rows.append([label, "–" if number is None else form(number)])
    rows += [[label_of(key), str(value)] for key, value in speed.items()]
    return f"## Speed\n\n{markdown.table(['', 'value'], rows, left=1)}"


def describe_starts(run: Run) -> str:
    """The section on machine, versions and commands of each start; empty where none is told."""
    if not run.starts:
        return ""
    facts = {key: value for key, value in run.starts[-1].items() if key != "command"}
    parts = [
        "## Environment",
        markdown.table(["", "value"], [[key, _fact(value)] for key, value in facts.items()], left=2),
    ]
    if "from_step" in facts:
        parts.append("`from_step` is the optimiser step at which this start began: 0, or where a resume went on.")
    if len(run.starts) > 1:
        parts += [f"Of the last of {len(run.starts)} starts. What differs between them:", _differences(run.starts)]
    if commands := dict.fromkeys(str(start["command"]) for start in run.starts if start.get("command")):
        parts += ["Command:" if len(commands) == 1 else "Commands:", markdown.fence("\n".join(commands), "sh")]
    return "\n\n".join(parts)


def _differences(starts: Sequence[Mapping[str, object]]) -> str:
    keys = dict.fromkeys(key for start in starts for key in start if key != "command")
    different = [key for key in keys if len({_fact(start.get(key)) for start in starts}) > 1]
    rows = [[str(i), *(_fact(start.get(key)) for key in different)] for i, start in enumerate(starts, 1)]
    return markdown.table(["start", *different], rows, left=1 + len(different))


def _fact(value: object) -> str:
    if value is None:
        return "–"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
