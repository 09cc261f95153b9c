"""Which decisions become examples, and what each is to teach."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Final

from actors.tool import render_call
from cluster.types import ParseOutcome, Trajectory, Turn
from configs.curation import RowRules
from learners.curation.render import Renderer
from learners.sft_row import SftRow

ROW_RULES: Final = (
    "empty_answer",
    "invalid_call",
    "achievement_within",
    "skip_asleep",
    "max_actions",
    "max_sequence_length",
    "deduplicate",
    "offset",
    "limit",
)
"""In the order they apply; the first two ask about recorded answers only."""

_FULL_ENERGY: Final = 9


@dataclass(frozen=True, slots=True)
class Answer:
    """What a decision is to teach."""

    actions: tuple[str, ...]
    rationale: str = ""


Relabel = Callable[[Trajectory], Sequence[Answer]]
"""An answer for every decision of an episode."""


@dataclass(slots=True)
class EpisodeRows:
    """What one episode gives."""

    rows: list[SftRow] = field(default_factory=list)
    removed: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class RowMaker:
    """From a trajectory to its examples."""

    renderer: Renderer
    rules: RowRules
    count_tokens: Callable[[SftRow], int]
    """The student's tokens in a row's prompt and answer; asked only where a bound is set."""
    relabel: Relabel | None = None
    """None: the recorded answers."""

    def make(self, trajectory: Trajectory, episode: str) -> EpisodeRows:
        """The examples of `trajectory`, before duplicates are known.

        Raises:
            TraceError: its frames had to be drawn again, and the game came out differently.
        """
        made = EpisodeRows()
        answers = self._answers(trajectory)
        leads = leads_to_achievement(trajectory.turns, self.rules.achievement_within)
        chosen: list[int] = []
        for index, turn in enumerate(trajectory.turns):
            rule = self._fault(turn, answers[index], leads[index])
            if rule:
                made.removed[rule] += 1
            else:
                chosen.append(index)
        turns = self.renderer.framed(trajectory) if chosen else ()
        same = _of_episode(trajectory, episode)
        for index in chosen:
            row = self._row(turns, index, answers[index], same)
            if self._is_too_long(row):
                made.removed["max_sequence_length"] += 1
            else:
                made.rows.append(row)
        return made

    def _answers(self, trajectory: Trajectory) -> Sequence[Answer]:
        if self.relabel is not None:
            return self.relabel(trajectory)
        return [
            Answer(turn.actions, rationale_of(turn.completion.text)) for turn in trajectory.turns
        ]

    def _fault(self, turn: Turn, answer: Answer, leads: bool) -> str:
        if self.relabel is None and is_empty(turn):
            return "empty_answer"
        if self.relabel is None and turn.outcome is not ParseOutcome.OK:
            return "invalid_call"
        if not leads:
            return "achievement_within"
        if self.rules.skip_asleep and is_overruled(turn):
            return "skip_asleep"
        too_many = len(answer.actions) > self.renderer.student.prompt.max_actions
        return "max_actions" if too_many else ""

    def _row(
        self, turns: Sequence[Turn], index: int, answer: Answer, same: dict[str, Any]
    ) -> SftRow:
        turn, prompt = turns[index], self.renderer.student.prompt
        request = self.renderer.request(turns, index, same["episode"])
        sampled = self.relabel is None and same["model"] == self.renderer.student.model
        token_ids = turn.completion.token_ids if sampled else ()
        rationale = answer.rationale if prompt.rationale else ""
        canonical = render_call(answer.actions, rationale)
        return SftRow(
            **same,
            turn=turn.index,
            step=turn.observation.step,
            system=request.system,
            text=request.text,
            images=request.images,
            max_actions=prompt.max_actions,
            actions=answer.actions,
            completion=turn.completion.text if token_ids else canonical,
            token_ids=token_ids,
        )

    def _is_too_long(self, row: SftRow) -> bool:
        bound = self.rules.max_sequence_length
        return bound is not None and self.count_tokens(row) > bound


def _of_episode(trajectory: Trajectory, episode: str) -> dict[str, Any]:
    """The fields that all rows of an episode share."""
    return {
        "episode": episode,
        "seed": trajectory.spec.seed,
        "sample": trajectory.spec.sample,
        "player": trajectory.player,
        "model": trajectory.model,
        "provider": trajectory.provider,
        "achievements": len(trajectory.achievements),
        "episode_return": trajectory.total_reward,
    }


def leads_to_achievement(turns: Sequence[Turn], within: int | None) -> list[bool]:
    """For each decision: is something first unlocked by it or the next `within` - 1?

    None: true of all.
    """
    if within is None:
        return [True] * len(turns)
    leads = [False] * len(turns)
    for index, turn in enumerate(turns):
        if turn.unlocked:
            first = max(index - within + 1, 0)
            leads[first : index + 1] = [True] * (index + 1 - first)
    return leads


def is_overruled(turn: Turn) -> bool:
    """Asleep and not rested yet: crafter/objects.py puts `sleep` in the place of any action."""
    return turn.observation.sleeping and turn.observation.inventory["energy"] < _FULL_ENERGY


def is_empty(turn: Turn) -> bool:
    """Nothing was said, or a call of no actions was made."""
    return turn.outcome is ParseOutcome.EMPTY or not turn.completion.text.strip()


def rationale_of(text: str) -> str:
    """What a completion says before its call."""
    return text.partition("<tool_call>")[0].strip()


def fingerprint(row: SftRow) -> bytes:
    """16 bytes, equal for equal requests (pictures included) with equal calls."""
    digest = blake2b(digest_size=16)
    for part in (
        row.system.encode(),
        row.text.encode(),
        *row.images,
        " ".join(row.actions).encode(),
    ):
        digest.update(len(part).to_bytes(8))
        digest.update(part)
    return digest.digest()
