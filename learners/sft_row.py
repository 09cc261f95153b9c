"""One example of supervised fine-tuning: a request for the student, and the answer to learn."""

from dataclasses import dataclass

from configs.play import PromptConfig

_CALL = "<tool_call>"


@dataclass(frozen=True, slots=True, kw_only=True)
class SftRow:
    """One decision, told as the student would be told it."""

    episode: str
    """Unique in its dataset: the run's folder, then the play."""
    turn: int
    """Which decision of the episode."""
    step: int
    """Environment steps taken before it."""
    seed: int
    """The world."""
    sample: int
    """The how-manieth play of that world."""
    player: str
    model: str
    """Of the player, not of the student."""
    provider: str
    achievements: int
    """Of the whole episode."""
    episode_return: float
    """Sum of the episode's rewards."""
    system: str
    text: str
    images: tuple[bytes, ...]
    """PNG, oldest first."""
    max_actions: int
    """Bound in the tool's schema."""
    actions: tuple[str, ...]
    completion: str
    """The text that is trained."""
    token_ids: tuple[int, ...]
    """As the student itself sampled them, and then trained in the text's stead; else empty."""

    @property
    def rationale(self) -> str:
        """What stands before the call."""
        return self.completion.partition(_CALL)[0].strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class SftSettings:
    """For whom a dataset was rendered."""

    model: str
    """The student's."""
    prompt: PromptConfig
    frame_size: int | None
    """Pixels; None where it is sent no pictures."""
