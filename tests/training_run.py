"""A training run on a real Ray with light stand-ins: its workers, and the one who learns."""

import functools
import json
import os
import re
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import ray
from ray._private.internal_api import memory_summary
from ray.exceptions import RayTaskError

from cluster.credit import Played, credit_of
from cluster.errors import FatalPolicyError, RunError
from cluster.trace_writer import TraceWriter
from cluster.training.dealing import Share
from cluster.training.ledger import TrainingLedger
from cluster.training.setup import GroupSetup, TrainingSetup
from cluster.types import EpisodeSpec, Trajectory
from jobs.benchmarks.ledger import ledger_process
from tests.training_play import judge, played_with

POLL_S = 0.1
PATIENCE_S = 90.0


class Stand:
    """A worker; it writes down what it is asked to play, and holds its caller to the contract."""

    def __init__(
        self,
        folder: Path,
        seconds: float = 0.02,
        refuses: str = "",
        reward: float | None = None,
        flat_seeds: Sequence[int] = (),
        frame_bytes: int = 0,
    ) -> None:
        """`reward`: of each turn, in every play; by default plays of a group differ, save in the
        worlds of `flat_seeds`. `frame_bytes`: of the picture at each turn."""
        self.log = folder / "plays.jsonl"
        self.seconds = seconds
        self.reward = reward
        self.flat_seeds = flat_seeds
        self.frame_bytes = frame_bytes
        self.refuses = refuses
        self.heard: int | None = None

    def pid(self) -> int:
        return os.getpid()

    def turns(self) -> dict[str, int]:
        return {}

    def take_over(self) -> int | None:
        return self.heard

    def serve(self, version: int) -> None:
        self.heard = max(version, self.heard or 0)

    def play(self, spec: EpisodeSpec, version: int, is_pinned: bool) -> tuple[Played, Trajectory]:
        assert version >= 1
        if self.refuses:
            raise FatalPolicyError(self.refuses)
        self.serve(version)
        line = {"spec": spec.id, "version": version, "is_pinned": is_pinned}
        with self.log.open("a") as log:
            log.write(json.dumps(line) + "\n")
        time.sleep(self.seconds)
        is_flat = spec.seed in self.flat_seeds
        reward = float(spec.sample % 2 and not is_flat) if self.reward is None else self.reward
        whole = played_with(spec, version, reward, env={"play": time.time_ns()})
        if self.frame_bytes:
            turns = tuple(replace(turn, frame=os.urandom(self.frame_bytes)) for turn in whole.turns)
            whole = replace(whole, turns=turns)
        return Played(whole.summary(), credit_of(whole)), whole


class SlowWriter(TraceWriter):
    """Takes its time, so that parts are not durable when their groups are trained."""

    def write(self, name: str, *trajectories: Trajectory) -> None:
        time.sleep(1.0)
        super().write(name, *trajectories)


def read_last(folder: Path) -> Mapping[str, Any] | None:
    """The account in the last checkpoint in place."""
    found = sorted(folder.glob("step-*.json"))
    account: Mapping[str, Any] | None = json.loads(found[-1].read_text()) if found else None
    return account


@dataclass
class Run:
    """A ledger with its workers, and a learner that holds it to the contract."""

    folder: Path
    groups: GroupSetup
    evaluation_seeds: tuple[int, ...] = ()
    num_ranks: int = 1
    make_worker: Callable[[Path], Any] = lambda folder: stand(folder)
    writer: type = TraceWriter
    kill: Callable[[str, int], None] = lambda point, step: None
    """Called between the learner's deeds: what is to die there?"""
    trained: list[Trajectory] = field(default_factory=list)
    batches: list[tuple[EpisodeSpec, ...]] = field(default_factory=list)
    """By committed step."""
    num_refused: int = 0
    """Snapshots that were refused, so that the step was begun anew."""

    def __post_init__(self) -> None:
        self.checkpoints = self.folder / "checkpoints"
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        self.traces = self.folder / "traces"
        self.workers = [self.make_worker(self.folder) for _ in range(2)]
        setup = TrainingSetup(
            groups=self.groups,
            evaluation_seeds=self.evaluation_seeds,
            traces=self.traces,
            episodes_per_worker=2,
            timeout_s=60.0,
            max_attempts=3,
        )
        writer = ray.remote(self.writer).options(num_cpus=0, max_restarts=5).remote(self.traces)
        # Ray ends an actor whose last handle is gone: a killed ledger holds none.
        self.trace_writer = writer
        self.ledger = (
            ray.remote(TrainingLedger)
            .options(num_cpus=0, max_restarts=5, max_task_retries=-1)
            .remote(setup, judge, functools.partial(read_last, self.checkpoints), self.find_crew())
        )
        self.running = self.ledger.run.remote()

    def find_crew(self) -> Callable[[], tuple[list[Any], Any]]:
        workers, writer = self.workers, self.trace_writer
        return lambda: (workers, writer)

    def call(self, name: str, *arguments: Any) -> Any:
        """Raises what the ledger raised."""
        try:
            return ray.get(getattr(self.ledger, name).remote(*arguments))
        except RayTaskError as error:
            raise error.cause from None

    def share(self, step: int, rank: int) -> Share:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            share = self.call("batch", step, rank, self.num_ranks)
            if share is not None:
                return share
        raise TimeoutError(f"no batch for step {step}: {self.call('progress')}")

    def learn(self, num_steps: int | None = None) -> None:
        """From where the run stands to the end, or for some steps."""
        self.call("serve", len(self.batches) + 1)
        last = self.groups.num_steps if num_steps is None else len(self.batches) + num_steps
        while len(self.batches) < last:
            try:
                self.take_step(len(self.batches))
            except RunError as error:
                if "go on from the last checkpoint" not in str(error):
                    raise
                self.num_refused += 1

    def take_step(self, step: int) -> None:
        shares = [self.share(step, rank) for rank in range(self.num_ranks)]
        pieces = [piece for share in shares for piece in share.mine]
        trajectories: list[Trajectory] = ray.get([piece.trajectory for piece in pieces])
        self.check(step, trajectories)
        self.kill("trained", step)
        snapshot = self.call("snapshot", step)
        self.kill("snapshot", step)
        text = json.dumps(snapshot)
        path = self.checkpoints / f"step-{step:06d}.json"
        path.with_suffix(".tmp").write_text(text)
        os.replace(path.with_suffix(".tmp"), path)
        self.kill("in place", step)
        self.call("committed", step)
        self.kill("committed", step)
        self.call("serve", step + 2)
        self.kill("served", step)
        self.trained += trajectories
        self.batches.append(tuple(piece.spec for piece in pieces))

    def check(self, step: int, trajectories: Sequence[Trajectory]) -> None:
        assert len(trajectories) == self.groups.groups_per_step * self.groups.group_size
        for trajectory in trajectories:
            for turn in trajectory.turns:
                behind = step + 1 - turn.completion.version
                assert 0 <= behind <= self.groups.max_staleness

    def plays(self) -> list[dict[str, Any]]:
        """What the workers were asked for, in order."""
        log = self.folder / "plays.jsonl"
        return [json.loads(line) for line in log.read_text().splitlines()]


def stand(folder: Path, **how: Any) -> Any:
    options = {"num_cpus": 0, "max_concurrency": 4, "max_restarts": 5}
    return ray.remote(Stand).options(**options).remote(folder, **how)


def kill_ledger() -> None:
    """kill -9."""
    process = ledger_process()
    process.send_signal(signal.SIGKILL)
    process.wait(30)


def num_stored() -> int:
    """Objects in the object store of this process's Ray."""
    told = memory_summary(ray.get_runtime_context().gcs_address, stats_only=True)
    found = re.search(r"Plasma memory usage .*?(\d+) objects", told)
    assert found is not None, told
    return int(found[1])


def kill_worker(worker: Any) -> None:
    """kill -9."""
    os.kill(ray.get(worker.pid.remote()), signal.SIGKILL)
