"""Says how sure the figures of runs are: intervals from their predictions, over groups where the data knows them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from engine.figures import Figure
from engine.intervals.answers import Pictures, figure_of, figures_of, from_arrays
from engine.intervals.bootstrap import ENOUGH, FEW, RESAMPLES, Interval, intervals, paired_difference, resampled
from engine.intervals.groups import Groups, drawn_over, read_groups, shared_groups
from engine.reports import markdown
from engine.reports.table import Table
from engine.runs.result import Run, as_mapping, read_arrays


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """Holds what a run answered of one task on one split, by one checkpoint."""

    pictures: Pictures
    groups: Groups | None
    sample: Int64[np.ndarray, " n"]
    """Ids of the pictures."""
    target: np.ndarray
    """What was asked for."""


def answers_of(run: Run, split: str, task: str, checkpoint: str = "last") -> Answers | None:
    """Reads a run's answers; None where its predictions cannot be read, or figures not be computed from pictures."""
    try:
        arrays = read_arrays(run.path / "predictions" / f"{split}-{checkpoint}.npz")
    except ValueError:
        return None  # the report says so in its list of what is missing
    tasks = {str(each.get("name")): each for each in map(as_mapping, run.recipe.get("tasks") or ())}
    pictures = from_arrays(arrays, task, as_mapping(tasks.get(task)))
    if pictures is None or len(arrays.get("sample", ())) != pictures.count:
        return None
    return Answers(pictures, read_groups(arrays), arrays["sample"], arrays[f"{task}.target"])


def describe_intervals(run: Run, checkpoint: str = "last") -> Iterator[str]:
    """Makes the table of the intervals of a run, and warns where those over pictures would mislead.

    Args:
        checkpoint: "last" or "best", whose figures they are of.
    """
    scores = run.last if checkpoint == "last" else run.best
    rows, warnings, alone, few = [], [], False, False
    for split in run.splits:
        for task in dict.fromkeys(name.rpartition("/")[0] for name in run.figures):
            answers = answers_of(run, split, task, checkpoint)
            names = [name for name in run.figures if name.rpartition("/")[0] == task]
            if answers is None or scores is None:
                continue
            words = {
                name.rpartition("/")[2]: run.figures[name] for name in names if scores.value(split, name) is not None
            }
            found = intervals(figures_of(answers.pictures, words), answers.pictures.count, answers.groups)
            alone = alone or answers.groups is None
            few = few or (answers.groups is not None and 1 < answers.groups.count < ENOUGH)
            for word, ends in found.of.items():
                figure = words[word]
                value = figure.write(scores.value(split, f"{task}/{word}"))
                support = f"{answers.pictures.support(word):,}"
                rows.append((task, figure.label, split, support, value, write_ends(figure, *ends), found.over))
                if word in found.misleading:
                    name = f"{task} {figure.label} on {split}"
                    warnings.append(too_narrow(name, figure, ends, found.misleading[word]))
            if not found.of and answers.groups is not None:
                warnings.append(f"{task} on {split} has no interval: all pictures are of {found.over}")
    if rows:
        yield (
            f"95 % intervals of the {checkpoint} epoch, of this run alone ({RESAMPLES:,} bootstrap draws); "
            + ("pictures count as independent of each other." if alone else "pictures of one group are drawn together.")
        )
        yield Table(("task", "figure", "split", "n", "value", "95 % interval", "over"), rows, left=3).markdown()
    if few:
        warnings.append(FEW)
    yield from (f"> **Warning.** {markdown.plain(warning)}." for warning in warnings)


def paired(run: Run, other: Run, split: str, name: str) -> tuple[Interval, str] | None:
    """Computes the difference of two runs in a figure at their last epoch, with its interval and what was drawn.

    Returns:
        None where the two did not answer the same pictures with the same labels, or single pictures do not give the
        figure.
    """
    task, _, word = name.rpartition("/")
    both = [answers_of(each, split, task) for each in (run, other)]
    own, its = both
    if own is None or its is None or not np.array_equal(own.sample, its.sample):
        return None
    if not np.array_equal(own.target, its.target, equal_nan=own.target.dtype.kind == "f"):
        return None
    if any(word not in figures_of(each.pictures, [word]) for each in (own, its)):
        return None
    groups = shared_groups([own.groups, its.groups])
    if groups is not None and groups.count < 2:
        return None
    drawn = [resampled([figure_of(each.pictures, word)], own.pictures.count, groups=groups) for each in (own, its)]
    return paired_difference(*drawn), drawn_over(groups, own.pictures.count)


def write_ends(figure: Figure, low: float, high: float, *, decimals: int = 2) -> str:
    """Writes an interval: "61.2 to 64.9", in the unit of the figure."""
    return " to ".join(figure.write(end, decimals=decimals, unit=False) for end in (low, high))


def too_narrow(name: str, figure: Figure, interval: tuple[float, float], misleading: tuple[float, float]) -> str:
    """Says how wide an interval over pictures would be in place of the one over groups."""
    widths = [figure.write(high - low) for low, high in (misleading, interval)]
    return (
        f"the interval of {name} would be {widths[0]} wide over pictures in place of {widths[1]}: pictures of one "
        "group are alike, do not count them as independent of each other"
    )
