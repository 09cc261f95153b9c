"""Versions on the real vLLM: proved by the learner's word, live at once, never a stale cache.

vLLM keeps two things that an adapter has gone into: keys and values, by prompt and by the
adapter's name and path; and what the vision tower made of a picture, by picture and the name.
"""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from actors.engine import Engine
from actors.engine_settings import engine_environment
from cluster.canary import Canary
from cluster.errors import PolicyError, RunError
from cluster.types import GenerationRequest
from configs.player import EngineConfig, ServingLora
from tests.policies import Published, random_policies
from tests.sft_rows import MODEL

pytestmark = [
    pytest.mark.slow,
    pytest.mark.vision,
    pytest.mark.integration,
    # vLLM's and torch's own, at their import; vLLM leaves its ZMQ context to the collector.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.usefixtures("one_thread"),
]

CONFIG = EngineConfig(lora=ServingLora(max_rank=16, max_versions=3), kv_cache_gib=0.25)
TOLERANCE = 1e-4

Name = Callable[[int, str], tuple[str, str]]
"""From version and folder to the name and path that vLLM is told."""


class Renaming(Engine):
    """Can be made to name adapters as Pickaxe never does."""

    name: Name | None = None
    before_proof: asyncio.Event | None = None

    def _adapter(self, version: int, folder: str) -> Any:
        adapter = super()._adapter(version, folder)
        if self.name is not None:
            adapter.lora_name, adapter.lora_path = self.name(version, folder)
        return adapter

    async def _prove(self, adapter: Any, num_modules: int, canary: Canary | None) -> None:
        if self.before_proof is not None:
            await self.before_proof.wait()
        await super()._prove(adapter, num_modules, canary)


@pytest.fixture(scope="module", autouse=True)
def environment() -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(engine_environment(CONFIG))
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared() -> AsyncIterator[Renaming]:
    engine = Renaming(MODEL, CONFIG)
    yield engine
    engine.close()


@pytest_asyncio.fixture(loop_scope="module")
async def engine(shared: Renaming) -> AsyncIterator[Renaming]:
    """Without a version loaded, and as Pickaxe names them."""
    shared.name = shared.before_proof = None
    yield shared
    for version in shared.versions[1:]:
        await shared.unload(version)


@pytest.fixture(scope="module")
def policies(tmp_path_factory: pytest.TempPathFactory) -> list[Published]:
    return random_policies(tmp_path_factory.mktemp("policies"), 3)


@pytest.fixture(scope="module")
def in_tower(tmp_path_factory: pytest.TempPathFactory) -> list[Published]:
    """Adapters on the vision tower alone: they differ in what the tower makes of a picture."""
    folder = tmp_path_factory.mktemp("tower")
    return random_policies(folder, 2, targets=["qkv", "linear_fc1", "linear_fc2"])


@pytest.fixture(scope="module")
def in_language(tmp_path_factory: pytest.TempPathFactory) -> list[Published]:
    """Adapters on the language model alone: they differ in keys and values."""
    folder = tmp_path_factory.mktemp("language")
    return random_policies(folder, 2, tower=False)


def number() -> int:
    """A version never used before."""
    number.last = getattr(number, "last", 0) + 1  # type: ignore[attr-defined]
    return number.last  # type: ignore[attr-defined,no-any-return]


async def told(engine: Engine, version: int, canary: Canary) -> dict[int, float]:
    return await engine.next_token(canary, engine._adapters[version])


def gap(told: dict[int, float], canary: Canary) -> float:
    """Nats between an engine and the learner, at the token where they differ most."""
    return max(abs(told[token] - nats) for token, nats in canary.logprobs.items())


async def test_a_policy_is_served_once_it_says_what_the_learner_says(
    engine: Renaming, policies: list[Published]
) -> None:
    files, canary = policies[0]
    version = number()
    await engine.load(version, files, canary)
    assert engine.versions == (0, version)
    assert gap(await told(engine, version, canary), canary) < TOLERANCE


async def test_another_policy_of_the_same_shape_is_refused(
    engine: Renaming, policies: list[Published]
) -> None:
    (files, _), (_, canary) = policies[:2]
    with pytest.raises(RunError, match="of 20 tokens of the canary are more than"):
        await engine.load(number(), files, canary)
    assert engine.versions == (0,)


async def test_a_refused_policy_leaves_its_room(
    engine: Renaming, policies: list[Published]
) -> None:
    """The engine has room for three."""
    (files, _), (_, canary) = policies[:2]
    for _ in range(3):
        with pytest.raises(RunError):
            await engine.load(number(), files, canary)
    for _ in range(3):
        await engine.load(number(), files)


async def test_a_load_waits_for_the_room_of_what_is_leaving(
    engine: Renaming, policies: list[Published]
) -> None:
    files, canary = policies[0]
    first, second, third, fourth = (number() for _ in range(4))
    for version in (first, second, third):
        await engine.load(version, files)
    request = replace(canary.request, version=first, max_tokens=30)
    answering = asyncio.create_task(engine.generate(request, "leaving"))
    await asyncio.sleep(0)
    leaving = asyncio.create_task(engine.unload(first))
    await asyncio.sleep(0)
    await engine.load(fourth, files, canary)
    assert answering.done()
    assert leaving.done()
    assert engine.versions == (0, second, third, fourth)


async def test_other_versions_are_answered_while_one_is_loaded(
    engine: Renaming, policies: list[Published]
) -> None:
    (files, canary), (other_files, _) = policies[:2]
    served, loading = number(), number()
    await engine.load(served, files, canary)
    engine.before_proof = asyncio.Event()
    task = asyncio.create_task(engine.load(loading, other_files))
    await engine.bare.list_loras()
    for index, version in enumerate((0, served)):
        answer = await engine.generate(replace(canary.request, version=version), f"by-{index}")
        assert answer.version == version
    with pytest.raises(PolicyError, match=f"version {loading} is not among"):
        await engine.generate(replace(canary.request, version=loading), "too-early")
    assert not task.done()
    engine.before_proof.set()
    await task


async def test_no_completion_mixes_versions(engine: Renaming, policies: list[Published]) -> None:
    """While one is loaded and another leaves, tokens go on as they do in peace."""
    (files, canary), (second, second_canary), (third, third_canary) = policies
    kept, leaving, coming = number(), number(), number()
    await engine.load(kept, files, canary)
    await engine.load(leaving, second, second_canary)
    requests = [
        long_request(canary, version, seed) for seed in range(8) for version in (kept, leaving)
    ]
    in_peace = await answers(engine, requests, "peace")
    under_way = asyncio.create_task(answers(engine, requests, "switch"))
    await asyncio.sleep(0)
    unloading = asyncio.create_task(engine.unload(leaving))
    await engine.load(coming, third, third_canary)
    assert not under_way.done()
    assert [answer.token_ids for answer in await under_way] == [a.token_ids for a in in_peace]
    await unloading


def long_request(canary: Canary, version: int, seed: int) -> GenerationRequest:
    return replace(canary.request, version=version, seed=seed, max_tokens=60)


async def answers(engine: Engine, requests: list[GenerationRequest], name: str) -> list[Any]:
    asked = (engine.generate(r, f"{name}-{index}") for index, r in enumerate(requests))
    return await asyncio.gather(*asked)


@pytest.mark.parametrize("kind", ["policies", "in_tower", "in_language"])
async def test_a_version_never_gets_what_another_left_in_a_cache(
    engine: Renaming, kind: str, request: pytest.FixtureRequest
) -> None:
    """The same prompt and picture, under one version and then under the next."""
    for files, canary in request.getfixturevalue(kind):
        version = number()
        await engine.load(version, files)
        for _ in range(2):  # the second time from its own cache
            assert gap(await told(engine, version, canary), canary) < TOLERANCE


async def test_with_name_and_path_used_again_keys_and_values_are_stale(
    engine: Renaming, in_language: list[Published], tmp_path: Path
) -> None:
    """Shows that the test above would notice: this is what it guards against."""

    def same(version: int, folder: str) -> tuple[str, str]:
        return "one-for-all", str(shutil.copytree(folder, tmp_path / "same", dirs_exist_ok=True))

    engine.name = same
    await assert_stale(engine, in_language)


async def test_with_the_name_used_again_pictures_are_stale(
    engine: Renaming, in_tower: list[Published]
) -> None:
    """Where paths differ keys and values are fresh, and the tower's work still is not: it is that
    of the version before."""
    engine.name = lambda version, folder: ("another-for-all", folder)
    stale = await assert_stale(engine, in_tower)
    before = in_tower[0][1].logprobs
    assert max(abs(stale[token] - before[token]) for token in stale if token in before) < TOLERANCE


async def assert_stale(engine: Renaming, policies: list[Published]) -> dict[int, float]:
    """What the second of two policies says with the first one's cache."""
    (first, first_canary), (second, canary) = policies
    before, after = number(), number()
    await engine.load(before, first)
    assert gap(await told(engine, before, first_canary), first_canary) < TOLERANCE
    await engine.load(after, second)
    stale = await told(engine, after, canary)
    assert gap(stale, canary) > 100 * TOLERANCE
    return stale
