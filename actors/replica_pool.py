"""The replicas of one model: a placement group each, cores of their own, restarts, an end."""

import contextlib
from collections.abc import Mapping
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayTaskError
from ray.util.placement_group import (
    PlacementGroup,
    placement_group,
    placement_group_table,
    remove_placement_group,
)
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from actors.replica import Replica
from actors.router import first_line
from cluster.errors import PickaxeError, RunError
from cluster.policy_store import PolicyStore
from configs.player import EngineConfig

_PLACE_TIMEOUT_S = 60.0


class ReplicaPool:
    """Starts, loads and stops the replicas of one model. Use as a context manager."""

    def __init__(
        self,
        name: str,
        model: str,
        engine: EngineConfig,
        max_restarts: int,
        actor: type[Replica] = Replica,
    ) -> None:
        self._name = name
        self._actor_class = actor
        self._model = model
        self._engine = engine
        self._max_restarts = max_restarts
        self._groups: list[PlacementGroup] = []
        self._store: Any = None
        self.handles: list[Any] = []

    def __enter__(self) -> "ReplicaPool":
        try:
            self._place()
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def wait_until_ready(self, timeout_s: float) -> None:
        """Wait for every engine.

        Raises:
            RunError: one did not start; says why.
        """
        try:
            ray.get([handle.ready.remote() for handle in self.handles], timeout=timeout_s)
        except GetTimeoutError:
            raise RunError(f"the replicas were not ready after {timeout_s:g} s") from None
        except RayActorError as error:
            raise RunError(f"a replica did not start: {first_line(error)}") from None

    def load(self, version: int, files: Mapping[str, bytes]) -> None:
        """Give every replica an adapter, once through the object store.

        Raises:
            PickaxeError: a replica refuses it.
        """
        shared = ray.put(dict(files))
        try:
            ray.get(self._store.publish.remote(version, shared))
            ray.get([handle.load.remote(version, shared) for handle in self.handles])
        except RayTaskError as error:
            if isinstance(error.cause, PickaxeError):
                raise error.cause from None
            raise
        except RayActorError as error:
            raise RunError(f"a replica died while loading: {first_line(error)}") from None

    def unload(self, version: int) -> None:
        """Let a version go on every replica that has it."""
        for handle in self.handles:
            with contextlib.suppress(RunError, RayActorError):
                ray.get(handle.unload.remote(version))

    @property
    def names(self) -> tuple[str, ...]:
        """Of the replicas, for workers to find them by."""
        return tuple(f"{self._name}/replica-{index}" for index in range(len(self.handles)))

    def stop(self) -> None:
        for handle in (*self.handles, self._store):
            if handle is not None:
                ray.kill(handle)
        for group in self._groups:
            remove_placement_group(group)
        self.handles, self._groups, self._store = [], [], None

    def _place(self) -> None:
        bundle = {"CPU": float(self._engine.cores)}
        if self._engine.device == "gpu":
            bundle["GPU"] = float(self._engine.tensor_parallel)
        self._groups = [
            placement_group([bundle], strategy="STRICT_PACK", name=f"{self._name}/replica-{index}")
            for index in range(self._engine.num_replicas)
        ]
        for group in self._groups:
            if not group.wait(_PLACE_TIMEOUT_S):
                raise RunError(
                    f"the cluster did not give a replica its {bundle} in {_PLACE_TIMEOUT_S:g} s: "
                    "another run has taken them"
                )

    def _start(self) -> None:
        store = f"{self._name}/policy-store"
        self._store = ray.remote(PolicyStore).options(name=store, num_cpus=0).remote()
        num_on_node: dict[str, int] = {}
        for index, group in enumerate(self._groups):
            node = placement_group_table(group)["bundles_to_node_id"][0]
            slot = num_on_node.get(node, 0)
            num_on_node[node] = slot + 1
            self.handles.append(self._actor(index, group, slot))

    def _actor(self, index: int, group: PlacementGroup, slot: int) -> Any:
        gpu = self._engine.device == "gpu"
        return (
            ray.remote(self._actor_class)
            .options(
                name=f"{self._name}/replica-{index}",
                num_cpus=self._engine.cores,
                num_gpus=self._engine.tensor_parallel if gpu else 0,
                max_restarts=self._max_restarts,
                max_concurrency=10_000,
                scheduling_strategy=PlacementGroupSchedulingStrategy(group),
            )
            .remote(self._model, self._engine, slot, f"{self._name}/policy-store")
        )
