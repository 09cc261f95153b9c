"""What crosses a process boundary: the words that players, the ledger and learners share.

Frozen values of the standard library only. Nothing here knows Ray, torch or Crafter.
"""

import pickle
import zlib
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import Any, Protocol


class ParseOutcome(StrEnum):
    """What became of a completion when it was read as a tool call."""

    OK = "ok"
    NO_CALL = "no_call"
    BAD_JSON = "bad_json"
    UNKNOWN_TOOL = "unknown_tool"
    UNKNOWN_ACTION = "unknown_action"
    TOO_MANY = "too_many"
    EMPTY = "empty"


class Ending(StrEnum):
    """How a trajectory ended."""

    DEATH = "death"
    TIME_LIMIT = "time_limit"
    """The game's own length, in environment steps."""
    TURN_LIMIT = "turn_limit"
    """The allowed number of decisions."""
    BAD_CALL = "bad_call"
    """An unusable completion, where the setting says that this ends the play."""
    ERROR = "error"
    """The policy failed; `Trajectory.error` says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeSpec:
    """Which play of which world. Equal specs are the same task for every player."""

    seed: int
    """The world."""
    sample: int = 0
    """The how-manieth play of that world."""

    @property
    def id(self) -> str:
        return f"seed_{self.seed:04d}-sample_{self.sample:02d}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What can be known at a decision, whatever part of it the prompt will show."""

    step: int
    """Environment steps taken so far."""
    length: int
    """Environment steps that the game may last."""
    view: tuple[tuple[str, ...], ...]
    """Rows (top first) of tile names (left first), 7 x 9 by default; the player in the middle."""
    inventory: dict[str, int]
    """All 16 items and vitals, zeros included."""
    facing: tuple[int, int]
    """(dx, dy), y growing downwards: (0, 1) is down."""
    displacement: tuple[int, int]
    """(dx, dy) from the first tile: what one who counts its steps knows. Never in a prompt."""
    sleeping: bool
    daylight: float
    """1 at noon, near 0 at midnight; the picture turns dark and noisy below 0.5."""
    achievements: tuple[str, ...]
    """Unlocked so far, in Crafter's order."""

    @property
    def facing_tile(self) -> str:
        """What the next `do` would act on."""
        dx, dy = self.facing
        return self.view[len(self.view) // 2 + dy][len(self.view[0]) // 2 + dx]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """One decision's request: a system message and one user message (text, then pictures)."""

    system: str
    text: str
    """Empty where the player sees pictures only."""
    images: tuple[bytes, ...] = ()
    """PNG, oldest first."""
    observation: Observation
    """The facts behind the message, for players that read facts (the scripted teacher)."""
    spec: EpisodeSpec
    turn: int
    """With `spec`, seeds the sampling of this decision."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """One decision's answer. Ids and log-probabilities are empty for players without them."""

    text: str
    finish_reason: str = "stop"
    prompt_ids: tuple[int, ...] = ()
    """As the engine saw them, image tokens expanded."""
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    """Of the sampled tokens under the distribution sampled (temperature applied)."""
    temperature: float | None = None
    """Of the sampling; the learner divides its logits by the same. None where it is not known."""
    version: int = 0
    """Policy version; 0 is the base model (or a player that has no versions)."""
    num_prompt_tokens: int = 0
    num_completion_tokens: int = 0
    cost_usd: float = 0.0
    replica: str = ""
    """Who answered; empty for players inside the worker."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationRequest:
    """What a replica is asked: a prompt for its chat template, and how to sample."""

    system: str
    text: str
    images: tuple[bytes, ...]
    """PNG, oldest first."""
    max_actions: int
    """Bound in the tool's schema, which the chat template shows."""
    temperature: float
    top_p: float
    max_tokens: int
    seed: int
    """Of this request's sampling; 32 bits, from (episode, turn)."""
    version: int
    """Policy version to answer with; 0 is the base model."""


class Policy(Protocol):
    """A player of one episode. A new one is made for every episode, so it may remember."""

    async def act(self, prompt: Prompt) -> Completion:
        """Answer one decision.

        Raises:
            PolicyError: no answer is to be had; the episode ends with this as its cause.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One decision: what was known, what was sent, what came back, what it did."""

    index: int
    observation: Observation
    frame: bytes | None
    """PNG of the moment of the decision; None where nobody looks."""
    system: str
    text: str
    num_images: int
    """How many pictures the prompt held: this turn's frame and those of the turns before it."""
    completion: Completion
    outcome: ParseOutcome
    actions: tuple[str, ...]
    """As parsed; empty unless the outcome is `ok`."""
    executed: tuple[str, ...]
    """What the environment was given: shorter than `actions` after a death or an interrupt."""
    rewards: tuple[float, ...]
    """Per executed step, by the run's `play.reward`."""
    penalty: float
    """Format penalty charged for a bad call (0 or negative)."""
    unlocked: tuple[tuple[int, str], ...]
    """(index into `executed`, achievement) for each first unlock."""
    interrupt: str
    """Why the list stopped early: '', 'death', 'time_limit', 'damage', 'unlock', 'blocked'."""
    act_s: float
    env_s: float

    @property
    def reward(self) -> float:
        return sum(self.rewards, 0.0) + self.penalty


@dataclass(frozen=True, slots=True, kw_only=True)
class Trajectory:
    """One played episode, whole."""

    spec: EpisodeSpec
    player: str
    """Name of the policy, as the run calls it."""
    model: str
    provider: str
    turns: tuple[Turn, ...]
    ending: Ending
    error: str = ""
    achievements: tuple[str, ...] = ()
    """At the end of the play, in Crafter's order."""
    started_at: float = 0.0
    """Seconds since the epoch."""
    duration_s: float = 0.0
    env: dict[str, Any] = field(default_factory=dict)
    """The environment's settings: with the seed and the actions they reproduce every frame. Also
    how it was rewarded: `reward`, as `RewardConfig.used` tells it, and `bad_call_penalty`."""

    @property
    def num_env_steps(self) -> int:
        return sum(len(turn.executed) for turn in self.turns)

    @property
    def total_reward(self) -> float:
        return sum((turn.reward for turn in self.turns), 0.0)

    def __reduce__(self) -> tuple[Any, ...]:
        """Small on its way between processes: frames as they are, being compressed already, and
        all else compressed, which is much the same in every turn."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        values["turns"] = tuple(replace(turn, frame=None) for turn in self.turns)
        rest = zlib.compress(pickle.dumps(values, pickle.HIGHEST_PROTOCOL), 1)
        return _unpacked, (tuple(turn.frame for turn in self.turns), rest)

    def summary(self) -> "Summary":
        completions = [turn.completion for turn in self.turns]
        invalid: dict[str, int] = {}
        for turn in self.turns:
            if turn.outcome is not ParseOutcome.OK:
                kind = turn.outcome.value
                invalid[kind] = invalid.get(kind, 0) + 1
        return Summary(
            spec=self.spec,
            ending=self.ending,
            error=self.error,
            num_turns=len(self.turns),
            num_env_steps=self.num_env_steps,
            num_tool_calls=sum(turn.outcome is ParseOutcome.OK for turn in self.turns),
            total_reward=self.total_reward,
            achievements=self.achievements,
            invalid_calls=invalid,
            num_prompt_tokens=sum(c.num_prompt_tokens for c in completions),
            num_completion_tokens=sum(c.num_completion_tokens for c in completions),
            cost_usd=sum((c.cost_usd for c in completions), 0.0),
            duration_s=self.duration_s,
        )


def _unpacked(frames: tuple[bytes | None, ...], rest: bytes) -> Trajectory:
    values = pickle.loads(zlib.decompress(rest))
    bare = zip(values.pop("turns"), frames, strict=True)
    return Trajectory(turns=tuple(replace(turn, frame=frame) for turn, frame in bare), **values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What the ledger and the reports need of a trajectory: small enough to travel freely."""

    spec: EpisodeSpec
    ending: Ending
    error: str
    num_turns: int
    num_env_steps: int
    num_tool_calls: int
    total_reward: float
    achievements: tuple[str, ...]
    invalid_calls: dict[str, int]
    num_prompt_tokens: int
    num_completion_tokens: int
    cost_usd: float
    duration_s: float
