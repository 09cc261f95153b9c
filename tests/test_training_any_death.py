"""A training run in one event loop, in which everything dies again and again.

The ledger is the real one; its workers, its writer and the learner are stand-ins.
"""

import asyncio
import json
import random
from typing import Any

import pytest

from cluster.credit import Played, credit_of
from cluster.errors import RunError
from cluster.recorder import Recalled
from cluster.training import ledger as training_ledger
from cluster.training import play as training_play
from cluster.training.dealing import Share
from cluster.training.ledger import TrainingLedger
from cluster.training.setup import TrainingSetup
from cluster.types import EpisodeSpec, Trajectory
from tests.training_play import judge, played_with, setup
from tests.without_ray import Handle, died

NUM_STEPS = 6
EVALUATED = (50, 51)


class Exit(BaseException):
    """Stands for `os._exit`."""


class Worker:
    """Plays in no time worth mentioning, and dies at times."""

    def __init__(self, chance: random.Random, suffering: float) -> None:
        self.chance = chance
        self.suffering = suffering
        self.heard: int | None = None
        self.num_plays = 0

    async def turns(self) -> dict[str, int]:
        return {}

    async def take_over(self) -> int | None:
        return self.heard

    async def serve(self, version: int) -> None:
        self.heard = max(version, self.heard or 0)

    async def play(
        self, spec: EpisodeSpec, version: int, is_pinned: bool
    ) -> tuple[Played, Trajectory]:
        assert is_pinned == (spec.seed in EVALUATED)
        await self.serve(version)
        await asyncio.sleep(self.chance.random() * 0.01)
        if self.chance.random() < self.suffering:
            self.heard = None
            raise died()
        self.num_plays += 1
        is_flat = self.chance.random() < self.suffering
        reward = 0.5 if is_flat else self.chance.random()
        whole = played_with(spec, version, reward, 1 + spec.sample % 3, env={"n": reward})
        return Played(whole.summary(), credit_of(whole)), whole


class Disk:
    """The writer, and what it wrote."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.parts: dict[str, list[Trajectory]] = {}
        self.busy = asyncio.Lock()

    async def write(self, name: str, *trajectories: "asyncio.Future[Trajectory]") -> None:
        async with self.busy:  # one after the other, as they come
            await asyncio.sleep(self.chance.random() * 0.02)
            self.parts[name] = [await one if asyncio.isfuture(one) else one for one in trajectories]

    async def ready(self) -> None:
        async with self.busy:
            pass

    async def recall(self, folder: Any, name: str) -> Recalled:
        await asyncio.sleep(0)
        return {
            one.spec: (Played(one.summary(), credit_of(one)), one)
            for one in self.parts.get(name, [])
        }


class Run:
    """The driver and the learner; a ledger that was killed is replaced."""

    def __init__(self, seed: int, max_staleness: int, suffering: float) -> None:
        self.chance = random.Random(seed)
        self.suffering = suffering
        self.disk = Disk(self.chance)
        self.workers = [Worker(self.chance, suffering) for _ in range(3)]
        self.setup = TrainingSetup(
            groups=setup(
                num_steps=NUM_STEPS, max_staleness=max_staleness, max_consecutive_drops=1000
            ),
            evaluation_seeds=EVALUATED,
            traces=None,  # type: ignore[arg-type]
            episodes_per_worker=2,
            timeout_s=60.0,
            max_attempts=20,
        )
        self.checkpoint: str | None = None
        self.trained: list[list[Trajectory]] = []
        self.num_ranks = 2
        self.evaluated: dict[int, Any] = {}
        self.num_deaths = 0
        self.num_refused = 0
        self.start()

    def start(self) -> None:
        checkpoint = self.checkpoint

        def read() -> Any:
            return None if self.checkpoint is None else json.loads(self.checkpoint)

        assert checkpoint == self.checkpoint
        handles = [Handle(worker) for worker in self.workers]
        self.ledger = TrainingLedger(self.setup, judge, read, lambda: (handles, Handle(self.disk)))
        self.calls: set[asyncio.Task[Any]] = set()
        self.running = asyncio.create_task(self.ledger.run())

    def kill(self) -> None:
        """What is under way at the workers goes on, and nobody hears of it."""
        self.num_deaths += 1
        self.running.cancel()
        self.ledger._play._is_closed = True
        self.ledger._play.tasks.cancel()
        old, self.calls = self.calls, set()
        self.start()
        for call in old:
            call.cancel()

    async def call(self, name: str, *arguments: Any) -> Any:
        """As Ray does it: a call whose actor died is made again."""
        while True:
            if self.running.done():
                self.running.result()
            ledger = self.ledger
            call = asyncio.create_task(getattr(ledger, name)(*arguments))
            self.calls.add(call)
            try:
                return await call
            except asyncio.CancelledError:
                if ledger is self.ledger:
                    raise
            except Exit:
                self.kill()
            finally:
                self.calls.discard(call)

    def suffer(self) -> None:
        if self.chance.random() < self.suffering:
            self.kill()

    async def watch(self) -> None:
        """As `watch_training` does."""
        served = None
        while True:
            progress = await self.call("progress")
            if progress.version is None and served is not None:
                await self.call("serve", served)
            served = progress.version or served
            await asyncio.sleep(0.01)

    async def learn(self) -> None:
        while len(self.trained) < NUM_STEPS:
            step = len(self.trained)
            # A driver that is started again says so again.
            await self.call("serve", step + 1)
            try:
                await self.take_step(step)
            except RunError as error:
                if "go on from the last checkpoint" not in str(error):
                    raise
                self.num_refused += 1
            for done in await self.call("evaluations"):
                assert self.evaluated.setdefault(done.step, done) == done

    async def share(self, step: int, rank: int) -> Share:
        while True:
            share = await self.call("batch", step, rank, self.num_ranks)
            if share is not None:
                assert isinstance(share, Share)
                return share

    async def take_step(self, step: int) -> None:
        shares = []
        for rank in range(self.num_ranks):
            shares.append(await self.share(step, rank))
            self.suffer()
        if self.chance.random() < self.suffering:
            lost = self.chance.choice(shares[0].mine + shares[1].mine)
            await self.call("lost", [lost.spec.id])
            shares = [await self.share(step, rank) for rank in range(self.num_ranks)]
        snapshot = await self.call("snapshot", step)
        assert shares[0].groups == shares[1].groups, "a batch of two halves must be refused"
        batch = [await self.whole(piece.trajectory) for share in shares for piece in share.mine]
        self.check(step, batch)
        self.suffer()
        await asyncio.sleep(self.chance.random() * 0.05)
        self.checkpoint = json.dumps(snapshot)
        self.suffer()
        self.trained.append(batch)
        await self.call("committed", step)
        self.suffer()
        await self.call("serve", step + 2)
        await self.call("evaluate", step + 1, step + 2)
        self.suffer()
        await self.call("evaluate", step + 1, step + 2)

    async def whole(self, trajectory: Any) -> Trajectory:
        found: Trajectory = await trajectory if asyncio.isfuture(trajectory) else trajectory
        return found

    def check(self, step: int, batch: list[Trajectory]) -> None:
        assert len(batch) == 4
        for one in batch:
            versions = {turn.completion.version for turn in one.turns}
            assert all(0 <= step + 1 - v <= self.setup.groups.max_staleness for v in versions)
        before = {one.spec for done in self.trained for one in done}
        assert before.isdisjoint(one.spec for one in batch)


@pytest.mark.parametrize("max_staleness", [0, 2])
@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("suffering", [0.0, 0.15])
async def test_every_step_is_taken_whatever_dies(
    monkeypatch: pytest.MonkeyPatch, seed: int, max_staleness: int, suffering: float
) -> None:
    def end(status: int) -> None:
        raise Exit

    run = Run(seed, max_staleness, suffering)
    monkeypatch.setattr(training_play, "recall", run.disk.recall)
    monkeypatch.setattr(training_ledger.os, "_exit", end)
    watching = asyncio.create_task(run.watch())
    await asyncio.wait_for(run.learn(), 60)
    progress = await run.call("progress")
    assert progress.step == NUM_STEPS
    assert progress.counts["trained"] == 4 * NUM_STEPS
    assert (progress.books.step, progress.books.trained) == (NUM_STEPS, 4 * NUM_STEPS)
    assert (progress.books.lost, progress.books.doubled) == (0, 0)
    while len(run.evaluated) < NUM_STEPS:
        for step in range(1, NUM_STEPS + 1):
            await run.call("evaluate", step, step + 1)
        await asyncio.sleep(0.01)
        for done in await run.call("evaluations"):
            assert run.evaluated.setdefault(done.step, done) == done
    watching.cancel()
    await run.call("close")
    await run.running
    written = {one.spec: one for part in run.disk.parts.values() for one in part}
    for one in (one for batch in run.trained for one in batch):
        assert written[one.spec] == one
    print(run.num_deaths, sum(w.num_plays for w in run.workers), run.num_refused, progress)
