"""One moment as the rules of play see it, and what a rule may answer."""

from dataclasses import dataclass

from actors.teacher.memory import NUM_CELLS, STEPS, Memory
from actors.teacher.paths import Reach, Script
from cluster.types import Observation


@dataclass(frozen=True, slots=True)
class Decision:
    """One tool call: the actions, and a line that says what they are for."""

    actions: tuple[str, ...]
    rationale: str


@dataclass(frozen=True, slots=True)
class Situation:
    """All that a rule may read."""

    memory: Memory
    observation: Observation
    unlocked: frozenset[str]
    reach: Reach
    limit: int
    """Most actions in a list here: fewer near danger."""

    @property
    def inventory(self) -> dict[str, int]:
        return self.observation.inventory

    @property
    def remaining(self) -> int:
        """Environment steps left."""
        return self.observation.length - self.observation.step

    @property
    def dark(self) -> bool:
        return self.observation.daylight < 0.5

    @property
    def dusk(self) -> bool:
        """The last third of a day, when it is time to make ready for the night."""
        return 90 <= self.observation.step % 300 < 150 and self.remaining > 200

    def script(self, limit: int | None = None) -> Script:
        """An empty list of actions."""
        return Script(self.memory, min(limit or self.limit, self.limit))

    def faced(self) -> int:
        """The cell that `do` would act on."""
        return (self.memory.here + self.memory.facing) % NUM_CELLS

    def creatures(self, *names: str) -> list[int]:
        """Cells of the creatures of these kinds in view."""
        return [cell for cell, name in self.memory.creatures.items() if name in names]

    def neighbours(self) -> list[tuple[int, int]]:
        """(step, cell) for the four cells around the player."""
        return [(step, (self.memory.here + step) % NUM_CELLS) for step in STEPS]
