"""What ranks tell each other; one alone is told what it says."""

import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
import torch.distributed as dist

from cluster.errors import FinalError, UserError
from learners.step import sum_counts

T = TypeVar("T")


def total(values: Sequence[float], device: str) -> list[float]:
    """Each summed over the ranks."""
    sums = torch.tensor(values, dtype=torch.float64)
    sum_counts(sums, torch.device(device))
    told: list[float] = sums.tolist()
    return told


def largest(value: float, device: str) -> float:
    """Of the ranks'."""
    told = torch.tensor(value, dtype=torch.float64, device=device)
    if dist.is_initialized():
        dist.all_reduce(told, dist.ReduceOp.MAX)
    return float(told)


def of_the_first(value: T, device: str) -> T:
    """What rank 0 says; must be picklable."""
    told = [value]
    if dist.is_initialized():
        dist.broadcast_object_list(told, 0, device=torch.device(device))
    return told[0]


def is_first() -> bool:
    """Whether this is rank 0."""
    return not dist.is_initialized() or dist.get_rank() == 0


def is_equal(value: object, device: str) -> bool:
    """Whether every rank's value reads the same."""
    digest = zlib.crc32(repr(value).encode())
    return largest(digest, device) == -largest(-digest, device)


@contextmanager
def together(device: str) -> Iterator[None]:
    """What ends one rank's work for good ends that of all: none waits for it in vain.

    Every rank has to enter, and none leaves before all are done within.

    Raises:
        UserError, FinalError: as within; where it was another rank, FinalError with its cause.
    """
    own: UserError | FinalError | None = None
    try:
        yield
    except (UserError, FinalError) as error:
        own = error
    if largest(own is not None, device):
        cause = _first_cause("" if own is None else str(own))  # told by every rank to every other
        raise own or FinalError(cause)


def _first_cause(own: str) -> str:
    """Of the ranks' causes; '' is none."""
    causes: list[str | None] = [own]
    if dist.is_initialized():
        causes = [None] * dist.get_world_size()
        dist.all_gather_object(causes, own)
    return next(filter(None, causes), "")
