"""How the game is set up, shown and played."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from configs.base import Section
from configs.rewards import RewardConfig

Interrupt = Literal["damage", "unlock", "blocked"]
BadCall = Literal["noop", "retry", "end"]


class EnvConfig(Section):
    """One Crafter world and its picture."""

    size: Annotated[int, Field(ge=36)] | Literal["auto"] = "auto"
    """Picture's width and height in pixels; auto: one image token a tile of the player's model
    (9 x patch x merge), 64 for players without one. It never changes the game."""
    area: tuple[Annotated[int, Field(ge=16)], Annotated[int, Field(ge=16)]] = (64, 64)
    """World's width and height in tiles."""
    view: tuple[Annotated[int, Field(ge=5)], Annotated[int, Field(ge=5)]] = (9, 9)
    """Tiles across and down in the picture, the inventory's rows included."""
    length: int = Field(default=300, ge=1)
    """Environment steps until the time limit (Crafter's own is 10000)."""

    @model_validator(mode="after")
    def _view_has_a_middle(self) -> "EnvConfig":
        if self.size != "auto" and self.size < 2 * max(self.view):
            raise ValueError(
                f"size {self.size} gives a tile under 2 pixels: for view {self.view} give at least "
                f"{2 * max(self.view)}"
            )
        if self.view[0] % 2 == 0 or self.view_rows % 2 == 0 or self.view_rows < 3:
            raise ValueError(
                f"view {self.view} has no middle tile: give an odd width and height, such as [9, 9]"
            )
        return self

    @property
    def view_rows(self) -> int:
        """Rows of the map in the view; the rest holds the 16 items of the inventory."""
        return self.view[1] - -(-16 // self.view[0])


class PromptConfig(Section):
    """What of a decision's facts the player is shown."""

    use_vision: bool | Literal["auto"] = "auto"
    """Send pictures; auto asks the model's own config, or for remote models a table of names."""
    image_only: bool = False
    """No state text; the recent actions stay unless `recent_turns` is 0."""
    history_frames: int = Field(default=1, ge=1)
    """The last N frames are sent, the current one included."""
    recent_turns: int = Field(default=4, ge=0)
    """The last N decisions' actions and outcomes are told."""
    map_style: Literal["words", "grid"] = "words"
    """The view in the state text: notable tiles by direction and distance, or a grid of names."""
    rationale: bool = False
    """Ask for one line of reasoning before the tool call."""
    max_actions: int = Field(default=5, ge=1, le=20)
    """Most actions in one tool call."""

    @model_validator(mode="after")
    def _image_only_needs_images(self) -> "PromptConfig":
        if self.image_only and self.use_vision is False:
            raise ValueError("image_only needs pictures: set use_vision to true or auto")
        return self


class PlayConfig(Section):
    """How a player's decisions turn into play."""

    max_turns: int = Field(default=300, ge=1)
    """Decisions an episode may have; the game's own limit is env.length."""
    on_bad_call: BadCall = "noop"
    """After an unusable completion: spend a noop, ask once more without one, or end the play."""
    bad_call_penalty: float = Field(default=0.0, le=0.0)
    """Added to the reward of a decision whose call was unusable."""
    reward: RewardConfig = RewardConfig()
    record_frames: bool = True
    """Keep a picture of every decision in the traces, also where the player is sent none."""
    interrupts: tuple[Interrupt, ...] = ("damage",)
    """Events after which the rest of an action list is dropped. Death always ends it."""
