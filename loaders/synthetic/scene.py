"""Puts faces together, bottom layer first: ground, shapes behind the head, the head, things in front, lamp, camera."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from loaders.synthetic import colour, features, wear
from loaders.synthetic.head import Head, Outline, path, point, row
from loaders.synthetic.raster import Stack
from loaders.synthetic.tables import Column, Faces, draw_tables

DISCS, PANELS, SHOULDER = 1, 2, 3
HAND, STRAND, BAR, SCARF = 1, 2, 3, 4

_CHUNK = 128  # faces whose shapes are held at once: 128 of about 2,500 points are 5 MB
_CIRCLE = np.linspace(0.0, 2.0 * np.pi, 20, endpoint=False)
_SQUARE = np.array([(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)])
_S = np.linspace(0.0, 1.0, 7)
_T = np.linspace(-1.0, 1.0, 9)
_FINGER = np.array((0.75, 1.0, 1.0, 1.0, 1.0, 0.9, 0.45))
_FOOT = np.array([(1.5, 1.9), (1.0, 3.0), (-1.0, 3.0), (-1.5, 1.9)])


def draw_faces(
    seed: int, split: str, index: Int64[np.ndarray, " n"], size: int
) -> tuple[UInt8[np.ndarray, "n {size} {size} 3"], Faces]:
    """Draws the faces at these positions of a split, RGB on 0..255, and says what they show.

    A face is a function of (seed, split, position, size); which others are drawn with it, and on how many cores,
    changes no bit of it.
    """
    faces = draw_tables(seed, split, index)
    out = np.empty((len(index), size, size, 3), np.uint8)

    def work(first: int) -> None:
        rows = slice(first, first + _CHUNK)
        out[rows] = paint_faces(faces[rows], size)

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for done in [pool.submit(work, first) for first in range(0, len(index), _CHUNK)]:
            done.result()
    return out, faces


def paint_faces(faces: Faces, size: int) -> UInt8[np.ndarray, "n {size} {size} 3"]:
    """Paints n faces; each picture is a function of its own row of the tables and of `size`."""
    head, stack, s = Head(faces), Stack(len(faces)), faces.setting

    shapes_behind(stack, head)
    wear.hair_behind(stack, head)
    features.neck(stack, head)
    features.ears(stack, head, over=False)
    features.bare_head(stack, head)
    features.sockets(stack, head)
    features.beard(stack, head)
    features.lines(stack, head)
    features.mouth(stack, head)
    features.eyes(stack, head)
    features.brows(stack, head)
    features.nose(stack, head)
    wear.hair_in_front(stack, head)
    features.ears(stack, head, over=True)
    wear.hats(stack, head)
    wear.glasses(stack, head)
    covers(stack, head)

    scale = size * (0.335 + 0.05 * s.zoom)
    centre = size * (0.5 + row(0.05 * s.shift_x, 0.005 + 0.04 * s.shift_y))
    middle, form = head.quadric()
    return stack.paint(
        size,
        centre=centre,
        scale=scale,
        solid=np.concatenate([centre + middle * scale, form / scale**2], axis=1),
        light=_lamp(head),
        ground=_ground(head),
        camera=_camera(head, size),
        key=faces.grain,
    )


def _lamp(head: Head) -> Float64[np.ndarray, "n 5"]:
    """Direction on the screen, and the shares of ambient and direct light; a frontal patch comes out near 1."""
    s = head.setting
    x, y, z = 0.9 * s.light_x, 0.8 * s.light_y, 0.9
    length = np.sqrt(x**2 + y**2 + z**2)
    direct = 0.15 + 0.42 * s.light_strength
    return row(x / length, y / length, z / length, 1.02 - 0.75 * direct, direct)


def _camera(head: Head, size: int) -> Float64[np.ndarray, "n 6"]:
    """Gain per channel, contrast, blur and noise."""
    s = head.setting
    warm, green, gain = 0.16 * (s.warmth - 0.5), 0.10 * (s.tint - 0.5), 0.84 + 0.32 * s.exposure
    blur = size * 0.018 * np.maximum(s.blur - 0.35, 0.0)
    channels = gain * (1.0 + warm), gain * (1.0 + green), gain * (1.0 - warm)
    return row(*channels, 0.82 + 0.30 * s.contrast, blur, 9.0 * s.noise**2)


def _ground(head: Head) -> Float64[np.ndarray, "n 14"]:
    """Two colours and a woven texture."""
    s = head.setting
    near = colour.hue(s.ground_hue, 0.10 + 0.45 * s.shape_hue, s.ground_light)
    light = np.clip(s.ground_light + s.ground_step, 0.05, 1.0)
    far = colour.hue((s.ground_hue + 0.12 * s.ground_step) % 1.0, 0.25, light)
    angle, turn = 2.0 * np.pi * s.ground_turn, np.pi * s.weave_turn
    wave = 2.0 * np.pi * (1.5 + 6.5 * s.weave_scale)
    depth, checks = 18.0 * np.maximum(s.weave, 0.0), np.where(s.weave_kind > 0.5, 1.0, 0.0)
    gradient, frequency = row(np.cos(angle), np.sin(angle)), row(wave * np.cos(turn), wave * np.sin(turn))
    phases = 2.0 * np.pi * row(s.shape_x, s.shape_y)
    return np.concatenate([near, far, gradient, depth, frequency, phases, checks], axis=1)


def shapes_behind(stack: Stack, head: Head) -> None:
    """Draws discs, panels or another person's shoulder and head, out of focus."""
    s = head.setting
    for k in range(4):
        light = np.clip(0.25 + 0.7 * ((s.shape_light + 0.37 * k) % 1.0), 0.0, 1.0)
        tone = colour.hue((s.shape_hue + 0.17 * k) % 1.0, 0.35, light)
        x, y = -1.7 + 3.4 * ((s.shape_x + 0.31 * k) % 1.0), -1.7 + 3.0 * ((s.shape_y + 0.43 * k) % 1.0)
        stack.polygon(_ellipse(x, y, 0.36, 0.36), tone, 0.55 * (s.shape == DISCS), lit=0.0)
        half = point(0.16 + 0.4 * ((s.shape_x + 0.2 * k) % 1.0), 0.5 + 1.1 * ((s.shape_y + 0.3 * k) % 1.0))
        stack.polygon(point(x, y) + _SQUARE * half, tone, 0.8 * (s.shape == PANELS), lit=0.0)
    side, there = np.where(s.shape_x >= 0.5, 1.0, -1.0), s.shape == SHOULDER
    cloth = colour.hue(s.shape_hue, 0.4, 0.2 + 0.6 * s.shape_light)
    stack.polygon(_ellipse(side * 1.75, 1.1 + s.shape_y * 0.4, 0.9, 0.9), cloth, there, lit=0.0)
    other = _ellipse(side * 1.60, -0.25 + 0.4 * s.shape_y, 0.50, 0.62)
    stack.polygon(other, colour.skin(s.shape_light, s.shape_hue) * 0.85, there, lit=0.0)


def covers(stack: Stack, head: Head) -> None:
    """Draws at most one of: a hand on cheek or chin, a strand of hair, a bar held in front, a scarf over the chin."""
    s, skin = head.setting, head.skin
    tone = colour.hue(s.cover_hue, 0.20 + 0.5 * s.cover_turn, 0.2 + 0.75 * s.cover_light)
    side = np.where(s.cover_x >= 0.5, 1.0, -1.0)

    hand = s.cover == HAND
    palm = point(side * (0.95 + 0.25 * s.cover_light), 1.18 - 0.35 * s.cover_y)
    lean = -side * (0.35 + 0.8 * s.cover_turn)
    stack.stroke(palm + _turned(point(0.0, 1.6 * _S), 0.3 * lean), 0.60, skin * 0.92, hand)
    for k, (spread, length) in enumerate(((-0.34, 0.62), (-0.11, 0.74), (0.12, 0.72), (0.34, 0.58))):
        finger = palm + _turned(point(spread * 0.75 + spread * 0.25 * _S, -0.10 - length * _S), lean)
        stack.stroke(finger, 0.255 * _FINGER, skin * 0.60, hand)
        stack.stroke(finger, 0.215 * _FINGER, skin * (1.0 - 0.02 * k), hand)

    start, end = -0.3 + 0.6 * s.cover_x, side * (0.35 + 0.45 * s.cover_turn)
    strand = head.place(start + (end - start) * _S**0.8, -0.85 + (0.9 + 0.8 * s.cover_y) * _S, 0.08)
    stack.stroke(strand, (0.13 + 0.16 * s.cover_light) * (1.0 - 0.8 * _S), head.hair, s.cover == STRAND)

    at = point(-1.0 + 2.0 * s.cover_x, -0.9 + 2.0 * s.cover_y)
    half = point(0.22 + 0.5 * s.cover_light, 0.13 + 0.12 * s.cover_hue)
    stack.polygon(at + _turned(_SQUARE * half, np.pi * s.cover_turn), tone, s.cover == BAR, lit=0.2)

    scarf = s.cover == SCARF
    top = head.place(0.95 * _T, 1.02 - 0.26 * s.cover_y - 0.10 * _T**2, 0.05)
    stack.polygon(path(top, _FOOT), tone, scarf, lit=0.7)
    fold = head.place(0.9 * _T, 1.16 - 0.26 * s.cover_y - 0.02 * _T**2, 0.05)
    stack.stroke(fold, 0.05, tone * 0.7, scarf, lit=0.7)


def _ellipse(x: Column, y: Column, width: float, height: float) -> Outline:
    return point(x + width * np.cos(_CIRCLE), y + height * np.sin(_CIRCLE))


def _turned(points: Outline, angle: Column) -> Outline:
    c, s = np.cos(angle), np.sin(angle)
    return point(points[..., 0] * c - points[..., 1] * s, points[..., 0] * s + points[..., 1] * c)
