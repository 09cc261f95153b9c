"""What is made of traces: which episodes and decisions become SFT data, and for whom."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PositiveInt, model_validator

from configs.base import Section
from configs.play import PromptConfig


def _one_alone(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


def _utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


Names = Annotated[tuple[str, ...], BeforeValidator(_one_alone)]
Moment = Annotated[datetime, AfterValidator(_utc)]


class StudentConfig(Section):
    """For whom the decisions are told again, whoever made them."""

    model: str = "configs/models/tiny"
    """Folder of a model, or a hub's name; its tokens count, its own samples keep their ids."""
    size: Annotated[int, Field(ge=36)] | Literal["auto"] = "auto"
    """Picture's width and height in pixels; auto: one image token a tile of the model (9 x patch x
    merge). Frames of another size, or not recorded, are drawn again from seed and actions."""
    prompt: PromptConfig = PromptConfig()


class EpisodeRules(Section):
    """Which episodes stay. The rules apply in this order; none and [] leave a rule out."""

    filter_errors: bool = True
    """Leave out episodes that ended in an error."""
    filter_timeouts: bool = False
    """Leave out episodes that ran into the time limit or the turn limit."""
    models: Names = ()
    """Only plays of these models; for players without one it is their kind."""
    providers: Names = ()
    """Only plays of these providers: vllm, openai, scripted or random."""
    started_after: Moment | None = None
    """Only episodes that began at this time or later; UTC where no zone is given."""
    started_before: Moment | None = None
    """Only episodes that began before this time."""
    min_steps: PositiveInt | None = None
    """Least decisions of an episode."""
    max_steps: PositiveInt | None = None
    """Most decisions of an episode."""
    min_achievements: int | None = Field(default=None, ge=0, le=22)
    """Least achievements of an episode."""
    max_achievements: int | None = Field(default=None, ge=0, le=22)
    """Most achievements of an episode."""
    min_return: float | None = Field(default=None, allow_inf_nan=False)
    """Least sum of rewards of an episode."""
    max_repeated_actions: PositiveInt | None = None
    """Longest run of one action, over decisions; while asleep nothing is counted."""
    min_unique_states: PositiveInt | None = None
    """Least different states of an episode: place, facing and inventory without the vitals."""
    min_return_percentile: float | None = Field(default=None, ge=0, le=100)
    """Least return, as a percentile of the returns of all episodes that the other rules keep."""

    @model_validator(mode="after")
    def _bounds_leave_room(self) -> "EpisodeRules":
        bounds = {
            ("min_steps", "max_steps"): (self.min_steps, self.max_steps),
            ("min_achievements", "max_achievements"): (
                self.min_achievements,
                self.max_achievements,
            ),
        }
        for (low_name, high_name), (low, high) in bounds.items():
            if low is not None and high is not None and low > high:
                raise ValueError(f"{low_name} {low} is more than {high_name} {high}")
        after, before = self.started_after, self.started_before
        if after is not None and before is not None and after >= before:
            raise ValueError(f"started_after {after} is not before started_before {before}")
        return self


class RowRules(Section):
    """Which decisions of these episodes become examples. Empty answers and calls that are not
    valid, or have more actions than `student.prompt.max_actions`, never do."""

    achievement_within: PositiveInt | None = None
    """Only decisions followed by an achievement within so many decisions; 1: at once."""
    skip_asleep: bool = False
    """Leave out what is chosen asleep before energy is full: the game sleeps on whatever it is."""
    max_sequence_length: PositiveInt | None = None
    """Most tokens of the student's in a prompt and its answer, image tokens included."""
    deduplicate: bool = True
    """One example for each different request (text and pictures) and call."""


class SplitConfig(Section):
    """What is held out: whole worlds, with as many achievements as the others."""

    val_fraction: float = Field(default=0.05, ge=0, lt=1)
    """Share of the worlds whose examples go to the validation files; 0: no such files."""
    seed: int = Field(default=0, ge=0)
    """Of the draw of worlds."""


class ExportConfig(Section):
    """Traces as a dataset for supervised fine-tuning."""

    inputs: Annotated[Names, Field(min_length=1)]
    """Runs to merge: folders of jobs.collect or jobs.evaluate, or one player's folder."""
    output: str
    """The dataset's folder; files of an earlier export are replaced."""
    student: StudentConfig = StudentConfig()
    episodes: EpisodeRules = EpisodeRules()
    rows: RowRules = RowRules()
    split: SplitConfig = SplitConfig()
    relabel: Literal["teacher"] | None = None
    """Replace every answer by what the scripted teacher would do there (DAgger's labels)."""
    history_drop: float = Field(default=0.0, ge=0, le=1)
    """Share of examples that are told without their recent actions, so that the student learns
    to look as well as to go on."""
    shuffle: bool = True
    """Mix the examples; false: by input, world, play and decision."""
    seed: int = Field(default=0, ge=0)
    """Of the shuffle and of the histories dropped."""
    offset: int = Field(default=0, ge=0)
    """Examples to skip, once shuffled."""
    limit: PositiveInt | None = None
    """Most examples, training and validation together; none: all."""

    @model_validator(mode="after")
    def _makes_sense(self) -> "ExportConfig":
        for given in self.inputs:
            if self.inputs.count(given) > 1:
                raise ValueError(f"inputs names {given!r} twice")
        if self.history_drop and not self.student.prompt.recent_turns:
            raise ValueError(
                "history_drop has nothing to drop: student.prompt.recent_turns is 0, raise it"
            )
        return self
