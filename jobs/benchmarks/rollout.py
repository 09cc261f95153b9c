"""The whole pool against its own engine, bare.

A run plays fixed-length episodes of the tiny model with everything on: game, prompt, picture,
routing, traces. Then the same engine, in the same process on the same core, is given the very
requests that were recorded, already rendered and decoded, with as many in flight. A figure is the
pool's tokens a second over the bare engine's. Runs alternate; caches are emptied before each.
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from jobs.benchmarks import median_of

if TYPE_CHECKING:
    from actors.replica_pool import ReplicaPool
    from configs.jobs import CollectConfig

ROWS: Final = {
    "efficiency": "tokens a second, the pool over its engine bare",
    "efficiency_null_env": "the same with a game that costs nothing",
    "efficiency_slow_env": "the same with 50 ms of sleep in every step of the game",
    "tokens_per_s": "of the pool",
    "requests_per_s": "of the pool",
}

_LANES: Final = 32
"""Episodes at once, and requests in flight of the bare engine."""
_TURNS: Final = 16
_REPEATS: Final = 5


class Speed(NamedTuple):
    tokens_per_s: float
    requests_per_s: float


_CONFIG: Final[dict[str, Any]] = {
    "seeds": f"0-{_LANES - 1}",
    "policy": {"kind": "vllm", "model": "configs/models/tiny", "max_tokens": 16},
    "env": {"size": 72, "length": 10_000},
    "play": {"max_turns": _TURNS},
    "cluster": {"num_workers": 1, "episodes_per_worker": _LANES, "address": "local"},
}


def run() -> dict[str, float]:
    """The figures of `ROWS`; ratios with their `_iqr`."""
    from actors.benchmark import NullWorld, ReplayReplica, SlowWorld
    from actors.game import Game
    from actors.replica_pool import ReplicaPool
    from cluster.session import connect
    from configs.jobs import CollectConfig

    config = CollectConfig.model_validate({**_CONFIG, "output": "benchmark"})
    engine: Any = config.policy
    worlds: dict[str, Callable[..., Any]] = {
        "efficiency": Game,
        "efficiency_null_env": NullWorld,
        "efficiency_slow_env": SlowWorld,
    }
    ratios: dict[str, list[float]] = {name: [] for name in worlds}
    speeds: list[Speed] = []
    with (
        connect(config.cluster),
        ReplicaPool("bench", engine.model, engine.engine, 0, ReplayReplica) as pool,
    ):
        pool.wait_until_ready(config.cluster.start_timeout_s)
        _pair(config, pool, Game)  # compiles, warms up
        for _ in range(_REPEATS):
            for name, world in worlds.items():
                pooled, bare = _pair(config, pool, world)
                ratios[name].append(pooled.tokens_per_s / bare.tokens_per_s)
                if name == "efficiency":
                    speeds.append(pooled)
    figures: dict[str, float] = {}
    for name, values in ratios.items():
        figures |= median_of(name, values)
    return figures | dict(zip(Speed._fields, np.median(speeds, axis=0).tolist(), strict=True))


def _pair(
    config: "CollectConfig", pool: "ReplicaPool", world: Callable[..., Any]
) -> tuple[Speed, Speed]:
    """Speed of the pool, and of its engine bare with the same requests."""
    import ray

    from cluster.traces import read_trajectories

    (replica,) = pool.handles
    ray.get(replica.forget.remote())
    with tempfile.TemporaryDirectory() as folder:
        _play(config, pool, world, Path(folder))
        played = list(read_trajectories(Path(folder)))
    pooled = ray.get(replica.answers.remote())
    bare = ray.get(replica.replay.remote(_requests(config, played), _LANES))
    tokens, replayed = (sum(number for _, number in run) for run in (pooled, bare))
    if len(bare) != len(pooled) or abs(replayed - tokens) > 0.01 * tokens:
        raise ValueError(f"the replay made {replayed} tokens of {tokens}: not the same work")
    return _speed(pooled), _speed(bare)


def _speed(answers: Sequence[tuple[float, int]]) -> Speed:
    """Between the first and the last answers, one of each lane left out at either end: there
    worlds are being made, or lanes have run out of work."""
    middle = sorted(answers)[_LANES:-_LANES]
    span_s = middle[-1][0] - middle[0][0]
    return Speed(sum(number for _, number in middle[1:]) / span_s, (len(middle) - 1) / span_s)


def _play(
    config: "CollectConfig", pool: "ReplicaPool", world: Callable[..., Any], folder: Path
) -> None:
    from dataclasses import replace

    from actors.rollout import Rollout, roll_out
    from actors.seat import seat
    from cluster.types import EpisodeSpec

    setup = seat(config.policy, config, version=0)
    rollout = Rollout(
        name=f"bench-{time.monotonic_ns()}",
        specs=tuple(EpisodeSpec(seed=seed) for seed in config.seeds),
        setup=replace(setup, replicas=pool.names, make_world=world),
        traces=folder,
        cluster=config.cluster,
    )
    for _ in roll_out(rollout):
        pass


def _requests(config: "CollectConfig", played: Sequence[Any]) -> list[Any]:
    """What the pool asked of its engine, turn by turn, in an order like the pool's own."""
    from actors.policies.vllm import sampling_seed
    from cluster.types import GenerationRequest

    policy: Any = config.policy
    return [
        GenerationRequest(
            system=turn.system,
            text=turn.text,
            images=(turn.frame,),
            max_actions=config.prompt.max_actions,
            temperature=policy.temperature,
            top_p=policy.top_p,
            max_tokens=policy.max_tokens,
            seed=sampling_seed(trajectory.spec, turn.index),
            version=0,
        )
        for index in range(_TURNS)
        for trajectory in played
        for turn in trajectory.turns[index : index + 1]
    ]
