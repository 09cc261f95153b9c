"""Examples side by side, as tensors.

Axes: B examples, L tokens, N pictures, P patches, D values of a patch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from learners.example import NO_LABEL, Example
from learners.language import Language


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows are padded on the right and need no mask: what is causal never sees the padding."""

    ids_BL: torch.Tensor
    labels_BL: torch.Tensor
    """As in Example; NO_LABEL also on the padding."""
    is_image_BL: torch.Tensor
    """Where a picture takes the place of a word."""
    positions_3BL: torch.Tensor
    """M-RoPE's time, height and width of each token."""
    patches_PD: torch.Tensor | None
    """Of the different pictures, each once."""
    grids_N3: torch.Tensor | None
    """Of the different pictures, each once: patches in time, down, across."""
    pictures: tuple[int, ...]
    """For each picture in the rows, in order: which of the different ones."""

    def to(self, device: str) -> "Batch":
        def move(tensor: torch.Tensor | None) -> torch.Tensor | None:
            return None if tensor is None else tensor.to(device, non_blocking=True)

        return Batch(
            self.ids_BL.to(device),
            self.labels_BL.to(device),
            self.is_image_BL.to(device),
            self.positions_3BL.to(device),
            move(self.patches_PD),
            move(self.grids_N3),
            self.pictures,
        )


def collate(examples: Sequence[Example], language: Language, merge: int) -> Batch:
    """Lay examples side by side.

    Args:
        examples: at least one.
        language: of the model that will read them.
        merge: side of the square of patches that make one image token.
    """
    width = max(len(example.ids_L) for example in examples)
    ids_BL = torch.full((len(examples), width), language.pad_id)
    labels_BL = torch.full((len(examples), width), NO_LABEL)
    is_image_BL = torch.zeros(len(examples), width, dtype=torch.bool)
    positions_3BL = torch.zeros(3, len(examples), width, dtype=torch.int64)
    different = list(dict.fromkeys(png for example in examples for png in example.images))
    patches_PD, grids_N3 = language.pixels(different) if different else (None, None)
    place = {png: index for index, png in enumerate(different)}
    for row, example in enumerate(examples):
        length = len(example.ids_L)
        ids_BL[row, :length] = torch.from_numpy(example.ids_L)
        labels_BL[row, :length] = torch.from_numpy(example.labels_L)
        grids = [] if grids_N3 is None else [grids_N3[place[png]] for png in example.images]
        sides = [(int(grid[1]) // merge, int(grid[2]) // merge) for grid in grids]
        num_expected = sum(height * width for height, width in sides)
        is_image_L = example.find_image_tokens(language.image_id, num_expected)
        is_image_BL[row, :length] = torch.from_numpy(is_image_L)
        positions_3BL[:, row, :length] = torch.from_numpy(positions_of(is_image_L, sides))
    pictures = tuple(place[png] for example in examples for png in example.images)
    return Batch(ids_BL, labels_BL, is_image_BL, positions_3BL, patches_PD, grids_N3, pictures)


def positions_of(is_image_L: np.ndarray, sides: Sequence[tuple[int, int]]) -> np.ndarray:
    """M-RoPE's positions [3, L]: text counts on all three axes, a picture spans a plane.

    After a picture the count goes on from its longer side (Qwen2-VL, arXiv 2409.12191, section
    2.1; Qwen3-VL keeps it for images).

    Args:
        is_image_L: which tokens are of pictures.
        sides: each picture's height and width in tokens.

    Raises:
        ValueError: the tokens of pictures are not as many as the sides say.
    """
    positions_3L = np.zeros((3, len(is_image_L)), np.int64)
    at, position = 0, 0
    for height, width in sides:
        rest = np.flatnonzero(is_image_L[at:])
        if len(rest) < height * width:
            raise ValueError(f"{len(rest)} image tokens are left for a picture of {height}x{width}")
        start = at + int(rest[0])
        positions_3L[:, at:start] = position + np.arange(start - at)
        position += start - at
        at = start + height * width
        down, across = np.divmod(np.arange(height * width), width)
        positions_3L[:, start:at] = position
        positions_3L[1, start:at] += down
        positions_3L[2, start:at] += across
        position += max(height, width)
    if is_image_L[at:].any():
        raise ValueError(f"{is_image_L[at:].sum()} image tokens belong to no picture")
    positions_3L[:, at:] = position + np.arange(len(is_image_L) - at)
    return positions_3L
