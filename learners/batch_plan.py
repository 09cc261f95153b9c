"""Which examples make each batch, who gets which. Pure: all of it follows from seed and step.

Axes: N examples of the dataset.
"""

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_EPOCH: Final = 1
_DRAW: Final = 2
"""Keep the two kinds of random numbers of one seed apart."""


class BatchPlan:
    """The batches of a run."""

    def __init__(
        self, num_rows: int, batch_size: int, seed: int, weights_N: Floats | None = None
    ) -> None:
        """Plan without looking at a row.

        Args:
            num_rows: examples there are.
            batch_size: examples in a batch, over all workers.
            seed: equal seeds give equal batches.
            weights_N: draw each example in proportion to its own, with replacement; None goes
                through all of them, shuffled, again and again.

        Raises:
            ValueError: there are no examples.
        """
        if num_rows < 1:
            raise ValueError("no examples to make batches of")
        self._num_rows = num_rows
        self._batch_size = batch_size
        self._seed = seed
        self._cumulated_N = None if weights_N is None else np.cumsum(weights_N)
        self._shuffled = lru_cache(maxsize=2)(self._shuffle)

    def batch(self, step: int) -> Indices:
        """The examples of step `step`, counted from 0.

        A batch that begins in one epoch may end in the next: every batch is full.
        """
        if self._cumulated_N is not None:
            rng = np.random.default_rng([self._seed, _DRAW, step])
            points = rng.random(self._batch_size) * self._cumulated_N[-1]
            drawn = np.searchsorted(self._cumulated_N, points, side="right")
            return np.array(np.minimum(drawn, self._num_rows - 1), np.int64)
        places = step * self._batch_size + np.arange(self._batch_size)
        epochs, within = np.divmod(places, self._num_rows)
        chosen = [self._shuffled(int(e))[i] for e, i in zip(epochs, within, strict=True)]
        return np.array(chosen, np.int64)

    def _shuffle(self, epoch: int) -> Indices:
        return np.random.default_rng([self._seed, _EPOCH, epoch]).permutation(self._num_rows)


def balanced_weights(actions: Sequence[tuple[str, ...]], balance: float) -> Floats | None:
    """Weights [N] under which calls that begin with a rare action come more often.

    (1 / frequency of the first action) ^ balance; None at 0, where all are equal.
    """
    if not balance:
        return None
    first = [call[0] for call in actions]
    count = Counter(first)
    return np.array([(len(first) / count[action]) ** balance for action in first])


def deal(rows: Indices, lengths_N: npt.NDArray[np.int64], num_workers: int) -> list[Indices]:
    """Each worker's part of a batch, longest first.

    Parts differ by one example at most, and have nearly the same number of tokens: rows are dealt
    longest first, forth and back.
    """
    ordered = rows[np.argsort(-lengths_N[rows], kind="stable")]
    turn = np.arange(len(rows)) % (2 * num_workers)
    worker = np.where(turn < num_workers, turn, 2 * num_workers - 1 - turn)
    return [ordered[worker == number] for number in range(num_workers)]


def cut(rows: Indices, micro_batch_size: int) -> list[Indices]:
    """A part in pieces of at most `micro_batch_size`; neighbours in length stay together."""
    return [rows[at : at + micro_batch_size] for at in range(0, len(rows), micro_batch_size)]
