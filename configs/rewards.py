"""What a step of play earns."""

import difflib
from functools import partial
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, FiniteFloat, NonNegativeInt, model_validator

from configs.base import Section
from configs.names import ACHIEVEMENTS, ITEMS

Strategy = Literal["crafter", "achievements", "consistent", "per_achievement"]

_READS: Final[dict[Strategy, tuple[str, ...]]] = {
    "crafter": (),
    "achievements": ("achievement_weights", "health_weight", "item_weights", "idle_penalty"),
    "consistent": ("scale",),
    "per_achievement": ("scale", "achievement_weights", "repeats", "item_weights"),
}
"""The settings that each strategy reads."""


def _known(kind: str, names: tuple[str, ...], name: str) -> str:
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
        hint = f"the nearest is {near[0]!r}" if near else f"there are {', '.join(names)}"
        raise ValueError(f"no such {kind}; {hint}")
    return name


Achievement = Annotated[str, AfterValidator(partial(_known, "achievement", ACHIEVEMENTS))]
Item = Annotated[str, AfterValidator(partial(_known, "item", ITEMS))]


class RewardConfig(Section):
    """The reward of every environment step; a decision's is their sum, and what
    `play.bad_call_penalty` takes for a call that could not be used."""

    strategy: Strategy = "crafter"
    """crafter: its own, 1 if anything was unlocked and a tenth of the change of health;
    achievements: the weight of each one unlocked, health, items gained and idle steps; consistent:
    the same for every decision that unlocked anything; per_achievement: weights, repeats and items
    gained."""
    achievement_weights: dict[Achievement, FiniteFloat] = Field(default={})
    """What an achievement is worth, by name; 1 for those not named."""
    health_weight: FiniteFloat = 0.1
    """What a point of health, gained or lost, is worth; there are 9."""
    scale: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """All that consistent or per_achievement gives is multiplied by this."""
    repeats: dict[Achievement, NonNegativeInt] = Field(default={})
    """How many times in an episode an achievement counts, by name: 1 for those not named (its
    unlock alone), 0 without end."""
    item_weights: dict[Item, FiniteFloat] = Field(default={})
    """What each one more of an item or vital in the inventory is worth, by name; 0 for those not
    named. Spending costs nothing."""
    idle_penalty: float = Field(default=0.0, le=0, allow_inf_nan=False)
    """What a step is charged whose action could do nothing: a noop awake, a blow at what can't be
    had, a move against a wall that is faced already."""

    @model_validator(mode="after")
    def _nothing_is_ignored(self) -> "RewardConfig":
        for name in self.model_dump(exclude_defaults=True):
            if name not in ("strategy", *_READS[self.strategy]):
                readers = " or ".join(s for s, names in _READS.items() if name in names)
                raise ValueError(
                    f"{name} is not read by strategy {self.strategy}: leave it out, or set "
                    f"strategy to {readers}"
                )
        return self

    def used(self) -> dict[str, Any]:
        """The strategy and the settings that it reads, fit for JSON: enough to make this again."""
        return self.model_dump(mode="json", include={"strategy", *_READS[self.strategy]})
