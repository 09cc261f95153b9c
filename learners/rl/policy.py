"""The policy that learns, and beside it, frozen, the one that it began as."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Final

from configs.rl import RlConfig
from learners.learner import Learner, Recipe, build

_LEARNING: Final = "default"
_REFERENCE: Final = "reference"


def build_policy(config: RlConfig, model: str, device: str) -> Learner:
    """The learner of a run, before its first step. Arguments and failures as those of `build`."""
    learner = build(rl_recipe(config), model, device)
    if config.algorithm.kl_coef:
        _add_reference(learner.model)
    return learner


def rl_recipe(config: RlConfig) -> Recipe:
    """What of a run's settings makes its learner."""
    return Recipe(
        name=config.policy.model,
        adapter=config.policy.adapter,
        lora=config.lora,
        optim=config.optim,
        dtype=config.dtype,
        gradient_checkpointing=config.learner.gradient_checkpointing,
        seed=config.seed,
    )


@contextmanager
def as_it_began(model: Any) -> Iterator[None]:
    """Inside, the model is the policy that RL began with; `build_policy` put that there."""
    model.set_adapter(_REFERENCE, inference_mode=True)
    try:
        yield
    finally:
        model.set_adapter(_LEARNING)


def _add_reference(model: Any) -> None:
    peft: Any = import_module("peft")
    start = peft.get_peft_model_state_dict(model, save_embedding_layers=False)
    model.add_adapter(_REFERENCE, model.peft_config[_LEARNING])
    peft.set_peft_model_state_dict(model, start, adapter_name=_REFERENCE)
