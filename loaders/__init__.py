"""From files to batches of uint8 faces on the device: sources, samplers, and the store that `prepare` writes."""

from loaders.base import Batch, Classes, Label, Loader, Numbers, Sampler, Source, Split
from loaders.beton import FFCV
from loaders.dali import DALI
from loaders.folder import Folder
from loaders.packed import Packed
from loaders.samplers import ClassBalanced, Fraction, Shuffled, SquareRootBalanced
from loaders.synthetic import Synthetic
from loaders.with_test import WithTest

__all__ = [
    "DALI",
    "FFCV",
    "Batch",
    "ClassBalanced",
    "Classes",
    "Folder",
    "Fraction",
    "Label",
    "Loader",
    "Numbers",
    "Packed",
    "Sampler",
    "Shuffled",
    "Source",
    "Split",
    "SquareRootBalanced",
    "Synthetic",
    "WithTest",
]
