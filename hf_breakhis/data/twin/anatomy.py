"""Where a field of view holds stroma, epithelium, lumen, fat and mucin, by tumour type."""

from dataclasses import dataclass, replace

import numpy as np

from hf_breakhis.data.twin.canvas import Canvas, normal, smoothstep, uniform
from hf_breakhis.data.twin.traits import ORDINARY, Traits

FAR = 40.0  # micrometres beyond which the distance to epithelium no longer matters


@dataclass(frozen=True)
class Plan:
    """The architecture of one tumour type in a few strokes; lengths in micrometres.

    Attributes:
        pitch: distance between glands or nests.
        fill: share of the places that hold one.
        radius: smallest and largest outer radius.
        aspect: largest ratio of length to width.
        wall: thickness of the epithelium.
        hollow: share of glands with a lumen; the others are solid.
        lobule: size of the groups that glands stand in; 0 spreads them evenly.
        core: what glands hold inside, "lumen" or "stroma" (papillary fronds).
        around: what lies around them, "stroma", "mucin" or "space".
        slits: distance between the clefts of a leaf-like or slit-like growth; 0 for none.
        slit_width: width of those clefts.
        cords: distance between single files of cells; 0 for none.
        sheets: share of the area that is solid tumour.
        spindle: density of stromal cells, 1 for ordinary stroma.
        cell: size of an epithelial nucleus, 1 for ordinary ones.
    """

    pitch: float = 380.0
    fill: float = 0.5
    radius: tuple[float, float] = (25.0, 60.0)
    aspect: float = 1.8
    wall: float = 13.0
    hollow: float = 0.95
    lobule: float = 0.0
    core: str = "lumen"
    around: str = "stroma"
    slits: float = 0.0
    slit_width: float = 0.0
    cords: float = 0.0
    sheets: float = 0.0
    spindle: float = 1.0
    cell: float = 1.0


PLANS = {
    ORDINARY: Plan(),
    "A": Plan(84, 0.9, (19, 48), 1.7, 12, 0.9, lobule=260),
    "F": Plan(150, 0.55, (16, 34), 2.6, 13, 0.8, slits=300, slit_width=9, spindle=1.5),
    "PT": Plan(420, 0.3, (20, 40), 2.0, 14, 0.8, slits=520, slit_width=46, spindle=2.6),
    "TA": Plan(58, 0.95, (20, 31), 1.3, 12, 0.85, lobule=420),
    "DC": Plan(105, 0.8, (26, 66), 2.2, 17, 0.35, sheets=0.28, cell=1.12),
    "LC": Plan(330, 0.3, (20, 40), 1.6, 12, 0.4, cords=27, cell=0.95),
    "MC": Plan(120, 0.6, (18, 52), 2.0, 15, 0.2, around="mucin"),
    "PC": Plan(92, 0.95, (26, 56), 2.6, 17, 1.0, core="stroma", around="space"),
}


@dataclass(frozen=True)
class Field:
    """Maps of one field of view.

    Attributes:
        depth: micrometres inside the epithelium's outer edge; negative outside, at least -`FAR`.
        lumen: micrometres inside the inner edge; negative in the epithelium.
        core: True where glands hold stroma, not a lumen.
        fat: micrometres inside a fat cell; negative outside.
        void: 0 to 1, empty glass.
        mucin: 0 to 1, a lake of mucin.
        along: coordinate along the collagen fibres.
        across: coordinate across them.
        angle: direction of the fibres in radians.
        order: 0 to 1, how strictly epithelial nuclei stand in rows.
        plan: the architecture.
    """

    depth: np.ndarray
    lumen: np.ndarray
    core: np.ndarray
    fat: np.ndarray
    void: np.ndarray
    mucin: np.ndarray
    along: np.ndarray
    across: np.ndarray
    angle: np.ndarray
    order: float
    plan: Plan


def lay_out(canvas: Canvas, traits: Traits) -> Field:
    """Build the maps of one field."""
    plan, grade = PLANS[traits.look], traits.malignancy
    plan = replace(plan, hollow=plan.hollow * (1.2 - grade), wall=plan.wall * (0.85 + 0.45 * grade))
    along, across, angle = _fibres(canvas, traits)
    # Whoever takes the picture puts the lesion in the middle.
    aim = np.exp(-(canvas.x[None, :] ** 2 + canvas.y[:, None] ** 2) / (2 * 130.0**2))
    aim *= traits.look != ORDINARY
    zone = canvas.noise(1, 330) + 0.5 * canvas.noise(2, 130) + 1.2 * aim
    depth, lumen = _glands(canvas, plan, grade, zone, aim)
    if plan.slits:
        _add_slits(canvas, plan, aim, depth, lumen)
    if plan.cords:
        _add_cords(canvas, plan, aim, along, across, depth)
    if plan.sheets:
        sheet = canvas.noise(3, 120) + 0.35 * canvas.noise(4, 35) + 0.8 * aim - (1.0 - 2.4 * plan.sheets)
        np.maximum(depth, np.clip(sheet * 45, -FAR, FAR), out=depth)
        lumen -= FAR * smoothstep(0.0, 0.3, sheet)
    void, mucin = _spaces(canvas, plan, traits, zone, depth)
    fat = _fat(canvas, traits, depth)
    core = (lumen > 0) if plan.core == "stroma" else np.zeros(depth.shape, bool)
    across = across - 9 * (1 - 0.6 * grade) * smoothstep(-18.0, 0.0, depth)
    return Field(depth, lumen, core, fat, void, mucin, along, across, angle, 0.95 - 0.75 * grade, plan)


def _fibres(canvas: Canvas, traits: Traits) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return coordinates along and across wavy collagen, and its direction."""
    base = np.float32(2 * np.pi * (traits.field_key % 4093) / 4093)
    # Collagen lies in parallel beside benign glands and is drawn this way and that by a carcinoma.
    unrest = 0.35 + 2.2 * traits.malignancy
    bend = 120 * canvas.noise(5, 420) + unrest * (30 * canvas.noise(6, 110) + 12 * canvas.noise(8, 45))
    wave = 4.0 * traits.waviness * unrest * canvas.noise(7, 22)
    x, y = canvas.x[None, :], canvas.y[:, None]
    along = np.cos(base) * x + np.sin(base) * y
    across = -np.sin(base) * x + np.cos(base) * y + bend
    down, right = np.gradient(across, canvas.pixel)
    return along, across + wave, np.arctan2(-right, down)


def _glands(
    canvas: Canvas, plan: Plan, grade: float, zone: np.ndarray, aim: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the depth in glands and nests, and in their lumina."""
    largest = plan.radius[1] * plan.aspect**0.5
    x, y, point = canvas.points(11, plan.pitch, 2 * largest + 20)
    kept = uniform(point, 1) < plan.fill + 0.5 * canvas.at(aim, x, y)
    if plan.lobule:
        kept &= canvas.at(zone, x, y) > -0.55
    x, y, point = x[kept], y[kept], point[kept]
    radius = plan.radius[0] + (plan.radius[1] - plan.radius[0]) * uniform(point, 2) ** 1.5
    stretch = np.sqrt(1 + (plan.aspect - 1) * uniform(point, 3))
    turn = 2 * np.pi * uniform(point, 4)
    solid = uniform(point, 5) > plan.hollow
    wall = plan.wall * (0.85 + 0.3 * uniform(point, 6)) + 1000 * solid
    # Malignant outlines are ragged: the coordinates are bent, coarsely and finely, before the ellipses are drawn.
    rough = 0.07 + 0.30 * grade
    size = max(18.0, 0.8 * plan.radius[1])
    bend_x, bend_y = (rough * plan.radius[1] * canvas.noise(layer, size) for layer in (12, 13))
    fine = (1.0 + 3.5 * grade) * canvas.noise(14, 11)
    stamps = canvas.stamps(x, y, radius * stretch + 2.3 * rough * plan.radius[1] + 14)
    e, pixel = stamps.element, stamps.pixel
    dx, dy = stamps.dx + bend_x.ravel()[pixel], stamps.dy + bend_y.ravel()[pixel]
    cosine, sine = np.cos(turn)[e], np.sin(turn)[e]
    u, v = (cosine * dx + sine * dy) / stretch[e], (cosine * dy - sine * dx) * stretch[e]
    inside = (radius[e] - np.sqrt(u * u + v * v)).astype(np.float32)
    depth = np.full(canvas.height * canvas.width, -FAR, np.float32)
    np.maximum.at(depth, pixel, inside)
    lumen = np.full_like(depth, -FAR)
    top = inside >= depth[pixel]
    lumen[pixel[top]] = np.maximum(inside - wall[e], -FAR)[top]
    shape = zone.shape
    return depth.reshape(shape) + fine, lumen.reshape(shape) + 0.6 * fine


def _add_slits(canvas: Canvas, plan: Plan, aim: np.ndarray, depth: np.ndarray, lumen: np.ndarray) -> None:
    """Cut clefts lined by epithelium along the zero lines of a smooth field, as stroma grows into ducts."""
    height = canvas.noise(15, plan.slits / 2) + 0.12 * canvas.noise(16, plan.slits / 9)
    height -= 0.9 * aim * height[canvas.height // 2, canvas.width // 2]
    down, right = np.gradient(height, canvas.pixel)
    steep = np.sqrt(down**2 + right**2)
    away = np.abs(height) / np.maximum(steep, 0.6 / plan.slits)
    open_ = canvas.noise(17, plan.slits / 2.5) + aim
    half = plan.slit_width * (0.5 + 0.45 * np.clip(open_, -1, 2))
    present = 60 * smoothstep(-0.2, -0.6, open_)
    np.maximum(depth, np.clip(half + plan.wall - away - present, -FAR, FAR), out=depth)
    np.maximum(lumen, np.clip(half - away - present, -FAR, FAR), out=lumen)


def _add_cords(
    canvas: Canvas, plan: Plan, aim: np.ndarray, along: np.ndarray, across: np.ndarray, depth: np.ndarray
) -> None:
    """Add single files of cells between the fibres."""
    wave = across + 5 * canvas.noise(18, 40)
    away = np.abs((wave / plan.cords) % 1 - 0.5) * plan.cords
    number = np.floor(wave / plan.cords)
    present = canvas.sample(19, along / 90, number * 7.0) + 0.6 * canvas.noise(20, 160) + aim
    np.maximum(depth, np.where(present > 0.15, 5.5 - away, -FAR), out=depth)


def _spaces(
    canvas: Canvas, plan: Plan, traits: Traits, zone: np.ndarray, depth: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return empty glass and mucin, which both keep clear of the epithelium."""
    clear = smoothstep(1.0, -4.0, depth)
    tear = canvas.noise(21, 260) + 0.4 * canvas.noise(22, 60) + 0.12 * canvas.noise(23, 12)
    void = smoothstep(0.0, 0.08, tear - 1.75 + 0.25 * traits.looseness) * smoothstep(-6, -14, depth)
    none = np.zeros_like(depth)
    if plan.around == "space":
        void = np.maximum(void, smoothstep(-0.5, -0.4, zone + 0.1 * canvas.noise(23, 12)) * clear)
    if plan.around == "mucin":
        return void, smoothstep(-0.45, -0.25, zone + 0.1 * canvas.noise(23, 12)) * clear
    return void, none


def _fat(canvas: Canvas, traits: Traits, depth: np.ndarray) -> np.ndarray:
    """Return the depth in fat cells, which press against each other in groups."""
    group = canvas.noise(24, 300)
    x, y, point = canvas.points(25, 62, 60, jitter=0.6)
    kept = canvas.at(group, x, y) > 1.6 - 0.4 * traits.fat
    kept &= canvas.at(depth, x, y) < -15
    x, y, point = x[kept], y[kept], point[kept]
    radius = 36 + 5 * normal(point, 1)
    bend_x, bend_y = 5 * canvas.noise(26, 30), 5 * canvas.noise(27, 30)
    stamps = canvas.stamps(x, y, radius + 12)
    e, pixel = stamps.element, stamps.pixel
    away = np.hypot(stamps.dx + bend_x.ravel()[pixel], stamps.dy + bend_y.ravel()[pixel])
    inside = (radius[e] - away).astype(np.float32)
    nearest, second = np.full((2, depth.size), -FAR, np.float32)
    np.maximum.at(nearest, pixel, inside)
    other = inside < nearest[pixel]
    np.maximum.at(second, pixel[other], inside[other])
    result: np.ndarray = np.minimum(nearest, 0.6 * (nearest - second)).reshape(depth.shape)
    return result
