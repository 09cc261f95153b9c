"""The learner's forward pass over batches against plain transformers, one example at a time."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoProcessor, Qwen3VLForConditionalGeneration

from actors.tool import render_call
from cluster.names import ACTIONS
from learners.batch import collate
from learners.example import NO_LABEL, Example, answered
from learners.forward import label_logits
from learners.language import Language
from tests.parity import TINY, opened, picture, request, write_real_eyed

pytestmark = [
    pytest.mark.vision,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.usefixtures("one_thread"),
]

TOLERANCE = 1e-5
LANGUAGE_LAYERS = r".*language_model.*_proj"


@pytest.fixture(scope="module", params=["tiny", "real-eyed"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    if request.param == "tiny":
        return TINY
    return write_real_eyed(tmp_path_factory.mktemp("real-eyed"))


@pytest.fixture(scope="module")
def language(folder: str) -> Language:
    return Language(folder)


@pytest.fixture
def model(folder: str) -> Any:
    return Qwen3VLForConditionalGeneration.from_pretrained(folder)


@pytest.fixture(scope="module")
def examples(language: Language) -> list[Example]:
    """Rows of different lengths with none to three pictures, one of them in three rows."""
    shared, wide = picture(0, 144, 72), picture(1, 72, 36)
    images = [[shared], [], [wide, shared], [shared, wide, shared], [picture(2, 96, 64)]]
    return [example(language, seed, those) for seed, those in enumerate(images)]


def example(language: Language, seed: int, images: Sequence[bytes]) -> Example:
    asked = request(seed, images)
    prompt = language.prompt_ids(asked.system, asked.text, images, 5)
    call = render_call(np.random.default_rng(seed).choice(ACTIONS, seed % 3 + 1).tolist())
    return answered(prompt, language.completion_ids(call), images)


def with_every_label(example: Example, image_id: int) -> Example:
    """Something to learn at each token that is followed by a word."""
    labels_L = np.append(example.ids_L[1:], NO_LABEL)
    labels_L[labels_L == image_id] = NO_LABEL
    return replace(example, labels_L=labels_L)


def plain_logits(model: Any, folder: str, example: Example) -> torch.Tensor:
    """At the labels, from all the logits of a row alone."""
    processor = AutoProcessor.from_pretrained(folder)
    ids = torch.from_numpy(example.ids_L)[None]
    inputs: dict[str, torch.Tensor] = {}
    if example.images:
        inputs = dict(processor.image_processor(opened(example.images), return_tensors="pt"))
        inputs["mm_token_type_ids"] = (ids == processor.image_token_id).long()
    logits: torch.Tensor = model(input_ids=ids, **inputs).logits[0]
    return logits[torch.from_numpy(example.labels_L != NO_LABEL)]


def merge_of(model: Any) -> int:
    return int(model.config.vision_config.spatial_merge_size)


def test_a_batch_has_the_logits_of_its_rows_alone(
    model: Any, folder: str, language: Language, examples: list[Example]
) -> None:
    rows = [*examples, with_every_label(examples[2], language.image_id)]
    with torch.no_grad():
        logits_TV, labels_T = label_logits(model, collate(rows, language, merge_of(model)))
        expected_TV = torch.cat([plain_logits(model, folder, row) for row in rows])
    torch.testing.assert_close(logits_TV, expected_TV, rtol=TOLERANCE, atol=TOLERANCE)
    assert labels_T.tolist() == [
        int(label) for row in rows for label in row.labels_L if label != NO_LABEL
    ]


def test_a_batch_has_the_logits_of_its_rows_alone_where_none_has_a_picture(
    model: Any, folder: str, language: Language
) -> None:
    rows = [example(language, seed, []) for seed in range(3)]
    with torch.no_grad():
        logits_TV, _ = label_logits(model, collate(rows, language, merge_of(model)))
        expected_TV = torch.cat([plain_logits(model, folder, row) for row in rows])
    torch.testing.assert_close(logits_TV, expected_TV, rtol=TOLERANCE, atol=TOLERANCE)


def test_a_picture_in_several_rows_is_seen_once(
    model: Any, language: Language, examples: list[Example]
) -> None:
    batch = collate(examples, language, merge_of(model))
    assert batch.grids_N3 is not None
    assert len(batch.grids_N3) == 3
    assert batch.pictures == (0, 1, 0, 0, 1, 0, 2)


@pytest.mark.parametrize("trained", ["all", "lora", "lora, recomputed"])
def test_a_batch_has_the_gradients_of_its_rows_alone(
    model: Any, folder: str, language: Language, examples: list[Example], trained: str
) -> None:
    """Of every trained parameter; the tower is among them or frozen."""
    if trained.startswith("lora"):
        lora = LoraConfig(r=4, target_modules=LANGUAGE_LAYERS, init_lora_weights=False)
        model = get_peft_model(model, lora)
    if trained == "lora, recomputed":
        model.gradient_checkpointing_enable({"use_reentrant": False})
    model.train()
    ours = gradients(model, *label_logits(model, collate(examples, language, merge_of(model))))
    plain = torch.cat([plain_logits(model, folder, row) for row in examples])
    labels = np.concatenate([row.labels_L[row.labels_L != NO_LABEL] for row in examples])
    expected = gradients(model, plain, torch.from_numpy(labels))
    assert ours.keys() == expected.keys()
    assert any("visual" in name for name in ours) == (trained == "all")
    for name, gradient in ours.items():
        bound = TOLERANCE * max(1.0, float(expected[name].abs().max()))
        torch.testing.assert_close(gradient, expected[name], rtol=0, atol=bound, msg=name)


def gradients(
    model: torch.nn.Module, logits_TV: torch.Tensor, labels_T: torch.Tensor
) -> dict[str, torch.Tensor]:
    """By parameter, of the mean cross-entropy."""
    model.zero_grad(set_to_none=True)
    torch.nn.functional.cross_entropy(logits_TV, labels_T).backward()
    named = [(name, weight.grad) for name, weight in model.named_parameters()]
    return {name: gradient.clone() for name, gradient in named if gradient is not None}


def test_a_shared_start_is_run_once_and_the_last_layer_at_labels_alone(
    model: Any, language: Language
) -> None:
    images = [picture(seed) for seed in range(3)]
    rows = [example(language, seed, [image]) for seed, image in enumerate(images)]
    batch = collate(rows, language, merge_of(model))
    alike_L = (batch.ids_BL == batch.ids_BL[0]).all(0)
    num_shared, length = int((~alike_L).int().argmax()), len(alike_L)
    run: dict[int, list[tuple[int, ...]]] = {}
    layers = model.model.language_model.layers
    for depth, layer in enumerate(layers):
        layer.mlp.register_forward_pre_hook(
            lambda _, inputs, depth=depth: run.setdefault(depth, []).append(inputs[0].shape[:2])
        )
    label_logits(model, batch)
    assert num_shared > 5
    assert run.pop(len(layers) - 1) == [(3, max(row.num_labels for row in rows))]
    run_elsewhere = [(1, num_shared), (3, length - num_shared)]
    assert list(run.values()) == [run_elsewhere] * (len(layers) - 1)


def test_equal_rows_without_a_label_have_no_logits(model: Any, language: Language) -> None:
    """And a gradient of zero: another rank's part of the batch may have labels."""
    row = example(language, 0, [])
    row = replace(row, labels_L=np.full_like(row.labels_L, NO_LABEL))
    logits_TV, labels_T = label_logits(model, collate([row, row], language, merge_of(model)))
    assert len(logits_TV) == len(labels_T) == 0
    logits_TV.sum().backward()


def test_attention_that_is_not_known_is_refused(
    folder: str, language: Language, examples: list[Example]
) -> None:
    model: Any = Qwen3VLForConditionalGeneration.from_pretrained(
        folder, attn_implementation="eager"
    )
    with pytest.raises(ValueError, match="only attention `sdpa`"):
        label_logits(model, collate(examples, language, merge_of(model)))


def test_a_batch_that_lost_its_pictures_is_refused(
    model: Any, language: Language, examples: list[Example]
) -> None:
    batch = collate(examples, language, merge_of(model))
    blind = replace(batch, patches_PD=None, grids_N3=None, pictures=())
    with pytest.raises(ValueError, match="image tokens for pictures of 0"):
        label_logits(model, blind)


def test_another_picture_changes_the_logits(
    model: Any, language: Language, examples: list[Example]
) -> None:
    row = examples[0]
    other = replace(row, images=(picture(7, 144, 72),))
    with torch.no_grad():
        (seen, _), (unlike, _) = (
            label_logits(model, collate([each], language, merge_of(model))) for each in (row, other)
        )
    assert (seen - unlike).abs().max() > 1000 * TOLERANCE


def test_a_row_that_lost_its_picture_is_refused(
    model: Any, language: Language, examples: list[Example]
) -> None:
    with pytest.raises(ValueError, match="image tokens belong to no picture"):
        collate([replace(examples[0], images=())], language, merge_of(model))


def test_a_row_with_a_smaller_picture_than_its_tokens_is_refused(
    model: Any, language: Language, examples: list[Example]
) -> None:
    with pytest.raises(ValueError, match="image tokens belong to no picture"):
        collate([replace(examples[4], images=(picture(0, 24, 24),))], language, merge_of(model))
