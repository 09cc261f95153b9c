"""What one step has to tell, over all ranks."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields

import torch

from learners.rl.critic import Groups
from learners.rl.losses import LossReport
from learners.rl.mismatch import Mismatch, MismatchPart, mismatch
from learners.rl.ranks import largest, total
from learners.rl.update import UpdateResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """What this rank did in a step."""

    results: Sequence[UpdateResult]
    """At least one."""
    mismatch: MismatchPart
    """Of engine and learner, on this rank's decisions of which the weights are known."""
    lags: Sequence[int]
    """Versions that each decision was behind."""
    num_empty: int
    """Decisions without a token."""
    judged: Mapping[str, float]
    """How the batch's decisions were judged: the same on every rank."""


def figures_of(learned: Learned, groups: Groups, device: str) -> dict[str, float]:
    """A step's figures, the same on every rank; every rank has to ask."""
    returns = [math.fsum(played.rewards_T) for group in groups for played in group]
    sums = [sum(learned.lags), len(learned.lags), learned.num_empty]
    sum_lags, num_lags, num_empty = total(sums, device)
    return {
        **_mean_of(learned.results),
        **learned.judged,
        "mean_return": math.fsum(returns) / len(returns),
        "decisions": sum(len(played.rewards_T) for group in groups for played in group),
        "empty_answers": num_empty,
        "tokens": sum(result.num_tokens for result in learned.results),
        "updates": len(learned.results),
        "staleness_mean": sum_lags / max(num_lags, 1),
        "staleness_max": largest(max(learned.lags, default=0), device),
    }


def mismatch_of(learned: Learned, device: str) -> Mismatch | None:
    """Between engine and learner; None where no decision is of weights that are still known."""
    mine = learned.mismatch
    sums = torch.tensor(total(mine.sums.tolist(), device), dtype=torch.float64)
    most = torch.tensor(largest(float(mine.largest), device), dtype=torch.float64)
    return mismatch(MismatchPart(sums, most)) if sums[0] else None


def named(found: Mismatch | None) -> dict[str, float]:
    """As the metrics call it; where nothing could be compared, that alone is said."""
    if found is None:
        return {"mismatch_measured": 0}
    told = {f"mismatch_{name.removeprefix('mismatch_')}": v for name, v in asdict(found).items()}
    return {"mismatch_measured": 1, **told}


def _mean_of(results: Sequence[UpdateResult]) -> dict[str, float]:
    told = {
        field.name: sum(getattr(result.report, field.name) for result in results) / len(results)
        for field in fields(LossReport)
    }
    return told | {"grad_norm": sum(result.grad_norm for result in results) / len(results)}
