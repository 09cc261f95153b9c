"""What ranks tell each other; one alone is told what it says."""

from collections.abc import Sequence

import torch
import torch.distributed as dist

from learners.step import sum_counts


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


def of_the_first(value: bool, device: str) -> bool:
    """What rank 0 says."""
    told = torch.tensor(int(value), device=device)
    if dist.is_initialized():
        dist.broadcast(told, 0)
    return bool(told)


def is_first() -> bool:
    """Whether this is rank 0."""
    return not dist.is_initialized() or dist.get_rank() == 0


def meet() -> None:
    """Wait until every rank is here."""
    if dist.is_initialized():
        dist.barrier()
