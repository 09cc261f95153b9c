"""Supervised fine-tuning: the loop, the same for one rank or many. It knows nothing of Ray.

    plan.batch(step) ── deal ──► this rank's rows ── cut ──► micro-batches ──► one step of all ranks
                                                                                     │
      checkpoint, by rank 0  ◄──  measurement, by all  ◄──  line of metrics, by rank 0  ◄──┘

Nothing outlives a step but the matrices, the optimizer and the counters, so a run that goes on from
a checkpoint takes the steps that it would have taken.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import torch

from cluster.errors import RunError
from configs.sft import SftConfig
from learners.batch import Batch
from learners.batch_plan import BatchPlan, Indices, balanced_weights, cut, deal
from learners.checkpoints import CHECKPOINTS, Checkpoints
from learners.learner import Learner
from learners.metrics_log import MetricsLog
from learners.optimizer import learning_rate, set_learning_rate
from learners.sft_data import SftDataset
from learners.sft_examples import example_of
from learners.sft_progress import Evaluation, Progress
from learners.step import DivergedError, StepResult, mean_of

_EVALUATION: Final = 3
"""Keeps its random numbers apart from those of the batches."""


@dataclass(frozen=True, slots=True)
class Part:
    """A dataset, and how long its rows are."""

    rows: SftDataset
    lengths_N: Indices
    """Tokens."""


@dataclass(frozen=True, slots=True)
class Rank:
    """Which of the ranks this is."""

    number: int = 0
    count: int = 1


class FineTuning:
    """One rank's share of a run."""

    def __init__(
        self, config: SftConfig, learner: Learner, train: Part, val: Part | None, rank: Rank
    ) -> None:
        """Set up; `val` is needed where the settings evaluate."""
        self._config = config
        self._learner = learner
        self._train = train
        self._val = val
        self._rank = rank
        self._num_steps = config.steps_for(len(train.rows))
        weights_N = balanced_weights(train.rows.actions(), config.balance)
        self._plan = BatchPlan(len(train.rows), config.batch_size, config.seed, weights_N)
        self._folder = Path(config.output)
        self._checkpoints = Checkpoints(self._folder / CHECKPOINTS, Progress)
        self._results: list[StepResult] = []
        self._spent_s = 0.0

    def run(self) -> Progress:
        """Train from the last checkpoint to the end; the last one written tells the same.

        Raises:
            DivergedError: the loss is no number any more.
            RunError: a checkpoint is damaged, or another process goes on writing to the run.
            UserError: the last checkpoint is of another model.
        """
        with self._log() as log:
            learner = self._learner
            progress = self._checkpoints.restore(learner.model, learner.optimizer, learner.device)
            while not progress.is_over(self._config, self._num_steps):
                progress = self._advance(progress, log)
        return progress

    @contextmanager
    def _log(self) -> Iterator[MetricsLog | None]:
        """The run's figures, in the hands of rank 0 alone."""
        if self._rank.number:
            yield None
            return
        with self._checkpoints.held():
            log = MetricsLog(self._folder, self._checkpoints.last().step)
            try:
                yield log
            finally:
                log.close()

    def _advance(self, progress: Progress, log: MetricsLog | None) -> Progress:
        """One step, and what is due after it."""
        started = time.monotonic()
        progress = self._step(progress)
        self._spent_s += time.monotonic() - started
        if self._is_due(self._config.report_every_steps, progress.step):
            self._report(progress.step, log)
        if self._is_due(self._config.evaluation.every_steps, progress.step):
            progress = self._evaluate(progress, log)
        progress = replace(progress, seconds=progress.seconds + time.monotonic() - started)
        is_due = self._is_due(self._config.checkpoint.every_steps, progress.step)
        if log is not None and (is_due or progress.evaluated):
            self._commit(progress)
        return progress

    def _is_due(self, every_steps: int | None, step: int) -> bool:
        return every_steps is not None and (step % every_steps == 0 or step >= self._num_steps)

    def _step(self, progress: Progress) -> Progress:
        optim, step = self._config.optim, progress.step
        set_learning_rate(self._learner.optimizer, learning_rate(optim, step, self._num_steps))
        mine = self._mine(self._plan.batch(step), self._train)
        try:
            result = self._learner.learn(self._batches(mine, step), optim.max_grad_norm)
        except FloatingPointError as error:
            raise DivergedError(f"step {step + 1}: {error}") from None
        self._results.append(result)
        return replace(
            progress,
            step=step + 1,
            num_labels=progress.num_labels + result.num_labels,
            first_loss=progress.first_loss if step else result.loss,
            loss=result.loss,
        )

    def _mine(self, rows: Indices, part: Part) -> list[Indices]:
        """This rank's micro-batches of a batch."""
        mine = deal(rows, part.lengths_N, self._rank.count)[self._rank.number]
        return cut(mine, self._config.cluster.micro_batch_size)

    def _batches(self, pieces: list[Indices], step: int) -> Iterator[Batch]:
        for number, piece in enumerate(pieces):
            # Dropout too follows from the seed and the step.
            state = [self._config.seed, step, self._rank.number, number]
            torch.manual_seed(int(np.random.SeedSequence(state).generate_state(1)[0]))
            yield self._batch(piece, self._train)

    def _batch(self, piece: Indices, part: Part) -> Batch:
        language = self._learner.language
        return self._learner.batch([example_of(part.rows[int(i)], language) for i in piece])

    def _report(self, step: int, log: MetricsLog | None) -> None:
        """A line on the steps since the last one."""
        count, batch_size = len(self._results), self._config.batch_size
        line = {
            "step": step,
            "epoch": round(step * batch_size / len(self._train.rows), 4),
            **mean_of(self._results),
            "learning_rate": learning_rate(self._config.optim, step - 1, self._num_steps),
            "samples_per_s": round(count * batch_size / self._spent_s, 2),
        }
        self._results, self._spent_s = [], 0.0
        if log is not None:
            log.add(line)

    def _evaluate(self, progress: Progress, log: MetricsLog | None) -> Progress:
        if self._val is None:
            raise RunError("there are no examples to measure on")
        rng = np.random.default_rng([self._config.seed, _EVALUATION])
        rows = rng.permutation(len(self._val.rows))[: self._config.evaluation.num_rows]
        val = self._val
        measured = self._learner.measure(self._batch(p, val) for p in self._mine(rows, val))
        evaluation = Evaluation(
            progress.step, measured.loss, measured.accuracy, measured.row_accuracy
        )
        if log is not None:
            log.add(
                {
                    "step": progress.step,
                    "eval_loss": evaluation.loss,
                    "eval_accuracy": evaluation.accuracy,
                    "eval_call_accuracy": evaluation.call_accuracy,
                }
            )
        return progress.after(evaluation)

    def _commit(self, progress: Progress) -> None:
        peak_gib = max(progress.peak_memory_gib, self._learner.peak_memory_gib())
        progress = replace(progress, peak_memory_gib=peak_gib)
        self._checkpoints.save(self._learner.model, self._learner.optimizer, progress)
        best = progress.best
        self._checkpoints.prune(self._config.checkpoint.keep, {best.step} if best else ())
