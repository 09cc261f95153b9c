"""The replicas of one model: a placement group each, cores of their own, restarts, an end."""

import contextlib
from collections.abc import Mapping
from typing import Any, Final

import ray
from ray.exceptions import RayActorError, RayTaskError
from ray.util.placement_group import (
    PlacementGroup,
    placement_group,
    placement_group_table,
    remove_placement_group,
)
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from actors.replica import Replica
from cluster.errors import RunError
from cluster.policy_store import PolicyStore
from cluster.remote import own_cause, root_cause, wait_until_ready
from configs.player import EngineConfig

_PLACE_TIMEOUT_S: Final = 60.0


class ReplicaPool:
    """Starts, loads and stops the replicas of one model. Use as a context manager."""

    def __init__(
        self,
        name: str,
        model: str,
        engine: EngineConfig,
        max_restarts: int,
        actor: type[Replica] = Replica,
        patience_s: float = 300.0,
    ) -> None:
        """`patience_s`: for a first replica to serve a new version, where all are being started."""
        self.names = tuple(f"{name}/replica-{index}" for index in range(engine.num_replicas))
        """Of the replicas, for workers to find them by."""
        self._store_name = f"{name}/policy-store"
        self._actor_class = actor
        self._model = model
        self._engine = engine
        self._max_restarts = max_restarts
        self._patience_s = patience_s
        self._groups: list[PlacementGroup] = []
        self.store: Any = None
        """Handle of the `PolicyStore`, through which versions are published and retired."""
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
        """Wait for every engine; from then on one that is silent is killed, to be restarted.

        Raises:
            RunError: one did not start; says why.
        """
        wait_until_ready(self.handles, "replica", timeout_s)
        self.store.watch.remote()

    def load(self, version: int, files: Mapping[str, bytes]) -> None:
        """Have every replica serve an adapter of which nobody says what it would answer.

        Raises:
            PickaxeError: a replica refuses it, or none is left.
        """
        try:
            ray.get(self.store.publish.remote(version, dict(files)))
        except RayTaskError as error:
            raise own_cause(error) from None
        except RayActorError as error:
            raise RunError(f"the policy store died: {root_cause(error)}") from None

    def unload(self, version: int) -> None:
        """Let a version go on every replica that has it."""
        for handle in self.handles:
            with contextlib.suppress(RunError, RayActorError):
                ray.get(handle.unload.remote(version))

    def stop(self) -> None:
        for handle in (*self.handles, self.store):
            if handle is not None:
                ray.kill(handle)
        for group in self._groups:
            remove_placement_group(group)
        self.handles, self._groups, self.store = [], [], None

    def _place(self) -> None:
        bundle = {"CPU": float(self._engine.cores)}
        if self._engine.device == "gpu":
            bundle["GPU"] = float(self._engine.tensor_parallel)
        self._groups = [
            placement_group([bundle], strategy="STRICT_PACK", name=name) for name in self.names
        ]
        for group in self._groups:
            if not group.wait(_PLACE_TIMEOUT_S):
                raise RunError(
                    f"the cluster did not give a replica its {bundle} in {_PLACE_TIMEOUT_S:g} s: "
                    "another run has taken them"
                )

    def _start(self) -> None:
        num_on_node: dict[str, int] = {}
        for name, group in zip(self.names, self._groups, strict=True):
            node = placement_group_table(group)["bundles_to_node_id"][0]
            slot = num_on_node.get(node, 0)
            num_on_node[node] = slot + 1
            self.handles.append(self._actor(name, group, slot))
        store = ray.remote(PolicyStore).options(name=self._store_name, num_cpus=0)
        replicas = dict(zip(self.names, self.handles, strict=True))
        self.store = store.remote(replicas, self._engine.silence_timeout_s, self._patience_s)

    def _actor(self, name: str, group: PlacementGroup, slot: int) -> Any:
        gpu = self._engine.device == "gpu"
        return (
            ray.remote(self._actor_class)
            .options(
                name=name,
                num_cpus=self._engine.cores,
                num_gpus=self._engine.tensor_parallel if gpu else 0,
                max_restarts=self._max_restarts,
                max_concurrency=10_000,
                scheduling_strategy=PlacementGroupSchedulingStrategy(group),
            )
            .remote(self._model, self._engine, slot, self._store_name)
        )
