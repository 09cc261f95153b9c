"""The one tool of play. Schema, prompt, parser, SFT export and RL all read it from here."""

import json
from collections.abc import Sequence
from typing import Any, Final

from cluster.names import ACTIONS

TOOL_NAME: Final = "interact_many"


def tool_schema(max_actions: int) -> dict[str, Any]:
    """The tool in OpenAI's function format, as chat templates and servers take it."""
    return {
        "type": "function",
        "function": {
            "name": TOOL_NAME,
            "description": "Carry out actions in Crafter, in order.",
            "parameters": {
                "type": "object",
                "properties": {
                    "actions": {
                        "type": "array",
                        "items": {"type": "string", "enum": list(ACTIONS)},
                        "minItems": 1,
                        "maxItems": max_actions,
                    }
                },
                "required": ["actions"],
                "additionalProperties": False,
            },
        },
    }


def render_call(actions: Sequence[str], rationale: str = "") -> str:
    """The canonical completion: Qwen's tool-call block, after an optional line of reasoning."""
    arguments = json.dumps({"actions": list(actions)})
    return render_raw_call(TOOL_NAME, arguments, rationale)


def render_raw_call(name: str, arguments: str, rationale: str = "") -> str:
    """A call in Qwen's form whose arguments are whatever text the model gave, valid or not."""
    block = f'<tool_call>\n{{"name": {json.dumps(name)}, "arguments": {arguments}}}\n</tool_call>'
    return f"{rationale}\n{block}" if rationale else block
