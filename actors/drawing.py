"""Crafter's picture of a moment, from the names of the art on its tiles."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from crafter import constants, engine
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from actors.world import Cell

Pixels = NDArray[np.uint8]

_BAND_ROWS: Final = 64
"""Pixel rows shaded at once at night: whole large pictures would fall out of the CPU's cache."""


@dataclass(frozen=True)
class Light:
    """What the hour and sleep do to the colours: Crafter's own formulas, in its order."""

    daylight: float
    sleeping: bool
    noise: NDArray[np.float64] | None
    """Grey [y, x] in every pixel of the map at night; None by day."""

    def shade(self, pixels: Pixels) -> Pixels:
        """Colours [..., x, rgb] as seen. At night pixels are the whole map [y, x, rgb]."""
        if self.noise is None:
            return self._shade(pixels)
        weight = 2 * (0.5 - self.daylight) * _vignette(self.noise.shape)
        keep, grey = 1 - weight, weight * self.noise
        bands = [slice(y, y + _BAND_ROWS) for y in range(0, len(pixels), _BAND_ROWS)]
        return np.concatenate([self._shade(pixels[b], keep[b], grey[b]) for b in bands])

    def _shade(
        self,
        pixels: Pixels,
        keep: NDArray[np.float64] | None = None,
        grey: NDArray[np.float64] | None = None,
    ) -> Pixels:
        # In rows of plain numbers: numpy is several times slower over a last axis of three.
        day = pixels.reshape(-1, 3 * pixels.shape[-2])
        night: NDArray[Any] = day
        if keep is not None and grey is not None:
            night = np.repeat(keep, 3, axis=1) * day + np.repeat(grey, 3, axis=1)
        night = _tint(_saturate(night, 0.4), (0, 16, 64))
        seen = self.daylight * day + (1 - self.daylight) * night
        if self.sleeping:
            seen = _tint(_saturate(seen, 0.0), (0, 0, 16))
        return seen.astype(np.uint8).reshape(pixels.shape)


class Painter:
    """Draws at one size. Keeps the art of every tile and item that it has met.

    Stock Crafter tints and shades the whole picture. By day that is the same for equal tiles,
    so here each different tile is shaded once; at night the noise differs in every pixel.
    """

    def __init__(self, view: tuple[int, int], size: int) -> None:
        self._unit = size // view[0], size // view[1]
        if min(self._unit) < 2:
            raise ValueError(f"{size} pixels are too few for {view} tiles: give at least 2 a tile")
        self._view = view
        self._size = size
        self._tiles: dict[Cell, Pixels] = {}
        self._items: dict[tuple[str, int], Pixels] = {}
        self._nothing = np.zeros((self._unit[1], self._unit[0], 3), np.uint8)

    def map_shape(self, num_rows: int) -> tuple[int, int]:
        """Pixels (x, y) of a map of so many rows of tiles."""
        return self._view[0] * self._unit[0], num_rows * self._unit[1]

    def draw(
        self,
        cells: Sequence[Sequence[Cell]],
        inventory: Mapping[str, int],
        light: Light,
    ) -> Pixels:
        """The picture [y, x, rgb]: the map above, the inventory below."""
        kinds = {cell: i for i, cell in enumerate(dict.fromkeys(c for row in cells for c in row))}
        places = np.array([[kinds[cell] for cell in row] for row in cells])
        tiles = np.stack([self._tile(cell) for cell in kinds])
        if light.noise is None:
            world = _mosaic(light.shade(tiles), places)
        else:
            world = light.shade(_mosaic(tiles, places))
        frame = np.zeros((self._size, self._size, 3), np.uint8)
        left = (self._size - self._view[0] * self._unit[0]) // 2
        top = (self._size - self._view[1] * self._unit[1]) // 2
        strip = self._strip(inventory, self._view[1] - len(cells))
        middle = top + world.shape[0]
        frame[top:middle, left : left + world.shape[1]] = world
        frame[middle : middle + strip.shape[0], left : left + strip.shape[1]] = strip
        return frame

    def _tile(self, cell: Cell) -> Pixels:
        if cell not in self._tiles:
            ground, occupant = cell
            canvas = np.full((*self._unit, 3), 127, np.uint8)
            if ground is not None:
                engine._draw(canvas, (0, 0), _art().get(ground, self._unit))
            if occupant is not None:
                engine._draw_alpha(canvas, (0, 0), _art().get(occupant, self._unit))
            self._tiles[cell] = canvas.transpose(1, 0, 2)
        return self._tiles[cell]

    def _strip(self, inventory: Mapping[str, int], num_rows: int) -> Pixels:
        cells = [self._item(name, amount) for name, amount in inventory.items()]
        cells += [self._nothing] * (num_rows * self._view[0] - len(cells))
        return _mosaic(np.stack(cells), np.arange(len(cells)).reshape(num_rows, -1))

    def _item(self, name: str, amount: int) -> Pixels:
        key = name, amount
        if key not in self._items:
            cell = engine.ItemView(_art(), [1, 1])({name: amount}, np.array(self._unit))
            self._items[key] = cell.transpose(1, 0, 2)
        return self._items[key]


def _saturate(rows: NDArray[Any], amount: float) -> Pixels:
    image = Image.fromarray(rows.astype(np.uint8).reshape(len(rows), -1, 3))
    saturated: Pixels = np.asarray(ImageEnhance.Color(image).enhance(amount))
    return saturated.reshape(rows.shape)


def _tint(rows: Pixels, colour: tuple[int, int, int]) -> NDArray[np.float64]:
    return 0.5 * rows + 0.5 * np.tile(colour, rows.shape[1] // 3)


@functools.lru_cache(maxsize=8)
def _vignette(shape: tuple[int, int]) -> NDArray[np.float64]:
    """Weight of the noise [y, x]: none in the middle, most in the corners."""
    ys, xs = np.linspace(-1, 1, shape[0]), np.linspace(-1, 1, shape[1])
    weight: NDArray[np.float64] = 1 - np.exp(-0.5 * (xs**2 + ys[:, None] ** 2) / 0.5**2)
    return weight


def _mosaic(tiles: Pixels, places: NDArray[Any]) -> Pixels:
    """The picture [y, x, rgb] of tiles [kind, y, x, rgb] laid out by places [row, column]."""
    rows, columns = places.shape
    _, height, width, _ = tiles.shape
    laid: Pixels = tiles[places].transpose(0, 2, 1, 3, 4)
    return laid.reshape(rows * height, columns * width, 3)


@functools.cache
def _art() -> Any:
    """Crafter's textures, decoded once a process and resized once a size."""
    return engine.Textures(constants.root / "assets")


@functools.lru_cache(maxsize=8)
def painter(view: tuple[int, int], size: int) -> Painter:
    """The one painter of a size, shared by all games of a process."""
    return Painter(view, size)
