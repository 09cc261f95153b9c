"""Reinforcement learning on Ray Train: the one point where the loop meets Ray."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from ray.train import get_context

from cluster.errors import PickaxeError
from configs.rl import RlConfig
from learners import ray_train
from learners.rl.loop import Training
from learners.rl.policy import build_policy
from learners.rl.ray_source import RaySource


@dataclass(frozen=True, slots=True, kw_only=True)
class RlTask:
    """All that a worker is told."""

    config: RlConfig
    """Its paths are absolute."""
    model: str
    """As every node can `locate` it."""
    locate: Callable[[str], str]
    """Where this node has a model."""
    ledger: Any
    """Handle of the TrainingLedger."""
    store: Any
    """Handle of the PolicyStore."""


def fit(task: RlTask) -> None:
    """Train with the workers that the settings ask for. Raises as `ray_train.fit`."""
    config = task.config
    ray_train.fit(partial(work, task), config.learner, config.output, "rl")


def work(task: RlTask) -> PickaxeError | None:
    """What one worker does."""
    torch.set_num_threads(task.config.learner.worker_cpus)
    return ray_train.answer(partial(_train, task))


def _train(task: RlTask) -> None:
    context = get_context()
    device = "cuda" if task.config.learner.device == "gpu" else "cpu"
    learner = build_policy(task.config, task.locate(task.model), device)
    source = RaySource(
        task.ledger,
        task.store,
        Path(task.config.output),
        context.get_world_rank(),
        context.get_world_size(),
    )
    Training(task.config, learner, source).run()
