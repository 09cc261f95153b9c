"""Reinforcement learning: the loop, the same for one rank or many. It knows nothing of Ray.

    source.batch(step) ──► advantages, by every rank for all groups ──► this rank's samples
                                                                              │ updates of all ranks
    published ◄── committed ◄── checkpoint, by rank 0 ◄── line of metrics ◄───┘

Nothing outlives a step but the matrices, the optimizer, the counters and what a critic remembers.
So a run that goes on from a checkpoint, and is given the same batches, takes the steps that it
would have taken.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from configs.rl import RlConfig
from learners.checkpoints import ADAPTER
from learners.learner import Learner
from learners.lora import load_adapter
from learners.optimizer import learning_rate, set_learning_rate
from learners.rl.critic import Groups
from learners.rl.figures import Learned, figures_of, mismatch_of, named
from learners.rl.keeper import Keeper, checkpoints_of, keeping
from learners.rl.lessons import Lessons, lessons_in, remembered
from learners.rl.mismatch import alarm
from learners.rl.past import Past
from learners.rl.plan import updates_of
from learners.rl.progress import RlProgress, version_after
from learners.rl.ranks import is_equal, is_first, largest, of_the_first, together
from learners.rl.samples import Sample, share_samples
from learners.rl.source import Share, Source
from learners.rl.update import Updater, UpdateResult
from learners.step import DivergedError

_MAX_COMPARED: Final = 64
"""Decisions of a step, on each rank, on which engine and learner are compared: a forward pass."""


class Training:
    """One rank's share of a run."""

    def __init__(self, config: RlConfig, learner: Learner, source: Source) -> None:
        """`learner` is as `build_policy` made it."""
        self._config = config
        self._learner = learner
        self._source = source
        self._updater = Updater(learner, config)
        self._past = Past(config.max_staleness + 1)
        self._remembered: Groups = ()
        """Of the last step; on rank 0 alone."""

    def run(self) -> RlProgress:
        """Train from the last checkpoint to the end; the last one written tells the same.

        Raises:
            DivergedError: the loss is no number any more.
            RunError: a checkpoint is damaged, or another process goes on writing to the run.
            UserError: the last checkpoint is of another model.
        """
        with self._keeping() as keeper:
            progress = self._begin(keeper)
            while of_the_first(not progress.is_over(self._config), self._learner.device):
                progress = self._advance(progress, keeper)
            return progress if keeper is None else keeper.end(progress)

    @contextmanager
    def _keeping(self) -> Iterator[Keeper | None]:
        """What rank 0 alone does is in the hands of rank 0."""
        if is_first():
            with keeping(self._config, self._learner, self._source) as keeper:
                yield keeper
        else:
            yield None

    def _begin(self, keeper: Keeper | None) -> RlProgress:
        model, optimizer = self._learner.model, self._learner.optimizer
        checkpoints = checkpoints_of(self._config)
        for step in checkpoints.steps()[:-1]:  # the last one is kept when it is learned from
            load_adapter(model, checkpoints.path(step) / ADAPTER)
            self._past.keep(model, version_after(step))
        progress = checkpoints.restore(model, optimizer, self._learner.device)
        with together(self._learner.device):
            if keeper is not None:
                progress = keeper.resume(progress)
                self._remembered = keeper.remembered(progress)
        return self._announced(progress, keeper)

    def _advance(self, progress: RlProgress, keeper: Keeper | None) -> RlProgress:
        """One step, from its batch to the new policy being served."""
        device, started = self._learner.device, time.monotonic()
        share = self._share(progress.step)
        idle_s, started = time.monotonic() - started, time.monotonic()
        learned = self._learn(share)
        figures = figures_of(learned, share.groups, device)
        found = mismatch_of(learned, device)
        train_s = time.monotonic() - started
        progress = replace(
            progress,
            step=progress.step + 1,
            num_updates=progress.num_updates + len(learned.results),
            num_decisions=progress.num_decisions + int(figures["decisions"]),
            num_tokens=progress.num_tokens + int(figures["tokens"]),
            mean_return=figures["mean_return"],
            idle_s=progress.idle_s + idle_s,
            train_s=progress.train_s + train_s,
        )
        with together(device):
            if keeper is not None:
                times = {"learner_idle_s": round(idle_s, 3), "train_s": round(train_s, 3)}
                rate = {"step": progress.step, "learning_rate": self._rate(share.step)}
                line = {**rate, **share.stats, **figures, **named(found), **times}
                threshold = self._config.algorithm.mismatch_alarm
                keeper.tell(line, alarm(found, threshold) if found else "")
                self._remembered = remembered(share, self._config)
                progress = keeper.commit(progress, self._remembered)
        return self._announced(progress, keeper)

    def _announced(self, progress: RlProgress, keeper: Keeper | None) -> RlProgress:
        with together(self._learner.device):
            if keeper is not None:
                keeper.announce(progress)
                progress = keeper.hear(progress)
        return progress

    def _share(self, step: int) -> Share:
        """This rank's, of a batch that every rank has the whole of its share of.

        A ledger that is restarted meanwhile may deal out another batch than it did before.
        """
        device = self._learner.device
        while True:
            with together(device):
                share = self._source.batch(step)
                gone = [play.spec for play in share.mine if play.trajectory is None]
                if gone:
                    self._source.lost(gone)
            is_whole = not largest(len(gone), device)
            if is_equal(share.groups, device) and is_whole:
                return share

    def _learn(self, share: Share) -> Learned:
        """The step's updates."""
        config, optimizer = self._config, self._learner.optimizer
        set_learning_rate(optimizer, self._rate(share.step))
        lessons = self._lessons(share)
        all_samples = share_samples(share, lessons.advantages, config.max_staleness)
        samples = {place: sample for place, sample in all_samples.items() if sample is not None}
        if config.algorithm.old_logprobs == "recomputed":
            recomputed = self._updater.recompute(list(samples.values()))
            samples = dict(zip(samples, recomputed, strict=True))
        version = version_after(share.step)
        self._past.keep(self._learner.model, version)
        updates = updates_of([*lessons.advantages], config.minibatch_size, config.seed, share.step)
        rows = [[samples[place] for place in update if place in samples] for update in updates]
        mismatch = self._updater.compare(rows[0][:_MAX_COMPARED], self._past)
        return Learned(
            results=[self._update(part, share.step) for part in rows],
            mismatch=mismatch,
            lags=[version - sample.version for sample in samples.values()],
            num_empty=len(all_samples) - len(samples),
            judged=lessons.figures,
        )

    def _lessons(self, share: Share) -> Lessons:
        """Rank 0's: on other hardware the last bits may differ, and with them what is drawn."""
        own = lessons_in(share, self._remembered, self._config) if is_first() else None
        told = of_the_first(own, self._learner.device)
        assert told is not None
        return told

    def _update(self, rows: Sequence[Sample], step: int) -> UpdateResult:
        try:
            return self._updater.update(rows)
        except FloatingPointError as error:
            raise DivergedError(f"step {step + 1}: {error}") from None

    def _rate(self, step: int) -> float:
        return learning_rate(self._config.optim, step, self._config.num_steps)
