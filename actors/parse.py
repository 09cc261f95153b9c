"""From a completion's text to actions, strictly: what does not fit is named, never mended."""

import json
import re
from dataclasses import dataclass
from typing import Any, Final

from actors.tool import TOOL_NAME
from cluster.names import ACTIONS
from cluster.types import ParseOutcome

_BLOCK: Final = re.compile(r"<tool_call>(.*?)</tool_call>", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Parsed:
    """Actions are empty unless the outcome is `ok`."""

    outcome: ParseOutcome
    actions: tuple[str, ...] = ()


def parse(text: str, max_actions: int) -> Parsed:
    """Read the one tool call in `text`.

    A second call, a missing closing tag or text after the call counts as no call at all: what
    the model meant would be a guess.
    """
    blocks = _BLOCK.findall(text)
    if len(blocks) != 1 or text.count("<tool_call>") != 1 or _BLOCK.split(text)[-1].strip():
        return Parsed(ParseOutcome.NO_CALL)
    try:
        call = json.loads(blocks[0])
    except (ValueError, RecursionError):
        return Parsed(ParseOutcome.BAD_JSON)
    if not isinstance(call, dict) or not isinstance(call.get("arguments"), dict):
        return Parsed(ParseOutcome.BAD_JSON)
    if call.get("name") != TOOL_NAME:
        return Parsed(ParseOutcome.UNKNOWN_TOOL)
    return _read_arguments(call["arguments"], max_actions)


def _read_arguments(arguments: dict[str, Any], max_actions: int) -> Parsed:
    actions = arguments.get("actions")
    if set(arguments) != {"actions"} or not isinstance(actions, list):
        return Parsed(ParseOutcome.BAD_JSON)
    if not actions:
        return Parsed(ParseOutcome.EMPTY)
    if any(action not in ACTIONS for action in actions):
        return Parsed(ParseOutcome.UNKNOWN_ACTION)
    if len(actions) > max_actions:
        return Parsed(ParseOutcome.TOO_MANY)
    return Parsed(ParseOutcome.OK, tuple(actions))
