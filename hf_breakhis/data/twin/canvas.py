"""A window on an endless plane of random numbers, measured in micrometres.

Every random number hangs on a lattice point of the plane and on a key, never on pixels or on the order of calls. So
the same plane can be looked at through any magnification and any number of pixels.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from scipy import sparse

_VARIANCE = 151 / 315  # of a cubic B-spline through white noise, along one axis


@dataclass(frozen=True)
class Stamps:
    """The pixels under a list of elements, element after element: where they are and whose they are."""

    pixel: np.ndarray
    element: np.ndarray
    dx: np.ndarray
    dy: np.ndarray


@dataclass(frozen=True)
class Canvas:
    """Pixels of `pixel` micrometres around the point (0, 0) of the plane that `key` names."""

    key: int
    width: int
    height: int
    pixel: float

    @cached_property
    def x(self) -> np.ndarray:
        """Centres of the columns in micrometres."""
        return _centres(self.width, self.pixel).astype(np.float32)

    @cached_property
    def y(self) -> np.ndarray:
        """Centres of the rows in micrometres."""
        return _centres(self.height, self.pixel).astype(np.float32)

    def noise(self, layer: int, size: float) -> np.ndarray:
        """Return smooth noise with blobs of about `size` micrometres, mean 0 and variance 1.

        Each pixel holds the mean over its area, so that noise finer than a pixel fades away as it does in a camera.
        """
        if size < self.pixel / 3:
            return np.zeros((self.height, self.width), np.float32)
        rows, first_row, num_rows = _weights(self.height, self.pixel, size)
        columns, first_column, num_columns = _weights(self.width, self.pixel, size)
        lattice = self._lattice(layer, first_column, first_row, num_columns, num_rows)
        return np.ascontiguousarray((columns @ np.ascontiguousarray((rows @ lattice).T)).T)

    def sample(self, layer: int, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Return noise of variance about 1 at the points (u, v), given in units of its blobs."""
        column, row = np.floor(u), np.floor(v)
        first_column, first_row = int(column.min()), int(row.min())
        width, height = int(column.max()) - first_column + 2, int(row.max()) - first_row + 2
        lattice = (self._lattice(layer, first_column, first_row, width, height) * np.float32(1.35 * _VARIANCE)).ravel()
        right, down = _ease(u - column), _ease(v - row)
        corner = (row - first_row).astype(np.int32) * width + (column - first_column).astype(np.int32)
        upper = lattice[corner]
        upper += right * (lattice[corner + 1] - upper)
        lower = lattice[corner + width]
        lower += right * (lattice[corner + width + 1] - lower)
        result: np.ndarray = upper + down * (lower - upper)
        return result

    def points(
        self, layer: int, pitch: float, margin: float, jitter: float = 0.85
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return x, y and hash of a jittered point per cell of `pitch` micrometres, `margin` beyond the edges too."""
        first = [int(np.floor((axis[0] - margin) / pitch)) for axis in (self.x, self.y)]
        last = [int(np.ceil((axis[-1] + margin) / pitch)) for axis in (self.x, self.y)]
        column, row = np.meshgrid(np.arange(first[0], last[0] + 1), np.arange(first[1], last[1] + 1))
        point = self._hash(layer, column, row).ravel()
        x = (column.ravel() + 0.5 * (row.ravel() % 2) + jitter * uniform(point, 101)) * pitch
        y = (row.ravel() + jitter * uniform(point, 102)) * pitch
        return x.astype(np.float32), y.astype(np.float32), point

    def at(self, values: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Look `values` up at the nearest pixel of each point; outside the window at its edge."""
        column = np.clip((x / self.pixel + self.width / 2).astype(np.int64), 0, self.width - 1)
        row = np.clip((y / self.pixel + self.height / 2).astype(np.int64), 0, self.height - 1)
        return values[row, column]

    def stamps(self, x: np.ndarray, y: np.ndarray, radius: np.ndarray) -> Stamps:
        """List the pixels within the square of half-width `radius` around each point."""
        left = np.clip(np.floor((x - radius) / self.pixel + self.width / 2), 0, self.width).astype(np.int64)
        right = np.clip(np.ceil((x + radius) / self.pixel + self.width / 2), 0, self.width).astype(np.int64)
        top = np.clip(np.floor((y - radius) / self.pixel + self.height / 2), 0, self.height).astype(np.int64)
        bottom = np.clip(np.ceil((y + radius) / self.pixel + self.height / 2), 0, self.height).astype(np.int64)
        wide, count = right - left, (right - left) * (bottom - top)
        element = np.repeat(np.arange(len(x)), count)
        within = np.arange(len(element)) - np.repeat(np.cumsum(count) - count, count)
        down = within // wide[element]
        row, column = top[element] + down, left[element] + within - down * wide[element]
        dx, dy = self.x[column] - x[element], self.y[row] - y[element]
        return Stamps(row * self.width + column, element, dx, dy)

    def _hash(self, layer: int, column: np.ndarray, row: np.ndarray) -> np.ndarray:
        """Return 32 random bits per lattice point; an integer hash is far quicker here than a generator per point."""
        start = np.uint32((self.key + 0x9E3779B9 * layer) & 0xFFFFFFFF)
        high = np.uint32((self.key >> 32) & 0xFFFFFFFF)
        bits = _mix(column.astype(np.uint32) * np.uint32(0x85EBCA6B) + start)
        return _mix(bits ^ (row.astype(np.uint32) * np.uint32(0xC2B2AE35) + high))

    def _lattice(self, layer: int, column: int, row: int, num_columns: int, num_rows: int) -> np.ndarray:
        columns, rows = np.arange(column, column + num_columns), np.arange(row, row + num_rows)
        bits = self._hash(layer, columns[None, :], rows[:, None])
        return (_unit(bits) - np.float32(0.5)) * np.float32(12**0.5 / _VARIANCE)


@lru_cache(maxsize=512)
def _weights(count: int, pixel: float, size: float) -> tuple[sparse.csr_array, int, int]:
    """Return the matrix from lattice values to pixels along one axis, its first lattice point and their number."""
    parts = min(8, int(np.ceil(2 * pixel / size)))
    offsets = (np.arange(parts) + 0.5) / parts - 0.5
    position = (_centres(count, pixel)[:, None] + offsets * pixel) / size
    base = np.floor(position).astype(np.int64)
    t = position - base
    taps = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], axis=-1)
    lattice = base[..., None] + np.arange(-1, 3)
    first = int(lattice.min())
    length = int(lattice.max()) - first + 1
    starts = np.arange(count + 1) * 4 * parts
    values = (taps / (6 * parts)).astype(np.float32).ravel()
    return sparse.csr_array((values, (lattice - first).ravel(), starts), shape=(count, length)), first, length


def _centres(count: int, pixel: float) -> np.ndarray:
    return (np.arange(count) + 0.5 - count / 2) * pixel


def uniform(point: np.ndarray, channel: int) -> np.ndarray:
    """Return a number in [0, 1) for each hash; another `channel` gives another, unrelated one."""
    return _unit(_mix(point + np.uint32((0x27D4EB2F * channel) & 0xFFFFFFFF)))


def normal(point: np.ndarray, channel: int) -> np.ndarray:
    """Return a number from a bell curve of variance 1 for each hash (a sum of three uniform ones, so within 3)."""
    first, second, third = (uniform(point, 1000 + 3 * channel + part) for part in range(3))
    result: np.ndarray = 2 * (first + second + third - np.float32(1.5))
    return result


def smoothstep(low: float | np.ndarray, high: float | np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return 0 below `low`, 1 above `high` and a smooth climb between."""
    return _ease(np.clip((values - low) / (high - low), 0, 1))


def _unit(bits: np.ndarray) -> np.ndarray:
    return (bits >> np.uint32(8)).astype(np.float32) * np.float32(2**-24)


def _ease(t: np.ndarray) -> np.ndarray:
    result: np.ndarray = t * t * (3 - 2 * t)
    return result


def _mix(bits: np.ndarray) -> np.ndarray:
    bits = (bits ^ (bits >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    bits = (bits ^ (bits >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    result: np.ndarray = bits ^ (bits >> np.uint32(16))
    return result
