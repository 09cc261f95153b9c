"""From turns and trajectories to Parquet rows and back, nothing lost on the way."""

import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from cluster.names import ITEMS
from cluster.trace_schema import BAD_CALLS, EPISODES, TURNS
from cluster.types import (
    Completion,
    Ending,
    EpisodeSpec,
    Observation,
    ParseOutcome,
    Summary,
    Trajectory,
    Turn,
)


def turns_table(trajectory: Trajectory) -> pa.Table:
    """One episode's decisions.

    Raises:
        ValueError: an inventory without exactly Crafter's 16 items.
    """
    return pa.Table.from_pylist([_turn_row(trajectory, t) for t in trajectory.turns], TURNS)


def episodes_table(trajectories: Sequence[Trajectory], part: str) -> pa.Table:
    """One row per trajectory; `part` is the name of the file with their turns."""
    return pa.Table.from_pylist([_episode_row(t, part) for t in trajectories], EPISODES)


def _turn_row(trajectory: Trajectory, turn: Turn) -> dict[str, Any]:
    return {
        "episode": trajectory.spec.id,
        "seed": trajectory.spec.seed,
        "sample": trajectory.spec.sample,
        "player": trajectory.player,
        "model": trajectory.model,
        "turn": turn.index,
        "frame": turn.frame,
        "system": turn.system,
        "text": turn.text,
        "num_images": turn.num_images,
        "outcome": turn.outcome,
        "actions": turn.actions,
        "executed": turn.executed,
        "rewards": turn.rewards,
        "penalty": turn.penalty,
        "unlocked": [{"step": step, "name": name} for step, name in turn.unlocked],
        "interrupt": turn.interrupt,
        "act_s": turn.act_s,
        "env_s": turn.env_s,
        **_observation_columns(turn.observation),
        **_completion_columns(turn.completion),
    }


def _observation_columns(seen: Observation) -> dict[str, Any]:
    if seen.inventory.keys() != set(ITEMS):
        odd = sorted(seen.inventory.keys() ^ set(ITEMS))
        raise ValueError(f"inventory needs Crafter's 16 items, zeros included; differs in {odd}")
    return {
        "step": seen.step,
        "length": seen.length,
        "view": seen.view,
        "inventory": seen.inventory,
        "facing_dx": seen.facing[0],
        "facing_dy": seen.facing[1],
        "displacement_dx": seen.displacement[0],
        "displacement_dy": seen.displacement[1],
        "sleeping": seen.sleeping,
        "daylight": seen.daylight,
        "achievements": seen.achievements,
    }


def _completion_columns(said: Completion) -> dict[str, Any]:
    return {
        "completion": _storable(said.text),
        "finish_reason": _storable(said.finish_reason),
        "prompt_ids": said.prompt_ids,
        "token_ids": said.token_ids,
        "logprobs": said.logprobs,
        "temperature": said.temperature,
        "version": said.version,
        "num_prompt_tokens": said.num_prompt_tokens,
        "num_completion_tokens": said.num_completion_tokens,
        "cost_usd": said.cost_usd,
        "replica": said.replica,
    }


def _storable(text: str) -> str:
    """The same text, but for lone surrogates.

    A remote model's JSON can hold half of a surrogate pair, and no UTF-8 file can: it becomes
    U+FFFD, so that one odd completion does not cost the episode.
    """
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _episode_row(trajectory: Trajectory, part: str) -> dict[str, Any]:
    summary = trajectory.summary()
    return {
        "episode": trajectory.spec.id,
        "seed": trajectory.spec.seed,
        "sample": trajectory.spec.sample,
        "player": trajectory.player,
        "model": trajectory.model,
        "provider": trajectory.provider,
        "ending": summary.ending,
        "error": _storable(summary.error),
        "num_turns": summary.num_turns,
        "num_env_steps": summary.num_env_steps,
        "num_tool_calls": summary.num_tool_calls,
        "total_reward": summary.total_reward,
        "achievements": summary.achievements,
        "invalid_calls": {name: summary.invalid_calls.get(name, 0) for name in BAD_CALLS},
        "num_prompt_tokens": summary.num_prompt_tokens,
        "num_completion_tokens": summary.num_completion_tokens,
        "cost_usd": summary.cost_usd,
        "started_at": trajectory.started_at,
        "duration_s": summary.duration_s,
        "env": _env_text(trajectory.env),
        "turns_part": part,
    }


def _env_text(env: dict[str, Any]) -> str:
    text = json.dumps(env)
    if json.loads(text) != env:
        raise ValueError(f"env {env} changes on its way through JSON: dump it with mode='json'")
    return text


def to_turn(row: dict[str, Any]) -> Turn:
    """A row of TURNS, as it was written."""
    return Turn(
        index=row["turn"],
        observation=_observation(row),
        frame=row["frame"],
        system=row["system"],
        text=row["text"],
        num_images=row["num_images"],
        completion=_completion(row),
        outcome=ParseOutcome(row["outcome"]),
        actions=tuple(row["actions"]),
        executed=tuple(row["executed"]),
        rewards=tuple(row["rewards"]),
        penalty=row["penalty"],
        unlocked=tuple((unlock["step"], unlock["name"]) for unlock in row["unlocked"]),
        interrupt=row["interrupt"],
        act_s=row["act_s"],
        env_s=row["env_s"],
    )


def _observation(row: dict[str, Any]) -> Observation:
    return Observation(
        step=row["step"],
        length=row["length"],
        view=tuple(tuple(tiles) for tiles in row["view"]),
        inventory=row["inventory"],
        facing=(row["facing_dx"], row["facing_dy"]),
        displacement=(row["displacement_dx"], row["displacement_dy"]),
        sleeping=row["sleeping"],
        daylight=row["daylight"],
        achievements=tuple(row["achievements"]),
    )


def _completion(row: dict[str, Any]) -> Completion:
    return Completion(
        text=row["completion"],
        finish_reason=row["finish_reason"],
        prompt_ids=tuple(row["prompt_ids"]),
        token_ids=tuple(row["token_ids"]),
        logprobs=tuple(row["logprobs"]),
        temperature=row["temperature"],
        version=row["version"],
        num_prompt_tokens=row["num_prompt_tokens"],
        num_completion_tokens=row["num_completion_tokens"],
        cost_usd=row["cost_usd"],
        replica=row["replica"],
    )


def to_summary(row: dict[str, Any]) -> Summary:
    """A row of EPISODES as the ledger and the reports know it."""
    return Summary(
        spec=EpisodeSpec(seed=row["seed"], sample=row["sample"]),
        ending=Ending(row["ending"]),
        error=row["error"],
        num_turns=row["num_turns"],
        num_env_steps=row["num_env_steps"],
        num_tool_calls=row["num_tool_calls"],
        total_reward=row["total_reward"],
        achievements=tuple(row["achievements"]),
        invalid_calls={name: n for name, n in row["invalid_calls"].items() if n},
        num_prompt_tokens=row["num_prompt_tokens"],
        num_completion_tokens=row["num_completion_tokens"],
        cost_usd=row["cost_usd"],
        duration_s=row["duration_s"],
    )


def to_trajectory(row: dict[str, Any], turns: Sequence[Turn]) -> Trajectory:
    """A row of EPISODES with its turns, as they were written."""
    return Trajectory(
        spec=EpisodeSpec(seed=row["seed"], sample=row["sample"]),
        player=row["player"],
        model=row["model"],
        provider=row["provider"],
        turns=tuple(turns),
        ending=Ending(row["ending"]),
        error=row["error"],
        achievements=tuple(row["achievements"]),
        started_at=row["started_at"],
        duration_s=row["duration_s"],
        env=json.loads(row["env"]),
    )
