"""What the running vLLM saw and answered against what the learner trains on, model by model."""

import asyncio
import gc
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import Qwen3VLForConditionalGeneration

from actors.adapter import read_adapter
from actors.engine import Engine
from actors.engine_settings import engine_environment
from cluster.types import Completion, GenerationRequest
from configs.player import EngineConfig, ServingLora
from learners.batch import collate
from learners.example import answered
from learners.forward import label_logits
from learners.language import Language
from tests.parity import TINY, learned_logprobs, picture, request, write_real_eyed

pytestmark = [
    pytest.mark.slow,
    pytest.mark.vision,
    pytest.mark.integration,
    # vLLM's and torch's own, at their import; vLLM leaves its ZMQ context to the collector.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

CONFIG = EngineConfig(lora=ServingLora(max_rank=16, max_versions=1), max_images=3)
TOLERANCE = 1e-4
TELLING = 1e-2
"""A gap in log-probability that no rounding explains."""
ROUNDING = 2**-23
"""The engine multiplies and adds where transformers subtracts and divides."""
SIZES = {TINY: (72, 64), "real-eyed": (288, 64)}
"""A frame of one tile a token, and the classic frame."""


@dataclass(frozen=True, slots=True)
class Served:
    """One model, behind the engine and before the learner."""

    engine: Engine
    language: Language
    learners: tuple[Any, ...]
    """By version: the base, and the base with the adapter."""
    sizes: tuple[int, int]
    sent: list[Any]
    """Requests as they went to the engine's core, oldest first."""
    scale: Any

    async def ask(self, requests: Sequence[GenerationRequest]) -> list[Completion]:
        names = [f"{len(self.sent)}-{index}" for index in range(len(requests))]
        return await asyncio.gather(*map(self.engine.generate, requests, names))

    def gap(self, answer: Completion, images: Sequence[bytes]) -> float:
        """Between the learner's log-probabilities, seeing these pictures, and the engine's."""
        model = self.learners[answer.version]
        expected = learned_logprobs(model, self.language, answer, images)
        assert len(answer.logprobs) == len(expected)
        return float(np.abs(expected - answer.logprobs).max())


@pytest.fixture(scope="module", autouse=True)
def environment() -> Iterator[None]:
    before, num_threads = dict(os.environ), torch.get_num_threads()
    os.environ.update(engine_environment(CONFIG))
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)
    os.environ.clear()
    os.environ.update(before)


@pytest_asyncio.fixture(
    scope="module", loop_scope="module", params=[*SIZES], ids=["tiny", "real-eyed"]
)
async def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Served]:
    folder = tmp_path_factory.mktemp("model")
    model = TINY if request.param == TINY else write_real_eyed(folder)
    adapter = make_adapter(model, tmp_path_factory.mktemp("adapter"))
    adapted = PeftModel.from_pretrained(load(model), adapter)
    learners, sizes = (load(model).eval(), adapted.eval()), SIZES[request.param]
    engine = Engine(model, CONFIG)
    try:
        await engine.load(1, read_adapter(adapter))
        with watching(engine) as sent:
            yield Served(engine, Language(model), learners, sizes, sent, scaling(engine))
    finally:
        engine.close()
        gc.collect()  # here, where the warnings of vLLM's leavings are expected


def load(model: str) -> Any:
    return Qwen3VLForConditionalGeneration.from_pretrained(model)


def make_adapter(model: str, folder: Path) -> Path:
    """Random matrices on every linear layer, tower and connector included."""
    torch.manual_seed(1)
    lora = LoraConfig(r=16, target_modules="all-linear", init_lora_weights=False)
    get_peft_model(load(model), lora).save_pretrained(folder)
    return folder


def scaling(engine: Engine) -> Any:
    """What the engine's core does to the bytes of patches."""
    from vllm.config import set_current_vllm_config
    from vllm.model_executor.layers.fusion.mm_input_norm import build_mm_input_norm

    with set_current_vllm_config(engine.bare.vllm_config):
        return build_mm_input_norm(engine.bare.model_config).forward_native


@contextmanager
def watching(engine: Engine) -> Iterator[list[Any]]:
    """Requests, as vLLM hands them to its core."""
    core: Any = engine.bare.engine_core
    hand_over, sent = core.add_request_async, list[Any]()

    async def noted(request: Any) -> None:
        sent.append(request)
        await hand_over(request)

    core.add_request_async = noted
    yield sent
    del core.add_request_async


def picture_lists(sizes: tuple[int, int]) -> list[list[bytes]]:
    """One frame, the classic frame, three frames of two sizes, none."""
    own, classic = (picture(size, size, size) for size in sizes)
    return [[own], [classic], [own, classic, picture(0, *sizes)], []]


async def test_the_engine_sees_the_learners_ids_and_pixels(served: Served) -> None:
    for images in picture_lists(served.sizes):
        asked = replace(request(1, images), max_tokens=1)
        (answer,) = await served.ask([asked])
        ids = served.language.prompt_ids(asked.system, asked.text, images, asked.max_actions)
        seen = served.sent[-1]
        assert list(answer.prompt_ids) == seen.prompt_token_ids == ids
        features = seen.mm_features or []
        assert len(features) == len(images)
        assert all(feature.data is not None for feature in features)
        if not images:
            continue
        patches_PD, grids_N3 = served.language.pixels(images)
        bytes_PD = torch.cat([feature.data["pixel_values"].data for feature in features])
        grids = torch.stack([feature.data["image_grid_thw"].data for feature in features])
        assert torch.equal(grids, grids_N3)
        # The engine's core is sent bytes and scales them in front of the tower.
        assert bytes_PD.dtype == torch.uint8
        assert torch.equal((bytes_PD - 127.5) / 127.5, patches_PD)
        scaled_PD = served.scale(bytes_PD, torch.float32)
        torch.testing.assert_close(scaled_PD, patches_PD, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("version", [0, 1])
async def test_the_engines_logprobs_are_the_learners(
    served: Served, version: int, temperature: float
) -> None:
    lists = picture_lists(served.sizes)
    asked = [request(seed, images, version, temperature) for seed, images in enumerate(lists)]
    for images, answer in zip(lists, await served.ask(asked), strict=True):
        assert served.gap(answer, images) < TOLERANCE


async def test_an_image_token_that_was_sampled_is_a_word_to_both(served: Served) -> None:
    """Only a few words are allowed, so that it is sampled soon."""
    images, language = [picture(1, served.sizes[0], served.sizes[0])], served.language
    allowed = sorted({language.image_id, *range(10)})
    prompt, sampling = served.engine.prepare(request(8, images, temperature=2.0))
    sampling.allowed_token_ids, sampling.max_tokens, sampling.ignore_eos = allowed, 60, True
    (output,) = [each async for each in served.engine.bare.generate(prompt, sampling, "words")]
    answer = output.outputs[0]
    example = answered(output.prompt_token_ids, answer.token_ids, images)
    model = served.learners[0]
    with torch.no_grad():
        batch = collate([example], language, model.config.vision_config.spatial_merge_size)
        logits_TV, _ = label_logits(model, batch)
    forbidden_V = torch.ones(logits_TV.shape[1], dtype=torch.bool)
    forbidden_V[allowed] = False
    logprobs_TV = (logits_TV.masked_fill(forbidden_V, -torch.inf) / 2.0).log_softmax(-1)
    assert language.image_id in answer.token_ids[:-1]
    for token, told, expected_V in zip(answer.token_ids, answer.logprobs, logprobs_TV, strict=True):
        assert abs(told[token].logprob - float(expected_V[token])) < TOLERANCE


async def test_a_frame_of_one_tile_a_token_is_81_tokens_to_the_engine(served: Served) -> None:
    size = served.sizes[0]
    (answer,) = await served.ask([request(2, [picture(2, size, size)])])
    assert answer.prompt_ids.count(served.language.image_id) == 81


@pytest.mark.parametrize("version", [0, 1])
async def test_a_learner_that_sees_another_picture_is_told_apart(
    served: Served, version: int
) -> None:
    size = served.sizes[0]
    images = [picture(seed, size, size) for seed in (3, 4)]
    (answer,) = await served.ask([request(3, images, version)])
    assert served.gap(answer, images) < TOLERANCE
    assert served.gap(answer, [images[0], picture(5, size, size)]) > TELLING
    assert served.gap(answer, images[::-1]) > TELLING


async def test_a_learner_that_lost_the_picture_is_refused(served: Served) -> None:
    (answer,) = await served.ask([request(4, [picture(4, *served.sizes)])])
    with pytest.raises(ValueError, match="image tokens belong to no picture"):
        served.gap(answer, [])


async def test_a_learner_asked_without_the_picture_is_told_apart(served: Served) -> None:
    """Neither ids nor log-probabilities of the blind prompt are those that the engine saw."""
    asked = request(6, [picture(6, *served.sizes)])
    (answer,) = await served.ask([asked])
    blind = served.language.prompt_ids(asked.system, asked.text, (), asked.max_actions)
    assert list(answer.prompt_ids) != blind
    assert served.gap(replace(answer, prompt_ids=tuple(blind)), []) > TELLING


async def test_an_engine_asked_without_the_picture_is_told_apart(served: Served) -> None:
    asked = request(7, [picture(7, *served.sizes)])
    (blind,) = await served.ask([replace(asked, images=())])
    ids = served.language.prompt_ids(asked.system, asked.text, asked.images, asked.max_actions)
    assert list(blind.prompt_ids) != ids
    assert served.gap(replace(blind, prompt_ids=tuple(ids)), asked.images) > TELLING
