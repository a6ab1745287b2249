"""Draws neck, ears and skin, and the parts of the face: eyes, brows, nose, mouth, beard and the lines between them."""

from __future__ import annotations

import numpy as np

from loaders.synthetic import colour
from loaders.synthetic.head import Curve, Head, path, point, row
from loaders.synthetic.raster import EYE_LEFT, EYE_RIGHT, HEAD, MOUTH, NECK, Stack
from loaders.synthetic.tables import Column

_T = np.linspace(-1.0, 1.0, 13)
_FLOOR = np.array([(2.6, 3.4), (-2.6, 3.4)])
_SPOTS = np.array([(0.30, 0.22), (0.42, 0.30), (0.52, 0.20), (0.22, 0.32), (0.38, 0.17), (0.08, 0.14)])


def blob(width: float, height: float) -> np.ndarray:
    """Gives centre and ends of the axes of a blob upright on the screen, to be added to where it is."""
    return np.array(((0.0, 0.0), (width, 0.0), (0.0, height)))


def neck(stack: Stack, head: Head) -> None:
    """Draws neck and clothes; the trunk stays upright, the neck leans with the head."""
    build, look, skin = head.build, head.look, head.skin
    top = head.flat(np.array((0.0, 0.55, -0.30)))
    low = point(0.35 * top[..., 0], 1.62)
    stem = path(top, 0.5 * (top + low), low)
    width = (0.84 + 0.5 * (build.jaw - 0.62)) * np.array((1.0, 0.98, 1.12))
    stack.stroke(stem, width, skin * 0.88, lit=0.6, keep=NECK)
    chin = head.flat(point(0.0, build.chin + 0.12, 0.1))
    stack.blob(chin + blob(0.40, 0.16), skin * 0.55, 0.7, clip=NECK)
    cloth = colour.hue(look.cloth, 0.15 + 0.5 * look.collar, 0.25 + 0.65 * look.cloth_light)
    rise = 0.30 * np.exp(-((_T / 0.30) ** 2))
    y = 1.60 - rise + 0.30 * _T**2 + 0.10 * (look.collar - 0.5)
    opening = (0.14 + 0.22 * look.collar) * np.exp(-((_T / 0.16) ** 2))
    stack.polygon(path(point(low[..., 0] + 2.1 * _T, y + opening), _FLOOR), cloth, lit=0.35)


def ears(stack: Stack, head: Head, *, over: bool) -> None:
    """Draws both ears behind the head, or `over` it: there only the one that is turned toward the viewer."""
    build, skin = head.build, head.skin
    for side in (-1, 1):
        centre = point(side * build.width * 0.98, 0.06, -0.10)
        shape = point(0.09, build.ear + 0.03, 0.62 * build.ear)
        alpha = np.clip(side * head.matrix[:, 2, :1] * 8.0 - 0.6, 0.0, 1.0) if over else 1.0
        stack.polygon(head.hull((centre, shape)), skin * 0.93, alpha)
        inner = head.hull((centre + np.array((side * 0.05, 0.0, 0.02)), shape * 0.6))
        stack.polygon(inner, skin * 0.74, alpha * 0.8)


def bare_head(stack: Stack, head: Head) -> None:
    """Draws the skin of the head with blush and freckles; what is painted on the face is clipped to it."""
    build, look, skin = head.build, head.look, head.skin
    stack.polygon(head.outline(), skin, keep=HEAD)
    rosy = colour.mix(skin, skin * np.array((1.06, 0.74, 0.72)), 1.0)
    for side in (-1, 1):
        cheek = head.patch(side * 0.50 * build.width, head.nose_tip + 0.02, 0.17, 0.13)
        stack.blob(cheek, rosy, 0.15 + 0.5 * look.blush, clip=HEAD)
        for x, y in _SPOTS:
            stack.blob(head.patch(side * x, build.eye_y + y, 0.014, 0.014), skin * 0.62, 0.8 * look.freckles, clip=HEAD)


def sockets(stack: Stack, head: Head) -> None:
    """Draws the soft shadows the eyes lie in, painted before anything else on the face."""
    build, units, skin = head.build, head.units, head.skin
    for side in (-1, 1):
        stack.blob(head.patch(side * build.eye_x * 0.95, build.eye_y - 0.05, 0.19, 0.13), skin * 0.72, 0.45, clip=HEAD)
        bag = 0.10 + 0.30 * build.age + 0.25 * np.clip(units.au6, 0.0, 1.0)
        stack.blob(head.patch(side * build.eye_x, build.eye_y + 0.19, 0.15, 0.035), skin * 0.70, bag, clip=HEAD)


def beard(stack: Stack, head: Head) -> None:
    """Draws stubble, a full beard or a moustache, painted before the mouth."""
    build, units, kind = head.build, head.units, head.look.beard
    stubble = kind == 1.0
    tone = np.where(stubble, colour.mix(head.skin, head.hair, 0.55), head.hair)
    cheek = head.lip - 0.16 + 0.30 * (1.0 - np.abs(_T)) - 0.42 * np.abs(_T) ** 4
    bottom = head.chin + 0.25 - 0.10 * _T**2
    x = 0.93 * build.width * _T
    mask = head.place(
        np.concatenate([x, 0.9 * x[:, ::-1]], axis=1),
        np.concatenate([np.minimum(cheek, bottom), bottom[:, ::-1]], axis=1),
    )
    stack.polygon(mask, tone, np.where(stubble, 0.55, 0.93) * (stubble | (kind == 2.0)), clip=HEAD)
    x = build.mouth_width * (0.95 + 0.2 * np.clip(units.au12, 0.0, 1.0)) * _T
    y = head.lip - 0.115 - 0.06 * np.clip(units.au10, 0.0, 1.0) + (0.10 * _T**2) * (1.0 - 0.7 * units.au12)
    above = np.where(stubble, 0.5, 0.95) * (kind >= 1.0)
    stack.stroke(head.place(x, y, 0.04), 0.11 * (1.0 - 0.55 * _T**2), tone, above, clip=HEAD)


# Lines: folds of the skin that expressions and age draw.

_FOLD = np.linspace(-1.0, 1.0, 7)
_THREE = np.array((0.4, 1.0, 0.4))


def _strength(units: Column, age: Column, most: float) -> Column:
    return most * np.clip(units, 0.0, 1.0) * (0.55 + 0.45 * age) + 0.10 * np.clip(age - 0.5, 0.0, 1.0)


def lines(stack: Stack, head: Head) -> None:
    """Draws the lines of forehead, glabella, bridge of the nose, cheeks, crow's feet and chin."""
    build, units, skin = head.build, head.units, head.skin
    dark = skin * 0.60
    brow = build.eye_y - build.brow_gap
    for k in range(2):
        y = brow - 0.15 - 0.11 * k - 0.06 * units.au1 + 0.03 * _FOLD**2 - 0.02 * (1 - k)
        alpha = _strength(0.5 * (units.au1 + units.au2) * (units.au1 > 0.3), build.age, 0.65)
        stack.stroke(head.place((0.42 - 0.06 * k) * _FOLD, y), 0.022 * (1.1 - _FOLD**2), dark, alpha, clip=HEAD)
    for side in (-1, 1):
        frown = head.place(side * 0.055 * np.array((1.0, 0.8, 1.0)), brow + 0.08 + np.array((-0.09, 0.0, 0.09)))
        stack.stroke(frown, 0.026 * _THREE, dark, _strength(units.au4, build.age, 0.8), clip=HEAD)
        wrinkle = _strength(units.au9, 1.0 - 0.3 * build.age, 0.8)
        for k in range(2):
            y = build.eye_y + 0.02 + 0.075 * k + np.array((-0.03, 0.0, 0.03))
            bridge = head.place(side * np.array((0.03, 0.08, 0.13)), y, 0.03)
            stack.stroke(bridge, 0.022 * _THREE, dark, wrinkle, clip=HEAD)
        # From the wing of the nose past the corner of the mouth; a smile bows it, a snarl deepens it.
        deep = _strength(0.75 * units.au12 + 0.9 * units.au10 + 0.6 * units.au9 + 0.25 * units.au20, build.age, 0.75)
        out = build.mouth_width + 0.10 + 0.10 * np.clip(units.au12 + units.au20, 0.0, 1.3)
        x = side * row(build.nose_width + 0.04, 0.55 * (build.nose_width + out) + 0.06, out)
        y = row(head.nose_tip - 0.06, head.nose_tip + 0.09 - 0.04 * units.au12, head.lip - 0.06 * units.au12)
        stack.stroke(head.place(x, y), 0.03 * np.array((0.5, 1.0, 0.5)), dark, deep, clip=HEAD)
        crow = _strength(units.au6, build.age, 0.6)
        for k in (-1, 1):
            x = side * (build.eye_x + build.eye_width) + side * np.array((0.035, 0.08, 0.13))
            y = build.eye_y + 0.02 + k * np.array((0.012, 0.03, 0.06))
            stack.stroke(head.place(x, y), 0.016 * _THREE, dark, crow, clip=HEAD)
        apple = np.clip(units.au6 + 0.6 * units.au12, 0.0, 1.4)
        cheek = head.patch(side * (build.eye_x + 0.09), build.eye_y + 0.36 - 0.04 * apple, 0.13, 0.09)
        stack.blob(cheek, np.minimum(skin * 1.12, 255.0), 0.35 * apple, clip=HEAD)
    boss = np.clip(units.au17, 0.0, 1.0)
    chin = head.patch(0.0, head.lip + 0.17 + head.jaw_drop, 0.15, 0.03)
    stack.blob(chin, skin * 0.66, 0.35 + 0.35 * boss, clip=HEAD)
    for side in (-1, 1):
        pit = head.patch(side * 0.07, head.lip + 0.26 + head.jaw_drop, 0.03, 0.03)
        stack.blob(pit, skin * 0.66, 0.4 * boss, clip=HEAD)


# Mouth: lips, the opening between them, teeth and tongue.

_LIP = np.linspace(-1.0, 1.0, 15)
_LIFT = 0.05


def mouth(stack: Stack, head: Head) -> None:
    """Draws the lips and what shows between them."""
    build, look, units, skin = head.build, head.look, head.units, head.skin
    part, jaw = np.clip(units.au25, 0.0, 1.3), np.clip(units.au26, 0.0, 1.2)
    smile, press = np.clip(units.au12, -0.2, 1.3), np.clip(units.au23, 0.0, 1.2)
    half = build.mouth_width * (
        1.0 + 0.30 * smile + 0.34 * units.au20 - 0.20 * press - 0.12 * units.au17 - 0.22 * jaw * (1.0 - smile)
    )
    middle = head.lip + 0.04 * jaw
    corner = build.mouth_curve - 0.23 * smile + 0.23 * units.au15 + 0.05 * units.au20 - 0.01 * units.au10 + 0.06 * jaw
    raised = -0.035 * part - 0.085 * units.au10 - 0.03 * units.au9 - 0.05 * units.au17 - 0.03 * jaw + 0.03 * smile
    opening = np.maximum(0.125 * part * (1.0 + 0.3 * smile) + 0.36 * jaw + 0.05 * units.au10 * part, 0.0)
    thin = 1.0 - 0.60 * press - 0.15 * np.clip(units.au20, 0.0, 1.0) - 0.20 * np.clip(smile, 0.0, 1.0)

    y = middle + corner * np.abs(_LIP) ** 1.7
    flat = 1.0 - np.abs(_LIP) ** 2.6  # stretched and snarling mouths are square, smiling ones round
    round_ = (1.0 - _LIP**2) ** 0.8
    square = np.clip(units.au20 + units.au10, 0.0, 1.0)
    bow = square * flat + (1.0 - square) * round_
    top = y + raised * bow
    bottom = top + opening * bow
    cupid = 1.0 - 0.28 * np.exp(-((_LIP / 0.16) ** 2)) * (1.0 - np.clip(smile, 0.0, 1.0))
    over = top - build.lip_upper * thin * (1.0 - np.abs(_LIP) ** 2.0) ** 0.7 * cupid
    pout = 1.0 + 0.35 * np.clip(units.au17, 0.0, 1.0)
    under = bottom + build.lip_lower * thin * pout * (1.0 - _LIP**2) ** 0.75
    x = half * _LIP

    lipstick = 0.75 * np.clip(look.lipstick - 0.55, 0.0, 1.0) / 0.45
    rose = colour.mix(skin * np.array((0.86, 0.58, 0.56)), np.array((186.0, 40.0, 58.0)), lipstick)
    stack.polygon(head.band(x, over, under, _LIFT), rose, clip=HEAD)
    gleam = head.patch(0.0, middle + raised + opening + 0.5 * build.lip_lower, 0.09, 0.018)
    stack.blob(gleam, np.minimum(rose * 1.25, 255.0), 0.35 * np.clip(thin, 0.0, 1.0), clip=HEAD)

    inside = np.array((70.0, 22.0, 28.0))
    stack.polygon(head.band(x, top, bottom, _LIFT), inside, lit=0.6, clip=HEAD, keep=MOUTH)
    tongue = head.place(
        0.55 * half * np.array((0.0, 1.0, 0.0)),
        middle + raised + 0.92 * opening + (0.35 * opening + 0.01) * np.array((0.0, 0.0, 1.0)),
        _LIFT,
    )
    stack.blob(tongue, np.array((196.0, 88.0, 92.0)), 0.9 * np.clip(jaw * 2.0, 0.0, 1.0), clip=MOUTH)
    ivory = np.array((245.0, 241.0, 230.0))
    teeth = np.minimum(0.11 - 0.035 * np.clip(jaw - 0.4 * smile, 0.0, 1.0), 0.85 * opening + 0.01)
    stack.polygon(head.band(0.93 * x, top - 0.03, top + teeth, _LIFT), ivory, lit=0.6, clip=MOUTH)
    bared = np.clip(1.4 * units.au20 + units.au10 - 0.6 * smile - 0.2, 0.0, 1.0)
    lower = head.band(0.85 * x, bottom - 0.35 * opening, bottom + 0.03, _LIFT)
    stack.polygon(lower, ivory * 0.95, bared, lit=0.6, clip=MOUTH)
    # The line between closed lips, which fades into the dark of an open mouth.
    seam = head.place(x, 0.5 * (top + bottom), _LIFT)
    closed = np.clip(1.0 - opening / 0.06, 0.0, 1.0)
    stack.stroke(seam, 0.030 * (1.1 - 0.6 * np.abs(_LIP)), skin * np.array((0.36, 0.24, 0.25)), closed, clip=HEAD)
    for side in (-1, 1):
        stack.blob(head.patch(side * (half + 0.015), middle + corner, 0.022, 0.03), skin * 0.45, 0.55, clip=HEAD)


# Eyes: the white seen between the lids, iris and pupil, lashes and creases.

_LID = np.linspace(-1.0, 1.0, 9)
_TURN = np.linspace(0.0, 2.0 * np.pi, 14, endpoint=False)


def _lids(head: Head, side: int) -> tuple[Curve, Curve, Curve]:
    """Gives x from the inner to the outer corner, and y of the upper and the lower lid."""
    build, units = head.build, head.units
    rise = 0.75 * units.au5 - 0.32 * units.au7 - 0.28 * units.au6 - 0.15 * units.au9 - 0.85 * units.au43
    upper = build.eye_height * np.clip(1.0 + rise, 0.06, 2.0)
    lower = build.eye_height * np.clip(0.62 + 0.15 * units.au5 - 0.40 * units.au7 - 0.55 * units.au6, 0.04, 1.0)
    # A raised inner brow draws the lid up at its inner end and lets the outer end hang; a lowered one the opposite.
    skew = 0.45 * np.clip(units.au1 - 0.7 * units.au2, -0.5, 1.2) - 0.45 * np.clip(units.au4 - units.au1, 0.0, 1.2)
    x = side * (build.eye_x + build.eye_width * _LID)
    corner = build.eye_y + (build.eye_tilt - 0.02) * _LID
    bow = (1.0 - _LID**2) ** 0.75
    return x, corner - upper * bow * (1.0 - skew * _LID), corner + lower * (1.0 - _LID**2)


def eyes(stack: Stack, head: Head) -> None:
    """Draws both eyes."""
    build, look, units, skin = head.build, head.look, head.units, head.skin
    iris, lash = colour.iris(look.iris), colour.mix(skin * 0.35, colour.BLACK, 0.6)
    radius = 0.80 * build.eye_height + 0.018
    for side, slot in ((-1, EYE_LEFT), (1, EYE_RIGHT)):
        x, upper, lower = _lids(head, side)
        stack.polygon(head.band(x, upper, lower), np.array((244.0, 240.0, 236.0)), lit=0.7, clip=HEAD, keep=slot)
        cx = side * build.eye_x + 0.045 * look.gaze_x
        cy = build.eye_y - 0.012 + 0.025 * look.gaze_y
        for share, tone in ((1.0, iris * 0.62), (0.82, iris), (0.46, colour.BLACK)):
            disc = head.place(cx + share * radius * np.cos(_TURN), cy + share * radius * np.sin(_TURN))
            stack.polygon(disc, tone, lit=0.5, clip=slot)
        # The upper lid's shadow on the ball, then a glint that stays on the lamp's side.
        stack.stroke(head.place(x, upper + 0.012), 0.03, skin * 0.4, 0.45, clip=slot)
        glint = head.place(cx + 0.03 * head.setting.light_x, cy - 0.035)
        ball = point(np.cos(_TURN), np.sin(_TURN)) * 0.022
        stack.polygon(glint + ball, colour.WHITE, 0.9, lit=0.0, clip=slot)

        thick = (0.026 + 0.03 * look.lash) * (0.55 + 0.45 * (_LID + 1.0) / 2.0)
        stack.stroke(head.place(x, upper), thick, lash, clip=HEAD)
        stack.stroke(head.place(x, lower), 0.016, skin * 0.55, 0.75, clip=HEAD)
        lift = 0.055 + 0.02 * np.clip(units.au5, -1.0, 1.0) - 0.02 * np.clip(units.au4, 0.0, 1.0)
        crease = head.place(x, upper - lift * (1.0 - 0.5 * _LID**2))
        stack.stroke(crease, 0.018, skin * 0.62, 0.6, clip=HEAD)


# Brows: one tapered stroke each, a quadratic Bezier curve whose ends and middle move on their own.

_S = np.linspace(0.0, 1.0, 9)
_TAPER = np.array([0.72, 0.92, 1.0, 1.0, 0.95, 0.85, 0.7, 0.5, 0.25])


def brows(stack: Stack, head: Head) -> None:
    """Draws both brows, from the nose outward."""
    build, units = head.build, head.units
    tone = colour.mix(head.hair * 0.60, head.skin * 0.35, 0.35)
    base = build.eye_y - build.brow_gap
    inner = base + build.brow_tilt - 0.23 * units.au1 + 0.23 * units.au4 + 0.06 * units.au9
    outer = base - build.brow_tilt + 0.03 - 0.20 * units.au2 + 0.02 * units.au4 + 0.03 * units.au1
    middle = base - 2.0 * build.brow_arch - 0.11 * units.au1 - 0.20 * units.au2 + 0.10 * units.au4 + 0.03 * units.au9
    start = 0.165 - 0.06 * np.clip(units.au4, 0.0, 1.2)
    end = build.eye_x + build.eye_width + 0.06
    y = inner * (1.0 - _S) ** 2 + middle * (2.0 * _S * (1.0 - _S)) + outer * _S**2
    x = start * (1.0 - _S) + end * _S
    for side in (-1, 1):
        stack.stroke(head.place(side * x, y, 0.03), build.brow_thick * _TAPER, tone, 0.92, clip=HEAD)


def nose(stack: Stack, head: Head) -> None:
    """Draws the nose, the hull of a ridge, a tip and two wings, with nostrils, shadow and highlight."""
    build, units, skin = head.build, head.units, head.skin
    wrinkle = np.clip(units.au9, 0.0, 1.2)
    flare = np.clip(0.6 * units.au4 * (1.0 - units.au1) + 0.5 * units.au10, 0.0, 1.0)
    tip_y = head.nose_tip - 0.05 * wrinkle
    wing = build.nose_width * (1.0 + 0.18 * wrinkle + 0.12 * flare + 0.12 * np.clip(units.au12, 0.0, 1.0))
    zero = 0.0 * wing

    def ball(x: Column, y: Column, out: Column | float, r: Column) -> tuple[np.ndarray, np.ndarray]:
        return head.on_face(x, y, out), r[..., None]

    tip = ball(zero, tip_y - 0.03, build.nose_out - 0.09, 0.085 + 0.16 * build.nose_width)
    ridge = ball(zero, tip_y - 0.22, 0.55 * build.nose_out - 0.07, 0.065 + 0.10 * build.nose_width)
    wings = [ball(side * wing * 0.72, tip_y + 0.005, 0.02, 0.05 + 0.14 * wing) for side in (-1, 1)]

    base = head.flat(point(0.0, tip_y + 0.06, tip[0][..., 2]))
    under = path(base, base + head.flat(point(wing, 0.0, 0.0)), base + np.array((0.0, 0.05)))
    stack.blob(under, skin * 0.62, 0.45, clip=HEAD)
    outline = head.hull(tip, ridge, *wings)
    middle = 0.5 * (head.flat(tip[0]) + head.flat(ridge[0]))
    stack.polygon(middle + (outline - middle) * 1.06 + np.array((0.0, 0.012)), skin * 0.74, 0.75)
    stack.polygon(outline, skin)
    # The side away from the lamp and from the viewer is darker: that is what makes a ridge of it.
    away = head.setting.light_x + 0.9 * np.sin(np.deg2rad(head.faces.yaw))
    bridge = head.flat(head.on_face(zero, build.eye_y + 0.02, 0.02))
    foot = head.flat(head.on_face(np.where(away >= 0.0, -1.0, 1.0) * wing * 0.75, tip_y, 0.10))
    line = path(bridge, 0.5 * (bridge + foot), foot)
    stack.stroke(line, 0.075 * np.array((0.3, 0.8, 1.0)), skin * 0.72, 0.15 + 0.40 * np.clip(np.abs(away), 0.0, 1.0))
    shine = head.flat(tip[0] + np.array((0.0, -0.03, 0.06)))
    stack.blob(shine + blob(0.05, 0.045), np.minimum(skin * 1.22, 255.0), 0.5)
    for side in (-1, 1):
        hole = head.flat(point(side * wing * 0.48, tip_y + 0.055, tip[0][..., 2] - 0.10))
        # Nostrils open downward: they show when the head looks up and close into a line when it looks down.
        gap = 0.020 + 0.022 * np.clip(np.sin(np.deg2rad(head.faces.pitch)) + 0.35, 0.0, 1.0)
        across, down = head.flat(point(0.36 * wing, 0.0, 0.0)), head.flat(point(0.0, gap, -gap))
        stack.blob(path(hole, hole + 0.75 * across, hole + down), skin * 0.30, 0.85)
        # Sniffed-up wings pull a fold beside them.
        fold = head.place(side * wing * np.array((0.75, 1.05, 1.12)), tip_y + np.array((-0.12, -0.05, 0.03)), 0.02)
        stack.stroke(fold, 0.022, skin * 0.55, 0.25 + 0.55 * np.clip(wrinkle, 0.0, 1.0))
