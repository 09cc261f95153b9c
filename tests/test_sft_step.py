"""One step of fine-tuning: who takes part, what is trained, and that it is the right loss."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from PIL import Image

from actors.prompt import chat_messages
from actors.tool import tool_schema
from configs.sft import SftConfig
from learners.batch_plan import cut, deal
from learners.forward import label_logits
from learners.learner import Learner, build_learner
from learners.sft_examples import example_of
from tests.sft_rows import MODEL, settings, sft_row

pytestmark = [
    pytest.mark.vision,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.usefixtures("one_thread"),
]

NUM_ROWS = 8
Told = tuple[list[float], torch.Tensor]


@pytest.fixture(scope="module")
def alone(one_thread: None) -> Told:
    """Two steps of one rank, in micro-batches of 3."""
    return two_steps(settings(Path("never written")), 0, 1)


def learner(tmp_path: Path, **changes: Any) -> Learner:
    return build_learner(settings(tmp_path, **changes), MODEL, "cpu")


def two_steps(config: SftConfig, rank: int, count: int) -> Told:
    """Figures of two steps on the same rows and of a measurement; the first step's gradients."""
    mine = build_learner(config, MODEL, "cpu")
    examples = [example_of(sft_row(number), mine.language) for number in range(NUM_ROWS)]
    lengths_N = np.array([len(example.ids_L) for example in examples])
    part = deal(np.arange(NUM_ROWS), lengths_N, count)[rank]
    told, gradients = [], []
    for _ in range(2):
        pieces = cut(part, config.cluster.micro_batch_size)
        batches = [mine.batch([examples[row] for row in piece]) for piece in pieces]
        result = mine.learn(batches, max_grad_norm=0.5)
        told += [result.loss, result.accuracy, result.grad_norm, result.num_labels]
        gradients.append(gradients_of(mine))
    measured = mine.measure(batches)
    told += [measured.loss, measured.accuracy, measured.row_accuracy]
    return told, gradients[0]


def gradients_of(learner: Learner) -> torch.Tensor:
    """In a row. (Weights won't do: AdamW's first step makes a full stride of the least noise.)"""
    return torch.cat([w.grad.flatten() for w in learner.model.parameters() if w.grad is not None])


def in_a_group(rank: int, count: int, folder: Path, config: SftConfig) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=count)
    torch.save(two_steps(config, rank, count), folder / f"rank{rank}")
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_ranks_of_four_take_the_step_of_one_of_eight(alone: Told, tmp_path: Path) -> None:
    mp.spawn(in_a_group, (2, tmp_path, settings(tmp_path)), nprocs=2)
    figures, gradient = alone
    for rank in range(2):
        told, theirs = torch.load(tmp_path / f"rank{rank}")
        assert told == pytest.approx(figures, rel=1e-5)
        torch.testing.assert_close(theirs, gradient, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("micro_batch_size", [1, NUM_ROWS])
def test_a_step_does_not_depend_on_micro_batches(
    alone: Told, tmp_path: Path, micro_batch_size: int
) -> None:
    figures, gradient = alone
    told, theirs = two_steps(
        settings(tmp_path, cluster={"micro_batch_size": micro_batch_size}), 0, 1
    )
    assert told == pytest.approx(figures, rel=1e-5)
    torch.testing.assert_close(theirs, gradient, rtol=1e-3, atol=1e-7)


def test_recomputed_activations_give_the_same_step(alone: Told, tmp_path: Path) -> None:
    figures, gradient = alone
    recomputing = settings(tmp_path, cluster={"gradient_checkpointing": True})
    told, theirs = two_steps(recomputing, 0, 1)
    assert told == pytest.approx(figures, rel=1e-6)
    torch.testing.assert_close(theirs, gradient)


def test_bfloat16_trains_float32_matrices(alone: Told, tmp_path: Path) -> None:
    told, gradient = two_steps(settings(tmp_path, dtype="bfloat16"), 0, 1)
    assert gradient.dtype == torch.float32
    assert told[0] == pytest.approx(alone[0][0], rel=0.02)
    assert told[4] < told[0]


def test_the_loss_is_that_of_plain_transformers(tmp_path: Path) -> None:
    mine = learner(tmp_path)
    rows = [sft_row(number) for number in range(3)]
    batch = mine.batch([example_of(row, mine.language) for row in rows])
    with torch.no_grad():
        logits_TV, labels_T = label_logits(mine.model, batch)
        ours = torch.nn.functional.cross_entropy(logits_TV, labels_T)
        plain = torch.stack([plain_losses(mine, row).sum() for row in rows]).sum() / len(labels_T)
    torch.testing.assert_close(ours, plain, rtol=1e-5, atol=1e-6)


def plain_losses(learner: Learner, row: Any) -> torch.Tensor:
    """Of each token of the answer, by the model's own forward on the processor's own tensors."""
    from transformers import AutoProcessor

    processor = AutoProcessor.from_pretrained(MODEL)
    messages = chat_messages(row.system, row.text, len(row.images))
    tools = [tool_schema(row.max_actions)]
    text = processor.apply_chat_template(
        messages, tools=tools, tokenize=False, add_generation_prompt=True
    )
    images = [Image.open(io.BytesIO(image)) for image in row.images]
    prompt = processor(text=[text], images=images, return_tensors="pt")
    answer = learner.language.completion_ids(row.completion)
    whole = {
        **prompt,
        "input_ids": torch.cat([prompt["input_ids"], torch.tensor([answer])], 1),
        "attention_mask": torch.ones(1, prompt["input_ids"].shape[1] + len(answer)),
    }
    if "mm_token_type_ids" in prompt:
        more = torch.zeros(1, len(answer), dtype=prompt["mm_token_type_ids"].dtype)
        whole["mm_token_type_ids"] = torch.cat([prompt["mm_token_type_ids"], more], 1)
    logits_V = learner.model(**whole).logits[0, -len(answer) - 1 : -1]
    return torch.nn.functional.cross_entropy(logits_V, torch.tensor(answer), reduction="none")


def test_a_frozen_tower_gets_no_gradient_and_no_adapter(tmp_path: Path) -> None:
    mine = learner(tmp_path)
    mine.learn([mine.batch([example_of(sft_row(0), mine.language)])], 1.0)
    for name, weight in mine.model.named_parameters():
        assert ("lora" in name) == weight.requires_grad
        assert (weight.grad is not None) == weight.requires_grad
        assert not ("visual" in name and weight.requires_grad)


def test_the_tower_and_its_connector_learn_where_asked(tmp_path: Path) -> None:
    mine = learner(tmp_path, lora={"tower": True})
    batch = mine.batch([example_of(sft_row(0), mine.language)])
    for _ in range(2):  # the first step moves only the B matrices, which begin at zero
        mine.learn([batch], 1.0)
    grads = {n: w.grad for n, w in mine.model.named_parameters() if w.requires_grad}
    for place in ("visual.blocks", "visual.merger", "deepstack_merger_list", "language_model"):
        some = [grad for name, grad in grads.items() if place in name]
        assert some
        assert all(grad is not None and grad.abs().sum() > 0 for grad in some)
