"""The columns of traces on disk: two Parquet schemas, marked as Pickaxe's own."""

from typing import Final

import pyarrow as pa

from cluster.errors import TraceError
from cluster.names import ITEMS
from cluster.types import ParseOutcome

VERSION: Final = "1"
"""Raised with every change of a column; a reader refuses what it was not written for."""

_MARK: Final = b"pickaxe.trace"
_MARK_VERSION: Final = b"pickaxe.trace.version"
BAD_CALLS: Final = tuple(str(o) for o in ParseOutcome if o is not ParseOutcome.OK)
_STRINGS: Final = pa.list_(pa.string())


def _schema(kind: str, columns: dict[str, pa.DataType]) -> pa.Schema:
    return pa.schema(list(columns.items()), {_MARK: kind.encode(), _MARK_VERSION: VERSION.encode()})


TURNS: Final = _schema(
    "turns",
    {
        "episode": pa.string(),
        "seed": pa.int64(),
        "sample": pa.int64(),
        "player": pa.string(),
        "model": pa.string(),
        "turn": pa.int32(),
        "step": pa.int32(),
        "length": pa.int32(),
        "frame": pa.binary(),
        "view": pa.list_(_STRINGS),
        "inventory": pa.struct([(item, pa.int32()) for item in ITEMS]),
        "facing_dx": pa.int32(),
        "facing_dy": pa.int32(),
        "displacement_dx": pa.int32(),
        "displacement_dy": pa.int32(),
        "sleeping": pa.bool_(),
        "daylight": pa.float64(),
        "achievements": _STRINGS,
        "system": pa.string(),
        "text": pa.string(),
        "num_images": pa.int32(),
        "completion": pa.string(),
        "finish_reason": pa.string(),
        "prompt_ids": pa.list_(pa.int32()),
        "token_ids": pa.list_(pa.int32()),
        "logprobs": pa.list_(pa.float64()),
        "temperature": pa.float64(),
        "version": pa.int64(),
        "num_prompt_tokens": pa.int64(),
        "num_completion_tokens": pa.int64(),
        "cost_usd": pa.float64(),
        "replica": pa.string(),
        "outcome": pa.string(),
        "actions": _STRINGS,
        "executed": _STRINGS,
        "rewards": pa.list_(pa.float64()),
        "penalty": pa.float64(),
        "unlocked": pa.list_(pa.struct([("step", pa.int32()), ("name", pa.string())])),
        "interrupt": pa.string(),
        "act_s": pa.float64(),
        "env_s": pa.float64(),
    },
)
"""One row per decision, in order; one row group per episode."""

EPISODES: Final = _schema(
    "episodes",
    {
        "episode": pa.string(),
        "seed": pa.int64(),
        "sample": pa.int64(),
        "player": pa.string(),
        "model": pa.string(),
        "provider": pa.string(),
        "ending": pa.string(),
        "error": pa.string(),
        "num_turns": pa.int64(),
        "num_env_steps": pa.int64(),
        "num_tool_calls": pa.int64(),
        "total_reward": pa.float64(),
        "achievements": _STRINGS,
        "invalid_calls": pa.struct([(outcome, pa.int32()) for outcome in BAD_CALLS]),
        "num_prompt_tokens": pa.int64(),
        "num_completion_tokens": pa.int64(),
        "cost_usd": pa.float64(),
        "started_at": pa.float64(),
        "duration_s": pa.float64(),
        "env": pa.string(),
        "turns_part": pa.string(),
    },
)
"""One row per episode."""


def check_schema(found: pa.Schema, wanted: pa.Schema) -> None:
    """Refuse a file that is not of `wanted`'s kind, version and columns.

    Raises:
        TraceError: says what is different.
    """
    metadata = found.metadata or {}
    kind = wanted.metadata[_MARK].decode()
    if _MARK not in metadata:
        raise TraceError("not written by Pickaxe (no mark in the Parquet metadata)")
    if metadata[_MARK].decode() != kind:
        raise TraceError(f"holds {metadata[_MARK].decode()}, not {kind}")
    version = metadata.get(_MARK_VERSION, b"none").decode()
    if version != VERSION:
        raise TraceError(f"trace version {version}; this Pickaxe reads version {VERSION}")
    for name in dict.fromkeys((*wanted.names, *found.names)):
        types = [s.field(name).type if name in s.names else "none" for s in (found, wanted)]
        if types[0] != types[1]:
            raise TraceError(f"column {name!r} is {types[0]}, expected {types[1]}")
