"""The rollout workers of a run: who is free, who dawdles, who has died.

A crew gives them the episodes of a ledger. The calls are made here, so this process owns what
they return: a result outlives its worker.
"""

import asyncio
import contextlib
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import ray
from ray.exceptions import ActorDiedError, RayActorError, RayTaskError

from cluster.credit import Played
from cluster.errors import RunError
from cluster.ledger import Attempt, Ledger
from cluster.remote import own_cause, root_cause
from cluster.tasks import Tasks
from cluster.types import EpisodeSpec
from cluster.versions import Order

_LISTEN_S: Final = 1.0
_TAKE_OVER_S: Final = 30.0
_RETURN_S: Final = 300.0
"""After it, one that died and has not answered since is taken to hang."""


class Desk(Protocol):
    """Whom a crew works for."""

    def order(self, spec: EpisodeSpec) -> Order | None:
        """How an episode that starts now is played; None: as the worker is set up."""
        ...

    def came_in(self, played: Played, trajectory: Any) -> None:
        """The first result of an episode; `trajectory` is an ObjectRef."""
        ...


@dataclass(slots=True)
class _Worker:
    index: int
    handle: Any
    playing: dict[str, Attempt] = field(default_factory=dict)
    """By episode id."""
    orders: dict[str, Order | None] = field(default_factory=dict)
    turns: dict[str, int] = field(default_factory=dict)
    """Decisions, as last heard."""
    overdue: list[Attempt] = field(default_factory=list)
    away_since: float | None = None
    """It has died, on the monotonic clock, and not answered since."""

    def leave(self) -> None:
        if self.away_since is None:
            self.away_since = time.monotonic()

    def is_lost(self) -> bool:
        """Away for longer than a start may take."""
        return self.away_since is not None and time.monotonic() - self.away_since > _RETURN_S


class Crew:
    """The workers. Use from one event loop."""

    def __init__(
        self, ledger: Ledger, desk: Desk, tasks: Tasks, workers: Sequence[Any], places: int
    ) -> None:
        """`places`: episodes that a worker plays at once. Failures end up in `tasks`."""
        self._ledger = ledger
        self._desk = desk
        self._tasks = tasks
        self._workers = [_Worker(index, handle) for index, handle in enumerate(workers)]
        self._places = places

    def listen(self) -> None:
        """From now on, hear how far each worker's episodes are."""
        for worker in self._workers:
            self._tasks.start(self._listen(worker))

    def hand_out(self) -> bool:
        """Start an episode at the worker with the fewest. False: none waits, or nobody is free."""
        free = [
            worker
            for worker in self._workers
            if len(worker.playing) < self._places and not (worker.overdue or worker.away_since)
        ]
        for worker in sorted(free, key=lambda worker: len(worker.playing)):
            attempt = self._ledger.start(worker.index, time.monotonic())
            if attempt is not None:
                worker.playing[attempt.spec.id] = attempt
                worker.orders[attempt.spec.id] = self._desk.order(attempt.spec)
                self._tasks.start(self._attend(worker, attempt))
                return True
        return False

    def expire(self) -> None:
        """A worker with an overdue episode gets no more; one with no other is restarted, and so
        is one that did not come back from its last restart."""
        for attempt in self._ledger.expire(time.monotonic()):
            for worker in self._workers:
                if worker.index == attempt.worker:
                    worker.overdue.append(attempt)
        for worker in self._workers:
            is_stuck = worker.overdue and len(worker.overdue) == len(worker.playing)
            if worker.is_lost() or (is_stuck and not worker.away_since):
                worker.away_since = time.monotonic()  # until it answers again
                ray.kill(worker.handle, no_restart=False)

    async def take_over(self) -> int | None:
        """Have plays of an earlier start given up; the highest version a worker has heard of.

        Workers that do not answer are left to what is done about silent ones anyway.
        """
        handles = (worker.handle for worker in self._workers)
        calls = [asyncio.ensure_future(handle.take_over.remote()) for handle in handles]
        answered, _ = await asyncio.wait(calls, timeout=_TAKE_OVER_S)
        heard = [call.result() for call in answered if call.exception() is None]
        return max((version for version in heard if version is not None), default=None)

    def serve(self, version: int) -> None:
        """Tell every worker of a new version."""
        for worker in self._workers:
            self._tasks.start(_tell(worker.handle, version))

    def orders(self) -> Iterable[Order]:
        """Of the episodes under way."""
        for worker in self._workers:
            yield from (order for order in worker.orders.values() if order is not None)

    async def _attend(self, worker: _Worker, attempt: Attempt) -> None:
        """One attempt, from the call to what became of it."""
        order = worker.orders[attempt.spec.id]
        how = () if order is None else (order.version, order.is_pinned)
        try:
            call = worker.handle.play.options(num_returns=2)
            played_ref, trajectory = call.remote(attempt.spec, *how)
            played = await played_ref
        except RayTaskError as error:
            raise own_cause(error) from None
        except ActorDiedError as error:
            self._ledger.lost(attempt, "its worker is gone")
            self._remove(worker, error)
        except RayActorError:
            self._ledger.lost(attempt, "its worker died")
            # Until it answers again: else the episodes would use up their attempts on it.
            worker.leave()
        else:
            if self._ledger.result(attempt):
                self._desk.came_in(played, trajectory)
        finally:
            del worker.playing[attempt.spec.id]
            del worker.orders[attempt.spec.id]
            worker.overdue = [late for late in worker.overdue if late is not attempt]

    def _remove(self, worker: _Worker, error: ActorDiedError) -> None:
        if worker in self._workers:
            self._workers.remove(worker)
        if not self._workers:
            raise RunError(f"every rollout worker is gone: {root_cause(error)}") from None

    async def _listen(self, worker: _Worker) -> None:
        """Ask a worker, again and again, how far its episodes are."""
        while worker in self._workers:
            await asyncio.sleep(_LISTEN_S)
            try:
                turns = await worker.handle.turns.remote()
            except ActorDiedError as error:
                self._remove(worker, error)
            except RayActorError:
                worker.leave()
            else:
                self._heard(worker, turns)

    def _heard(self, worker: _Worker, turns: dict[str, int]) -> None:
        for key, attempt in worker.playing.items():
            if turns.get(key, 0) > worker.turns.get(key, 0):
                self._ledger.progressed(attempt, time.monotonic())
        worker.turns = turns
        if worker.away_since is not None:
            worker.away_since = None
            self._tasks.wake()


async def _tell(handle: Any, version: int) -> None:
    """One that has died meanwhile hears of it with its next episode."""
    with contextlib.suppress(RayActorError):
        await handle.serve.remote(version)
