"""What each job is asked to do: the sections of its TOML file."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PositiveFloat, PositiveInt, model_validator

from configs.base import Section
from configs.play import EnvConfig, PlayConfig, PromptConfig
from configs.player import Player
from configs.seeds import Seeds


def _kind_alone(value: Any) -> Any:
    return {"kind": value} if isinstance(value, str) else value


PlayerOrKind = Annotated[Player, BeforeValidator(_kind_alone)]


class ClusterConfig(Section):
    """Where a run lives and how its actors are sized. It never changes what is played."""

    address: str = "auto"
    """Ray's address; auto: RAY_ADDRESS, else a cluster running on this machine, else a Ray of
    our own; local: always a Ray of our own."""
    num_workers: PositiveInt = 2
    """Rollout workers."""
    worker_cpus: float = Field(default=0.25, ge=0)
    """CPUs that Ray sets aside for each worker."""
    episodes_per_worker: PositiveInt = 16
    """Episodes that one worker plays at once."""
    stall_timeout_s: PositiveFloat = 900.0
    """An episode without a new decision for this long is also given to another worker; the first
    result counts."""
    max_attempts: PositiveInt = 4
    """Times an episode is started before it is dropped."""
    max_restarts: int = Field(default=8, ge=0)
    """Times that each worker or replica may be restarted before the run fails."""
    start_timeout_s: PositiveFloat = 300.0
    """For the replicas to be ready, and for a lost one to serve again."""


class PlayedRun(Section):
    """What every run that plays has."""

    output: str
    """The run's folder; the same command again continues what is there."""
    seeds: Seeds
    """Worlds: a list, or a text such as "0-9,42"."""
    env: EnvConfig = EnvConfig()
    prompt: PromptConfig = PromptConfig()
    play: PlayConfig = PlayConfig()
    cluster: ClusterConfig = ClusterConfig()


class CollectConfig(PlayedRun):
    """One policy's play, stored as traces."""

    episodes: PositiveInt | None = None
    """Episodes in all: beyond one for each seed, worlds are played again; none: one each."""
    policy: PlayerOrKind
    """Who plays; a kind alone (vllm, openai, scripted, random) takes that kind's defaults."""

    @property
    def plays(self) -> tuple[tuple[int, int], ...]:
        """(seed, sample) of every episode: all worlds once, then again, until there are enough."""
        count = len(self.seeds) if self.episodes is None else self.episodes
        worlds = len(self.seeds)
        return tuple((self.seeds[index % worlds], index // worlds) for index in range(count))


class EvaluateConfig(PlayedRun):
    """Any number of policies on the same worlds."""

    samples: PositiveInt = 1
    """Plays of each world by each policy."""
    policies: tuple[PlayerOrKind, ...] = Field(min_length=1)
    """Who plays, in the table's order."""
    baseline: str | None = None
    """Name of the policy that the others are held against, world by world; none: nobody."""

    @property
    def plays(self) -> tuple[tuple[int, int], ...]:
        """(seed, sample) of every episode of each policy."""
        return tuple((seed, sample) for sample in range(self.samples) for seed in self.seeds)

    @model_validator(mode="after")
    def _names_are_distinct(self) -> "EvaluateConfig":
        names = [policy.name for policy in self.policies]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two policies are named {name!r}: give each a name of its own")
        if self.baseline not in (None, *names):
            raise ValueError(f"no policy is named {self.baseline!r}, as baseline is: {names}")
        return self
