"""What jobs.sft refuses before anything starts: one clear line, and nothing is harmed."""

import json
from pathlib import Path
from typing import Any

import pytest

from cluster.errors import UserError
from configs.load import load
from configs.sft import SftConfig
from jobs.sft import fine_tune
from learners.learner import build_learner
from learners.lora import save_adapter
from learners.sft_jsonl import to_line
from tests.running import run_job
from tests.sft_rows import MODEL, png, settings, sft_row, write_data, write_rows

pytestmark = [pytest.mark.vision, pytest.mark.filterwarnings("ignore::DeprecationWarning")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With a dataset that can be learned from."""
    write_data(tmp_path / "data")
    return tmp_path


def refused(config: SftConfig, words: str) -> None:
    with pytest.raises(UserError, match=words):
        fine_tune(config)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give num_steps or num_epochs"),
        (["--num_steps", "9", "--num_epochs", "2"], "give num_steps or num_epochs"),
        (["--num_steps", "9", "--batch_size", "2", "--cluster.num_workers", "3"], "some of 3"),
        (["--num_steps", "9", "--lora.r", "12"], "lora.r: Input should be 1, 8, 16"),
        (["--num_steps", "9", "--lora.targets", "[]"], "targets is empty"),
        (["--num_steps", "9", "--evaluation.every_steps", "none"], "best.* needs evaluation"),
        (["--num_steps", "9", "--evaluation.every_steps", "15"], "no multiple of report_every"),
        (["--num_steps", "9", "--checkpoint.every_steps", "7"], "no multiple of report_every"),
        (["--num_steps", "9", "--lora.use_dora", "true"], "unknown setting 'lora.use_dora'"),
    ],
)
def test_settings_that_do_not_go_together(arguments: list[str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        load(SftConfig, ["--output", "run", "--data", "data", *arguments])


def test_a_missing_dataset_is_one_line_and_exit_status_2(tmp_path: Path) -> None:
    output, data = str(tmp_path / "run"), str(tmp_path / "nowhere")
    done = run_job("sft", "--output", output, "--data", data, "--num_steps", "9")
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert line == f"error: data {data} has no train.parquet or train.jsonl of jobs.export"


def test_a_dataset_without_validation(tmp_path: Path) -> None:
    write_data(tmp_path / "data", num_val=0)
    refused(settings(tmp_path), r"no val.parquet .* set evaluation.every_steps none")


def test_a_damaged_dataset(folder: Path) -> None:
    whole = (folder / "data/train.parquet").read_bytes()
    (folder / "data/train.parquet").write_bytes(whole[: len(whole) // 2])
    refused(settings(folder), "is not a whole Parquet file")


def test_an_empty_dataset(folder: Path) -> None:
    (folder / "data/train.parquet").unlink()
    (folder / "data/train.jsonl").write_text("")
    refused(settings(folder), "train.jsonl has no examples")


def test_rows_that_are_too_long_are_counted(folder: Path) -> None:
    refused(
        settings(folder, max_sequence_length=139),
        r"\d+ of 24 examples have more than 139 tokens, the most (\d+): set max_sequence_length "
        r"to \1",
    )


def test_rows_longer_than_the_model_reads(folder: Path) -> None:
    long = sft_row(0, text="Recent actions, oldest first:\n" + "move_left " * 5000)
    write_rows(folder / "data/train.parquet", [long])
    refused(settings(folder, max_sequence_length=99_999), "are longer than the model's 4096")


def test_rows_with_too_many_pictures(folder: Path) -> None:
    write_rows(folder / "data/train.parquet", [sft_row(0, images=(png(0), png(1)))])
    refused(settings(folder), r"1 of 1 examples have more than 1 pictures.* set max_images to 2")


def test_pictures_drawn_for_another_model(folder: Path) -> None:
    write_rows(folder / "data/train.parquet", [sft_row(0)], model="other/model", frame_size=288)
    refused(
        settings(folder),
        "made for other/model, with pictures of 288 pixels; model configs/models/tiny .* at 72",
    )


def test_ids_that_another_model_sampled(folder: Path) -> None:
    write_rows(folder / "data/train.parquet", [sft_row(0, token_ids=(5, 6, 7))])
    refused(settings(folder), "example 0 .* holds ids that another model sampled")


def test_a_model_that_is_not_there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused(settings(folder, model=str(folder / "no-model")), "is neither a folder here nor")


def test_a_model_that_reads_no_pictures(folder: Path) -> None:
    blind = folder / "blind"
    blind.mkdir()
    (blind / "config.json").write_text(json.dumps({"model_type": "qwen3"}))
    refused(settings(folder, model=str(blind)), "is a qwen3: only a qwen3_vl, which reads pictures")


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        (["q_prej"], r"'q_prej' names no layer of the model; there are down_proj, gate_proj"),
        (["lm_head"], "'lm_head' can't be trained: the replicas serve no adapter there"),
        (["embed_tokens"], "'embed_tokens' can't be trained"),
        (["q_proj", "qkv"], "'qkv' is only in the vision tower: set lora.tower true"),
        (["input_layernorm"], "'input_layernorm' is no linear layer"),
    ],
)
def test_targets_that_could_not_be_served(folder: Path, targets: list[str], words: str) -> None:
    refused(settings(folder, lora={"targets": targets}), words)


def test_an_adapter_that_is_not_there(folder: Path) -> None:
    refused(settings(folder, adapter=str(folder / "nothing")), "no PEFT adapter's folder")


@pytest.mark.parametrize(
    ("lora", "words"),
    [
        ({"r": 8}, "rank 16 is above|has r 16, not 8"),
        ({"alpha": 16}, r"has lora_alpha 32, not 16 \(lora.alpha\)"),
        ({"targets": ["q_proj"]}, r"is on 28 layers, .* ask for 4; it has .*down_proj"),
        ({"tower": True}, r"is on 28 layers, .* ask for 40; it lacks model.visual"),
    ],
)
def test_an_adapter_of_another_kind(folder: Path, lora: dict[str, Any], words: str) -> None:
    learner = build_learner(settings(folder), MODEL, "cpu")
    save_adapter(learner.model, folder / "adapter")
    refused(settings(folder, lora=lora, adapter=str(folder / "adapter")), words)


def test_a_warm_up_longer_than_the_run(folder: Path) -> None:
    refused(settings(folder, optim={"warmup_steps": 12}), "leaves nothing of 12 steps")


def test_data_that_changed_under_a_run(folder: Path) -> None:
    config = settings(folder)
    step = folder / "run/checkpoints/step_000002"
    step.mkdir(parents=True)
    (folder / "run/config.toml").write_text("")
    (folder / "run/inputs.json").write_text(json.dumps({"data": "before", "model": "before"}))
    refused(config, "was begun with another content of data and model")


def test_json_lines_will_do_where_there_is_no_parquet(folder: Path) -> None:
    for name in ("train", "val"):
        (folder / f"data/{name}.parquet").unlink()
        text = "".join(to_line(sft_row(number)) for number in range(8))
        (folder / f"data/{name}.jsonl").write_text(text)
    refused(settings(folder, max_images=1, max_sequence_length=9), "8 of 8 examples have more")
