"""What a new policy version costs: the time until all replicas serve it, and what they lose.

A random adapter on every layer of the tiny model, vision tower included, and its learner's word on
20 tokens after one picture. Two replicas, one core each.

*Idle*: from the call of `publish` to its return, by which time both replicas have loaded the
adapter, proved its digest, its modules and its canary, and serve it. `latency_ratio` is that over
the same `add_lora` and canary on one engine, bare, with files and prompt prepared.

*Loaded*: requests in lanes keep all replicas busy, and always name the newest version. Windows
with a switch, which begins with the window, alternate with windows without. What a switch loses is
the share of tokens by which the first lags behind the second, times a window's length;
`stall_share` is that over the length of a step of training, for which a minute is taken: that of
`configs/cpu/rl.toml` takes longer.
"""

import asyncio
import contextlib
import io
import itertools
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from jobs.benchmarks import median_of

if TYPE_CHECKING:
    from actors.replica_pool import ReplicaPool
    from cluster.canary import Canary
    from cluster.types import GenerationRequest

ROWS: Final = {
    "latency_ratio": "publish until all serve, idle, over a bare add_lora and canary",
    "latency_ms": "of that publish",
    "loaded_median_ms": "publish until all serve, with all replicas busy",
    "loaded_p95_ms": "the same, 95th percentile",
    "stall_share": "tokens lost to a switch over those of a step of a minute",
    "tokens_per_s": "of both replicas, no version coming",
}

_REPEATS: Final = 20
_WINDOW_S: Final = 4.0
_STEP_S: Final = 60.0
_LANES: Final = 32
_MAX_TOKENS: Final = 16
_NUM_PICTURES: Final = 1_000
"""More than are asked about before the next version: none is answered from a cache."""
_UNPUBLISHED: Final = 1_000_000
_CONFIG: Final[dict[str, Any]] = {
    "output": "benchmark",
    "seeds": "0-9",
    "num_steps": 1,
    "groups_per_step": 1,
    "group_size": 2,
    "policy": {
        "model": "configs/models/tiny",
        "engine": {"num_replicas": 2, "lora": {"max_rank": 16}},
    },
    "lora": {"tower": True},
    "cluster": {"address": "local"},
}


class Policy(NamedTuple):
    version: int
    files: dict[str, bytes]
    canary: "Canary"


def run(repeats: int = _REPEATS) -> dict[str, float]:
    """The figures of `ROWS`; ratios with their `_iqr`."""
    from actors.benchmark import ReplayReplica
    from actors.replica_pool import ReplicaPool
    from cluster.session import connect
    from configs.rl import RlConfig

    config = RlConfig.model_validate(_CONFIG)
    policies = list(itertools.islice(_policies(config), 2 * repeats + 2))
    model, engine = str(Path(config.policy.model).absolute()), config.policy.engine
    with connect(config.cluster), ReplicaPool("bench", model, engine, 0, ReplayReplica) as pool:
        pool.wait_until_ready(config.cluster.start_timeout_s)
        idle = _idle(pool, policies[: repeats + 1])
        return idle | asyncio.run(_loaded(pool, policies[repeats + 1 :]))


def _policies(config: Any) -> Iterator[Policy]:
    """Version after version: random matrices, and what the learner says of them."""
    import torch

    from actors.adapter import read_adapter
    from learners.rl.canary import canary_logprobs, canary_of
    from learners.rl.policy import build_policy

    torch.set_num_threads(1)
    learner = build_policy(config, config.policy.model, "cpu")
    for version in itertools.count(1):
        for name, matrix in learner.model.named_parameters():
            if "lora_" in name:
                matrix.data.normal_(std=0.05)
        with tempfile.TemporaryDirectory() as folder:
            learner.model.save_pretrained(folder)
            files = read_adapter(Path(folder))
        canary = canary_of(learner, config, canary_logprobs(learner, config))
        yield Policy(version, files, canary)


def _idle(pool: "ReplicaPool", policies: Sequence[Policy]) -> dict[str, float]:
    import ray

    ratios, latencies_ms = [], []
    for version, files, canary in policies:
        bare = pool.handles[version % len(pool.handles)].bare_switch
        bare_s = ray.get(bare.remote(_UNPUBLISHED + version, files, canary))
        began = time.perf_counter()
        ray.get(pool.store.publish.remote(version, files, canary))
        latency_s = time.perf_counter() - began
        ray.get(pool.store.retire.remote([]))
        ratios.append(latency_s / bare_s)
        latencies_ms.append(1000 * latency_s)
    # The first compiles, warms up.
    return median_of("latency_ratio", ratios[1:]) | median_of("latency_ms", latencies_ms[1:])


async def _loaded(pool: "ReplicaPool", policies: Sequence[Policy]) -> dict[str, float]:
    first, *others = policies
    await pool.store.publish.remote(*first)
    load = _Load(pool, first)
    lanes = asyncio.gather(*(load.lane() for _ in range(_LANES)))
    await asyncio.sleep(_WINDOW_S)
    latencies_ms, shares, rates = [], [], []
    for policy in others:
        rates.append(await load.tokens_per_s())
        if lanes.done():
            await lanes  # raises what a lane failed of
        switching = asyncio.create_task(load.switch(policy))
        lag = 1 - await load.tokens_per_s() / rates[-1]
        latencies_ms.append(1000 * await switching)
        shares.append(lag * _WINDOW_S / _STEP_S)
        await pool.store.retire.remote([policy.version - 1])
    lanes.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await lanes
    return {
        "loaded_median_ms": float(np.median(latencies_ms)),
        "loaded_p95_ms": float(np.percentile(latencies_ms, 95)),
        **median_of("stall_share", shares),
        **median_of("tokens_per_s", rates),
    }


class _Load:
    """Requests without end, of the newest version."""

    def __init__(self, pool: "ReplicaPool", policy: Policy) -> None:
        from actors.router import Router

        self._store = pool.store
        self._router = Router(pool.handles, first=0, patience_s=60.0)
        self._version = policy.version
        self._requests = itertools.cycle(_requests(policy.canary.request))
        self._num_tokens = 0

    async def lane(self) -> None:
        """One request at a time."""
        while True:
            request = replace(next(self._requests), version=self._version)
            completion = await self._router(request)
            # Not in one statement: what it adds to would be read before the answer comes.
            self._num_tokens += completion.num_completion_tokens

    async def switch(self, policy: Policy) -> float:
        """Seconds until all serve a new version; the lanes then take it."""
        began = time.perf_counter()
        await self._store.publish.remote(*policy)
        self._version = policy.version
        return time.perf_counter() - began

    async def tokens_per_s(self) -> float:
        """In the window that begins now."""
        began, before = time.perf_counter(), self._num_tokens
        await asyncio.sleep(_WINDOW_S)
        return (self._num_tokens - before) / (time.perf_counter() - began)


def _requests(like: "GenerationRequest") -> list["GenerationRequest"]:
    """Each with a picture of its own."""
    from PIL import Image

    rng = np.random.default_rng(0)
    requests = []
    for seed in range(_NUM_PICTURES):
        tiles = rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)
        file = io.BytesIO()
        Image.fromarray(tiles.repeat(8, axis=0).repeat(8, axis=1)).save(file, "PNG")
        images = (file.getvalue(),)
        requests.append(replace(like, images=images, seed=seed, max_tokens=_MAX_TOKENS))
    return requests
