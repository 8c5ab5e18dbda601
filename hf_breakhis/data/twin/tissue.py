"""One picture of the twin: breast tissue stained with haematoxylin and eosin, drawn from a file name and a seed."""

import numpy as np

from hf_breakhis.data.filenames import BreakHisName, parse_file_name
from hf_breakhis.data.twin.anatomy import Field, lay_out
from hf_breakhis.data.twin.canvas import Canvas, normal, smoothstep
from hf_breakhis.data.twin.nuclei import draw_nuclei, place_nuclei
from hf_breakhis.data.twin.stain import photograph
from hf_breakhis.data.twin.traits import Traits, TwinSettings, traits_of

FIELD_WIDTH = 1750.0  # micrometres from left to right at 40X, so that nuclei are as large as in the real images


def draw_picture(name: BreakHisName | str, settings: TwinSettings) -> np.ndarray:
    """Return the picture of one file name as uint8 (height, width, 3).

    It depends on the settings and the name alone, whatever was drawn before and in whichever process.
    """
    if isinstance(name, str):
        name = parse_file_name(name)
    return paint(traits_of(name, settings), int(name.magnification.removesuffix("X")), settings.width, settings.height)


def paint(traits: Traits, magnification: int, width: int, height: int) -> np.ndarray:
    """Draw one field of view as a camera with `width` x `height` pixels sees it."""
    canvas = Canvas(traits.field_key, width, height, FIELD_WIDTH * 40 / magnification / width)
    field = lay_out(canvas, traits)
    ink, cover = draw_nuclei(canvas, traits, place_nuclei(canvas, traits, field))
    hematoxylin, eosin = _ground(canvas, traits, field)
    eosin += _blood(canvas, field)
    return photograph(canvas, traits, hematoxylin * (1 - 0.7 * cover) + ink, eosin * (1 - 0.55 * cover))


def _ground(canvas: Canvas, traits: Traits, field: Field) -> tuple[np.ndarray, np.ndarray]:
    """Return the stains that everything but the nuclei takes up."""
    edge = max(1.0, 0.7 * canvas.pixel)
    hematoxylin, eosin = _stroma(canvas, traits, field)
    epithelium = smoothstep(-edge, edge, field.depth)
    mottle = 0.07 * canvas.noise(61, 2.2) + 0.08 * canvas.noise(62, 6) + 0.07 * canvas.noise(65, 18)
    cell = np.clip(0.40 + mottle, 0.05, 1.2)
    inner = smoothstep(-edge, edge, field.lumen) * epithelium
    solid = epithelium * (1 - inner)
    hematoxylin += (0.42 * cell - hematoxylin) * solid
    eosin += (cell - eosin) * solid
    lumen = inner * ~field.core
    flake = np.clip(0.6 + 0.7 * canvas.noise(64, 2.5) + 0.6 * canvas.noise(67, 8), 0, 2)
    content = np.clip(0.35 * canvas.noise(63, 40) - 0.22, 0, 0.5) * flake
    eosin += (content - eosin) * lumen
    hematoxylin += (0.05 * content - hematoxylin) * lumen
    return np.maximum(hematoxylin, 0), np.maximum(eosin, 0)


def _stroma(canvas: Canvas, traits: Traits, field: Field) -> tuple[np.ndarray, np.ndarray]:
    """Collagen in wavy bundles with clefts between them, fat cells, mucin and empty glass."""
    calm = 0.55 + 0.45 * np.clip(canvas.noise(50, 120), -1, 1)
    bundle = (_strands(canvas, field, 51, 85.0, 11.0) + 0.8 * _strands(canvas, field, 52, 28.0, 4.0)) * calm
    fine = _strands(canvas, field, 53, 11.0, 1.3) + 0.8 * canvas.noise(57, 1.6)
    dense = 0.5 * canvas.noise(54, 170) + 0.35 * canvas.noise(58, 45) - 0.4 * traits.looseness
    web = 0.5 - 1.1 * np.abs(canvas.noise(59, 13) + 0.35 * canvas.noise(60, 4))
    loose = smoothstep(0.1, -0.8, dense)
    fibres = 0.42 + 0.12 * dense + (0.11 * bundle + 0.06 * fine) * (1 - 0.5 * loose)
    pink = fibres + loose * (0.14 * web - 0.04)
    gap = -1.2 - 0.6 * dense
    cleft = smoothstep(gap + 0.3, gap - 0.25, bundle + 0.25 * fine - 0.7 * loose * web)
    eosin = np.clip(pink, 0.06, 1.1) * (1 - 0.9 * cleft)
    hematoxylin = 0.06 - 0.02 * dense + 0.02 * fine + 0.03 * loose - 0.05 * cleft
    wisp = 0.04 * _strands(canvas, field, 56, 40.0, 6.0) + 0.03 * canvas.noise(55, 4) + 0.05 * canvas.noise(66, 40)
    wisp = np.clip(0.11 + wisp, 0, 1)
    hematoxylin += (0.8 * wisp - hematoxylin) * field.mucin
    eosin += (0.9 * wisp - eosin) * field.mucin
    edge = max(0.9, 0.7 * canvas.pixel)
    empty = np.maximum(smoothstep(1.0, 1.0 + 2 * edge, field.fat), field.void)
    return hematoxylin * (1 - empty), eosin * (1 - empty) + 0.01 * empty


def _blood(canvas: Canvas, field: Field) -> np.ndarray:
    """Return the eosin of red blood cells, which lie in small heaps between the fibres."""
    heap = canvas.noise(71, 70) + 0.5 * canvas.noise(72, 18)
    x, y, point = canvas.points(73, 5.6, 6)
    kept = (canvas.at(heap, x, y) > 2.45) & (canvas.at(field.depth, x, y) < -2) & (canvas.at(field.fat, x, y) < 0)
    x, y, point = x[kept], y[kept], point[kept]
    radius = 2.6 * np.exp(0.1 * normal(point, 1))
    stamps = canvas.stamps(x, y, radius + canvas.pixel)
    edge = (radius[stamps.element] - np.hypot(stamps.dx, stamps.dy)) / max(canvas.pixel, 0.5)
    amount = np.clip(edge + 0.5, 0, 1) * (0.75 + 0.15 * normal(point, 2))[stamps.element]
    return np.bincount(stamps.pixel, amount, field.depth.size).astype(np.float32).reshape(field.depth.shape)


def _strands(canvas: Canvas, field: Field, layer: int, length: float, width: float) -> np.ndarray:
    """Return fibrous noise of variance about 1, faded where strands are finer than a pixel."""
    seen = min(1.0, (width / canvas.pixel) ** 0.5)
    if seen < 0.4:
        return np.zeros_like(field.depth)
    return np.float32(seen) * canvas.sample(layer, field.along / length, field.across / width)
