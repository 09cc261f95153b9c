"""The parser is strict: each bad call has one name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.parse import Parsed, parse
from actors.tool import render_call, render_raw_call, tool_schema
from cluster.names import ACTIONS
from cluster.types import ParseOutcome

GOOD = render_call(["move_left", "do"])


@given(
    st.lists(st.sampled_from(ACTIONS), min_size=1, max_size=5),
    st.text(alphabet=st.characters(blacklist_characters="<>")),
)
def test_what_is_rendered_is_read_back(actions: list[str], rationale: str) -> None:
    assert parse(render_call(actions, rationale), 5) == Parsed(ParseOutcome.OK, tuple(actions))


@given(st.text())
def test_any_text_has_an_outcome_and_only_ok_has_actions(text: str) -> None:
    parsed = parse(text, 5)
    assert bool(parsed.actions) == (parsed.outcome is ParseOutcome.OK)


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("", "no_call"),
        ("move_left", "no_call"),
        ("<tool_call>\n{}", "no_call"),
        (GOOD + GOOD, "no_call"),
        (GOOD + "\nand then?", "no_call"),
        ("<tool_call>not json</tool_call>", "bad_json"),
        ("<tool_call>[1]</tool_call>", "bad_json"),
        ("<tool_call>" + "1" * 5000 + "</tool_call>", "bad_json"),
        ("<tool_call>" + "[" * 100_000 + "</tool_call>", "bad_json"),
        (render_raw_call("interact_many", '"move_left"'), "bad_json"),
        (render_raw_call("interact_many", '{"action": "do"}'), "bad_json"),
        (render_raw_call("interact_many", '{"actions": ["do"], "why": 1}'), "bad_json"),
        (render_raw_call("interact_many", '{"actions": "do"}'), "bad_json"),
        (render_raw_call("move", '{"actions": ["do"]}'), "unknown_tool"),
        (render_raw_call("interact_many", '{"actions": ["jump"]}'), "unknown_action"),
        (render_raw_call("interact_many", '{"actions": [3]}'), "unknown_action"),
        (render_raw_call("interact_many", '{"actions": [["do"]]}'), "unknown_action"),
        (render_raw_call("interact_many", '{"actions": []}'), "empty"),
        (render_call(["do"] * 6), "too_many"),
    ],
)
def test_each_bad_call_has_its_name(text: str, outcome: str) -> None:
    assert parse(text, 5) == Parsed(ParseOutcome(outcome))


def test_nothing_is_rewritten() -> None:
    assert parse(render_call(["move_right", "do"]), 5).actions == ("move_right", "do")


def test_schema_and_parser_agree_on_the_bound() -> None:
    parameters = tool_schema(3)["function"]["parameters"]["properties"]["actions"]
    assert parameters["maxItems"] == 3
    assert parameters["items"]["enum"] == list(ACTIONS)
    assert parse(render_call(["do"] * 3), 3).outcome is ParseOutcome.OK
    assert parse(render_call(["do"] * 4), 3).outcome is ParseOutcome.TOO_MANY
