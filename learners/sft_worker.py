"""Fine-tuning on Ray Train: the one point where the loop meets Ray."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from ray.train import get_context

from cluster.errors import PickaxeError
from configs.sft import SftConfig
from learners import ray_train
from learners.batch_plan import Indices
from learners.learner import build_learner
from learners.sft import FineTuning, Part, Rank
from learners.sft_examples import open_data


@dataclass(frozen=True, slots=True)
class SftTask:
    """All that a worker is told."""

    config: SftConfig
    """Its paths are absolute."""
    model: str
    """As every node can `locate` it."""
    locate: Callable[[str], str]
    """Where this node has a model."""
    train_lengths_N: Indices
    val_lengths_N: Indices | None
    """None where nothing is measured."""


def fit(task: SftTask) -> None:
    """Train with the workers that the settings ask for. Raises as `ray_train.fit`."""
    config = task.config
    ray_train.fit(partial(work, task), config.cluster, config.output, "sft")


def work(task: SftTask) -> PickaxeError | None:
    """What one worker does."""
    torch.set_num_threads(task.config.cluster.worker_cpus)
    return ray_train.answer(partial(_train, task))


def _train(task: SftTask) -> None:
    context = get_context()
    rank = Rank(context.get_world_rank(), context.get_world_size())
    folder = Path(task.config.data)
    device = "cuda" if task.config.cluster.device == "gpu" else "cpu"
    learner = build_learner(task.config, task.locate(task.model), device)
    train = Part(open_data(folder, "train"), task.train_lengths_N)
    val = None
    if task.val_lengths_N is not None:
        val = Part(open_data(folder, "val"), task.val_lengths_N)
    FineTuning(task.config, learner, train, val, rank).run()
