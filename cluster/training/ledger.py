"""The actor that runs the play of a training run: from the worlds to the ranks, step by step.

It may be killed at any time: a new process goes on from the last committed checkpoint, and takes
from the traces the whole groups that an earlier one has had written.
"""

import asyncio
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from cluster.training.account import Judge, TrainingAccount
from cluster.training.dealing import Dealing, Share
from cluster.training.evaluations import Evaluation, Evaluations, evaluation_part
from cluster.training.figures import Mishaps
from cluster.training.play import TrainingPlay
from cluster.training.setup import TrainingProgress, TrainingSetup

ReadSnapshot = Callable[[], Mapping[str, Any] | None]
"""Gives what `snapshot` gave for the last checkpoint in place; None where there is none."""
FindCrew = Callable[[], tuple[Sequence[Any], Any]]
"""Gives the handles of the workers, and of the trace writer. Not the handles themselves: Ray can't
promise to start an actor again whose arguments hold some."""

_POLL_S: Final = 0.05
_LONG_POLL_S: Final = 10.0
_MAX_EVALUATIONS: Final = 1
"""No batch is dealt while more are not done, lest their versions pile up on the replicas."""


class TrainingLedger:
    """Async actor, to be started with restarts and `max_task_retries=-1`: every call may come
    again."""

    def __init__(
        self,
        setup: TrainingSetup,
        judge: Judge,
        read_snapshot: ReadSnapshot,
        find_crew: FindCrew,
    ) -> None:
        workers, writer = find_crew()
        self._read_snapshot = read_snapshot
        found = read_snapshot() or {}
        self._account = TrainingAccount(setup.groups, judge, found.get("groups"))
        self._evaluations = Evaluations(setup.evaluation_seeds, found.get("evaluations", []))
        self._play = TrainingPlay(setup, self._account, self._evaluations, workers, writer)
        self._dealing = Dealing(self._account, lambda: self._mishaps().since(self._before))
        self._before = self._mishaps()
        """At the last step, or at the start."""
        self._running: asyncio.Task[None] | None = None

    # For the driver

    async def run(self) -> None:
        """Play what there is to play, until `close`; nothing before a version is served.

        Where a killed process is replaced the workers know which version that is, and the
        evaluations of the last snapshot go on. Those of an earlier driver are to be asked for
        again, once the store has their versions.

        Raises:
            PickaxeError: the run can't go on; the cause. What had been played is written first.
        """
        self._running = self._running or asyncio.create_task(self._play.run())
        await self._running

    async def close(self) -> None:
        """Nothing more is wanted; returns once all that was played is durable."""
        await self._play.close()

    async def progress(self) -> TrainingProgress:
        so_far = self._mishaps()
        return TrainingProgress(
            step=self._account.step,
            version=self._play.version,
            counts=self._account.counts(),
            books=self._account.books(),
            drops=dict(so_far.drops),
            summaries=self._play.take_news(),
            num_replayed=so_far.num_replayed,
        )

    def _mishaps(self) -> Mishaps:
        return self._account.mishaps(self._play.ledger.num_replayed)

    # For the store of versions

    async def serve(self, version: int) -> tuple[int, ...]:
        """New episodes are played with `version`, unless a higher one is served already.

        Returns:
            The versions that are still in use, or will be by an evaluation.

        Raises:
            ValueError: there can't be such a version yet.
        """
        if version > self._account.newest:
            raise ValueError(f"version {version} after {self._account.step} committed steps")
        self._play.serve(version)
        return self._play.in_use()

    # For the ranks

    async def batch(self, step: int, rank: int, num_ranks: int) -> Share | None:
        """What `rank` trains on in `step`; None: ask again. Asked again it is the same.

        A rank that can't get one of its objects calls `lost`; all ranks then ask again.

        Raises:
            PickaxeError: what ended the run.
            ValueError: the step is trained already, or never will be.
        """
        deadline = time.monotonic() + _LONG_POLL_S
        while True:
            self._check()
            share = None
            if len(self._evaluations.asked) <= _MAX_EVALUATIONS:
                share = self._dealing.share(step, rank, num_ranks)
            if share is not None or time.monotonic() > deadline:
                return share
            await asyncio.sleep(_POLL_S)

    async def lost(self, ids: Sequence[str]) -> None:
        """Objects of these episodes can't be had: they are read from the traces, or played again.

        What a rank was given by an earlier start is of no interest here.
        """
        self._play.have_again(self._dealing.dealt(ids))

    async def snapshot(self, step: int) -> dict[str, Any]:
        """What belongs into the checkpoint after `step`, for JSON; its traces are durable then.

        Step -1 stands for the start of the run.

        Raises:
            RunError: what the ranks have trained on is not the batch of this step.
            PickaxeError: what ended the run.
        """
        while self._play.recorder.is_writing(self._dealing.parts()):
            self._check()
            await asyncio.sleep(_POLL_S)
        self._dealing.check(step)
        return {
            "groups": self._account.snapshot(step, self._dealing.given),
            "evaluations": self._evaluations.snapshot(),
        }

    async def committed(self, step: int) -> None:
        """The checkpoint after `step` is in place: its episodes are trained.

        Raises:
            ValueError: no batch was dealt for this step.
        """
        if not self._dealing.is_dealt(step):
            self._start_again_if_behind()
        if self._account.committed(step, self._dealing.given):
            self._dealing.committed()
            self._before = self._mishaps()
            self._play.tasks.wake()

    def _start_again_if_behind(self) -> None:
        """A checkpoint was on its way while this process took the place of a killed one."""
        found = self._read_snapshot()
        if found is not None and found["groups"]["step"] > self._account.step:
            print("the checkpoint is ahead of the ledger: it starts again", file=sys.stderr)
            sys.stderr.flush()
            os._exit(1)

    async def evaluate(self, step: int, version: int) -> None:
        """Evaluate the version that `step` steps made, once it or a later one is served.

        A process that takes this one's place knows of it from the next snapshot on. Asked again,
        nothing happens, or it is read from the traces: whoever waits for it may well ask again.

        Raises:
            PickaxeError: what ended the run.
            ValueError: there are no seeds to evaluate in.
        """
        self._check()
        self._evaluations.ask(step, version)
        self._play.tasks.wake()

    async def evaluations(self) -> tuple[Evaluation, ...]:
        """Those that are done and written, by step.

        Raises:
            PickaxeError: what ended the run.
        """
        self._check()
        done = self._evaluations.done
        writing = self._play.recorder.is_writing
        return tuple(one for one in done if not writing([evaluation_part(one.version)]))

    def _check(self) -> None:
        if self._play.tasks.failure is not None:
            raise self._play.tasks.failure
