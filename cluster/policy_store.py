"""Where a run keeps its policy versions, and from where its replicas get them."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import ray

from cluster.adapter_files import digest
from cluster.canary import Canary
from cluster.errors import RunError, UserError
from cluster.replica_calls import AwayError, GoneError, Replicas

_PAUSE_S: Final = 0.5
"""Between two looks at replicas that are all being restarted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A version, as a replica gets it."""

    files: Any
    """ObjectRef of the adapter's folder, file name -> content."""
    digest: str
    canary: Canary | None


class PolicyStore:
    """Async actor beside the replicas. A number is one adapter's for good."""

    def __init__(
        self, replicas: Mapping[str, Any], silence_timeout_s: float, patience_s: float
    ) -> None:
        """Args:
        replicas: handles of the actors, by name.
        silence_timeout_s: one that does not answer for this long is killed, to be restarted.
        patience_s: how long a version may wait for a first replica that serves it, and a replica
            that answers `watch` may take to load it.
        """
        self._replicas = Replicas(replicas, silence_timeout_s, patience_s)
        self._patience_s = patience_s
        self._digests: dict[int, str] = {}
        self._policies: dict[int, Policy] = {}
        self._proofs: dict[int, asyncio.Task[None]] = {}
        self._newest = 0
        """The highest version that was proved."""

    async def publish(
        self, version: int, files: Mapping[str, bytes], canary: Canary | None = None
    ) -> None:
        """Keep an adapter and have all replicas prove and serve it, at the same time.

        Returns once each has, or was given up: it hung and was killed, or died meanwhile; then
        it fetches the version when it is back. Where all are being restarted it waits for one.
        Published again, a version that is served stays as it is.

        Args:
            version: at least 1.
            files: the adapter's folder, file name -> content.
            canary: the learner's word; None: nothing to compare with.

        Raises:
            RunError: the number is another adapter's, a replica fails the proof, or none is left.
            UserError: a replica can't serve such an adapter.
        """
        adapter_digest = digest(files)
        if self._digests.setdefault(version, adapter_digest) != adapter_digest:
            raise RunError(f"version {version} is another adapter's: give it a new number")
        if version not in self._proofs:
            self._policies[version] = Policy(
                files=ray.put(dict(files)), digest=adapter_digest, canary=canary
            )
            self._proofs[version] = asyncio.create_task(self._prove(version))
        # Of two that publish the same one may go away, and the other still wait.
        await asyncio.shield(self._proofs[version])

    async def retire(self, in_use: Sequence[int]) -> None:
        """Forget what is older than the newest version that was proved, and not in use.

        The replicas unload it, each once nothing in flight needs it.
        """
        proved = [version for version, proof in self._proofs.items() if proof.done()]
        for version in proved:
            if version < self._newest and version not in in_use:
                self._forget(version)
        for outcome in await self._replicas.each("retire", self._newest, tuple(in_use)):
            if isinstance(outcome, BaseException) and not isinstance(
                outcome, AwayError | GoneError
            ):
                raise outcome

    async def policy(self, version: int) -> Policy | None:
        """A version to be loaded; None where it is not kept."""
        return self._policies.get(version)

    async def watch(self) -> None:
        """Kill replicas that hang, to be restarted; returns when all are gone for good.

        Begin when each has started.
        """
        await self._replicas.watch()

    async def _prove(self, version: int) -> None:
        """Until a replica has proved the version."""
        policy = self._policies[version]
        deadline = time.monotonic() + self._patience_s
        try:
            while not await self._prove_once(version, policy):
                if time.monotonic() > deadline:
                    raise RunError(
                        f"no replica has proved version {version} in {self._patience_s:g} s: all "
                        "are being restarted, over and over"
                    )
                await asyncio.sleep(_PAUSE_S)
        except BaseException:
            self._forget(version)
            raise
        self._newest = max(self._newest, version)

    async def _prove_once(self, version: int, policy: Policy) -> bool:
        """Have every replica that answers prove the version; whether one did."""
        outcomes = await self._replicas.each("load", version, policy.files, policy.canary)
        for outcome in outcomes:
            if isinstance(outcome, UserError):
                raise outcome
            if isinstance(outcome, BaseException) and not isinstance(
                outcome, AwayError | GoneError
            ):
                raise RunError(f"version {version} is not served: {outcome}") from outcome
            if isinstance(outcome, str) and outcome != policy.digest:
                raise RunError(
                    f"version {version} has digest {outcome} on a replica, and {policy.digest} here"
                )
        if all(isinstance(outcome, GoneError) for outcome in outcomes):
            raise RunError(f"no replica is left to serve version {version}: {outcomes[0]}")
        return policy.digest in outcomes

    def _forget(self, version: int) -> None:
        del self._policies[version], self._proofs[version]
