"""What training will take of memory, told from a model's config alone."""

import json
from pathlib import Path

import pytest

from learners.learner import sft_recipe
from learners.lora import empty_model
from learners.memory import MemoryPlan, plan_memory
from tests.sft_rows import MODEL, settings

pytestmark = [pytest.mark.vision, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

GPU = {"device": "gpu", "micro_batch_size": 4, "gradient_checkpointing": True}


@pytest.fixture(scope="module")
def four_billion(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The sizes in config.json of Qwen/Qwen3-VL-4B-Instruct, without its weights."""
    folder = tmp_path_factory.mktemp("qwen")
    text = {
        "model_type": "qwen3_vl_text",
        "vocab_size": 151_936,
        "hidden_size": 2560,
        "intermediate_size": 9728,
        "num_hidden_layers": 36,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "tie_word_embeddings": True,
    }
    vision = {
        "model_type": "qwen3_vl",
        "depth": 24,
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_heads": 16,
        "out_hidden_size": 2560,
        "deepstack_visual_indexes": [5, 11, 17],
    }
    config = {"model_type": "qwen3_vl", "tie_word_embeddings": True}
    told = {**config, "text_config": text, "vision_config": vision}
    (folder / "config.json").write_text(json.dumps(told))
    return str(folder)


def planned(model: str, tmp_path: Path, **changes: object) -> MemoryPlan:
    config = settings(tmp_path, **changes)
    return plan_memory(empty_model(model), sft_recipe(config), config.cluster, 600, 40)


def test_four_billion_weights_fit_a_gpu_of_24_gib(four_billion: str, tmp_path: Path) -> None:
    plan = planned(four_billion, tmp_path, dtype="bfloat16", cluster=GPU)
    assert plan.num_weights == pytest.approx(4.44e9, rel=0.01)
    assert plan.num_trained == pytest.approx(33e6, rel=0.01)
    assert plan.weights == pytest.approx(8.27, rel=0.01)
    assert 9 < plan.total < 24
    assert "base 8.27 (4437.8 M weights)" in plan.line()


def test_keeping_activations_takes_more(four_billion: str, tmp_path: Path) -> None:
    keeping = GPU | {"gradient_checkpointing": False}
    plans = [
        planned(four_billion, tmp_path, dtype="bfloat16", cluster=cluster)
        for cluster in (GPU, keeping)
    ]
    assert plans[1].activations > 5 * plans[0].activations


def test_float32_takes_twice_as_much(tmp_path: Path) -> None:
    half, whole = (planned(MODEL, tmp_path, dtype=dtype) for dtype in ("bfloat16", "float32"))
    assert whole.weights == 2 * half.weights
    assert whole.trained == half.trained
