"""Traces as one SQLite file, rollouts.db; `cluster.exports.sqlite_tables` has its tables.

A trajectory is a session and a decision a timestep. A decision's messages are the system message
(where it differs from the one before), the user's, the player's (`tool_use`, or `assistant` for
an unusable call) and the tool's result; its events are the answer ('cais') and every environment
step. An unlocked achievement is an event reward 'unique_achievement_delta' of its step, a penalty
a 'format_penalty' of its answer.
"""

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cluster.exports.sqlite_tables import SCHEMA
from cluster.files import replacing
from cluster.types import Ending, ParseOutcome, Trajectory, Turn


def export_sqlite(trajectories: Iterable[Trajectory], path: Path) -> int:
    """Write a new database in place of what `path` held; returns the number of sessions.

    Raises:
        OSError, sqlite3.Error: `path` can't be written; what was there stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    num_sessions = 0
    with replacing(path) as beside, closing(sqlite3.connect(beside)) as database:
        database.executescript(SCHEMA)
        with database:
            for trajectory in trajectories:
                _Session(database, trajectory).write()
                num_sessions += 1
    return num_sessions


def images_of(turns: Sequence[Turn], index: int) -> list[bytes]:
    """The pictures that decision `index` was sent, oldest first: the last ones drawn by then."""
    num_images = turns[index].num_images
    drawn = [turn.frame for turn in turns[: index + 1] if turn.frame is not None]
    return drawn[-num_images:] if num_images else []


class _Session:
    """One trajectory on its way into the tables."""

    def __init__(self, database: sqlite3.Connection, trajectory: Trajectory) -> None:
        self._database = database
        self._trajectory = trajectory
        self._id = f"{trajectory.player}/{trajectory.spec.id}"
        self._num_events = 0
        self._num_messages = 0
        self._clock = trajectory.started_at

    def write(self) -> None:
        trajectory = self._trajectory
        for turn in trajectory.turns:
            self._timestep(turn)
        summary = trajectory.summary()
        self._insert(
            "session_traces",
            session_id=self._id,
            created_at=_iso(trajectory.started_at),
            num_timesteps=summary.num_turns,
            num_events=self._num_events,
            num_messages=self._num_messages,
            metadata=json.dumps(_session_facts(trajectory)),
        )
        self._insert(
            "outcome_rewards",
            session_id=self._id,
            total_reward=summary.total_reward,
            achievements_count=len(summary.achievements),
            total_steps=summary.num_env_steps,
            created_at=_iso(trajectory.started_at + trajectory.duration_s),
            reward_metadata=json.dumps(
                {
                    "env_id": "crafter",
                    "policy_id": trajectory.player,
                    "env_seed": trajectory.spec.seed,
                    "final_achievements": summary.achievements,
                }
            ),
        )

    def _timestep(self, turn: Turn) -> None:
        num_events, num_messages = self._num_events, self._num_messages
        # A turn has durations only: its start is the play's, plus the turns before it.
        started = self._clock
        self._clock += turn.act_s + turn.env_s
        timestep = self._insert(
            "session_timesteps",
            session_id=self._id,
            step_id=f"decision_{turn.index}",
            step_index=turn.index,
            turn_number=turn.index,
            started_at=_iso(started),
            completed_at=_iso(self._clock),
            num_events=0,
            num_messages=0,
            step_metadata=json.dumps({"env_step": turn.observation.step, "outcome": turn.outcome}),
        )
        self._messages(turn, timestep, started)
        self._events(turn, timestep, started)
        self._database.execute(
            "UPDATE session_timesteps SET num_events = ?, num_messages = ? WHERE id = ?",
            (self._num_events - num_events, self._num_messages - num_messages, timestep),
        )

    def _messages(self, turn: Turn, timestep: int, started: float) -> None:
        turns = self._trajectory.turns
        if turn.index == 0 or turn.system != turns[turn.index - 1].system:
            self._message(timestep, "system", turn.system, started)
        user = self._message(timestep, "user", turn.text, started)
        for position, image in enumerate(images_of(turns, turn.index)):
            digest = hashlib.sha256(image).hexdigest()
            self._insert("images", sha256=digest, format="png", data=image)
            self._insert("message_images", message_id=user, position=position, sha256=digest)
        answered = started + turn.act_s
        kind = "tool_use" if turn.outcome is ParseOutcome.OK else "assistant"
        self._message(timestep, kind, turn.completion.text, answered)
        result = {
            "executed": turn.executed,
            "rewards": turn.rewards,
            "unlocked": [name for _, name in turn.unlocked],
            "interrupt": turn.interrupt,
        }
        self._message(timestep, "tool_result", json.dumps(result), answered + turn.env_s)

    def _message(self, timestep: int, kind: str, content: str, at: float) -> int:
        self._num_messages += 1
        return self._insert(
            "messages",
            session_id=self._id,
            timestep_id=timestep,
            message_type=kind,
            content=content,
            timestamp=_iso(at),
            event_time=at,
        )

    def _events(self, turn: Turn, timestep: int, started: float) -> None:
        answer = self._answer(turn, timestep, started)
        if turn.penalty:
            self._reward(turn, answer, turn.penalty, ("format_penalty", turn.outcome))
        last = turn is self._trajectory.turns[-1]
        for index, action in enumerate(turn.executed):
            ends = last and index == len(turn.executed) - 1
            step = self._event(
                timestep,
                event_type="environment",
                system_instance_id="crafter",
                event_time=started + turn.act_s,
                reward=turn.rewards[index],
                terminated=ends and self._trajectory.ending is Ending.DEATH,
                truncated=ends and self._trajectory.ending is Ending.TIME_LIMIT,
                event_metadata=json.dumps({"action": action}),
            )
            for at, name in turn.unlocked:
                if at == index:
                    self._reward(turn, step, 1.0, ("unique_achievement_delta", name))

    def _answer(self, turn: Turn, timestep: int, started: float) -> int:
        said = turn.completion
        return self._event(
            timestep,
            event_type="cais",
            system_instance_id=self._trajectory.player,
            event_time=started + turn.act_s,
            model_name=self._trajectory.model,
            provider=self._trajectory.provider,
            input_tokens=said.num_prompt_tokens,
            output_tokens=said.num_completion_tokens,
            total_tokens=said.num_prompt_tokens + said.num_completion_tokens,
            cost_usd=said.cost_usd,
            latency_ms=1000 * turn.act_s,
            call_records=json.dumps(
                [
                    {
                        "outcome": turn.outcome,
                        "actions": turn.actions,
                        "finish_reason": said.finish_reason,
                        "policy_version": said.version,
                        "replica": said.replica,
                    }
                ]
            ),
        )

    def _event(self, timestep: int, **columns: Any) -> int:
        self._num_events += 1
        at = _iso(columns["event_time"])
        return self._insert(
            "events", session_id=self._id, timestep_id=timestep, created_at=at, **columns
        )

    def _reward(self, turn: Turn, event: int, value: float, kind: tuple[str, str]) -> None:
        self._insert(
            "event_rewards",
            event_id=event,
            session_id=self._id,
            turn_number=turn.index,
            reward_value=value,
            reward_type=kind[0],
            key=kind[1],
            source="environment" if kind[0] == "unique_achievement_delta" else "play",
        )

    def _insert(self, table: str, **columns: Any) -> int:
        """A picture that is already there stays as it is."""
        skip = " OR IGNORE" if table == "images" else ""
        names, marks = ", ".join(columns), ", ".join("?" * len(columns))
        statement = f"INSERT{skip} INTO {table} ({names}) VALUES ({marks})"
        return self._database.execute(statement, tuple(columns.values())).lastrowid or 0


def _session_facts(trajectory: Trajectory) -> dict[str, Any]:
    return {
        "policy_name": trajectory.player,
        "model": trajectory.model,
        "provider": trajectory.provider,
        "env_name": "crafter",
        "seed": trajectory.spec.seed,
        "sample": trajectory.spec.sample,
        "ending": trajectory.ending,
        "error": trajectory.error,
        "env": trajectory.env,
    }


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()
