"""What a rank asks of the rest of the run, asked of the ledger and the store of versions."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import ray
from ray.exceptions import ActorDiedError, ObjectLostError, RayActorError, RayTaskError

from cluster.errors import FinalError, PickaxeError
from cluster.names import ACHIEVEMENTS
from cluster.remote import own_cause, root_cause
from cluster.scores import crafter_score
from cluster.training.dealing import Piece
from cluster.training.evaluations import Evaluation as Played
from cluster.types import EpisodeSpec, Trajectory
from learners.ray_train import WARNINGS
from learners.rl.progress import Evaluation
from learners.rl.source import Play, PolicyVersion, Share

_POLL_S: Final = 0.5
_RETRY_S: Final = 0.5
"""Between two tries at an actor that is being restarted."""


class RaySource:
    """Speaks for one rank."""

    def __init__(self, ledger: Any, store: Any, folder: Path, rank: int, num_ranks: int) -> None:
        """`ledger` and `store` are handles; `folder` is the run's."""
        self._ledger = ledger
        self._store = store
        self._folder = folder
        self._rank = rank
        self._num_ranks = num_ranks
        self._published: int | None = None
        self._evaluated: dict[int, PolicyVersion] = {}
        """By step: what is to be evaluated, and is not yet."""
        self._told: dict[int, Evaluation] = {}
        """By step: what has come of it. A ledger that is restarted knows it no more."""

    def batch(self, step: int) -> Share:
        while True:
            share = _final(lambda: self._ledger.batch.remote(step, self._rank, self._num_ranks))
            if share is not None:
                break
            self._serve()  # a ledger that was killed just after it was told may know it no more
        return Share(
            step=share.step,
            groups=share.groups,
            mine=tuple(_play(piece) for piece in share.mine),
            stats=_flat(share.stats),
        )

    def lost(self, specs: Sequence[EpisodeSpec]) -> None:
        _final(lambda: self._ledger.lost.remote([spec.id for spec in specs]))

    def snapshot(self, num_steps: int) -> dict[str, Any]:
        told: dict[str, Any] = _ask(lambda: self._ledger.snapshot.remote(num_steps - 1))
        return told

    def committed(self, step: int) -> None:
        _final(lambda: self._ledger.committed.remote(step))

    def publish(self, policy: PolicyVersion) -> None:
        self._give_to_store(policy)
        self._published = policy.version
        _final(lambda: self._store.retire.remote(self._serve()))

    def _serve(self) -> Sequence[int]:
        """Have new episodes played with what was published last; the versions in use."""
        published = self._published
        if published is None:  # that is another rank's part
            return ()
        in_use: Sequence[int] = _final(lambda: self._ledger.serve.remote(published))
        return in_use

    def evaluate(self, step: int, policy: PolicyVersion) -> None:
        self._evaluated[step] = policy
        if _final(lambda: self._store.policy.remote(policy.version)) is None:
            self._give_to_store(policy)
        _final(lambda: self._ledger.evaluate.remote(step, policy.version))

    def _give_to_store(self, policy: PolicyVersion) -> None:
        files = ray.put(dict(policy.files))
        _final(lambda: self._store.publish.remote(policy.version, files, policy.canary))

    def evaluations(self, wait_for: Sequence[int] = ()) -> Sequence[Evaluation]:
        while True:
            for found in _final(lambda: self._ledger.evaluations.remote()):
                self._told[found.step] = _told(found)
                self._evaluated.pop(found.step, None)
            missing = set(wait_for) - self._told.keys()
            if not missing:
                return [self._told[step] for step in sorted(self._told)]
            for step in missing:  # a ledger that was restarted may not have heard of it
                self.evaluate(step, self._evaluated[step])
            time.sleep(_POLL_S)

    def warn(self, sentence: str) -> None:
        with (self._folder / WARNINGS).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"sentence": sentence}) + "\n")


def _final(call: Callable[[], Any]) -> Any:
    """As `_ask`; what the other side refuses would be refused again.

    Raises:
        FinalError: it is refused, or the other side is gone for good.
    """
    try:
        return _ask(call)
    except PickaxeError as error:
        raise FinalError(str(error)) from None


def _ask(call: Callable[[], Any]) -> Any:
    """The answer of an actor that may be restarted meanwhile."""
    while True:
        try:
            return ray.get(call())
        except RayTaskError as error:
            raise own_cause(error) from None
        except ActorDiedError as error:
            raise FinalError(f"a part of the run is gone: {root_cause(error)}") from None
        except RayActorError:
            time.sleep(_RETRY_S)


def _play(piece: Piece) -> Play:
    try:
        trajectory: Trajectory | None = ray.get(piece.trajectory)
    except ObjectLostError:
        trajectory = None
    return Play(group=piece.group, number=piece.number, spec=piece.spec, trajectory=trajectory)


def _told(found: Played) -> Evaluation:
    """An evaluation's figures, over the worlds that say something."""
    worlds = [world for world in found.worlds if not world.error]
    figures = {
        "worlds": float(len(worlds)),
        "failed_worlds": float(len(found.worlds) - len(worlds)),
    }
    if worlds:
        figures["achievements"] = found.mean_achievements or 0.0
        unlocked = [[name in world.achievements for name in ACHIEVEMENTS] for world in worlds]
        figures["score"] = float(crafter_score(np.mean(unlocked, axis=0)))
    return Evaluation(step=found.step, mean_return=found.mean_return, figures=figures)


def _flat(stats: Mapping[str, Any]) -> dict[str, float]:
    """Figures by name; those of a group of figures by its name, a dot and theirs."""
    flat: dict[str, float] = {}
    for name, value in stats.items():
        if isinstance(value, Mapping):
            flat.update({f"{name}.{key}": number for key, number in value.items()})
        else:
            flat[name] = value
    return flat
