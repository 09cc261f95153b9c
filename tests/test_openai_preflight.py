"""The check of an endpoint before anything starts: one line that says what to set."""

import traceback

import pytest

from actors.policies.openai import OpenAIClient, check_endpoint
from cluster.errors import UserError
from tests.faulty_server import Behaviour, FaultyServer, error, models
from tests.openai_players import KEY, KEY_ENV, player


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_ENV, KEY)


@pytest.mark.parametrize("name", ["gpt-5-mini", "models/gpt-5-mini"])
async def test_a_served_model_passes(server: FaultyServer, name: str) -> None:
    server.routes = {"/v1/models": models("other", name)}
    await check_endpoint(player(server.base_url))


async def test_the_check_spends_no_tokens(server: FaultyServer) -> None:
    server.routes = {"/v1/models": models("gpt-5-mini")}
    await check_endpoint(player(server.base_url))
    assert [request.path for request in server.requests] == ["/v1/models"]


@pytest.mark.parametrize("status", [404, 405])
async def test_a_server_without_a_list_of_models_passes(server: FaultyServer, status: int) -> None:
    server.routes = {"/v1/models": error(status)}
    await check_endpoint(player(server.base_url))


async def test_an_alias_that_the_list_leaves_out_passes(server: FaultyServer) -> None:
    server.routes = {
        "/v1/models": models("gpt-5-mini-2025-08-07"),
        "/v1/models/gpt-5-mini": Behaviour(body='{"id": "gpt-5-mini-2025-08-07"}'),
    }
    await check_endpoint(player(server.base_url))


async def test_a_missing_model_is_told_with_those_that_are_served(server: FaultyServer) -> None:
    server.routes = {"/v1/models": models("tiny", "large")}
    with pytest.raises(
        UserError, match=r"serves no model 'gpt-5-mini': set model to .* \(large, tiny\)$"
    ):
        await check_endpoint(player(server.base_url))


async def test_a_wrong_key_is_told_with_the_variable_and_without_the_key(
    server: FaultyServer,
) -> None:
    server.routes = {"/v1/models": error(401, "Incorrect key {authorization}")}
    with pytest.raises(UserError, match=f"answered 401.*put a key .* into {KEY_ENV}$") as caught:
        await check_endpoint(player(server.base_url))
    assert KEY not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("body", ["<html>welcome</html>", '{"data": 3}'])
async def test_an_address_that_is_no_endpoint_is_told(server: FaultyServer, body: str) -> None:
    server.routes = {"/v1/models": Behaviour(body=body)}
    with pytest.raises(UserError, match=r"no list of models .*; check base_url$"):
        await check_endpoint(player(server.base_url))


async def test_an_unreachable_endpoint_is_told() -> None:
    with FaultyServer() as server:
        gone = server.base_url
    with pytest.raises(UserError, match=r"no connection with http://127.*; check base_url$"):
        await check_endpoint(player(gone))


@pytest.mark.parametrize("key", ["", "  \n"])
async def test_a_missing_key_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, server: FaultyServer, key: str
) -> None:
    monkeypatch.setenv(KEY_ENV, key)
    with pytest.raises(UserError, match=f"set the environment variable {KEY_ENV}"):
        await check_endpoint(player(server.base_url))


@pytest.mark.parametrize("key", ["sk-one\nsk-two", "sk-one two", "sk-\N{SNOWMAN}"])
def test_a_key_that_no_header_can_carry_is_refused_unseen(
    monkeypatch: pytest.MonkeyPatch, server: FaultyServer, key: str
) -> None:
    monkeypatch.setenv(KEY_ENV, key)
    with pytest.raises(UserError, match=KEY_ENV) as caught:
        OpenAIClient(player(server.base_url), share=1)
    assert "sk-" not in str(caught.value)


async def test_the_line_end_of_a_key_file_is_no_part_of_the_key(
    monkeypatch: pytest.MonkeyPatch, server: FaultyServer
) -> None:
    monkeypatch.setenv(KEY_ENV, KEY + "\n")
    server.routes = {"/v1/models": models("gpt-5-mini")}
    await check_endpoint(player(server.base_url))
    assert server.requests[0].authorization == f"Bearer {KEY}"


@pytest.mark.parametrize(
    "base_url",
    ["localhost:8000/v1", "ftp://host/v1", "http://", "http://[/v1", "http://host:port/v1"],
)
def test_an_address_that_is_not_http_is_refused(base_url: str) -> None:
    with pytest.raises(UserError, match=r"base_url = .* is no http\(s\) address"):
        OpenAIClient(player(base_url), share=1)
