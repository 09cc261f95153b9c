"""A stand-in for the rest of an RL run, which holds its rank to the contract.

It outlives the ranks, as the ledger and the policy store do: give the same one to a rank that is
started again.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cluster.credit import credit_of
from cluster.types import EpisodeSpec
from configs.rl import RlConfig
from learners.language import Language
from learners.rl.keeper import LEDGER, checkpoints_of
from learners.rl.progress import Evaluation
from learners.rl.source import Play, PolicyVersion, Share
from tests.rl_samples import sampled_play


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


@dataclass
class FakeSource:
    """Groups of made-up play, the same for each step."""

    config: RlConfig
    language: Language
    rank: int = 0
    num_ranks: int = 1
    mean_return: Callable[[int], float] = float
    """Of the evaluation of a step's policy; without anything better it gets better and better."""
    has_ended: Callable[[int], bool] = lambda step: True
    """Whether that evaluation is ready before it is waited for."""
    kill: Mapping[str, int] = field(default_factory=dict)
    """Name of a call -> in the how-manieth of them to die, before anything is done."""
    calls: list[tuple[Any, ...]] = field(default_factory=list)
    num_committed: int = 0
    gone: set[EpisodeSpec] = field(default_factory=set)
    warnings: list[str] = field(default_factory=list)
    policies: dict[int, PolicyVersion] = field(default_factory=dict)
    snapshots: dict[int, Any] = field(default_factory=dict)
    asked: list[int] = field(default_factory=list)

    def batch(self, step: int) -> Share:
        self._called("batch", step)
        assert checkpoints_of(self.config).path(step).is_dir()
        if not self.rank:
            assert step == self.num_committed
            assert max(self.policies) == step + 1
        plays = [self._play(step, g, n) for g in range(2) for n in range(self.config.group_size)]
        groups = [[credit_of(play.trajectory) for play in plays if play.group == g] for g in (0, 1)]
        mine = plays[self.rank :: self.num_ranks]
        return Share(
            step=step,
            groups=tuple(map(tuple, groups)),
            mine=tuple(replace(p, trajectory=None) if p.spec in self.gone else p for p in mine),
            stats={"mean_achievements": 1.5, "dropped_flat": 2},
        )

    def _play(self, step: int, group: int, number: int) -> Play:
        """Of the first group by the current policy, of the second by the one before it."""
        spec = EpisodeSpec(seed=2 * step + group, sample=number)
        version = max(step + 1 - group * min(self.config.max_staleness, 1), 1)
        played = sampled_play(spec.seed, spec.sample, self.language, version)
        return Play(group=group, number=number, spec=spec, trajectory=played)

    def lost(self, specs: Sequence[EpisodeSpec]) -> None:
        self._called("lost", *specs)
        assert set(specs) == self.gone
        self.gone = set()

    def snapshot(self, num_steps: int) -> dict[str, Any]:
        self._called("snapshot", num_steps)
        assert not checkpoints_of(self.config).path(num_steps).exists()
        assert num_steps in (self.num_committed, self.num_committed + 1)
        self.snapshots[num_steps] = {"trained": num_steps}
        return {"trained": num_steps}

    def committed(self, step: int) -> None:
        self._called("committed", step)
        told = (checkpoints_of(self.config).path(step + 1) / LEDGER).read_text()
        assert json.loads(told) == self.snapshots[step + 1]
        assert step + 1 in (self.num_committed, self.num_committed + 1)
        self.num_committed = step + 1

    def publish(self, policy: PolicyVersion) -> None:
        self._called("publish", policy.version)
        assert policy.version == self.num_committed + 1
        known = self.policies.setdefault(policy.version, policy)
        assert known.files == policy.files
        assert len(policy.canary.logprobs) == 20

    def evaluate(self, step: int, policy: PolicyVersion) -> None:
        self._called("evaluate", step)
        assert self.config.is_evaluated(step)
        assert policy.version == step + 1
        assert policy.files == self.policies[step + 1].files
        if step not in self.asked:
            self.asked.append(step)

    def evaluations(self, wait_for: Sequence[int] = ()) -> Sequence[Evaluation]:
        assert set(wait_for) <= set(self.asked)
        ended = [step for step in self.asked if step in wait_for or self.has_ended(step)]
        return [
            Evaluation(step=step, mean_return=self.mean_return(step), figures={"score": 2.0})
            for step in ended
        ]

    def warn(self, sentence: str) -> None:
        self.warnings.append(sentence)

    def _called(self, name: str, *arguments: Any) -> None:
        assert not self.rank or name in ("batch", "lost"), "that is for rank 0 alone"
        self.calls.append((name, *arguments))
        if sum(call[0] == name for call in self.calls) == self.kill.get(name):
            raise Killed
