"""Delivers files as batches of uint8 faces on the device: sources, samplers, and the store that `prepare` writes."""

from loaders.base import Batch, Classes, Faces, Label, Numbers, Sampler, Source, Split
from loaders.feed.composed import Composed, Phased
from loaders.feed.loader import Loader
from loaders.feed.samplers import ClassBalanced, Fraction, Shuffled, SquareRootBalanced
from loaders.ffcv import FFCV
from loaders.sources.dali import DALI
from loaders.sources.folder import Folder
from loaders.sources.folds import Folds
from loaders.sources.hide_labels import HideLabels
from loaders.sources.identity import identity
from loaders.sources.packed import Packed
from loaders.sources.store_notes import store_notes
from loaders.sources.synthetic import Synthetic
from loaders.sources.union import Union
from loaders.sources.with_test import WithTest
from loaders.sources.wrong_labels import WrongLabels

__all__ = [
    "DALI",
    "FFCV",
    "Batch",
    "ClassBalanced",
    "Classes",
    "Composed",
    "Faces",
    "Folder",
    "Folds",
    "Fraction",
    "HideLabels",
    "Label",
    "Loader",
    "Numbers",
    "Packed",
    "Phased",
    "Sampler",
    "Shuffled",
    "Source",
    "Split",
    "SquareRootBalanced",
    "Synthetic",
    "Union",
    "WithTest",
    "WrongLabels",
    "identity",
    "store_notes",
]
