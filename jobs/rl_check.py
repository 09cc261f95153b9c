"""What jobs.rl finds out before anything starts: everything fits together, or why not."""

from dataclasses import dataclass
from pathlib import Path

from actors.model_files import locate
from actors.seat import check
from cluster.errors import UserError
from configs.rl import RlConfig
from jobs.warm_start import check_warm_start
from learners.checkpoints import Checkpoints
from learners.fingerprint import check_inputs, fingerprint, model_fingerprint
from learners.lora import empty_model, target_modules
from learners.memory import MemoryPlan, plan_memory
from learners.rl.policy import rl_recipe
from learners.rl.progress import RlProgress
from learners.sft import CHECKPOINTS


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
    names = target_modules(model, config.lora)
    if adapter is not None:
        check_warm_start(Path(adapter), config.lora, names)
    if config.optim.warmup_steps >= config.num_steps:
        raise UserError(
            f"optim.warmup_steps {config.optim.warmup_steps} leaves nothing of {config.num_steps} "
            "steps: lower it"
        )
    _check_inputs(absolute)
    engine = policy.engine
    memory = plan_memory(
        model, rl_recipe(config), config.learner, engine.max_model_len, policy.max_tokens
    )
    return Prepared(absolute, memory)


def _check_inputs(config: RlConfig) -> None:
    inputs = {"model": model_fingerprint(locate(config.policy.model))}
    if config.policy.adapter is not None:
        inputs["adapter"] = fingerprint(list(Path(config.policy.adapter).glob("adapter_*")))
    folder = Path(config.output)
    check_inputs(folder, inputs, bool(Checkpoints(folder / CHECKPOINTS, RlProgress).steps()))
