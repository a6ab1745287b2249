"""Draws faces: a 3-D cartoon head with action units, a camera and things in the way.

`tables` draws the numbers, `head` turns the solid, `features` and `wear` put shapes on it, `scene` adds what is around
it, `raster` paints the shapes.
"""

from __future__ import annotations

from loaders.synthetic.scene import draw_faces
from loaders.synthetic.tables import EXPRESSIONS, Faces

__all__ = ["EXPRESSIONS", "Faces", "draw_faces"]
