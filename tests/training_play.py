"""Plays of a training run, made by hand: which version, what reward."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from cluster.credit import Credit, Played, credit_of
from cluster.training.setup import GroupSetup
from cluster.types import Completion, Ending, EpisodeSpec, Trajectory
from tests.builders import trajectory, turn


def setup(**values: Any) -> GroupSetup:
    """Two groups of two plays to a step."""
    return GroupSetup(
        **{
            "seeds": (7, 8, 9),
            "group_size": 2,
            "groups_per_step": 2,
            "num_steps": 3,
            "max_staleness": 1,
            "max_held_bytes": 10**9,
            "max_consecutive_drops": 4,
            **values,
        }
    )


def judge(group: Sequence[Credit]) -> str:
    """Equal returns teach nothing."""
    return "zero variance" if len({credit.rewards_T for credit in group}) == 1 else ""


def played_with(
    spec: EpisodeSpec, version: int, reward: float, num_turns: int = 2, **facts: Any
) -> Trajectory:
    """Every turn with `version`, and `reward` for each of them."""
    completion = Completion(text="", version=version, token_ids=(1, 2, 3))
    turns = tuple(
        turn(index, completion=completion, rewards=(reward,)) for index in range(num_turns)
    )
    return trajectory(spec=spec, turns=turns, **facts)


def told(spec: EpisodeSpec, version: int, reward: float, num_turns: int = 2) -> Played:
    """What a worker tells of it."""
    whole = played_with(spec, version, reward, num_turns)
    return Played(whole.summary(), credit_of(whole))


def told_of_error(spec: EpisodeSpec, version: int) -> Played:
    whole = played_with(spec, version, 0.0, ending=Ending.ERROR, error="no answer")
    return Played(whole.summary(), credit_of(whole))


def without_decision(spec: EpisodeSpec) -> Played:
    return Played(replace(told(spec, 1, 0.0).summary, num_turns=0), None)
