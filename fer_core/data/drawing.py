"""Faces drawn by our own code: facial action units in, 48 x 48 grey pictures out.

Every shape is a signed distance on a pixel grid turned into a soft mask, so a batch of faces is a few hundred array
operations. Who somebody is (`LOOKS`), how the picture was taken (`SHOTS`) and what the face does (`ACTION_UNITS`) are
independent: the same generator state with other action units draws the same person in the same light.

Face coordinates: x right, y down, the picture is -1..1, eyes near y = -0.12, mouth near y = 0.5.
Shapes: B faces of a batch, N faces, U action units, H x W pixels; a parameter is (B, 1, 1).
Source of the action units: Ekman and Friesen, Facial Action Coding System, 1978.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]  # float32 throughout, which halves the drawing time
Params = dict[str, Array]

SIDE = 48
"""Pixels per side, as in FER2013."""

ACTION_UNITS: tuple[int, ...] = (1, 2, 4, 5, 6, 7, 9, 10, 12, 15, 17, 20, 23, 25, 26)
"""Column order of `units_NU`: 1 inner brow raise, 2 outer brow raise, 4 brow lower, 5 upper lid raise, 6 cheek raise,
7 lid tighten, 9 nose wrinkle, 10 upper lip raise, 12 lip corner pull, 15 lip corner down, 17 chin raise,
20 lip stretch, 23 lip tighten, 25 lips part, 26 jaw drop."""

# Who it is. Bounds of uniform draws, in face coordinates or as a share.
LOOKS: dict[str, tuple[float, float]] = {
    "skin": (0.42, 0.86), "hair": (0.05, 0.50), "head_width": (0.66, 0.78), "head_height": (0.88, 0.98),
    "jaw": (0.10, 0.34), "hairline": (-0.78, -0.52), "fringe": (-0.35, 0.45), "parting": (-0.25, 0.25),
    "hair_length": (-0.30, 1.10), "hair_volume": (0.04, 0.20),
    "eye_x": (0.29, 0.35), "eye_y": (-0.16, -0.09), "eye_width": (0.135, 0.175), "eye_open": (0.80, 1.15),
    "iris": (0.05, 0.35), "gaze": (-0.035, 0.035), "brow_y": (-0.39, -0.33), "brow_arch": (0.01, 0.06),
    "brow_tilt": (-0.02, 0.02), "brow_thick": (0.020, 0.045), "nose_y": (0.18, 0.27), "nose_width": (0.09, 0.14),
    "mouth_y": (0.49, 0.56), "mouth_width": (0.25, 0.31), "mouth_bend": (-0.018, 0.018), "lip": (0.03, 0.065),
    "lip_tone": (0.60, 0.82), "age": (0.0, 0.5), "glasses": (0.0, 1.0), "beard": (0.0, 1.0), "stubble": (0.35, 0.8),
}  # fmt: skip

# How the picture was taken. Angles in radians, shifts and scale in face coordinates, noise in grey levels of 1.
SHOTS: dict[str, tuple[float, float]] = {
    "roll": (-0.13, 0.13), "yaw": (-0.24, 0.24), "pitch": (-0.05, 0.05), "shift_x": (-0.07, 0.07),
    "shift_y": (-0.09, 0.03), "scale": (1.05, 1.24), "backdrop": (0.05, 0.95), "backdrop_slope": (-0.25, 0.25),
    "light_x": (-0.75, 0.75), "light_y": (-0.60, 0.25), "shading": (0.20, 0.65), "contrast": (0.80, 1.20),
    "brightness": (-0.08, 0.12), "blur": (0.0, 0.6), "noise": (0.004, 0.028), "occluder": (0.0, 1.0),
    "occluder_angle": (-3.14, 3.14), "occluder_edge": (0.45, 0.70), "occluder_tone": (0.1, 0.9),
}  # fmt: skip

GLASSES_SHARE, BEARD_SHARE, OCCLUDED_SHARE = 0.12, 0.15, 0.04
_BATCH = 25  # every array stays in cache and on the heap; 100 faces at once cost 1.7 times the CPU
_PIXEL = 2.0 / SIDE
_SPHERE = 0.95  # radius of the ball that carries eyes, nose and mouth when the head turns


def draw_faces(units_NU: NDArray[np.floating], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw one face per row: a random person in a random pose and light, making the expression that the row asks for.

    Args:
        units_NU: intensity of each action unit, 0 (relaxed) to 1 (full), shape (N, len(ACTION_UNITS)).
        rng: decides everything but the expression, and is used alike whatever `units_NU` holds.
    Returns: grey values, uint8, shape (N, 48, 48).
    """
    images_NHW = np.empty((len(units_NU), SIDE, SIDE), np.uint8)
    for start in range(0, len(units_NU), _BATCH):
        rows = slice(start, start + _BATCH)
        images_NHW[rows] = _draw_batch(np.asarray(units_NU[rows], np.float32), rng)
    return images_NHW


def _draw_batch(units_BU: Array, rng: np.random.Generator) -> NDArray[np.uint8]:
    look, shot = _draw_params(LOOKS, len(units_BU), rng), _draw_params(SHOTS, len(units_BU), rng)
    units = {f"au{unit}": units_BU[:, i, None, None] for i, unit in enumerate(ACTION_UNITS)}
    tone_BHW = _blur(_Face(look, shot, units).draw(), shot["blur"])
    tone_BHW += shot["noise"] * rng.standard_normal(tone_BHW.shape, np.float32)
    return (tone_BHW.clip(0, 1) * 255 + 0.5).astype(np.uint8)


def _draw_params(bounds: dict[str, tuple[float, float]], count: int, rng: np.random.Generator) -> Params:
    return {name: rng.uniform(low, high, (count, 1, 1)).astype(np.float32) for name, (low, high) in bounds.items()}


class _Face:
    """A batch of faces, painted back to front. `x, y` are head coordinates; `u, v` those of the turned features."""

    def __init__(self, look: Params, shot: Params, units: Params) -> None:
        self.look, self.shot, self.au = look, shot, units
        self.x, self.y = _head_grid(shot)
        depth = np.sqrt((_SPHERE**2 - self.x**2).clip(0))
        self.u = self.x * np.cos(shot["yaw"]) - depth * np.sin(shot["yaw"])
        self.v = self.y - shot["pitch"]
        self.side = np.abs(self.u)  # both eyes, brows and cheeks are one shape, mirrored
        self.tone = shot["backdrop"] + shot["backdrop_slope"] * self.y
        self.head = self._head_mask()

    def draw(self) -> Array:
        self._back()
        self._skin()
        self._wrinkles()
        self._eyes()
        self._brows()
        self._nose()
        self._beard()
        self._mouth()
        self._front_hair()
        self._glasses()
        self._light()
        self._occluder()
        return self.tone

    def _paint(self, mask: Array, tone: Array | float) -> None:
        self.tone += mask * (tone - self.tone)

    def _darken(self, mask: Array) -> None:
        self.tone *= 1 - mask

    def _head_mask(self) -> Array:
        width = self.look["head_width"] * (1 - self.look["jaw"] * self.y.clip(0) ** 2)
        height = self.look["head_height"] + 0.10 * self.au["au26"] * (self.y > 0)  # a dropped jaw lengthens the face
        return _inside((np.sqrt((self.x / width) ** 2 + (self.y / height) ** 2) - 1) * 0.8)

    def _back(self) -> None:
        """Long hair behind the head, neck, shoulders and ears."""
        look, width = self.look, self.look["head_width"]
        volume = width + look["hair_volume"]
        ends = (self.y - look["hair_length"] + 0.4).clip(0) / 0.4
        outline = np.hypot(self.x / volume, np.maximum(-self.y / 1.02, ends))
        self._paint(_inside((outline - 1) * 0.6), 0.85 * look["hair"])
        self._paint(_inside(np.maximum(np.abs(self.x) - 0.6 * width, 0.3 - self.y)), 0.72 * look["skin"])  # neck
        ears = np.sqrt(((np.abs(self.x) - width) / 0.09) ** 2 + ((self.y - 0.02) / 0.2) ** 2) - 1
        self._paint(_inside(0.1 * ears), 0.85 * look["skin"])

    def _skin(self) -> None:
        self._paint(self.head, self.look["skin"])
        socket = _blob((self.side - self.look["eye_x"]) / 0.24, (self.v - self.look["eye_y"] + 0.02) / 0.16)
        self._darken(0.16 * socket)
        raised = self.au["au6"]
        self.tone += (0.03 + 0.10 * raised) * _blob((self.side - 0.36) / 0.17, (self.v - 0.22 + 0.08 * raised) / 0.12)

    def _wrinkles(self) -> None:
        """Forehead lines (1, 2), frown lines (4), nose root (9), folds from nose to mouth (9, 10, 12), chin (17)."""
        au, side, v, age = self.au, self.side, self.v, 0.35 * self.look["age"]
        lines = _line(v + 0.50 + 0.15 * side**2) + _line(v + 0.60 + 0.15 * side**2)
        self._darken((0.30 * np.sqrt(au["au1"] * au["au2"]) + 0.3 * age) * lines * _window(side, 0.36))
        self._darken(0.42 * au["au4"] * _line(side - 0.055) * _window(v + 0.32, 0.11))
        self._darken(0.55 * au["au9"] * (_line(v + 0.18) + _line(v + 0.09) + _line(v)) * _window(side, 0.11))
        down = v - 0.18 + 0.05 * au["au9"]
        fold_x = 0.15 + (0.85 + 0.25 * au["au12"]) * down - 0.9 * down**2
        fold = (0.20 * au["au12"] + 0.24 * au["au10"] + 0.14 * au["au9"] + 0.4 * age).clip(0, 0.34)
        self._darken(fold * _line(0.6 * (side - fold_x)) * _blob((v - 0.31) / 0.13))
        chin_y = self.look["mouth_y"] + 0.17
        self._darken(0.40 * au["au17"] * _line(v - chin_y + 0.6 * side**2) * _window(side, 0.15))

    def _eyes(self) -> None:
        look, au = self.look, self.au
        dx, dy = self.side - look["eye_x"], self.v - look["eye_y"]
        arc = 1 - (dx / look["eye_width"]) ** 2
        narrowed = 0.42 * au["au7"] + 0.20 * au["au6"] + 0.15 * au["au4"]
        upper = 0.078 * look["eye_open"] * (1 + 0.75 * au["au5"] - narrowed)
        lower = 0.052 * look["eye_open"] * (1 + 0.20 * au["au5"] - 0.55 * au["au7"] - 0.75 * au["au6"])
        upper_edge, lower_edge = dy + upper * arc, dy - lower * arc
        opening = _inside(np.maximum(-upper_edge, lower_edge)) * (arc > 0)
        self._paint(opening, 0.55 + 0.45 * look["skin"])
        iris_x = dx - np.sign(self.u) * look["gaze"]  # the two eyes look the same way, so one of them mirrors
        radius = np.sqrt(iris_x**2 + (dy + 0.008) ** 2)
        self._paint(opening * _inside(radius - 0.072), look["iris"])
        self._paint(opening * _inside(radius - 0.030), 0.03)
        lashes = _window(dx, look["eye_width"])
        self._darken(0.72 * _line(upper_edge) * lashes)
        self._darken((0.28 * _line(lower_edge) + 0.22 * _line(upper_edge + 0.055)) * lashes)  # and the fold above
        self._darken(0.30 * au["au6"] * _line(dy - 0.11 - 0.5 * dx**2) * lashes)  # the pouch that a smile pushes up

    def _brows(self) -> None:
        look, au = self.look, self.au
        inner_x, outer_x = 0.13 - 0.045 * au["au4"], 0.53
        along = ((self.side - inner_x) / (outer_x - inner_x)).clip(0, 1)
        inner_y = look["brow_y"] + look["brow_tilt"] - 0.120 * au["au1"] + 0.110 * au["au4"] + 0.05 * au["au9"]
        outer_y = look["brow_y"] - 0.105 * au["au2"] + 0.02 * au["au4"]
        arch = look["brow_arch"] + 0.02 * au["au2"]
        middle_y = inner_y + (outer_y - inner_y) * along - 4 * arch * along * (1 - along)
        overshoot = np.maximum(inner_x - self.side, self.side - outer_x).clip(0)
        distance = np.hypot(self.v - middle_y, overshoot) - look["brow_thick"] * (1.15 - 0.75 * along)
        self._paint(0.88 * _inside(distance), 0.75 * look["hair"])

    def _nose(self) -> None:
        look, au = self.look, self.au
        tip_y, width = look["nose_y"] - 0.06 * au["au9"], look["nose_width"] * (1 + 0.25 * au["au9"] + 0.1 * au["au12"])
        bridge = _window(self.v + 0.02, tip_y + 0.05)
        self.tone += 0.06 * bridge * _blob(self.u / 0.06)
        shaded = self.u * np.sign(self.shot["light_x"])  # the flank away from the light
        self._darken(0.22 * bridge * _blob((shaded + 0.085) / 0.045))
        self._darken(0.30 * _line(self.v - tip_y - 0.055 + 1.2 * self.side**2) * _window(self.side, width))
        self._darken(0.55 * _blob((self.side - 0.55 * width) / 0.035, (self.v - tip_y - 0.045) / 0.022))  # nostrils
        wing = _line(np.hypot((self.side - width + 0.015) / 0.7, self.v - tip_y - 0.015) - 0.045)
        self._darken((0.16 + 0.22 * au["au9"]) * wing * (self.side > width - 0.02))

    def _mouth(self) -> None:
        """An opening between two lips; corners go up (12) or down (15), lips stretch (20), tighten (23) and part."""
        look, au = self.look, self.au
        stretch = 0.32 * au["au12"] + 0.26 * au["au20"] - 0.12 * au["au23"] - 0.20 * au["au26"] + 0.05 * au["au15"]
        across = (self.u / (look["mouth_width"] * (1 + stretch))).clip(-1.25, 1.25)
        arc = 1 - across**2
        bend = look["mouth_bend"] - 0.135 * au["au12"] + 0.115 * au["au15"] + 0.02 * au["au20"] + 0.03 * au["au17"]
        middle = look["mouth_y"] - 0.035 * au["au17"] - 0.02 * au["au10"] - 0.5 * bend + bend * across**2
        part = (0.075 + 0.075 * au["au12"]) * au["au25"] + 0.26 * au["au26"]
        top = middle - (0.18 * part + 0.075 * au["au10"]) * arc.clip(0)
        bottom = middle + (0.82 * part + 0.012 * au["au10"]) * arc.clip(0)
        lip = look["lip"] * (1 - 0.62 * au["au23"]) + 0.012 * au["au17"]
        self._lips(top, bottom, arc, lip)
        self._opening(top, bottom, arc)

    def _lips(self, top: Array, bottom: Array, arc: Array, lip: Array) -> None:
        tone = self.look["lip_tone"] * self.look["skin"]
        body = np.maximum(top - 0.85 * lip * arc - self.v, self.v - bottom - 1.15 * lip * arc)
        self._paint(0.9 * _inside(body) * (arc > 0), tone)
        self._darken(0.22 * _line(self.v - bottom - 1.15 * lip * arc - 0.04) * _blob(self.u / 0.16))

    def _opening(self, top: Array, bottom: Array, arc: Array) -> None:
        gap = _inside(np.maximum(top - self.v, self.v - bottom)) * (arc > 0)
        self._paint(gap, 0.10)
        shown = (0.9 * self.au["au12"] + 0.7 * self.au["au10"] + 0.7 * self.au["au20"] + 0.25).clip(0, 1)
        teeth = _inside(self.v - top - 0.075) * _inside(top + 0.012 - self.v) * _inside(self.v - bottom + 0.012)
        self._paint(shown * teeth * gap, 0.55 + 0.4 * self.look["skin"])
        self._darken(0.62 * _line(self.v - 0.5 * (top + bottom)) * (arc > 0) * (bottom - top < 0.03))
        self._darken(0.45 * _blob((arc - 0.02) / 0.16, (self.v - 0.5 * (top + bottom)) / 0.028))  # the corners

    def _beard(self) -> None:
        worn = self.look["stubble"] * (self.look["beard"] < BEARD_SHARE)
        cheek = np.hypot(self.u / 0.60, (self.v - 0.06) / 0.56) - 1
        moustache = np.hypot(self.u / 0.25, (self.v - self.look["mouth_y"] + 0.10) / 0.07) - 1
        grown = np.maximum(_ramp(cheek, 0.25) * _ramp(self.v - 0.12, 0.3), 0.9 * _ramp(-moustache, 0.6))
        self._paint(worn * self.head * grown, self.look["hair"])

    def _front_hair(self) -> None:
        look = self.look
        temple = (self.x / look["head_width"]) ** 2
        line = look["hairline"] + look["fringe"] * self.x**2 + look["parting"] * self.x + 0.5 * temple**4
        strands = 1 + 0.12 * np.sin(19 * self.x + 40 * look["parting"] * self.y)
        scalp = _inside((np.sqrt((self.x / (look["head_width"] + 0.05)) ** 2 + (self.y / 1.03) ** 2) - 1) * 0.8)
        self._paint(_inside(0.7 * (self.y - line)) * scalp, look["hair"] * strands)

    def _glasses(self) -> None:
        frame = np.hypot((self.side - self.look["eye_x"]) / 1.15, self.v - self.look["eye_y"] - 0.01) - 0.185
        bridge = _line(self.v - self.look["eye_y"]) * _window(self.side, 0.10)
        self._paint(0.8 * np.maximum(_line(frame), bridge) * (self.look["glasses"] < GLASSES_SHARE), 0.12)

    def _light(self) -> None:
        """Shade the head as a ball under one lamp; the backdrop gets a third of it."""
        shot = self.shot
        nx, ny = (self.x / 0.85).clip(-1, 1), (self.y / 1.1).clip(-1, 1)
        facing = nx * shot["light_x"] + ny * shot["light_y"] + 0.6 * np.sqrt((1 - nx**2 - ny**2).clip(0)) - 0.45
        self.tone *= 1 + shot["shading"] * facing * (0.33 + 0.67 * self.head)
        self.tone = 0.5 + shot["contrast"] * (self.tone - 0.5) + shot["brightness"]

    def _occluder(self) -> None:
        """A few faces are cut by a hand, a scarf or the frame: a plain half-plane."""
        angle = self.shot["occluder_angle"]
        across = self.x * np.cos(angle) + self.y * np.sin(angle)
        hidden = (self.shot["occluder"] < OCCLUDED_SHARE) * _inside(self.shot["occluder_edge"] - across)
        self._paint(hidden, self.shot["occluder_tone"])


def _head_grid(shot: Params) -> tuple[Array, Array]:
    """Head coordinates of every pixel centre: the shot's shift, scale and roll undone. Each (B, H, W)."""
    axis = ((np.arange(SIDE, dtype=np.float32) + 0.5) * _PIXEL - 1).astype(np.float32)
    x, y = axis[None, None, :] - shot["shift_x"], axis[None, :, None] - shot["shift_y"]
    cos, sin = np.cos(shot["roll"]) / shot["scale"], np.sin(shot["roll"]) / shot["scale"]
    return x * cos + y * sin, y * cos - x * sin


def _ramp(distance: Array, width: float) -> Array:
    return (0.5 + distance / width).clip(0, 1)


def _inside(distance: Array) -> Array:
    """Mask of a signed distance: 1 inside (negative), 0 outside, one pixel of slope between."""
    return (0.5 - distance / _PIXEL).clip(0, 1)


def _line(distance: Array) -> Array:
    """Mask of a soft line about two pixels wide along distance 0."""
    return (1 - np.abs(distance) / (1.1 * _PIXEL)).clip(0, 1)


def _window(distance: Array, half_width: Array | float) -> Array:
    """1 within `half_width`, falling to 0 over two pixels: where a line starts and ends."""
    return (0.5 + (half_width - np.abs(distance)) / (2 * _PIXEL)).clip(0, 1)


def _blob(dx: Array, dy: Array | float = 0.0) -> Array:
    """A Gaussian spot; with one distance, a Gaussian band."""
    return np.asarray(np.exp(-(dx**2) - dy**2))


def _blur(tone_BHW: Array, strength: Array) -> Array:
    """A 3 x 3 binomial blur, mixed in by `strength` (0 none, 1 full), edges repeated."""
    pixels = np.arange(SIDE)
    for axis in (1, 2):
        before, after = (tone_BHW.take((pixels + step).clip(0, SIDE - 1), axis) for step in (-1, 1))
        tone_BHW = tone_BHW + strength * (0.25 * (before + after) - 0.5 * tone_BHW)
    return tone_BHW
