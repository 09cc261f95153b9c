"""One sequence to learn from. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

NO_LABEL = -1
"""Stands where nothing is learned."""


@dataclass(frozen=True, slots=True)
class Example:
    """A prompt and its answer, as ids.

    `labels_L[i]` is what the model should say after reading `ids_L[: i + 1]`, NO_LABEL where it
    does not matter.
    """

    ids_L: npt.NDArray[np.int64]
    labels_L: npt.NDArray[np.int64]
    images: tuple[bytes, ...]
    """PNG, in the order of their tokens."""

    @property
    def num_labels(self) -> int:
        return int((self.labels_L != NO_LABEL).sum())

    def find_image_tokens(self, image_id: int, num_expected: int) -> npt.NDArray[np.bool_]:
        """[L] Which tokens are of pictures, of which `num_expected` are due.

        A player may sample the image token: past those of the pictures, where it was to be
        learned, it is a word like any other, as to vLLM.
        """
        is_image_L: npt.NDArray[np.bool_] = self.ids_L == image_id
        is_learned_L = np.append(False, self.labels_L[:-1] != NO_LABEL)
        is_image_L[is_learned_L & (is_image_L.cumsum() > num_expected)] = False
        return is_image_L


def answered(prompt: Sequence[int], answer: Sequence[int], images: Sequence[bytes]) -> Example:
    """An example whose every label is a token of the answer."""
    ids_L = np.array([*prompt, *answer], np.int64)
    labels_L = np.full(len(ids_L), NO_LABEL, np.int64)
    labels_L[len(prompt) - 1 : -1] = answer
    return Example(ids_L, labels_L, tuple(images))
