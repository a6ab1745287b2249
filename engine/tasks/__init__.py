"""The tasks a recipe can train: one file each."""

from engine.tasks.base import Task
from engine.tasks.classes import AFFECTNET_7, AFFECTNET_8, FER2013_7, SYNTHETIC_7
from engine.tasks.expression import Expression
from engine.tasks.inpaint import Inpaint
from engine.tasks.puzzle import SolvePuzzle

__all__ = [
    "AFFECTNET_7",
    "AFFECTNET_8",
    "FER2013_7",
    "SYNTHETIC_7",
    "Expression",
    "Inpaint",
    "SolvePuzzle",
    "Task",
]
