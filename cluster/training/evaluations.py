"""The account of a training run's evaluations: which are asked for, under way, done. Pure.

An evaluation plays each of its worlds once with one version. Its episodes have the version as
their sample, so no two evaluations share an id. One is under way at a time, the oldest first.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from cluster.trace_writer import Part
from cluster.types import Ending, EpisodeSpec, Summary


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What came of one world of an evaluation."""

    seed: int
    total_reward: float
    achievements: tuple[str, ...]
    error: str = ""
    """Why it says nothing, if so: the play ended in error, or never."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """One that is done."""

    step: int
    """Steps that made the version."""
    version: int
    worlds: tuple[World, ...]
    """In the order of the seeds."""

    @property
    def mean_achievements(self) -> float | None:
        """Over the worlds that say something; None where there are none."""
        return self._mean(lambda world: len(world.achievements))

    @property
    def mean_return(self) -> float | None:
        """Over the worlds that say something; None where there are none."""
        return self._mean(lambda world: world.total_reward)

    def _mean(self, of: Callable[[World], float]) -> float | None:
        values = [of(world) for world in self.worlds if not world.error]
        return sum(values) / len(values) if values else None


class Evaluations:
    """The state machine."""

    def __init__(self, seeds: Sequence[int], unfinished: Sequence[Sequence[int]] = ()) -> None:
        """`unfinished`: the snapshot of an earlier start, for `go_on`."""
        self._seeds = tuple(seeds)
        self._unfinished = unfinished
        self._asked: dict[int, int] = {}
        """Step by version, of those that are not done."""
        self._played: dict[int, World] = {}
        """Of the one under way, by seed."""
        self._held: dict[EpisodeSpec, Any] = {}
        """ObjectRefs of its trajectories."""
        self._current: int | None = None
        """Version of the one under way."""
        self._done: dict[int, Evaluation] = {}

    def ask(self, step: int, version: int) -> None:
        """Evaluate the version that `step` steps made; asked again, nothing happens.

        Raises:
            ValueError: there are no worlds to evaluate in.
        """
        if not self._seeds:
            raise ValueError(f"version {version} can't be evaluated: no seeds were set up for it")
        if version not in self._done:
            self._asked.setdefault(version, step)

    def go_on(self) -> None:
        """Ask for what an earlier start was asked for."""
        for step, version in self._unfinished:
            self.ask(step, version)

    def start(self, served: int) -> tuple[EpisodeSpec, ...]:
        """Begin with the oldest one, if its version is served and none is under way.

        Returns:
            Episodes to be played now, with their sample as the version.
        """
        if self._current is not None or not self._asked or min(self._asked) > served:
            return ()
        self._current = min(self._asked)
        return tuple(EpisodeSpec(seed=seed, sample=self._current) for seed in self._seeds)

    def came_in(self, summary: Summary, trajectory: Any) -> Part | None:
        """An episode of the one under way has been played.

        Returns:
            What is to be written, once that was the last.
        """
        world = World(
            seed=summary.spec.seed,
            total_reward=summary.total_reward,
            achievements=summary.achievements,
            error=(summary.error or "no cause") if summary.ending is Ending.ERROR else "",
        )
        self._held[summary.spec] = trajectory
        return self._add(summary.spec, world)

    def failed(self, spec: EpisodeSpec, reason: str) -> Part | None:
        """An episode of the one under way can't be played. Returns as `came_in`."""
        world = World(seed=spec.seed, total_reward=0.0, achievements=(), error=reason)
        return self._add(spec, world)

    def _add(self, spec: EpisodeSpec, world: World) -> Part | None:
        if spec not in self or spec.seed in self._played:
            raise ValueError(f"{spec.id} is not of the evaluation under way, or came in before")
        self._played[spec.seed] = world
        if len(self._played) < len(self._seeds):
            return None
        self._done[spec.sample] = Evaluation(
            step=self._asked.pop(spec.sample),
            version=spec.sample,
            worlds=tuple(self._played[seed] for seed in self._seeds),
        )
        held, self._held = self._held, {}
        self._current, self._played = None, {}
        name = evaluation_part(spec.sample)
        return Part(name=name, specs=(*held,), trajectories=(*held.values(),)) if held else None

    def __contains__(self, spec: EpisodeSpec) -> bool:
        """Whether it belongs to the evaluation under way."""
        return spec.sample == self._current and spec.seed in self._seeds

    @property
    def waiting(self) -> tuple[int, ...]:
        """Versions that are asked for, now or by an earlier start, and not evaluated, rising."""
        before = {version for _, version in self._unfinished} - set(self._done)
        return tuple(sorted({*self._asked, *before}))

    @property
    def asked(self) -> tuple[int, ...]:
        """Versions whose evaluation is not done, rising."""
        return tuple(sorted(self._asked))

    @property
    def done(self) -> tuple[Evaluation, ...]:
        """By step."""
        return tuple(sorted(self._done.values(), key=lambda done: done.step))

    def snapshot(self) -> list[list[int]]:
        """What is not done, as the arguments of `ask`; for JSON."""
        return [[step, version] for version, step in self._asked.items()]


def evaluation_part(version: int) -> str:
    """An evaluation's part of the traces."""
    return f"evaluation-{version:06d}"
