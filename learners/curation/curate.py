"""Episodes in, one by one; out comes which examples stay, in which order, on which side."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from cluster.errors import UserError
from cluster.types import Trajectory
from configs.curation import EpisodeRules, ExportConfig
from learners.curation.episodes import active, broken, return_at
from learners.curation.facts import Facts, facts_of
from learners.curation.rows import ROW_RULES, RowMaker, fingerprint
from learners.curation.split import held_out
from learners.curation.tally import RuleCount, count_by_rule
from learners.sft_row import SftRow

_PERCENTILE: Final = "min_return_percentile"


@dataclass(frozen=True, slots=True)
class _Kept:
    """An episode that no rule of its own has removed, and where its rows lie."""

    facts: Facts
    rows: range
    removed: Counter[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be written. Rows are numbers in the order in which they were stored."""

    train: Sequence[int]
    val: Sequence[int]
    episodes_read: int
    episode_counts: tuple[RuleCount, ...]
    rows_read: int
    row_counts: tuple[RuleCount, ...]
    episodes: tuple[str, ...]
    """Those that stay."""


class Curation:
    """The state of one export.

    Args:
        config: the rules.
        maker: makes an episode's rows.
        store: takes each row that may stay; they are numbered from 0.
    """

    def __init__(
        self, config: ExportConfig, maker: RowMaker, store: Callable[[SftRow], None]
    ) -> None:
        self._config = config
        self._maker = maker
        self._store = store
        self._rules = active(config.episodes)
        self._removed: Counter[str] = Counter()
        self._kept: list[_Kept] = []
        self._fingerprints: list[bytes] = []

    def add(self, trajectory: Trajectory, episode: str) -> None:
        """Take or leave one episode, known as `episode` in the dataset.

        Raises:
            TraceError: its frames had to be drawn again, and the game came out differently; it
                is then as if it had not been there.
        """
        facts = facts_of(trajectory, episode)
        rule = broken(facts, self._rules)
        if rule:
            self._removed[rule] += 1
            return
        made = self._maker.make(trajectory, episode)
        first = len(self._fingerprints)
        for row in made.rows:
            self._store(row)
            self._fingerprints.append(fingerprint(row))
        self._kept.append(_Kept(facts, range(first, len(self._fingerprints)), made.removed))

    def plan(self) -> Plan:
        """Decide what only the whole can tell: the percentile, duplicates, order and split.

        Raises:
            UserError: nothing is left, naming the rules that removed it; or a single world is.
        """
        kept = self._above_percentile()
        removed = sum((episode.removed for episode in kept), Counter[str]())
        rows = [row for episode in kept for row in episode.rows]
        rows_read = len(rows) + removed.total()
        rows = self._selected(rows, removed)
        episode_counts = count_by_rule(self._num_episodes, self._rule_names, self._removed)
        row_counts = count_by_rule(rows_read, self._row_rules(), removed)
        if not rows:
            raise UserError(_nothing_left(self._num_episodes, (*episode_counts, *row_counts)))
        split = self._config.split
        giving = (episode.facts for episode in kept if episode.rows)
        worlds = held_out(giving, split.val_fraction, split.seed)
        held = {n for episode in kept if episode.facts.seed in worlds for n in episode.rows}
        train, val = [n for n in rows if n not in held], [n for n in rows if n in held]
        if not train or (worlds and not val):
            raise UserError(
                f"of {len(rows)} example(s) none is for {'validation' if train else 'training'}: "
                "raise limit, or change split.val_fraction or split.seed"
            )
        return Plan(
            train=train,
            val=val,
            episodes_read=self._num_episodes,
            episode_counts=episode_counts,
            rows_read=rows_read,
            row_counts=row_counts,
            episodes=tuple(episode.facts.episode for episode in kept),
        )

    @property
    def _num_episodes(self) -> int:
        alone = (count for rule, count in self._removed.items() if rule != _PERCENTILE)
        return len(self._kept) + sum(alone)

    @property
    def _rule_names(self) -> tuple[str, ...]:
        names = tuple(rule.name for rule in self._rules)
        return names if self._percentile is None else (*names, _PERCENTILE)

    @property
    def _percentile(self) -> float | None:
        rules: EpisodeRules = self._config.episodes
        return rules.min_return_percentile

    def _above_percentile(self) -> list[_Kept]:
        if self._percentile is None:
            return self._kept
        least = return_at([episode.facts for episode in self._kept], self._percentile)
        above = [episode for episode in self._kept if episode.facts.episode_return >= least]
        self._removed[_PERCENTILE] = len(self._kept) - len(above)
        return above

    def _row_rules(self) -> tuple[str, ...]:
        config = self._config
        off = {
            "empty_answer": config.relabel is not None,
            "invalid_call": config.relabel is not None,
            "achievement_within": config.rows.achievement_within is None,
            "skip_asleep": not config.rows.skip_asleep,
            "max_sequence_length": config.rows.max_sequence_length is None,
            "deduplicate": not config.rows.deduplicate,
            "offset": not config.offset,
            "limit": config.limit is None,
        }
        return tuple(rule for rule in ROW_RULES if not off.get(rule, False))

    def _selected(self, rows: list[int], removed: Counter[str]) -> list[int]:
        """Without duplicates, shuffled and cut; notes in `removed` what went."""
        config = self._config
        if config.rows.deduplicate:
            first = {self._fingerprints[row]: row for row in reversed(rows)}
            removed["deduplicate"] = len(rows) - len(first)
            rows = sorted(first.values())
        if config.shuffle:
            order = np.random.default_rng(config.seed).permutation(len(rows))
            rows = [rows[place] for place in order]
        removed["offset"] = min(config.offset, len(rows))
        rows = rows[config.offset :]
        wanted = rows[: config.limit]
        removed["limit"] = len(rows) - len(wanted)
        return wanted


def _nothing_left(num_episodes: int, counts: Sequence[RuleCount]) -> str:
    if not num_episodes:
        return "none of the inputs' episodes can be read"
    causes = ", ".join(f"{count.rule} {count.removed}" for count in counts if count.removed)
    return f"nothing is left of {num_episodes} episode(s); removed: {causes or 'nothing'}"
