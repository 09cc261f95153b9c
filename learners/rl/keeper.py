"""Rank 0's part of a run: what is committed, published and evaluated, in the order that survives.

    account of play ──► checkpoint, renamed into place ──► "committed" ──► policy published
                                                                            └──► evaluated, if due

Killed anywhere in between and started again, it goes on from the last checkpoint and says again
what may not have been heard.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from pydantic import ConfigDict, TypeAdapter

from cluster.errors import FinalError, RunError
from configs.rl import RlConfig
from learners.checkpoints import ADAPTER, CHECKPOINTS, Checkpoints
from learners.learner import Learner
from learners.lora import CONFIG_FILE, WEIGHTS_FILE
from learners.metrics_log import MetricsLog
from learners.rl.canary import canary_logprobs, canary_of
from learners.rl.critic import Groups
from learners.rl.progress import RlProgress, version_after
from learners.rl.source import PolicyVersion, Source

LEDGER: Final = "ledger.json"
"""In a checkpoint: the account of play."""
CANARY: Final = "canary.json"
"""In a checkpoint: what the learner says of the canary, token id -> nats."""

CRITIC: Final = "critic.json"
"""In a checkpoint: the plays of its step by which the next one's are judged too."""

_GROUPS: Final[TypeAdapter[Groups]] = TypeAdapter(
    Groups, config=ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")
)


@contextmanager
def _final() -> Iterator[None]:
    """To start the learners anew would not make room on a disk.

    Raises:
        FinalError: something can't be written; the cause.
    """
    try:
        yield
    except RunError as error:
        raise FinalError(str(error)) from None
    except OSError as error:
        raise FinalError(
            f"the run's figures can't be written: {error}; once they can, the same command goes on"
        ) from None


@contextmanager
def keeping(config: RlConfig, learner: Learner, source: Source) -> Iterator["Keeper"]:
    """Be the one that keeps a run: a process of an earlier start may not have ended yet.

    Raises:
        RunError: it does not end, or the last checkpoint is damaged.
    """
    checkpoints = checkpoints_of(config)
    with checkpoints.held():
        step = checkpoints.last().step
        with _final():
            log = MetricsLog(Path(config.output), step)
        try:
            yield Keeper(config, learner, source, log)
        finally:
            with _final():  # what is still buffered
                log.close()


def read_account(config: RlConfig) -> dict[str, Any] | None:
    """The account of play in the last checkpoint; None where there is none."""
    checkpoints = checkpoints_of(config)
    steps = checkpoints.steps()
    if not steps:
        return None
    text = (checkpoints.path(steps[-1]) / LEDGER).read_text(encoding="utf-8")
    account: dict[str, Any] = json.loads(text)
    return account


def checkpoints_of(config: RlConfig) -> Checkpoints[RlProgress]:
    return Checkpoints(Path(config.output) / CHECKPOINTS, RlProgress)


class Keeper:
    """Keeps a run's checkpoints and tells the rest of the run of them."""

    def __init__(self, config: RlConfig, learner: Learner, source: Source, log: MetricsLog) -> None:
        self._config = config
        self._learner = learner
        self._source = source
        self._checkpoints = checkpoints_of(config)
        self._log = log

    def resume(self, progress: RlProgress) -> RlProgress:
        """The learner is as `progress` tells: see that there is a checkpoint, and say so."""
        if not self._checkpoints.steps():
            return self.commit(progress, ())
        if progress.step:
            self._source.committed(progress.step - 1)
        return progress

    def remembered(self, progress: RlProgress) -> Groups:
        """As `commit` was told after `progress.step` steps."""
        return _GROUPS.validate_json((self._checkpoints.path(progress.step) / CRITIC).read_bytes())

    def commit(self, progress: RlProgress, remembered: Groups) -> RlProgress:
        """Keep the learner as it is, after `progress.step` steps, and what a critic remembers."""
        peak_gib = max(progress.peak_memory_gib, self._learner.peak_memory_gib())
        progress = replace(progress, peak_memory_gib=peak_gib)
        texts = {
            LEDGER: json.dumps(self._source.snapshot(progress.step)),
            CANARY: json.dumps(canary_logprobs(self._learner, self._config)),
            CRITIC: _GROUPS.dump_json(remembered).decode(),
        }
        model, optimizer = self._learner.model, self._learner.optimizer
        with _final():
            self._checkpoints.save(model, optimizer, progress, texts)
        if progress.step:
            self._source.committed(progress.step - 1)
        return progress

    def announce(self, progress: RlProgress) -> None:
        """Publish what was committed last, and have evaluated what is to be."""
        self._source.publish(self._policy(progress.step))
        awaited = self._awaited(progress)
        for step in awaited:
            # Again and again: a ledger that was restarted may not have heard of it.
            self._source.evaluate(step, self._policy(step))
        best = progress.best
        others = {*awaited, *({best.step} if best else ())}
        self._checkpoints.prune(self._config.checkpoint.keep, others)

    def hear(self, progress: RlProgress) -> RlProgress:
        """`progress` with the evaluations that have ended."""
        return self._with_evaluations(progress, [])

    def end(self, progress: RlProgress) -> RlProgress:
        """There is no step left: wait for the evaluations, and leave nothing to be done."""
        progress = self._with_evaluations(progress, self._awaited(progress))
        progress = replace(progress, has_ended=True)
        with _final():
            self._checkpoints.amend(progress)
        return progress

    def tell(self, line: dict[str, float], warning: str) -> None:
        """Figures of a step, and a sentence if there is one."""
        with _final():
            self._log.add(line)
            if warning:
                self._source.warn(warning)

    def _with_evaluations(self, progress: RlProgress, wait_for: list[int]) -> RlProgress:
        before = progress
        for evaluation in self._source.evaluations(wait_for):
            if not progress.is_evaluated(evaluation.step):
                progress = progress.after(evaluation)
                told = {"return": evaluation.mean_return, **evaluation.figures}
                line = {f"eval_{name}": v for name, v in told.items() if v is not None}
                warning = (
                    ""
                    if evaluation.is_whole
                    else (
                        f"the evaluation of step {evaluation.step} says nothing of some worlds, "
                        "whose play failed: it is not compared with others"
                    )
                )
                self.tell({"step": evaluation.step, **line}, warning)
        if progress != before:
            with _final():
                self._checkpoints.amend(progress)
        return progress

    def _awaited(self, progress: RlProgress) -> list[int]:
        """Steps whose policies are to be evaluated, and are not yet; oldest first."""
        kept = self._checkpoints.steps()
        due = [step for step in kept if self._config.is_evaluated(step)]
        return [step for step in due if not progress.is_evaluated(step)]

    def _policy(self, step: int) -> PolicyVersion:
        folder = self._checkpoints.path(step)
        adapter = folder / ADAPTER
        told = json.loads((folder / CANARY).read_text(encoding="utf-8"))
        logprobs = {int(token): float(value) for token, value in told.items()}
        return PolicyVersion(
            version=version_after(step),
            files={name: (adapter / name).read_bytes() for name in (CONFIG_FILE, WEIGHTS_FILE)},
            canary=canary_of(self._learner, self._config, logprobs),
        )
