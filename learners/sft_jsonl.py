"""Examples as JSON lines in OpenAI's chat format, which trainers and templates take as they are."""

import base64
import json
import mmap
from array import array
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from actors.tool import TOOL_NAME, render_call, tool_schema
from cluster.errors import UserError
from cluster.names import ACTIONS
from learners.sft_row import SftRow

_URL: Final = "data:image/png;base64,"
_REMEDY: Final = "export it again with jobs.export --format sft"
_FACTS: Final = {
    "episode": str,
    "turn": int,
    "step": int,
    "seed": int,
    "sample": int,
    "player": str,
    "model": str,
    "provider": str,
    "achievements": int,
    "return": float,
}
"""What `metadata` tells of the episode, beside `has_image` and `actions`."""


def to_record(row: SftRow) -> dict[str, Any]:
    """One line of the file, as a dictionary.

    Without a rationale the answer's content is "": Qwen's templates fail on null. Arguments are
    text, as OpenAI has them, which those templates write as it is.
    """
    facts = {name: getattr(row, _field(name)) for name in _FACTS}
    call = {
        "id": f"call_{row.turn}",
        "type": "function",
        "function": {"name": TOOL_NAME, "arguments": json.dumps({"actions": list(row.actions)})},
    }
    parts: list[dict[str, Any]] = [{"type": "text", "text": row.text}]
    for png in row.images:
        url = _URL + base64.b64encode(png).decode()
        parts.append({"type": "image_url", "image_url": {"url": url}})
    return {
        "messages": [
            {"role": "system", "content": row.system},
            {"role": "user", "content": parts},
            {"role": "assistant", "content": row.rationale, "tool_calls": [call]},
        ],
        "tools": [tool_schema(row.max_actions)],
        "metadata": {**facts, "has_image": bool(row.images), "actions": list(row.actions)},
    }


def to_line(row: SftRow) -> str:
    """A record as JSON, its line break included."""
    return json.dumps(to_record(row)) + "\n"


def to_row(record: Any) -> SftRow:
    """A record as it was written; the completion is the canonical one, without sampled ids.

    Raises:
        ValueError: it is no such record; says where.
    """
    try:
        system, user, assistant = (record["messages"][index] for index in range(3))
        text, *pictures = user["content"]
        call = assistant["tool_calls"][0]
        arguments = json.loads(call["function"]["arguments"])
        max_actions = _max_actions(json.dumps(record["tools"]))
        facts = {_field(name): kind(record["metadata"][name]) for name, kind in _FACTS.items()}
        row = SftRow(
            **facts,
            system=system["content"],
            text=text["text"],
            images=tuple(_png(part["image_url"]["url"]) for part in pictures),
            max_actions=max_actions,
            actions=tuple(arguments["actions"]),
            completion=render_call(arguments["actions"], assistant["content"]),
            token_ids=(),
        )
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(f"it is no example of Pickaxe's ({error!r})") from None
    if not set(row.actions) <= set(ACTIONS):
        raise ValueError(f"its call {row.actions} has names that are no actions")
    if not 0 < len(row.actions) <= row.max_actions:
        raise ValueError(f"its call has {len(row.actions)} actions, of 1 to {row.max_actions}")
    is_text = isinstance(row.system, str) and isinstance(row.text, str)
    if not is_text or to_record(row) != record:
        raise ValueError("it is not as Pickaxe writes examples")
    return row


def _field(name: str) -> str:
    return "episode_return" if name == "return" else name


@lru_cache
def _max_actions(tools: str) -> int:
    (tool,) = json.loads(tools)
    found: int = tool["function"]["parameters"]["properties"]["actions"]["maxItems"]
    if tool != tool_schema(found):
        raise ValueError("its tools are not interact_many")
    return found


def _png(url: str) -> bytes:
    if not url.startswith(_URL):
        raise ValueError("a picture is no data URL with a PNG")
    return base64.b64decode(url[len(_URL) :], validate=True)


class JsonlRows:
    """Lines of a file that is mapped into memory; each is parsed when it is asked for.

    Raises:
        UserError: a line is damaged or foreign; names it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._starts = array("q", [0])
        self._actions: list[tuple[str, ...]] = []
        try:
            with path.open("rb") as file:
                file.seek(0, 2)
                empty = file.tell() == 0
                self._data: Any = (
                    b"" if empty else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
                )
        except OSError as error:
            raise UserError(f"can't read {path}: {error.strerror}") from None
        while self._starts[-1] < len(self._data):
            end = self._data.find(b"\n", self._starts[-1]) + 1 or len(self._data)
            self._starts.append(end)
            self._actions.append(self.row(len(self._actions)).actions)

    def __len__(self) -> int:
        return len(self._actions)

    def row(self, index: int) -> SftRow:
        """The example at `index`, from 0 to the length less 1."""
        line = self._data[self._starts[index] : self._starts[index + 1]]
        try:
            return to_row(json.loads(line))
        except ValueError as error:
            raise UserError(f"{self._path}, line {index + 1}: {error}: {_REMEDY}") from None

    def actions(self) -> Iterator[tuple[str, ...]]:
        yield from self._actions
