"""The tasks a recipe can train: one file each."""

from engine.tasks.affect import Affect
from engine.tasks.attribute import Attribute
from engine.tasks.attributes import Attributes
from engine.tasks.barlow_twins import BarlowTwins
from engine.tasks.base import Task
from engine.tasks.classes import (
    AFFECTNET_7,
    AFFECTNET_8,
    CELEBA_40,
    CKPLUS48_7,
    FAIRFACE_RACES,
    FER2013_7,
    FERPLUS_8,
    GENDERS,
    NO_YES,
    SYNTHETIC_7,
    UTKFACE_RACES,
)
from engine.tasks.contrast import Contrast
from engine.tasks.distill import Distill
from engine.tasks.expression import Expression
from engine.tasks.inpaint import Inpaint
from engine.tasks.masked_patches import MaskedPatches
from engine.tasks.number import Number, OrdinalNumber
from engine.tasks.perceptual import CheckpointTeacher, EMATeacher, Perceptual, TimmTeacher
from engine.tasks.pose import PoseBins, PoseRegression, PoseRotation
from engine.tasks.pseudo_labels import FixMatch, PseudoLabels
from engine.tasks.puzzle import SolvePuzzle
from engine.tasks.relative_positions import RelativePositions
from engine.tasks.turns import SolveTurns
from engine.tasks.voted import VotedExpression

__all__ = [
    "AFFECTNET_7",
    "AFFECTNET_8",
    "CELEBA_40",
    "CKPLUS48_7",
    "FAIRFACE_RACES",
    "FER2013_7",
    "FERPLUS_8",
    "GENDERS",
    "NO_YES",
    "SYNTHETIC_7",
    "UTKFACE_RACES",
    "Affect",
    "Attribute",
    "Attributes",
    "BarlowTwins",
    "CheckpointTeacher",
    "Contrast",
    "Distill",
    "EMATeacher",
    "Expression",
    "FixMatch",
    "Inpaint",
    "MaskedPatches",
    "Number",
    "OrdinalNumber",
    "Perceptual",
    "PoseBins",
    "PoseRegression",
    "PoseRotation",
    "PseudoLabels",
    "RelativePositions",
    "SolvePuzzle",
    "SolveTurns",
    "Task",
    "TimmTeacher",
    "VotedExpression",
]
