"""The nuclei of a field of view: where they lie, how large they are, and how dark."""

from dataclasses import dataclass

import numpy as np

from hf_breakhis.data.twin.anatomy import Field
from hf_breakhis.data.twin.canvas import Canvas, normal, uniform
from hf_breakhis.data.twin.traits import Traits


@dataclass(frozen=True)
class Nuclei:
    """One entry per nucleus; lengths in micrometres."""

    x: np.ndarray
    y: np.ndarray
    radius: np.ndarray
    aspect: np.ndarray
    angle: np.ndarray
    dark: np.ndarray
    dent: np.ndarray
    pale: np.ndarray


def place_nuclei(canvas: Canvas, traits: Traits, field: Field) -> Nuclei:
    """Put nuclei of epithelium, stroma and inflammation where the maps want them."""
    kinds = [_epithelial(canvas, traits, field), _stromal(canvas, traits, field), _round(canvas, traits, field)]
    return Nuclei(*(np.concatenate(values) for values in zip(*kinds, strict=True)))


def draw_nuclei(canvas: Canvas, traits: Traits, nuclei: Nuclei) -> tuple[np.ndarray, np.ndarray]:
    """Return the haematoxylin that nuclei take up, and the share of each pixel they cover."""
    stretch = np.sqrt(nuclei.aspect)
    long, short = nuclei.radius * stretch, nuclei.radius / stretch
    # A nucleus smaller than a pixel is drawn a pixel wide and paler, so that the ink stays the same.
    least = 0.6 * canvas.pixel
    ink = np.minimum(1, long / least) * np.minimum(1, short / least)
    long, short = np.maximum(long, least), np.maximum(short, least)
    stamps = canvas.stamps(nuclei.x, nuclei.y, 1.12 * long + 0.5 * canvas.pixel)
    e = stamps.element
    cosine, sine = np.cos(nuclei.angle), np.sin(nuclei.angle)
    u = stamps.dx * (cosine / long)[e] + stamps.dy * (sine / long)[e]
    v = stamps.dy * (cosine / short)[e] - stamps.dx * (sine / short)[e]
    square = u * u + v * v + nuclei.dent[e] * u * (u * u - 3 * v * v)
    hit = square < 2.2
    e, pixel, square, u, v = e[hit], stamps.pixel[hit], square[hit], u[hit], v[hit]
    ratio = np.sqrt(np.maximum(square, 0))
    soft = np.maximum(canvas.pixel, 0.35) / short
    cover = np.clip((1 - ratio) / soft[e] + 0.5, 0, 1) * ink[e]
    rim = 1 - nuclei.pale[e] * (0.75 - 1.1 * square * square)
    density = cover * nuclei.dark[e] * rim
    if canvas.pixel < 0.8:
        spot = (u - 0.25) ** 2 + (v + 0.1) ** 2
        density += cover * 0.8 * nuclei.pale[e] * np.clip(1.6 - 28 * spot, 0, 1)
    size, shape = canvas.width * canvas.height, (canvas.height, canvas.width)
    ink_map, cover_map = (_gather(pixel, values, size, canvas.pixel).reshape(shape) for values in (density, cover))
    grit = 1 + 0.2 * traits.chromatin * (0.6 * canvas.noise(41, 0.8) + canvas.noise(42, 1.9))
    return 1.6 * np.tanh(ink_map / 1.6) * np.clip(grit, 0.3, 2), np.minimum(cover_map, 1)


def _gather(pixel: np.ndarray, values: np.ndarray, size: int, width: float) -> np.ndarray:
    """Join what nuclei leave in each pixel: many small ones add up, of large ones the darker lies on top."""
    if width > 1.5:
        return np.bincount(pixel, values, size).astype(np.float32)
    joined = np.zeros(size, np.float32)
    np.maximum.at(joined, pixel, values.astype(np.float32))
    return joined


def _epithelial(canvas: Canvas, traits: Traits, field: Field) -> list[np.ndarray]:
    """Nuclei of glands and tumour: in rows under the lumen where there is order, crowded and uneven where not."""
    grade = traits.malignancy
    radius = (3.0 + 2.2 * grade) * traits.nucleus * field.plan.cell
    pitch = 2 * radius * (1.12 - 0.10 * grade) / np.sqrt(traits.cellularity)
    x, y, point = canvas.points(31, pitch, 3 * radius, jitter=0.6)
    depth, lumen = canvas.at(field.depth, x, y), canvas.at(field.lumen, x, y)
    kept = (depth > 0.5 * radius) & (lumen < -0.6 * radius) & (uniform(point, 1) < 0.94 - 0.12 * grade)
    x, y, point, depth = x[kept], y[kept], point[kept], depth[kept]
    down, right = (canvas.at(slope, x, y) for slope in np.gradient(field.depth, canvas.pixel))
    steep = np.maximum(np.sqrt(down**2 + right**2), 0.3)
    row = np.floor(depth / (2.3 * radius)) * 2.3 * radius + 1.25 * radius
    shift = field.order * (row - depth) / steep
    shift *= depth < 4 * radius
    uneven = 0.06 + 0.22 * grade
    size = radius * np.exp(np.clip(uneven * normal(point, 2), -0.5, 0.7))
    long = 1 + (0.30 + 0.25 * uniform(point, 3)) * traits.elongation * np.exp(0.3 * normal(point, 7) * grade)
    across = np.arctan2(down, right)
    angle = across + (1.2 - field.order) * 1.6 * normal(point, 4)
    dark = (0.80 + 0.12 * normal(point, 5)) * (0.76 + 0.54 * grade * (1 + 0.3 * normal(point, 8)))
    dent = np.clip((0.05 + 0.09 * grade) * normal(point, 6), -0.24, 0.24)
    pale = np.clip(0.10 + 0.42 * grade + 0.12 * normal(point, 9), 0, 0.75)
    x, y = x + shift * right / steep, y + shift * down / steep
    return [x, y, size, long, angle, np.clip(dark, 0.35, 1.4), dent, pale]


def _stromal(canvas: Canvas, traits: Traits, field: Field) -> list[np.ndarray]:
    """Spindle nuclei that lie along the fibres."""
    pitch = 15.5 / np.sqrt(field.plan.spindle * traits.cellularity)
    x, y, point = canvas.points(32, pitch, 12)
    solid = (field.depth < -3) | (field.core & (field.lumen > 3))
    solid &= (field.void < 0.3) & (field.mucin < 0.3) & (field.fat < 1)
    kept = canvas.at(solid, x, y) & (uniform(point, 1) < 0.5)
    x, y, point = x[kept], y[kept], point[kept]
    grade = traits.malignancy
    size = (2.5 + 1.0 * grade) * traits.nucleus * np.exp((0.12 + 0.12 * grade) * normal(point, 2))
    long = 1.5 + (2.6 - 1.2 * grade) * uniform(point, 3) * traits.elongation
    angle = canvas.at(field.angle, x, y) + (0.12 + 0.6 * grade) * normal(point, 4)
    dark = np.clip(0.75 + 0.2 * normal(point, 5), 0.3, 1.3)
    return [x, y, size, long, angle, dark, 0.05 * normal(point, 6), 0.1 + 0.2 * uniform(point, 7)]


def _round(canvas: Canvas, traits: Traits, field: Field) -> list[np.ndarray]:
    """Small dark round nuclei of inflammation, in swarms."""
    swarm = canvas.noise(33, 90) + 0.6 * canvas.noise(34, 30)
    x, y, point = canvas.points(35, 7.5, 6)
    free = (field.depth < 0) & (field.void < 0.3) & (field.mucin < 0.5) & (field.fat < 0)
    dense = canvas.at(swarm, x, y) + 0.5 * normal(point, 1) > 2.75 - 0.8 * traits.malignancy
    kept = dense & canvas.at(free, x, y)
    x, y, point = x[kept], y[kept], point[kept]
    size = 2.6 * np.exp(0.08 * normal(point, 2))
    ones = np.ones_like(size)
    return [x, y, size, 1.1 * ones, 0 * ones, 1.05 + 0.1 * normal(point, 3), 0 * ones, 0 * ones]
