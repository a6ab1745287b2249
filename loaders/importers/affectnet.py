"""Holds what both releases of AffectNet share: expressions and their numbers, and unknown values."""

from __future__ import annotations

import math

from loaders.base import Classes, Label, Numbers

EXPRESSIONS = ("Neutral", "Happy", "Sad", "Surprise", "Fear", "Disgust", "Anger", "Contempt")
"""Place in this list = number in the source."""
NO_EXPRESSION = {8: "None", 9: "Uncertain", 10: "No-Face"}
UNKNOWN = -2.0
NOTE = (
    "expression: faces marked None (8), Uncertain (9) or No-Face (10) are left out and listed as skipped; "
    "affect: valence and arousal in -1..1, missing where the source says -2"
)


def labels(contempt: bool) -> dict[str, Label]:
    """Declares the labels; without `contempt` the set of 7 classes."""
    names = EXPRESSIONS if contempt else EXPRESSIONS[:-1]
    return {"expression": Classes(names), "affect": Numbers(("valence", "arousal"))}


def is_expression(number: int) -> bool:
    """Tells whether the source knows a number, as an expression or as one of the marks for none."""
    return 0 <= number < len(EXPRESSIONS) or number in NO_EXPRESSION


def left_out(number: int) -> str:
    """Says why a face of this number is skipped."""
    return f"expression is {NO_EXPRESSION[number]}" if number in NO_EXPRESSION else "Contempt is not asked for"


def affect(valence: float, arousal: float) -> tuple[float, float]:
    """Pairs valence and arousal, with NaN where unknown or not finite."""
    return tuple(math.nan if value == UNKNOWN or math.isinf(value) else value for value in (valence, arousal))  # type: ignore[return-value]
