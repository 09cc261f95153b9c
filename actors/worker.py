"""The Ray actor that plays: many episodes at once on one event loop."""

import asyncio
import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import ray
from ray.util.metrics import Counter, Gauge

from actors.episode import Table, World, play
from actors.game import Game
from actors.players import AnyPlayer, policies_of
from actors.router import Router
from cluster.credit import Played, credit_of
from cluster.errors import RunError
from cluster.types import EpisodeSpec, Summary, Trajectory
from cluster.versions import TurnVersions
from configs.play import EnvConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSetup:
    """All that a worker needs to play for a run; the same for every worker but `index`."""

    player: AnyPlayer
    version: int
    """Played with where a call of `play` names none."""
    env: EnvConfig
    table: Table
    replicas: tuple[str, ...] = ()
    """Names of the actors that serve the player's model."""
    index: int = 0
    num_workers: int = 1
    patience_s: float = 300.0
    """How long a request waits for a replica that serves."""
    secret: tuple[str, str] | None = field(default=None, repr=False)
    """Name and value of the environment variable that holds an endpoint's key."""
    make_world: Callable[[EnvConfig, int], World] = Game
    turn_version: Literal["pinned", "newest"] = "pinned"
    """Which version takes an episode's decisions: the one that it began with, or the newest."""


class RolloutWorker:
    """Plays episodes on request."""

    def __init__(self, setup: WorkerSetup) -> None:
        self._setup = setup
        if setup.secret is not None:
            # Handed over in memory: a runtime environment would show it in the dashboard.
            os.environ.__setitem__(*setup.secret)
        router = Router(_found(setup.replicas), setup.index, setup.patience_s)
        self._make_policy = policies_of(
            setup.player, setup.table.prompt.max_actions, setup.num_workers, router
        )
        self._versions = TurnVersions(setup.turn_version)
        self._turns: dict[str, int] = {}
        self._plays: set[asyncio.Task[Trajectory]] = set()
        self._count = _Counters(setup.table.player)

    async def play(
        self, spec: EpisodeSpec, version: int | None = None, is_pinned: bool = False
    ) -> tuple[Played, Trajectory]:
        """Play one episode; call with `num_returns=2`, so that the caller owns both.

        Args:
            spec: which.
            version: of the policy; none: the setup's.
            is_pinned: every turn with this version, whatever `turn_version` says.

        Raises:
            FatalPolicyError: the policy will not answer again.
        """
        first = self._setup.version if version is None else version
        self._versions.hear(version)
        task = asyncio.create_task(self._play(spec, self._versions.of_turns(first, is_pinned)))
        self._plays.add(task)
        self._count.playing(+1)
        try:
            trajectory = await task
        finally:
            self._plays.discard(task)
            self._turns.pop(spec.id, None)
            self._count.playing(-1)
        summary = trajectory.summary()
        self._count.played(summary)
        return Played(summary, credit_of(trajectory)), trajectory

    async def _play(self, spec: EpisodeSpec, version: Callable[[], int]) -> Trajectory:
        setup = self._setup
        return await play(
            spec,
            lambda seed: setup.make_world(setup.env, seed),
            self._make_policy(spec, version),
            setup.table,
            lambda turn: self._turns.update({spec.id: turn.index + 1}),
        )

    async def serve(self, version: int) -> None:
        """There is a new version; with `turn_version` newest, turns from now on are its own."""
        self._versions.hear(version)

    async def take_over(self) -> int | None:
        """Give up what is being played for a ledger that is no more.

        Returns:
            The highest version heard of; None where none was ever named.
        """
        for task in self._plays:
            task.cancel()
        return self._versions.newest

    async def turns(self) -> dict[str, int]:
        """Decisions taken so far, by id of the episodes under way."""
        return dict(self._turns)

    async def ready(self) -> str:
        """The node's id, once the worker can play."""
        return str(ray.get_runtime_context().get_node_id())


def _found(names: Sequence[str]) -> list[Any]:
    """Handles of those replicas that are not gone for good."""
    handles = []
    for name in names:
        with contextlib.suppress(ValueError):
            handles.append(ray.get_actor(name))
    if names and not handles:
        raise RunError(f"every replica is gone: {', '.join(names)}")
    return handles


class _Counters:
    """What the Ray dashboard shows of a worker."""

    def __init__(self, player: str) -> None:
        tags = ("player", "ending")
        self._decisions = Counter("pickaxe_decisions", "Decisions played", tags[:1])
        self._tokens = Counter("pickaxe_completion_tokens", "Tokens generated", tags[:1])
        self._episodes = Counter("pickaxe_episodes", "Episodes played, by ending", tags)
        self._playing = Gauge("pickaxe_episodes_playing", "Episodes under way", tags[:1])
        for metric in (self._decisions, self._tokens, self._episodes, self._playing):
            metric.set_default_tags({"player": player})
        self._num_playing = 0

    def playing(self, change: int) -> None:
        self._num_playing += change
        self._playing.set(self._num_playing)

    def played(self, summary: Summary) -> None:
        self._episodes.inc(1, {"ending": summary.ending})
        # Counters refuse to grow by 0.
        if summary.num_turns:
            self._decisions.inc(summary.num_turns)
        if summary.num_completion_tokens:
            self._tokens.inc(summary.num_completion_tokens)
