"""The real vLLM on the CPU, against transformers and PEFT."""

import asyncio
import io
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from PIL import Image
from transformers import AutoProcessor, Qwen3VLForConditionalGeneration

from actors.adapter import WEIGHTS_FILE, read_adapter
from actors.engine import Engine
from actors.engine_settings import engine_environment
from actors.prompt import render
from cluster.adapter_files import digest
from cluster.errors import PolicyError, RunError, UserError
from cluster.types import Completion, GenerationRequest
from configs.play import PromptConfig
from configs.player import EngineConfig, ServingLora
from learners.tiny_corpus import observation
from tests.parity import picture

pytestmark = [
    pytest.mark.slow,
    pytest.mark.vision,
    pytest.mark.integration,
    # vLLM's and torch's own, at their import; vLLM leaves its ZMQ context to the collector.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

MODEL = "configs/models/tiny"
CONFIG = EngineConfig(lora=ServingLora(max_rank=16, max_versions=2), kv_cache_gib=0.25)
TOLERANCE = 1e-4


@pytest.fixture(scope="module", autouse=True)
def environment() -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(engine_environment(CONFIG))
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(adapters: list[Path]) -> AsyncIterator[Engine]:
    """One engine for all: versions 1 and 2 are the two adapters."""
    engine = Engine(MODEL, CONFIG)
    for version, folder in enumerate(adapters, start=1):
        await engine.load(version, read_adapter(folder))
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def base() -> torch.nn.Module:
    return Qwen3VLForConditionalGeneration.from_pretrained(MODEL).eval()


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two random adapters on every linear layer, vision tower and merger included."""
    return [make_adapter(tmp_path_factory.mktemp("adapter"), seed) for seed in (1, 2)]


@pytest.fixture(scope="module")
def learners(base: torch.nn.Module, adapters: list[Path]) -> list[torch.nn.Module]:
    """What the learner computes with, by version; each with weights of its own."""
    adapted = [
        PeftModel.from_pretrained(Qwen3VLForConditionalGeneration.from_pretrained(MODEL), folder)
        for folder in adapters
    ]
    return [base, *(model.eval() for model in adapted)]


def make_adapter(folder: Path, seed: int, **settings: object) -> Path:
    torch.manual_seed(seed)
    model = Qwen3VLForConditionalGeneration.from_pretrained(MODEL)
    wanted = {"r": 16, "lora_alpha": 32, "target_modules": "all-linear", **settings}
    get_peft_model(model, LoraConfig(init_lora_weights=False, **wanted)).save_pretrained(folder)
    return folder


def request(seed: int, version: int = 0, temperature: float = 1.0) -> GenerationRequest:
    rng = np.random.default_rng(seed)
    prompt = render(observation(rng), picture(seed), (), PromptConfig())
    return GenerationRequest(
        system=prompt.system,
        text=prompt.text,
        images=prompt.images,
        max_actions=5,
        temperature=temperature,
        top_p=1.0,
        max_tokens=12,
        seed=seed,
        version=version,
    )


async def ask(engine: Engine, requests: Sequence[GenerationRequest]) -> list[Completion]:
    name = f"{id(requests)}"
    return await asyncio.gather(
        *(engine.generate(r, f"{name}-{index}") for index, r in enumerate(requests))
    )


def learner_logprobs(
    model: torch.nn.Module, asked: GenerationRequest, answer: Completion, images: Sequence[bytes]
) -> np.ndarray:
    """Log-probabilities of the sampled tokens by a plain forward pass over the engine's ids."""
    processor = AutoProcessor.from_pretrained(MODEL)
    pictures = [Image.open(io.BytesIO(png)).convert("RGB") for png in images]
    pixels = processor.image_processor(pictures, return_tensors="pt")
    ids = torch.tensor([answer.prompt_ids + answer.token_ids])
    kinds = (ids == processor.image_token_id).long()
    with torch.no_grad():
        logits = model(input_ids=ids, mm_token_type_ids=kinds, **pixels).logits[0]
    start = len(answer.prompt_ids) - 1
    logprobs = (logits[start:-1] / asked.temperature).log_softmax(-1)
    return logprobs.gather(1, torch.tensor(answer.token_ids)[:, None])[:, 0].numpy()


async def test_a_seeded_request_gets_the_same_answer_alone_and_in_any_batch(
    engine: Engine,
) -> None:
    requests = [request(seed) for seed in range(16)]
    alone = [(await ask(engine, [r]))[0] for r in requests[:6]]
    together = await ask(engine, requests)
    backwards = (await ask(engine, requests[::-1]))[::-1]
    assert [a.token_ids for a in together] == [a.token_ids for a in backwards]
    assert [a.token_ids for a in alone] == [a.token_ids for a in together[:6]]
    assert len({a.token_ids for a in together}) > 8


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("version", [0, 1, 2])
async def test_logprobs_equal_the_learners(
    engine: Engine, learners: list[torch.nn.Module], version: int, temperature: float
) -> None:
    requests = [request(seed, version, temperature) for seed in range(4)]
    for asked, answer in zip(requests, await ask(engine, requests), strict=True):
        expected = learner_logprobs(learners[version], asked, answer, asked.images)
        np.testing.assert_allclose(answer.logprobs, expected, rtol=0, atol=TOLERANCE)
        assert answer.version == version


async def test_logprobs_tell_another_picture_apart(
    engine: Engine, learners: list[torch.nn.Module]
) -> None:
    asked = request(1, version=1)
    (answer,) = await ask(engine, [asked])
    other = learner_logprobs(learners[1], asked, answer, [picture(99)])
    assert np.abs(other - answer.logprobs).max() > 100 * TOLERANCE


async def test_versions_live_at_once_differ(
    engine: Engine, learners: list[torch.nn.Module]
) -> None:
    """In one batch, on the same prompt; each equals its own model and no other."""
    requests = [request(7, version) for version in (0, 1, 2)]
    answers = await ask(engine, requests)
    for version, answer in enumerate(answers):
        for other, model in enumerate(learners):
            expected = learner_logprobs(model, requests[version], answer, requests[version].images)
            gap = np.abs(expected - answer.logprobs).max()
            assert (gap < TOLERANCE) == (other == version), (version, other, gap)


async def test_greedy_is_temperature_zero(engine: Engine) -> None:
    first, second = await ask(engine, [request(5, temperature=0.0), request(5, temperature=0.0)])
    other_seed = replace(request(5, temperature=0.0), seed=6)
    (third,) = await ask(engine, [other_seed])
    assert first.token_ids == second.token_ids == third.token_ids


async def test_an_unknown_version_is_refused(engine: Engine) -> None:
    with pytest.raises(PolicyError, match=r"version 9 is not among \(0, 1, 2\)"):
        await engine.generate(request(0, version=9), "unknown-version")


async def test_a_prompt_that_is_too_long_is_refused_and_the_engine_lives(engine: Engine) -> None:
    with pytest.raises(PolicyError, match="2048"):
        await engine.generate(replace(request(0), text="wood " * 3000), "too-long")
    assert len(await ask(engine, [request(0)])) == 1


async def test_more_pictures_than_configured_are_refused(engine: Engine) -> None:
    with pytest.raises(PolicyError, match="image"):
        await engine.generate(replace(request(0), images=(picture(0), picture(1))), "two-images")


async def test_a_version_number_stays_one_adapters(engine: Engine, adapters: list[Path]) -> None:
    with pytest.raises(RunError, match="version 1 is another adapter's"):
        await engine.load(1, read_adapter(adapters[1]))


async def test_the_same_adapter_again_stays_as_it_is(engine: Engine, adapters: list[Path]) -> None:
    assert await engine.load(1, read_adapter(adapters[0])) == digest(read_adapter(adapters[0]))
    assert engine.versions == (0, 1, 2)


async def test_no_version_is_evicted_for_another(engine: Engine, adapters: list[Path]) -> None:
    with pytest.raises(RunError, match=r"versions \(1, 2\) fill engine.lora.max_versions 2"):
        await engine.load(3, read_adapter(adapters[0]))
    assert engine.versions == (0, 1, 2)


async def test_unloading_waits_for_what_is_in_flight_and_makes_room(
    engine: Engine, adapters: list[Path]
) -> None:
    """Last to touch versions 1 and 2 but for the next, which fills the room made here."""
    task = asyncio.create_task(engine.generate(request(8, version=1), "leaving"))
    await asyncio.sleep(0)
    await engine.unload(1)
    assert task.done()
    assert (await task).version == 1
    assert engine.versions == (0, 2)
    assert await engine.load(4, read_adapter(adapters[0])) == digest(read_adapter(adapters[0]))
    with pytest.raises(RunError, match="version 1 is another adapter's"):
        await engine.load(1, read_adapter(adapters[1]))
    await engine.unload(4)


async def test_an_adapter_with_a_module_that_the_engine_lacks_is_refused(
    engine: Engine, tmp_path: Path
) -> None:
    """vLLM itself loads it without an error and serves the rest of the adapter."""
    files = read_adapter(make_adapter(tmp_path, 5))
    await engine.unload(2)
    renamed = files[WEIGHTS_FILE].replace(
        b"visual.blocks.0.attn.qkv.", b"visual.blocks.7.attn.qkv."
    )
    with pytest.raises(UserError, match=r"ignore \['visual\.blocks\.7\.attn\.qkv'\]"):
        await engine.load(5, {**files, WEIGHTS_FILE: renamed})
    assert engine.versions == (0,)
    assert len(await ask(engine, [request(0)])) == 1


async def test_without_tower_support_an_adapter_on_the_tower_is_refused(
    adapters: list[Path], tmp_path: Path
) -> None:
    lora = ServingLora(max_rank=16, max_versions=2, tower=False)
    config = CONFIG.model_copy(update={"lora": lora})
    language_only = make_adapter(tmp_path, 6, target_modules=r".*language_model.*_proj")
    engine = Engine(MODEL, config)
    try:
        with pytest.raises(UserError, match=r"ignore \['visual\.blocks.*engine\.lora\.tower"):
            await engine.load(1, read_adapter(adapters[0]))
        await engine.load(2, read_adapter(language_only))
        assert engine.versions == (0, 2)
    finally:
        engine.close()
