"""Drawn faces: a 3-D cartoon head with action units, a camera and things in the way; see `loaders.synthetic`."""

from __future__ import annotations

from loaders.drawing.appearance import Drawn
from loaders.drawing.expression import EXPRESSIONS
from loaders.drawing.many import draw_faces
from loaders.drawing.single import SMALLEST, FaceSpec, draw_face

__all__ = ["EXPRESSIONS", "SMALLEST", "Drawn", "FaceSpec", "draw_face", "draw_faces"]
