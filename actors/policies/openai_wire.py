"""What goes over the wire to an OpenAI-compatible endpoint, and what comes back. Pure.

Request and answer are those of POST /chat/completions.
"""

import base64
import re
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from actors.tool import render_raw_call, tool_schema
from cluster.types import Prompt
from configs.player import OpenAIPlayer

_Body = TypeVar("_Body", bound=BaseModel)

# OpenAI's o-series answers 400 to a request that names the field at all.
_REFUSES_PARALLEL_FIELD: Final = re.compile(r"(^|[/:])o\d")


class BadAnswerError(Exception):
    """A body with status 200 that is no completion."""


class Function(BaseModel):
    name: str
    arguments: str


class ToolCall(BaseModel):
    function: Function


class Message(BaseModel):
    content: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolCall] | None = None


class Choice(BaseModel):
    message: Message
    finish_reason: str | None = None


class Usage(BaseModel):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Answer(BaseModel):
    """The part of a completion that Pickaxe reads; servers differ in the rest."""

    choices: list[Choice] | None = None
    usage: Usage | None = None


class Model(BaseModel):
    id: str


class Listing(BaseModel):
    """What GET /models gives."""

    data: list[Model]


def request_body(player: OpenAIPlayer, prompt: Prompt, max_actions: int) -> dict[str, Any]:
    """The JSON of one decision's request."""
    tool = tool_schema(max_actions)
    if player.strict:
        tool["function"]["strict"] = True
    body: dict[str, Any] = {
        "model": player.model,
        "messages": [
            {"role": "system", "content": prompt.system},
            {"role": "user", "content": _user_content(prompt)},
        ],
        "tools": [tool],
        "tool_choice": player.tool_choice,
        player.max_tokens_field: player.max_tokens,
    }
    if not _REFUSES_PARALLEL_FIELD.search(player.model):
        body["parallel_tool_calls"] = False
    if player.temperature is not None:
        body["temperature"] = player.temperature
    return body


def _user_content(prompt: Prompt) -> str | list[dict[str, Any]]:
    # Plain text where there is no picture: chat templates of text models take nothing else.
    if not prompt.images:
        return prompt.text
    text = [{"type": "text", "text": prompt.text}] if prompt.text else []
    return [*text, *(_picture(png) for png in prompt.images)]


def _picture(png: bytes) -> dict[str, Any]:
    data = base64.b64encode(png).decode("ascii")
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}


def read_answer(text: str) -> Answer:
    """Check a completion's body.

    Raises:
        BadAnswerError: not JSON, or not a completion.
    """
    return _read(Answer, text, "completion")


def read_listing(text: str) -> Listing:
    """Check a model listing's body.

    Raises:
        BadAnswerError: not JSON, or not a listing.
    """
    return _read(Listing, text, "list of models")


def completion_text(message: Message) -> str:
    """The answer in the one form that the strict parser judges.

    Arguments stay whatever text the model gave. Several calls are all kept, which the parser
    counts as no call.
    """
    text = message.content or message.refusal or ""
    for call in message.tool_calls or ():
        text = render_raw_call(call.function.name, call.function.arguments, text)
    return text


def _read(kind: type[_Body], text: str, what: str) -> _Body:
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        # Without its input, which may echo the request's headers.
        first = error.errors(include_input=False, include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    reason = f"{where}: {first['msg']}" if where else "not valid JSON"
    raise BadAnswerError(f"the answer is no {what} ({reason})")
