"""From a TOML file and dotted overrides to a checked configuration, and back to TOML.

    python -m jobs.collect configs/cpu/collect.toml --env.length 100 --policy.kind random

A value is read as TOML where it is TOML (numbers, true, lists), else as plain text; `none`, in a
file "none", takes an optional setting away.
"""

import difflib
import sys
import tomllib
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import tomli_w
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticUndefined

from configs.errors import UserError

Config = TypeVar("Config", bound=BaseModel)

_NONE = "none"
"""No value: TOML has no word for it."""
_MAY_HOLD_A_SECRET = ("api_key_env", "base_url")
"""Settings into which keys are put by mistake: what was given is not repeated."""


def load(schema: type[Config], argv: Sequence[str]) -> Config:
    """Read `[FILE] [--dotted.name value]...`.

    Raises:
        UserError: an unreadable file, an unknown key (the nearest known one is named), a wrong
            type or a combination that can't work.
    """
    data: dict[str, Any] = {}
    arguments = list(argv)
    if arguments and not arguments[0].startswith("--"):
        data = read_toml(Path(arguments.pop(0)))
    for name, value in _overrides(arguments):
        _put(data, name, value)
    try:
        return schema.model_validate(data)
    except ValidationError as error:
        raise UserError(_explain(error.errors()[0], schema, data)) from None


def load_or_help(schema: type[Config], doc: str) -> Config:
    """`load` from the command line; `--help` prints every setting and leaves."""
    arguments = sys.argv[1:]
    if not arguments or {"-h", "--help"} & set(arguments):
        print(f"{doc.strip()}\n\nsettings (in the file, or as --NAME VALUE):\n")
        for line in describe(schema):
            print(line)
        sys.exit(0 if arguments else 2)
    return load(schema, arguments)


def dump(config: BaseModel) -> str:
    """The effective configuration as TOML, to be read again."""
    return tomli_w.dumps(_replaced(config.model_dump(mode="json"), None, _NONE))


def changed(config: BaseModel) -> str:
    """The settings that are not the defaults, in one line."""
    return ", ".join(_flat(config.model_dump(mode="json", exclude_defaults=True), ""))


def _flat(value: Any, name: str) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else key)
    elif isinstance(value, list) and len(value) > 4:
        yield f"{name} = [{value[0]!r}, ... {value[-1]!r}] ({len(value)})"
    else:
        yield f"{name} = {value!r}"


def read_toml(path: Path) -> dict[str, Any]:
    try:
        data: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        return {key: _replaced(value, _NONE, None) for key, value in data.items()}
    except OSError as error:
        raise UserError(f"can't read config {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"config {path} is not TOML: {error}") from None


def _replaced(data: Any, old: str | None, new: str | None) -> Any:
    if isinstance(data, dict):
        return {key: _replaced(value, old, new) for key, value in data.items()}
    if isinstance(data, list):
        return [_replaced(value, old, new) for value in data]
    return new if data == old else data


def _overrides(arguments: list[str]) -> Iterator[tuple[str, Any]]:
    while arguments:
        name = arguments.pop(0)
        if not name.startswith("--"):
            raise UserError(f"unexpected {name!r}: settings are given as --NAME VALUE")
        name, equals, raw = name[2:].partition("=")
        if not equals:
            if not arguments:
                raise UserError(f"--{name} needs a value")
            raw = arguments.pop(0)
        yield name, _value(raw)


def _value(raw: str) -> Any:
    if raw == _NONE:
        return None
    try:
        return tomllib.loads(f"value = {raw}")["value"]
    except tomllib.TOMLDecodeError:
        return raw


def _put(data: Any, name: str, value: Any) -> None:
    *parents, last = name.split(".")
    for parent in parents:
        data = _item(data, parent, name)
    if isinstance(data, list):
        _item(data, last, name)
        data[int(last)] = value
    else:
        data[last] = value


def _item(data: Any, key: str, name: str) -> Any:
    if isinstance(data, list):
        if not key.isdigit() or int(key) >= len(data):
            raise UserError(f"--{name}: {key!r} is not one of the {len(data)} list positions")
        place: Any = int(key)
    else:
        place = key
        data.setdefault(place, {})
    if data[place] is None:
        data[place] = {}
    if isinstance(data[place], str):
        # A policy given by its kind alone.
        data[place] = {"kind": data[place]}
    return data[place]


def _explain(error: ErrorDetails, schema: type[BaseModel], data: Any) -> str:
    path = _path(error["loc"], data)
    if error["type"] == "extra_forbidden":
        known = [name for name, _ in _leaves(schema)]
        near = difflib.get_close_matches(path, known, n=1, cutoff=0.5)
        return f"unknown setting {path!r}" + (f"; the nearest is {near[0]!r}" if near else "")
    if error["type"] == "missing":
        return f"setting {path!r} is missing"
    message = error["msg"].removeprefix("Value error, ")
    given = error["input"]
    is_secret = path.endswith(_MAY_HOLD_A_SECRET)
    is_shown = not is_secret and not isinstance(given, dict | list | BaseModel)
    shown = f" (given: {given!r})" if is_shown else ""
    return f"{path}: {message}{shown}" if path else message


def _path(loc: tuple[int | str, ...], data: Any) -> str:
    """Dotted name of an error's place, without the tags pydantic adds for unions."""
    parts = []
    for part in loc:
        if not isinstance(data, dict | list):
            break
        inside = isinstance(data, dict) and part in data
        if isinstance(data, dict) and not inside and part == data.get("kind"):
            continue
        parts.append(str(part))
        if isinstance(data, dict):
            data = data.get(part)
        else:
            data = data[part] if isinstance(part, int) else None
    return ".".join(parts)


def describe(schema: type[BaseModel]) -> Iterator[str]:
    """A help line for every setting."""
    for name, info in _leaves(schema):
        default = ""
        if info.default is not PydanticUndefined:
            default = f" [{_shown(info.default)}]"
        text = " ".join((info.description or "").split())
        yield f"  --{name}{default}\n        {text}".rstrip()


def _shown(default: Any) -> str:
    return "none" if default is None else str(default)


def _leaves(schema: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    for name, info in schema.model_fields.items():
        sections = list(_sections(info.annotation))
        if not sections or _is_many(info.annotation):
            yield prefix + name, info
        seen: set[str] = set()
        place = f"{prefix}{name}.{'0.' if _is_many(info.annotation) else ''}"
        for section in sections:
            for leaf, leaf_info in _leaves(section, place):
                if leaf not in seen:
                    seen.add(leaf)
                    yield leaf, leaf_info


def _sections(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif typing.get_origin(annotation) is not None:
        for argument in typing.get_args(annotation):
            yield from _sections(argument)


def _is_many(annotation: Any) -> bool:
    return typing.get_origin(annotation) is tuple
