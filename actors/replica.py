"""One engine behind a Ray actor: answers, loads and unloads, and dies with its engine.

Async, many requests at once. Ray's own `max_concurrency` bounds them: set it high.
"""

import asyncio
import contextlib
import itertools
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, NoReturn

import ray
from ray.exceptions import RayError
from ray.util.metrics import Counter, Gauge

from actors.engine import Engine
from actors.engine_settings import engine_environment
from cluster.canary import Canary
from cluster.errors import FatalPolicyError, PickaxeError, RunError
from cluster.types import Completion, GenerationRequest
from configs.player import EngineConfig

_WATCH_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaState:
    """Where a replica is and what it serves."""

    name: str
    node_id: str
    pid: int
    versions: tuple[int, ...]
    num_in_flight: int


class Replica:
    """Plain class; `ray.remote` makes it an actor. Its construction starts the engine."""

    engine_class: ClassVar[type[Engine]] = Engine

    def __init__(self, model: str, config: EngineConfig, slot: int, store: str = "") -> None:
        """Start the engine.

        Args:
            model: folder or hub name.
            config: of the engine.
            slot: the how-manieth replica on this node; decides its CPU cores.
            store: name of the run's policy store, for versions loaded before a restart; empty
                where there is none.
        """
        os.environ.update(engine_environment(config))
        context = ray.get_runtime_context()
        self._node_id = context.get_node_id()
        self._name = context.get_actor_name() or context.get_actor_id() or ""
        self._request_ids = itertools.count()
        tags = {"replica": self._name.rpartition("/")[2]}
        self._requests = _counter("pickaxe_replica_requests", "Requests answered.", tags)
        self._prompt_tokens = _counter("pickaxe_replica_prompt_tokens", "Tokens read.", tags)
        self._new_tokens = _counter("pickaxe_replica_completion_tokens", "Tokens generated.", tags)
        self._gauge = Gauge("pickaxe_replica_requests_in_flight", tag_keys=("replica",))
        self._gauge.set_default_tags(tags)
        with _bound(cores_of(slot, config.cores) if config.device == "cpu" else None):
            self._engine = self.engine_class(model, config)
        self._store = store
        self._silence_timeout_s = config.silence_timeout_s
        self._fetching = asyncio.Lock()
        self._unloading: set[asyncio.Task[None]] = set()
        threading.Thread(target=self._watch, name="watch-engine", daemon=True).start()

    async def ready(self) -> ReplicaState:
        """Returns once the engine runs."""
        return ReplicaState(
            name=self._name,
            node_id=self._node_id,
            pid=os.getpid(),
            versions=self._engine.versions,
            num_in_flight=self._engine.num_in_flight,
        )

    async def generate(self, request: GenerationRequest) -> Completion:
        """Answer one request.

        Raises:
            PolicyError: this request can't be served.
        """
        await self._fetch(request.version)
        try:
            self._gauge.set(self._engine.num_in_flight + 1)
            completion = await self._engine.generate(request, str(next(self._request_ids)))
        except RunError as error:
            _end(str(error))
        finally:
            self._gauge.set(self._engine.num_in_flight)
        self._requests.inc()
        self._prompt_tokens.inc(max(completion.num_prompt_tokens, 1))
        self._new_tokens.inc(max(completion.num_completion_tokens, 1))
        return replace(completion, replica=self._name)

    async def _fetch(self, version: int) -> None:
        """Prove and load a version that was published before this replica was restarted."""
        if version in self._engine.versions or not self._store:
            return
        async with self._fetching:
            if version in self._engine.versions:  # fetched for another request meanwhile
                return
            try:
                async with asyncio.timeout(self._silence_timeout_s):
                    policy = await ray.get_actor(self._store).policy.remote(version)
                    if policy is None:
                        return
                    files = await policy.files
                await self.load(version, files, policy.canary)
            except TimeoutError:
                _end(f"the policy store did not give version {version}")
            except (PickaxeError, ValueError, RayError) as error:
                raise FatalPolicyError(f"version {version} can't be had again: {error}") from None

    async def load(
        self, version: int, files: Mapping[str, bytes], canary: Canary | None = None
    ) -> str:
        """Prove and serve an adapter version; returns its digest. Raises as `Engine.load`."""
        try:
            return await self._engine.load(version, files, canary)
        except RunError as error:
            if self._engine.is_dead:
                _end(str(error))
            raise

    async def unload(self, version: int) -> None:
        """Let a version go once nothing in flight needs it. Raises as `Engine.unload`."""
        await self._engine.unload(version)

    async def retire(self, newest: int, in_use: Sequence[int]) -> None:
        """Unload what is older than `newest` and not in use; does not wait for it."""
        for version in self._engine.versions[1:]:
            if version < newest and version not in in_use:
                unloading = asyncio.create_task(self._retire(version))
                self._unloading.add(unloading)
                unloading.add_done_callback(self._unloading.discard)

    async def _retire(self, version: int) -> None:
        try:
            await self._engine.unload(version)
        except RunError as error:
            if self._engine.is_dead:
                _end(str(error))
            # Asked twice, the other one lets it go.

    async def ping(self) -> None:
        """Returns once the engine's own process has answered."""
        try:
            await self._engine.ping()
        except RunError as error:
            _end(str(error))

    def _watch(self) -> None:
        """Also while idle: a dead engine in a living actor would serve nobody, unnoticed."""
        while not self._engine.is_dead:
            time.sleep(_WATCH_S)
        _end(self._engine.cause_of_death())


def cores_of(slot: int, num_cores: int) -> list[int]:
    """The CPU cores of the `slot`-th replica on this node, from those that it may use at all."""
    allowed = sorted(os.sched_getaffinity(0))
    first = slot * num_cores
    return [allowed[index % len(allowed)] for index in range(first, first + num_cores)]


@contextlib.contextmanager
def _bound(cores: list[int] | None) -> Iterator[None]:
    """Processes started within are bound to `cores`; this one, which feeds them, stays free."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores or before)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _counter(name: str, description: str, tags: dict[str, str]) -> Counter:
    counter = Counter(name, description=description, tag_keys=tuple(tags))
    counter.set_default_tags(tags)
    return counter


def _end(cause: str) -> NoReturn:
    print(f"replica ends: {cause}", file=sys.stderr, flush=True)
    os._exit(1)
