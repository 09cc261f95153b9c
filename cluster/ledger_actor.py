"""The actor that runs a ledger: it asks workers to play, holds what returns, has it written.

Results are returns of calls made here, so this process owns them: they outlive the worker.
"""

import asyncio
import contextlib
import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import ActorDiedError, ObjectLostError, RayActorError, RayTaskError

from cluster.errors import RunError
from cluster.ledger import Attempt, Ledger
from cluster.remote import own_cause, root_cause
from cluster.types import EpisodeSpec, Summary

_RETRY_S = 0.5
"""Between two tries at a writer that is being restarted."""
_FLUSH_S = 2.0
"""A result waits at most this long for others to share its part file."""

_SAVE_S = 15.0
"""When a run fails, this long is given to what is still to be written."""
_LISTEN_S = 1.0
_MAX_HELD_PARTS = 4
"""No episode starts while this many parts wait for a slow disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerSetup:
    """How a ledger is to run."""

    specs: tuple[EpisodeSpec, ...]
    run_id: str
    """Prefix of the part files; unique among the starts of a run."""
    episodes_per_worker: int
    episodes_per_part: int
    timeout_s: float
    max_attempts: int


@dataclass(slots=True)
class Progress:
    """What a watcher is told."""

    counts: dict[str, int]
    summaries: list[Summary]
    """Accepted since the watcher last asked."""
    num_replayed: int
    num_duplicates: int
    dropped: dict[str, Sequence[str]]


@dataclass(slots=True)
class _Held:
    summary: Summary
    trajectory: Any
    """ObjectRef of a Trajectory."""


@dataclass(slots=True)
class _Worker:
    index: int
    handle: Any
    playing: dict[str, Attempt] = field(default_factory=dict)
    """By episode id."""
    turns: dict[str, int] = field(default_factory=dict)
    """Decisions, as last heard."""
    overdue: list[Attempt] = field(default_factory=list)
    is_away: bool = False
    """Died, and has not answered since."""


class LedgerActor:
    """Async actor; `run` ends when every episode is finished or dropped."""

    def __init__(self, setup: LedgerSetup, workers: Sequence[Any], writer: Any) -> None:
        self._setup = setup
        self._ledger = Ledger(setup.specs, setup.max_attempts, setup.timeout_s)
        self._workers = [_Worker(index, handle) for index, handle in enumerate(workers)]
        self._writer = writer
        self._held: list[_Held] = []
        self._news: list[Summary] = []
        self._parts = itertools.count()
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None

    async def run(self) -> None:
        """Play and write everything.

        Raises:
            PickaxeError: the run can't go on; the cause. What had been played is written first.
        """
        for service in (self._write_all(), *(self._listen(worker) for worker in self._workers)):
            self._spawn(service)
        last_tick = time.monotonic()
        while not self._ledger.is_settled and self._failure is None:
            self._hand_out()
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), timeout=1.0)
            if time.monotonic() - last_tick > 1.0:
                last_tick = time.monotonic()
                self._expire()
        if self._failure is not None:
            await self._save_what_is_held()
        for task in self._tasks:
            task.cancel()
        if self._failure is not None:
            raise self._failure

    async def _save_what_is_held(self) -> None:
        deadline = time.monotonic() + _SAVE_S
        while self._ledger.counts()["played"] and time.monotonic() < deadline:
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), timeout=1.0)

    async def progress(self) -> Progress:
        news, self._news = self._news, []
        return Progress(
            counts=self._ledger.counts(),
            summaries=news,
            num_replayed=self._ledger.num_replayed,
            num_duplicates=self._ledger.num_duplicates,
            dropped=self._ledger.dropped(),
        )

    def _hand_out(self) -> None:
        """Fill free places evenly: the worker with the fewest episodes is served first."""
        most_held = _MAX_HELD_PARTS * self._setup.episodes_per_part
        while self._ledger.counts()["played"] < most_held:
            free = [
                worker
                for worker in self._workers
                if len(worker.playing) < self._setup.episodes_per_worker
                and not (worker.overdue or worker.is_away)
            ]
            for worker in sorted(free, key=lambda worker: len(worker.playing)):
                attempt = self._ledger.start(worker.index, time.monotonic())
                if attempt is not None:
                    break
            else:
                return
            worker.playing[attempt.spec.id] = attempt
            self._spawn(self._attend(worker, attempt))

    def _spawn(self, coroutine: Any) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._failure = self._failure or task.exception()
        self._changed.set()

    async def _attend(self, worker: _Worker, attempt: Attempt) -> None:
        """One attempt, from the call to what became of it."""
        try:
            summary_ref, trajectory = worker.handle.play.options(num_returns=2).remote(attempt.spec)
            summary = await summary_ref
        except RayTaskError as error:
            raise own_cause(error) from None
        except ActorDiedError as error:
            self._ledger.lost(attempt, "its worker is gone")
            self._remove(worker, error)
        except RayActorError:
            self._ledger.lost(attempt, "its worker died")
            # Until it answers again: else the episodes would use up their attempts on it.
            worker.is_away = True
        else:
            if self._ledger.result(attempt):
                self._held.append(_Held(summary, trajectory))
                self._news.append(summary)
        finally:
            del worker.playing[attempt.spec.id]
            worker.overdue = [late for late in worker.overdue if late is not attempt]

    def _remove(self, worker: _Worker, error: ActorDiedError) -> None:
        if worker in self._workers:
            self._workers.remove(worker)
        if not self._workers:
            raise RunError(f"every rollout worker is gone: {root_cause(error)}") from None

    def _expire(self) -> None:
        """A worker with an overdue episode gets no more; one with no other is restarted."""
        for attempt in self._ledger.expire(time.monotonic()):
            for worker in self._workers:
                if worker.index == attempt.worker:
                    worker.overdue.append(attempt)
        for worker in self._workers:
            if worker.overdue and len(worker.overdue) == len(worker.playing):
                ray.kill(worker.handle, no_restart=False)

    async def _listen(self, worker: _Worker) -> None:
        """Ask a worker, again and again, how far its episodes are."""
        while worker in self._workers:
            await asyncio.sleep(_LISTEN_S)
            try:
                turns = await worker.handle.turns.remote()
            except ActorDiedError as error:
                self._remove(worker, error)
            except RayActorError:
                worker.is_away = True
            else:
                self._heard(worker, turns)

    def _heard(self, worker: _Worker, turns: dict[str, int]) -> None:
        for key, attempt in worker.playing.items():
            if turns.get(key, 0) > worker.turns.get(key, 0):
                self._ledger.progressed(attempt, time.monotonic())
        worker.turns = turns
        if worker.is_away:
            worker.is_away = False
            self._changed.set()

    async def _write_all(self) -> None:
        since = time.monotonic()
        while True:
            await asyncio.sleep(0.1)
            if not self._held:
                since = time.monotonic()
            enough = len(self._held) >= self._setup.episodes_per_part
            if self._held and (enough or time.monotonic() - since > _FLUSH_S):
                part = self._held[: self._setup.episodes_per_part]
                del self._held[: len(part)]
                self._spawn(self._write(part, f"{self._setup.run_id}-{next(self._parts):05d}"))

    async def _write(self, part: list[_Held], name: str) -> None:
        """Have one part written, however often the writer must be restarted for it.

        The name makes it safe to ask again: a part that was written after all is overwritten
        by itself.
        """
        specs = [held.summary.spec for held in part]
        while True:
            try:
                await self._writer.write.remote(name, *(held.trajectory for held in part))
            except ObjectLostError as error:
                self._ledger.result_lost(specs, f"its result was lost: {type(error).__name__}")
                return
            except ActorDiedError as error:
                raise RunError(f"the trace writer is gone: {root_cause(error)}") from None
            except RayTaskError as error:
                if isinstance(error.cause, ObjectLostError):
                    self._ledger.result_lost(specs, "its result was lost")
                    return
                raise own_cause(error) from None
            except RayActorError:
                await asyncio.sleep(_RETRY_S)
            else:
                self._ledger.durable(specs)
                return
