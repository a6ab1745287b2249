"""Draws faces: a 3-D cartoon head with action units, a camera and things in the way."""

from __future__ import annotations

from loaders.synthetic.appearance import Drawn
from loaders.synthetic.expression import EXPRESSIONS
from loaders.synthetic.many import draw_faces
from loaders.synthetic.single import SMALLEST, FaceSpec, draw_face

__all__ = ["EXPRESSIONS", "SMALLEST", "Drawn", "FaceSpec", "draw_face", "draw_faces"]
