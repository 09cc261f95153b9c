"""How many each rule kept and removed, in the order the rules apply. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RuleCount:
    """One rule's effect on what the rules before it kept."""

    rule: str
    kept: int
    removed: int


def count_by_rule(
    total: int, rules: Sequence[str], removed: Mapping[str, int] | Counter[str]
) -> tuple[RuleCount, ...]:
    """From how many fell to each rule to how many were left after it.

    Args:
        total: how many there were before the first rule.
        rules: names, in the order they apply.
        removed: by rule; rules that removed nothing may be left out.
    """
    counts: list[RuleCount] = []
    for rule in rules:
        total -= removed.get(rule, 0)
        counts.append(RuleCount(rule, total, removed.get(rule, 0)))
    return tuple(counts)
