"""The canary: what it says depends on the adapter and on the picture, and on nothing else."""

import io
from pathlib import Path

import pytest
import torch
from PIL import Image

import learners.rl.canary
from learners.learner import Learner
from learners.rl.canary import canary_logprobs, canary_of
from learners.rl.policy import build_policy
from tests.parity import processed
from tests.rl_samples import rl_settings
from tests.sft_rows import MODEL, png

pytestmark = [
    pytest.mark.vision,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.usefixtures("one_thread"),
]

CONFIG = rl_settings(Path("never written"))


@pytest.fixture
def learner() -> Learner:
    return build_policy(CONFIG, MODEL, "cpu")


def test_it_shows_one_picture_of_the_size_of_a_frame(learner: Learner) -> None:
    (picture,) = canary_of(learner, CONFIG, {}).request.images
    assert Image.open(io.BytesIO(picture)).size == (72, 72)


def test_a_size_that_is_set_is_the_pictures_too(learner: Learner) -> None:
    config = rl_settings(Path("never written"), env={"size": 144})
    (picture,) = canary_of(learner, config, {}).request.images
    assert Image.open(io.BytesIO(picture)).size == (144, 144)


def test_it_stops_where_an_action_is_to_be_named(learner: Learner) -> None:
    prefix = canary_of(learner, CONFIG, {}).answer_prefix
    assert prefix == '<tool_call>\n{"name": "interact_many", "arguments": {"actions": ["'


def test_log_probabilities_are_those_of_plain_transformers(learner: Learner) -> None:
    from transformers import AutoProcessor

    told = canary_logprobs(learner, CONFIG)
    canary = canary_of(learner, CONFIG, told)
    request, processor = canary.request, AutoProcessor.from_pretrained(MODEL)
    args = (request.system, request.text, request.images, request.max_actions)
    prompt = processed(processor, *args)
    prefix = processor.tokenizer(canary.answer_prefix, return_tensors="pt")["input_ids"]
    whole = {**prompt, "input_ids": torch.cat([prompt["input_ids"], prefix], 1)}
    whole["attention_mask"] = torch.ones_like(whole["input_ids"])
    if "mm_token_type_ids" in prompt:
        more = torch.zeros_like(prefix, dtype=prompt["mm_token_type_ids"].dtype)
        whole["mm_token_type_ids"] = torch.cat([prompt["mm_token_type_ids"], more], 1)
    with torch.no_grad():
        logprobs_V = learner.model(**whole).logits[0, -1].log_softmax(-1)
    likeliest = logprobs_V.topk(20)
    assert told == {
        token: pytest.approx(value, abs=1e-4)
        for token, value in zip(likeliest.indices.tolist(), likeliest.values.tolist(), strict=True)
    }


def test_another_picture_is_noticed(learner: Learner, monkeypatch: pytest.MonkeyPatch) -> None:
    told = canary_logprobs(learner, CONFIG)
    monkeypatch.setattr(learners.rl.canary, "_picture", lambda side: png(0, side))
    others = canary_logprobs(learner, CONFIG)
    tolerance = canary_of(learner, CONFIG, told).tolerance
    assert max(abs(told[token] - others.get(token, -99.0)) for token in told) > 100 * tolerance


def test_another_adapter_is_noticed(learner: Learner) -> None:
    told = canary_logprobs(learner, CONFIG)
    with torch.no_grad():
        for name, weight in learner.model.named_parameters():
            if "lora_B" in name:
                weight += 1e-3
    others = canary_logprobs(learner, CONFIG)
    tolerance = canary_of(learner, CONFIG, told).tolerance
    assert max(abs(told[token] - others.get(token, -99.0)) for token in told) > 10 * tolerance
