"""What jobs.rl finds out before anything starts: everything fits together, or why not."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from actors.model_files import locate
from actors.seat import check
from cluster.abandoned import set_aside
from cluster.trace_writer import take
from configs.rl import RlConfig
from jobs.training import Start
from learners.lora import empty_model
from learners.memory import MemoryPlan, plan_memory
from learners.rl.keeper import checkpoints_of
from learners.rl.policy import rl_recipe
from learners.rl.progress import version_after

_LOGIT_COPIES: Final = 7
"""As computed, in float32, scaled, normalised, their exponential, its product, and a gradient."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A run that can start."""

    config: RlConfig
    """With absolute paths."""
    memory: MemoryPlan


def prepare(config: RlConfig, folder: Path) -> Prepared:
    """Check model, adapter and play against each other and the settings.

    Args:
        config: as given.
        folder: the run's, taken.

    Raises:
        UserError: something does not fit; says what to give instead.
    """
    adapter = config.policy.adapter and str(Path(config.policy.adapter).absolute())
    policy = config.policy.model_copy(update={"adapter": adapter})
    absolute = config.model_copy(update={"output": str(folder), "policy": policy})
    check(policy, absolute)
    model = empty_model(locate(policy.model))
    start = Start(policy.model, adapter, config.lora)
    start.check(model)
    start.check_unchanged(checkpoints_of(absolute), folder, {})
    _set_aside(absolute, folder / "traces")
    engine = policy.engine
    memory = plan_memory(
        model,
        rl_recipe(config),
        config.learner,
        longest=engine.max_model_len,
        most_labels=policy.max_tokens,
        logit_copies=_LOGIT_COPIES,
    )
    return Prepared(absolute, memory)


def _set_aside(config: RlConfig, traces: Path) -> None:
    """Keep play of policies that no checkpoint tells of from being taken for others' of their
    number, which are still to be made."""
    take(traces).close()
    checkpoints = checkpoints_of(config)
    newest = version_after(checkpoints.last().step) if checkpoints.steps() else 0
    names = set_aside(traces, newest)
    if names:
        print(
            f"warning: {len(names)} parts of play by policies after version {newest}, whose "
            f"checkpoints are gone, were moved to {traces / 'abandoned'}",
            file=sys.stderr,
        )
