"""Stand-ins for benchmarks of the ledger of training: many environments, replicas and ranks in few
processes. What they exchange with the ledger is real, its size too; what they do is to wait."""

import asyncio
import random
import time
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar

import ray
from ray import cloudpickle

from cluster.credit import Credit, Played, credit_of
from cluster.training.dealing import Share
from cluster.types import EpisodeSpec, Trajectory, Turn

_JITTER: Final = 0.2
"""An answer takes up to this share longer or shorter."""
Answer = TypeVar("Answer")


class SimulatedReplica:
    """Answers after a time, however many ask."""

    def __init__(self, answer_s: float, seed: int) -> None:
        self._answer_s = answer_s
        self._chance = random.Random(seed)
        self.num_in_flight = 0

    async def answer(self) -> None:
        self.num_in_flight += 1
        await asyncio.sleep(self._answer_s * (1 + self._chance.uniform(-_JITTER, _JITTER)))
        self.num_in_flight -= 1


class SimulatedWorker:
    """Async actor with the calls of `actors.worker.RolloutWorker`: plays what was played before."""

    def __init__(self, played: Sequence[Trajectory], replicas: int, answer_s: float) -> None:
        """`played`: templates, dealt by world; `replicas`: as many are simulated in here. With an
        `answer_s` of 0 nobody is asked, and what is played waits for `release`."""
        self._played = played
        self._replicas = [SimulatedReplica(answer_s, seed) for seed in range(replicas)]
        self._turns: dict[str, int] = {}
        self._is_held = answer_s == 0
        self._gate = asyncio.Event()
        self._num_waiting = 0

    async def play(
        self, spec: EpisodeSpec, version: int, is_pinned: bool
    ) -> tuple[Played, Trajectory]:
        template = self._template(spec)
        turns: list[Turn] = []
        for turn in template.turns:
            if not self._is_held:
                await min(self._replicas, key=lambda one: one.num_in_flight).answer()
            turns.append(replace(turn, completion=replace(turn.completion, version=version)))
            self._turns[spec.id] = len(turns)
        whole = replace(template, spec=spec, turns=tuple(turns))
        told = Played(whole.summary(), credit_of(whole))
        if self._is_held:
            self._num_waiting += 1
            await self._gate.wait()
        del self._turns[spec.id]
        return told, whole

    def _template(self, spec: EpisodeSpec) -> Trajectory:
        return self._played[(spec.seed + spec.sample) % len(self._played)]

    async def waiting(self) -> int:
        """How many episodes are played and wait."""
        return self._num_waiting

    async def release(self) -> float:
        """Hand over what waits; returns the time on the machine's clock."""
        self._gate.set()
        self._gate.clear()
        self._num_waiting = 0
        return time.monotonic()

    async def put(self, num: int) -> tuple[float, list[Any]]:
        """Put so many episodes into the object store, and nothing else: seconds, ObjectRefs."""
        whole = [self._template(EpisodeSpec(seed=seed)) for seed in range(num)]
        started = time.monotonic()
        refs = [ray.put(one) for one in whole]
        return time.monotonic() - started, refs

    async def turns(self) -> dict[str, int]:
        return dict(self._turns)

    async def take_over(self) -> None:
        return None

    async def serve(self, version: int) -> None:
        pass

    async def ready(self) -> None:
        pass


@dataclass(slots=True)
class Step:
    """What ranks saw of a step."""

    got_at: float
    """When the last rank had the last episode, on the machine's clock."""
    num_decisions: int
    call_s: list[float] = field(default_factory=list)
    """Of each call of the ledger that had nothing to wait for."""
    frame_bytes: int = 0
    """PNG bytes of the batch."""
    rank_bytes: int = 0
    """What the ranks were sent of it, shares included; a trajectory goes to the writer as well."""
    ledger_bytes: int = 0
    """What the ledger was sent."""


class SimulatedRanks:
    """Async actor: ranks that have their episodes sent, wait a while, and commit."""

    def __init__(self, ledger: Any, num_ranks: int, learn_s: float) -> None:
        self._ledger = ledger
        self._num_ranks = num_ranks
        self._learn_s = learn_s

    async def train(self, step: int) -> Step:
        """Take a step, from the batch to the next version being served."""
        shares = await asyncio.gather(*(self._share(step, rank) for rank in range(self._num_ranks)))
        num_decisions = sum(len(one.rewards_T) for group in shares[0].groups for one in group)
        taken = Step(got_at=0.0, num_decisions=num_decisions)
        got = await asyncio.gather(*(_fetch(share) for share in shares))
        taken.got_at = time.monotonic()
        # Each rank asks again: there is the same answer, ready to be given.
        again = (self._ledger.batch.remote(step, rank, self._num_ranks) for rank in _all(shares))
        await asyncio.gather(*(_timed(call, taken) for call in again))
        await asyncio.sleep(self._learn_s)
        await self._ledger.snapshot.remote(step)
        await _timed(self._ledger.committed.remote(step), taken)
        await _timed(self._ledger.serve.remote(step + 2), taken)
        await _timed(self._ledger.evaluations.remote(), taken)
        _weigh(taken, shares, [one for share in got for one in share])
        return taken

    async def _share(self, step: int, rank: int) -> Share:
        while True:
            share: Share | None = await self._ledger.batch.remote(step, rank, self._num_ranks)
            if share is not None:
                return share

    async def get(self, refs: Sequence[Any]) -> float:
        """Get these and nothing else: seconds."""
        started = time.monotonic()
        for ref in refs:
            await ref
        return time.monotonic() - started


def never(group: Sequence[Credit]) -> str:
    """Every group is worth training on."""
    return ""


def _all(shares: Sequence[Share]) -> range:
    return range(len(shares))


async def _fetch(share: Share) -> list[Trajectory]:
    return [await piece.trajectory for piece in share.mine]


async def _timed(call: Awaitable[Answer], taken: Step) -> Answer:
    started = time.monotonic()
    answer = await call
    taken.call_s.append(time.monotonic() - started)
    return answer


def _weigh(taken: Step, shares: Sequence[Share], got: Sequence[Trajectory]) -> None:
    """Sizes as Ray sends them: pickled by cloudpickle, protocol 5."""
    taken.frame_bytes = sum(len(turn.frame or b"") for one in got for turn in one.turns)
    taken.rank_bytes = sum(map(_size, got)) + sum(map(_size, shares))
    taken.ledger_bytes = sum(_size(Played(one.summary(), credit_of(one))) for one in got)


def _size(value: Any) -> int:
    return len(cloudpickle.dumps(value, protocol=5))
