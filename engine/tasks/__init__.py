"""The tasks a recipe can train: one file each."""

from engine.tasks.attribute import Attribute
from engine.tasks.base import Task
from engine.tasks.classes import (
    AFFECTNET_7,
    AFFECTNET_8,
    CKPLUS48_7,
    FAIRFACE_RACES,
    FER2013_7,
    GENDERS,
    NO_YES,
    SYNTHETIC_7,
    UTKFACE_RACES,
)
from engine.tasks.contrast import Contrast
from engine.tasks.expression import Expression
from engine.tasks.inpaint import Inpaint
from engine.tasks.perceptual import CheckpointTeacher, EMATeacher, Perceptual, TimmTeacher
from engine.tasks.pose import PoseBins, PoseRegression, PoseRotation
from engine.tasks.pseudo_labels import FixMatch, PseudoLabels
from engine.tasks.puzzle import SolvePuzzle
from engine.tasks.turns import SolveTurns

__all__ = [
    "AFFECTNET_7",
    "AFFECTNET_8",
    "CKPLUS48_7",
    "FAIRFACE_RACES",
    "FER2013_7",
    "GENDERS",
    "NO_YES",
    "SYNTHETIC_7",
    "UTKFACE_RACES",
    "Attribute",
    "CheckpointTeacher",
    "Contrast",
    "EMATeacher",
    "Expression",
    "FixMatch",
    "Inpaint",
    "Perceptual",
    "PoseBins",
    "PoseRegression",
    "PoseRotation",
    "PseudoLabels",
    "SolvePuzzle",
    "SolveTurns",
    "Task",
    "TimmTeacher",
]
