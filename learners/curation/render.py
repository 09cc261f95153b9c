"""A trajectory told as the student would be told it, whoever played and whatever was recorded."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Final

from actors.prompt import Rendered, render
from cluster.exports.moment import Redraw
from cluster.types import Trajectory, Turn
from learners.sft_row import SftSettings

_PNG: Final = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, slots=True)
class Renderer:
    """Everything but the trajectory."""

    student: SftSettings
    redraw: Redraw
    """Draws an episode's decisions again, at a size."""
    history_drop: float = 0.0
    """Share of decisions told without the recent actions."""
    seed: int = 0
    """Of that draw, which each decision has for itself."""

    def framed(self, trajectory: Trajectory) -> tuple[Turn, ...]:
        """The turns with frames of the student's size, drawn again where one is not.

        Raises:
            TraceError: they had to be drawn, and the game came out differently.
        """
        size = self.student.frame_size
        if size is None:
            return tuple(replace(turn, frame=None) for turn in trajectory.turns)
        if all(_is_of_size(turn.frame, size) for turn in trajectory.turns):
            return trajectory.turns
        frames = self.redraw(trajectory, size)
        return tuple(
            replace(turn, frame=frame) for turn, frame in zip(trajectory.turns, frames, strict=True)
        )

    def request(self, turns: Sequence[Turn], index: int, episode: str) -> Rendered:
        """The request of decision `index` of `turns`, which have the student's frames."""
        settings = self.student.prompt
        turn, past = turns[index], turns[max(index - self._reach, 0) : index]
        rendered = render(turn.observation, turn.frame, past, settings)
        if settings.recent_turns and self._forgets(episode, index):
            text = render(turn.observation, turn.frame, (), settings).text
            return Rendered(rendered.system, text, rendered.images)
        return rendered

    @property
    def _reach(self) -> int:
        return max(self.student.prompt.recent_turns, self.student.prompt.history_frames - 1)

    def _forgets(self, episode: str, index: int) -> bool:
        """The same for a decision whatever other decisions there are."""
        if not self.history_drop:
            return False
        digest = blake2b(f"{self.seed}/{episode}/{index}".encode(), digest_size=8).digest()
        return int.from_bytes(digest) < self.history_drop * 2**64


def _is_of_size(frame: bytes | None, size: int) -> bool:
    """By the header, which comes first in every PNG: signature, then width and height."""
    if frame is None or frame[:8] != _PNG:
        return False
    return int.from_bytes(frame[16:20]) == size == int.from_bytes(frame[20:24])
