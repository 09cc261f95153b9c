"""Which episodes stay: one predicate for each rule that is set. Pure."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from cluster.types import Ending
from configs.curation import EpisodeRules
from learners.curation.facts import Facts

_TIMEOUTS = (Ending.TIME_LIMIT, Ending.TURN_LIMIT)


@dataclass(frozen=True, slots=True)
class Rule:
    """Named after its setting."""

    name: str
    keeps: Callable[[Facts], bool]


def active(rules: EpisodeRules) -> tuple[Rule, ...]:
    """The rules that are set and look at one episode alone, in the order they apply."""
    return (*_of_origin(rules), *_of_outcome(rules), *_of_loops(rules))


def _of_origin(rules: EpisodeRules) -> Iterator[Rule]:
    if rules.filter_errors:
        yield Rule("filter_errors", lambda facts: facts.ending is not Ending.ERROR)
    if rules.filter_timeouts:
        yield Rule("filter_timeouts", lambda facts: facts.ending not in _TIMEOUTS)
    if rules.models:
        yield Rule("models", lambda facts: facts.model in rules.models)
    if rules.providers:
        yield Rule("providers", lambda facts: facts.provider in rules.providers)
    if rules.started_after is not None:
        after = rules.started_after.timestamp()
        yield Rule("started_after", lambda facts: facts.started_at >= after)
    if rules.started_before is not None:
        before = rules.started_before.timestamp()
        yield Rule("started_before", lambda facts: facts.started_at < before)


def _of_outcome(rules: EpisodeRules) -> Iterator[Rule]:
    yield from _at_least("min_steps", rules.min_steps, lambda facts: facts.num_steps)
    yield from _at_most("max_steps", rules.max_steps, lambda facts: facts.num_steps)
    yield from _at_least(
        "min_achievements", rules.min_achievements, lambda facts: facts.num_achievements
    )
    yield from _at_most(
        "max_achievements", rules.max_achievements, lambda facts: facts.num_achievements
    )
    yield from _at_least("min_return", rules.min_return, lambda facts: facts.episode_return)


def _of_loops(rules: EpisodeRules) -> Iterator[Rule]:
    yield from _at_most(
        "max_repeated_actions", rules.max_repeated_actions, lambda facts: facts.longest_run
    )
    yield from _at_least(
        "min_unique_states", rules.min_unique_states, lambda facts: facts.num_states
    )


def _at_least(name: str, bound: float | None, of: Callable[[Facts], float]) -> Iterator[Rule]:
    if bound is not None:
        yield Rule(name, lambda facts: of(facts) >= bound)


def _at_most(name: str, bound: float | None, of: Callable[[Facts], float]) -> Iterator[Rule]:
    if bound is not None:
        yield Rule(name, lambda facts: of(facts) <= bound)


def broken(facts: Facts, rules: Sequence[Rule]) -> str:
    """Name of the first rule that does not keep the episode; '' if all do."""
    return next((rule.name for rule in rules if not rule.keeps(facts)), "")


def return_at(episodes: Sequence[Facts], percentile: float) -> float:
    """The return at a percentile (0 to 100) of the episodes, interpolated; -inf of none."""
    if not episodes:
        return -np.inf
    return float(np.percentile([facts.episode_return for facts in episodes], percentile))
