"""Datasets of examples: both files hold the same, and trainers and templates take them."""

import base64
import io
import json
from collections.abc import Callable
from dataclasses import fields, replace
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from actors.prompt import chat_messages
from actors.tool import render_call, tool_schema
from cluster.errors import UserError
from configs.play import PromptConfig
from learners.curation.rows import rationale_of
from learners.sft_data import SftDataset, SftRow, SftSettings, read_sft
from learners.sft_jsonl import to_line, to_record
from learners.sft_parquet import ParquetWriter

MODEL = "configs/models/tiny"
SETTINGS = SftSettings(
    model=MODEL, prompt=PromptConfig(image_only=True, max_actions=5), frame_size=72
)


def png(shade: int) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (72, 72), (shade % 256, 40, 90)).save(data, "PNG")
    return data.getvalue()


def row(number: int = 0, **facts: Any) -> SftRow:
    values: dict[str, Any] = {
        "episode": "runs/teacher/seed_0003-sample_01",
        "turn": number,
        "step": 2 * number,
        "seed": 3,
        "sample": 1,
        "player": "teacher",
        "model": "scripted",
        "provider": "scripted",
        "achievements": 4,
        "episode_return": 3.25,
        "system": "You play Crafter.",
        "text": f"Recent actions, oldest first:\nmove_left\nDecision {number}.",
        "images": (png(number),),
        "max_actions": 5,
        "actions": ("move_left", "do"),
        "completion": render_call(["move_left", "do"]),
        "token_ids": (),
    }
    return SftRow(**{**values, **facts})


ROWS = [
    *(row(number) for number in range(5)),
    row(5, images=(png(1), png(2))),
    row(6, images=()),
    row(7, completion=render_call(["move_left", "do"], "A tree, left of me.")),
]


def write_parquet(path: Path, rows: list[SftRow] | None = None) -> Path:
    with ParquetWriter(path, SETTINGS) as writer:
        for start in range(0, len(rows or ROWS), 3):
            writer.write((rows or ROWS)[start : start + 3])
    return path


def write_jsonl(path: Path, rows: list[SftRow] | None = None) -> Path:
    path.write_text("".join(map(to_line, rows or ROWS)))
    return path


@pytest.fixture(params=["parquet", "jsonl"])
def dataset(request: pytest.FixtureRequest, tmp_path: Path) -> SftDataset:
    write = {"parquet": write_parquet, "jsonl": write_jsonl}[request.param]
    return read_sft(write(tmp_path / f"train.{request.param}"))


# ---- The learner's reader ------------------------------------------------------------------


def test_rows_come_back_as_they_were_written(dataset: SftDataset) -> None:
    assert [dataset[index] for index in range(len(dataset))] == ROWS


def test_rows_are_had_from_the_end_and_out_of_order(dataset: SftDataset) -> None:
    assert [dataset[index].turn for index in (-1, 3, 0)] == [7, 3, 0]
    for index in (8, -9):
        with pytest.raises(IndexError, match=f"example {index} of 8"):
            dataset[index]


def test_every_call_is_had_without_its_pictures(dataset: SftDataset) -> None:
    assert dataset.actions() == [("move_left", "do")] * 8


def test_every_picture_decodes(dataset: SftDataset) -> None:
    pictures = [image for example in iter_rows(dataset) for image in example.images]
    assert len(pictures) == 8
    assert {Image.open(io.BytesIO(image)).size for image in pictures} == {(72, 72)}


def iter_rows(dataset: SftDataset) -> list[SftRow]:
    return [dataset[index] for index in range(len(dataset))]


def test_only_parquet_tells_for_whom_it_is_and_holds_sampled_ids(tmp_path: Path) -> None:
    text = '<tool_call>{"name": "interact_many","arguments":{"actions":["do"]}}</tool_call>'
    sampled = row(0, actions=("do",), completion=text, token_ids=(7, 8, 9))
    parquet = read_sft(write_parquet(tmp_path / "train.parquet", [sampled]))
    lines = read_sft(write_jsonl(tmp_path / "train.jsonl", [sampled]))
    assert (parquet[0], parquet.settings) == (sampled, SETTINGS)
    canonical = replace(sampled, completion=render_call(["do"]), token_ids=())
    assert (lines[0], lines.settings) == (canonical, None)


def test_a_rationale_is_what_stands_before_the_call() -> None:
    assert ROWS[7].rationale == "A tree, left of me."
    assert ROWS[0].rationale == ""
    assert rationale_of("  \n<tool_call>x</tool_call>") == ""


# ---- What is refused -----------------------------------------------------------------------


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_sft(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_files_of_other_kinds_are_refused(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("a,b\n")
    assert "no file" in refusal(tmp_path / "train.parquet")
    assert "is no dataset: give a .parquet or .jsonl" in refusal(tmp_path / "train.csv")


def test_a_parquet_of_others_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "train.parquet"
    pq.write_table(pa.table({"text": ["a"]}), path)
    assert "its metadata has no mark): export it again with" in refusal(path)
    path.write_bytes(b"PAR1")
    assert "is not a whole Parquet file" in refusal(path)


def rewritten(path: Path, change: Callable[[Any], Any]) -> Path:
    table = pq.read_table(write_parquet(path))
    changed = change(table)
    marks = {**table.schema.metadata, **(changed.schema.metadata or {})}
    pq.write_table(changed.replace_schema_metadata(marks), path, write_page_checksum=True)
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop_columns(["images"]), "column 'images' is none, expected list<"),
        (lambda t: t.append_column("x", pa.array([1] * 8)), "column 'x' is int64, expected none"),
        (
            lambda t: t.set_column(3, "seed", pa.array([None] * 8, pa.int64())),
            "column 'seed' lacks values",
        ),
        (
            lambda t: t.set_column(14, "actions", pa.array([["fly"]] * 8)),
            "column 'actions' holds names that are no actions",
        ),
        (
            lambda t: t.set_column(12, "images", pa.array([[b"GIF89a"]] * 8)),
            "column 'images' holds pictures that are not PNG",
        ),
        (
            lambda t: t.replace_schema_metadata({b"pickaxe.sft.version": b"0"}),
            "dataset version 0, this Pickaxe reads 1",
        ),
        (
            lambda t: t.replace_schema_metadata({b"pickaxe.sft.student": b"{}"}),
            "does not say for whom it is",
        ),
    ],
)
def test_a_parquet_that_was_changed_is_refused_naming_the_column(
    tmp_path: Path, change: Callable[[Any], Any], message: str
) -> None:
    told = refusal(rewritten(tmp_path / "train.parquet", change))
    assert message in told
    assert told.startswith(str(tmp_path / "train.parquet"))
    assert "export it again" in told


def test_a_damaged_page_is_found_at_once_naming_its_column(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "train.parquet")
    data = bytearray(path.read_bytes())
    column = pq.ParquetFile(path).metadata.row_group(0).column(11)
    assert column.path_in_schema == "text"
    data[column.data_page_offset + column.total_compressed_size - 4] ^= 0xFF
    path.write_bytes(data)
    assert "column 'text' is damaged in row group 0" in refusal(path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: Expecting"),
        ("[]", "line 2: it is no example of Pickaxe's"),
        ('{"messages": []}', "line 2: it is no example of Pickaxe's"),
        ('"' + 40 * "a" + '"', "line 2: it is no example of Pickaxe's"),
        ("", "line 2: Expecting value"),
    ],
)
def test_a_damaged_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text(to_line(ROWS[0]) + line + "\n" + to_line(ROWS[1]))
    told = refusal(path)
    assert message in told
    assert told.startswith(f"{path}, line 2: ")
    assert told.endswith("export it again with jobs.export --format sft")


def change_call(record: Any) -> None:
    record["messages"][2]["tool_calls"][0]["function"]["arguments"] = '{"actions": ["fly"]}'


def change_picture(record: Any) -> None:
    record["messages"][1]["content"][1]["image_url"]["url"] = "https://example.org/a.png"


def change_base64(record: Any) -> None:
    record["messages"][1]["content"][1]["image_url"]["url"] += "*"


def change_tools(record: Any) -> None:
    record["tools"][0]["function"]["parameters"]["properties"]["actions"]["maxItems"] = 1


def change_system(record: Any) -> None:
    record["messages"][0]["content"] = 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (change_call, "its call ('fly',) has names that are no actions"),
        (change_picture, "a picture is no data URL with a PNG"),
        (change_base64, "line 1: "),
        (change_tools, "its call has 2 actions, of 1 to 1"),
        (change_system, "it is not as Pickaxe writes examples"),
        (lambda record: record["messages"].append({}), "it is not as Pickaxe writes examples"),
        (lambda record: record["metadata"].pop("seed"), "KeyError('seed')"),
    ],
)
def test_a_line_that_was_changed_is_refused(
    tmp_path: Path, change: Callable[[Any], Any], message: str
) -> None:
    record = to_record(ROWS[0])
    change(record)
    path = tmp_path / "train.jsonl"
    path.write_text(json.dumps(record) + "\n")
    assert message in refusal(path)


# ---- Other people's readers ----------------------------------------------------------------


def test_a_record_is_openais_chat_format() -> None:
    record = to_record(ROWS[7])
    system, user, assistant = record["messages"]
    assert system == {"role": "system", "content": "You play Crafter."}
    assert user["role"] == "user"
    assert user["content"][0] == {"type": "text", "text": ROWS[7].text}
    assert user["content"][1]["type"] == "image_url"
    url = user["content"][1]["image_url"]["url"]
    assert base64.b64decode(url.removeprefix("data:image/png;base64,")) == ROWS[7].images[0]
    assert assistant == {
        "role": "assistant",
        "content": "A tree, left of me.",
        "tool_calls": [
            {
                "id": "call_7",
                "type": "function",
                "function": {
                    "name": "interact_many",
                    "arguments": '{"actions": ["move_left", "do"]}',
                },
            }
        ],
    }
    assert record["tools"] == [tool_schema(5)]
    assert record["metadata"] == {
        "episode": "runs/teacher/seed_0003-sample_01",
        "turn": 7,
        "step": 14,
        "seed": 3,
        "sample": 1,
        "player": "teacher",
        "model": "scripted",
        "provider": "scripted",
        "achievements": 4,
        "return": 3.25,
        "has_image": True,
        "actions": ["move_left", "do"],
    }


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The JSON lines as `datasets` gives them back."""
    folder = tmp_path_factory.mktemp("datasets")
    path = write_jsonl(folder / "train.jsonl")
    datasets = import_module("datasets")
    return datasets.load_dataset(
        "json", data_files=str(path), split="train", cache_dir=str(folder / "cache")
    )


def test_datasets_gives_every_record_back_as_it_was(loaded: Any) -> None:
    """No keys are filled with null, which templates would take for pictures."""
    assert [loaded[index] for index in range(8)] == [to_record(example) for example in ROWS]


def test_datasets_loads_the_parquet_too(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "train.parquet")
    table = import_module("datasets").load_dataset(
        "parquet", data_files=str(path), split="train", cache_dir=str(tmp_path / "cache")
    )
    names = ["return" if f.name == "episode_return" else f.name for f in fields(SftRow)]
    assert sorted(table.column_names) == sorted(names)
    assert table[0]["images"] == [ROWS[0].images[0]]


@pytest.fixture(scope="module")
def processor() -> Any:
    transformers = import_module("transformers")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        return transformers.AutoProcessor.from_pretrained(MODEL)


def published_template() -> str:
    """Qwen3-VL's own, from a package that ships it."""
    return (files("trl") / "chat_templates" / "qwen3_vl.jinja").read_text()


@pytest.mark.vision
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("template", [None, "published"])
@pytest.mark.parametrize("number", range(8))
def test_a_template_makes_the_players_prompt_and_the_canonical_completion(
    processor: Any, loaded: Any, template: str | None, number: int
) -> None:
    chosen = published_template() if template else processor.chat_template
    record, example = loaded[number], ROWS[number]
    text = processor.apply_chat_template(
        record["messages"], tools=record["tools"], chat_template=chosen, tokenize=False
    )
    prompt = processor.apply_chat_template(
        chat_messages(example.system, example.text, len(example.images)),
        tools=[tool_schema(example.max_actions)],
        chat_template=chosen,
        add_generation_prompt=True,
        tokenize=False,
    )
    assert text == prompt + example.completion + "<|im_end|>\n"


@pytest.mark.vision
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_tiny_models_template_says_what_qwens_says(processor: Any) -> None:
    for example in ROWS:
        texts = [
            processor.apply_chat_template(
                to_record(example)["messages"],
                tools=[tool_schema(5)],
                chat_template=template,
                tokenize=False,
            )
            for template in (processor.chat_template, published_template())
        ]
        assert texts[0] == texts[1]


def pictures_of(record: dict[str, Any]) -> list[Image.Image]:
    parts = [part for part in record["messages"][1]["content"] if part["type"] == "image_url"]
    data = [base64.b64decode(part["image_url"]["url"].partition(",")[2]) for part in parts]
    return [Image.open(io.BytesIO(png)) for png in data]


def for_trl(record: dict[str, Any], processor: Any) -> dict[str, Any]:
    """As in docs/sft_data.md: TRL's own templating of messages with pictures drops the tools."""
    pictures, tools = pictures_of(record), record["tools"]
    prompt = processor.apply_chat_template(
        record["messages"][:2], tools=tools, add_generation_prompt=True, tokenize=False
    )
    whole = processor.apply_chat_template(record["messages"], tools=tools, tokenize=False)
    return {"prompt": prompt, "completion": whole.removeprefix(prompt), "images": pictures}


@pytest.mark.vision
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_transformers_reads_ids_and_pictures_out_of_a_record(processor: Any) -> None:
    language = import_module("learners.language").Language(MODEL)
    example = ROWS[5]
    record = to_record(example)
    text = processor.apply_chat_template(record["messages"], tools=record["tools"], tokenize=False)
    inputs = processor(text=[text], images=pictures_of(to_record(example)), return_tensors="pt")
    prompt = language.prompt_ids(example.system, example.text, example.images, 5)
    answer = language.completion_ids(example.completion)
    ids = inputs["input_ids"][0].tolist()
    assert ids[: len(prompt) + len(answer)] == [*prompt, *answer]
    assert processor.tokenizer.decode(ids[len(prompt) + len(answer) :]) == "\n"
    assert inputs["pixel_values"].equal(language.pixels(example.images)[0])


@pytest.mark.vision
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("template", [None, "published"])
def test_trl_trains_on_the_same_ids(
    processor: Any, loaded: Any, template: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    language = import_module("learners.language").Language(MODEL)
    if template:
        monkeypatch.setattr(processor, "chat_template", published_template())
    sft = import_module("trl.trainer.sft_trainer")
    collate = sft.DataCollatorForVisionLanguageModeling(processor, completion_only_loss=True)
    numbers = [0, 5, 7]
    batch = collate([for_trl(loaded[number], processor) for number in numbers])
    for place, number in enumerate(numbers):
        example = ROWS[number]
        prompt = language.prompt_ids(example.system, example.text, example.images, 5)
        answer = language.completion_ids(example.completion)
        ids = batch["input_ids"][place].tolist()
        assert ids[: len(prompt) + len(answer)] == [*prompt, *answer]
        learned = [label for label in batch["labels"][place].tolist() if label != -100]
        assert learned[: len(answer)] == answer
        assert processor.tokenizer.decode(learned[len(answer) :]) == "\n"
