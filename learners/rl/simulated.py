"""A learner that waits as long as one took, and costs nothing but what is around its updates. For
benchmarks: batches, checkpoints, canaries and the order of things are the real ones."""

import json
import time
from collections.abc import Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Final

import torch

from cluster.errors import PickaxeError
from configs.rl import RlConfig
from learners import ray_train
from learners.learner import Learner
from learners.rl.keeper import Keeper
from learners.rl.loop import Training
from learners.rl.losses import LossReport
from learners.rl.mismatch import MismatchPart, compare
from learners.rl.past import Past
from learners.rl.policy import build_policy
from learners.rl.progress import RlProgress
from learners.rl.ray_source import RaySource
from learners.rl.samples import Sample
from learners.rl.source import Source
from learners.rl.update import Updater, UpdateResult
from learners.rl.worker import RlTask

DECISION_S: Final = 0.049
"""To learn from one decision; recorded in a run of configs/ci/rl.toml on two cores that its
replica shared: 960 decisions in 47 s."""
SPAN: Final = "span.json"
"""In the run's folder: seconds from the first version's being served to the last one's."""


class SimulatedUpdater(Updater):
    """Sleeps through each update, and changes nothing."""

    def compare(self, samples: Sequence[Sample], past: Past) -> MismatchPart:
        return compare(torch.zeros(0), torch.zeros(0))

    def update(self, samples: Sequence[Sample]) -> UpdateResult:
        time.sleep(DECISION_S * len(samples))
        return UpdateResult(
            report=LossReport(*[0.0] * len(fields(LossReport))),
            grad_norm=0.0,
            num_tokens=sum(sample.num_tokens for sample in samples),
        )


class SimulatedTraining(Training):
    """The loop, with that updater and a clock."""

    def __init__(self, config: RlConfig, learner: Learner, source: Source) -> None:
        super().__init__(config, learner, source)
        self._updater = SimulatedUpdater(learner, config)
        self._served_at: float | None = None

    def _announced(self, progress: RlProgress, keeper: Keeper | None) -> RlProgress:
        announced = super()._announced(progress, keeper)
        if self._served_at is None:
            self._served_at = time.monotonic()
        span_s = time.monotonic() - self._served_at
        Path(self._config.output, SPAN).write_text(json.dumps(span_s), encoding="utf-8")
        return announced


def fit(task: RlTask) -> None:
    """As `learners.rl.worker.fit`, with one worker."""
    config = task.config
    ray_train.fit(partial(_work, task), config.learner, config.output, "rl")


def _work(task: RlTask) -> PickaxeError | None:
    torch.set_num_threads(1)
    return ray_train.answer(partial(_train, task))


def _train(task: RlTask) -> None:
    learner = build_policy(task.config, task.locate(task.model), "cpu")
    source = RaySource(task.ledger, task.store, Path(task.config.output), 0, 1)
    SimulatedTraining(task.config, learner, source).run()
