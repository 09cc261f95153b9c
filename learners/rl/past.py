"""The weights of the versions that may still be playing.

What is trained on was played by the version before the newest one, as a rule. Engine and learner
have to be compared on the same weights, so those of the last versions are kept: a LoRA is small.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from learners.step import trained_weights


class Past:
    """Of one rank."""

    def __init__(self, num_versions: int) -> None:
        self._num_versions = num_versions
        self._weights: dict[int, list[torch.Tensor]] = {}

    def keep(self, model: Any, version: int) -> None:
        """The model is this version now; the oldest one is forgotten for it."""
        self._weights[version] = [weight.detach().clone() for weight in trained_weights(model)]
        for oldest in sorted(self._weights)[: -self._num_versions]:
            del self._weights[oldest]

    def __contains__(self, version: int) -> bool:
        return version in self._weights

    @contextmanager
    def as_it_was(self, model: Any, version: int) -> Iterator[None]:
        """Inside, the model is that version again. One of those kept."""
        weights = trained_weights(model)
        now = [weight.detach().clone() for weight in weights]
        _put(self._weights[version], weights)
        try:
            yield
        finally:
            _put(now, weights)


@torch.no_grad()
def _put(values: list[torch.Tensor], weights: list[torch.nn.Parameter]) -> None:
    for weight, value in zip(weights, values, strict=True):
        weight.copy_(value)
