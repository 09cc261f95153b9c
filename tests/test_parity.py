"""The learner's ids, pixels and positions against transformers' own."""

import io
import itertools
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoConfig, AutoProcessor
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLModel

from actors.prompt import chat_messages, render
from actors.tool import render_call, tool_schema
from cluster.names import ACTIONS
from configs.play import PromptConfig
from learners.batch import positions_of
from learners.language import Language
from learners.tiny_corpus import observation
from tests.parity import TINY, every_past, opened, picture, processed, write_real_eyed

pytestmark = [pytest.mark.vision, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

SETTINGS = {
    "image_only": (False, True),
    "map_style": ("words", "grid"),
    "history_frames": (1, 3),
    "recent_turns": (0, 20),
    "rationale": (False, True),
}
# No surrogates (they are no text) and no `|`, without which there is no special token.
FREE_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="|"), max_size=60)
SIDES = st.integers(9, 330)
SHOWN = [
    PromptConfig.model_validate(dict(zip(SETTINGS, values, strict=True)))
    for values in itertools.product(*SETTINGS.values())
]


@pytest.fixture(scope="module")
def real_eyed(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_real_eyed(tmp_path_factory.mktemp("real-eyed"))


@pytest.fixture(scope="module", params=["tiny", "real-eyed"])
def folder(request: pytest.FixtureRequest, real_eyed: str) -> str:
    return TINY if request.param == "tiny" else real_eyed


@pytest.fixture(scope="module")
def language(folder: str) -> Language:
    return Language(folder)


@pytest.fixture(scope="module")
def processor(folder: str) -> Any:
    return AutoProcessor.from_pretrained(folder)


def assert_same(
    language: Language, processor: Any, request: tuple[str, str], images: Sequence[bytes], most: int
) -> None:
    """Ids, and pixels where there are any."""
    expected = processed(processor, *request, images, most)
    assert language.prompt_ids(*request, images, most) == expected["input_ids"][0].tolist()
    if images:
        patches_PD, grids_N3 = language.pixels(images)
        assert patches_PD.dtype == torch.float32
        assert torch.equal(patches_PD, expected["pixel_values"])
        assert torch.equal(grids_N3, expected["image_grid_thw"])


@pytest.mark.parametrize("max_actions", range(1, 21))
def test_a_request_is_the_processors_for_every_bound_on_actions(
    language: Language, processor: Any, max_actions: int
) -> None:
    seen = observation(np.random.default_rng(max_actions))
    drawn = render(seen, picture(0), (), PromptConfig(max_actions=max_actions))
    request = (drawn.system, drawn.text)
    assert_same(language, processor, request, drawn.images, max_actions)


@pytest.mark.parametrize("shown", SHOWN, ids=range(len(SHOWN)))
def test_a_request_is_the_processors_however_it_is_shown(
    language: Language, processor: Any, shown: PromptConfig
) -> None:
    """Every outcome, unlock and interrupt among the recent turns; up to three pictures."""
    seen = observation(np.random.default_rng(5))
    drawn = render(seen, picture(1, 288, 288), every_past(), shown)
    assert len(drawn.images) == shown.history_frames
    assert_same(language, processor, (drawn.system, drawn.text), drawn.images, 5)


def test_a_request_without_pictures_is_the_processors(language: Language, processor: Any) -> None:
    drawn = render(observation(np.random.default_rng(2)), None, every_past(), PromptConfig())
    assert_same(language, processor, (drawn.system, drawn.text), (), 5)


def test_a_request_without_words_or_tool_is_the_processors(
    language: Language, processor: Any
) -> None:
    images = [picture(3)]
    expected = processed(processor, "", "", images, None)["input_ids"][0].tolist()
    assert language.prompt_ids("", "", images, None) == expected


@settings(deadline=None, max_examples=60)
@given(text=FREE_TEXT, count=st.integers(0, 1))
def test_a_request_of_any_words_is_the_processors(
    language: Language, processor: Any, text: str, count: int
) -> None:
    images = [picture(seed) for seed in range(count)]
    assert_same(language, processor, ("Play.", text), images, 3)


@settings(deadline=None, max_examples=20)
@given(sides=st.lists(st.tuples(SIDES, SIDES), min_size=1, max_size=3))
def test_pictures_of_any_size_are_the_processors(
    language: Language, processor: Any, sides: list[tuple[int, int]]
) -> None:
    images = [picture(seed, *side) for seed, side in enumerate(sides)]
    assert_same(language, processor, ("Play.", "Look."), images, 3)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA"])
def test_pictures_of_any_mode_are_the_processors(
    language: Language, processor: Any, mode: str
) -> None:
    file = io.BytesIO()
    opened([picture(4)])[0].convert(mode).save(file, "PNG")
    assert_same(language, processor, ("Play.", ""), [file.getvalue()], 3)


def test_a_frame_of_one_tile_a_token_is_81_tokens(language: Language, processor: Any) -> None:
    size = 9 * processor.image_processor.patch_size * processor.image_processor.merge_size
    ids = language.prompt_ids("", "", [picture(0, size, size)], None)
    assert ids.count(language.image_id) == 81


def test_a_classic_frame_is_enlarged_for_the_published_eyes(real_eyed: str) -> None:
    """64 x 64 pixels are under the least area, 256 x 256: 8 x 8 tokens."""
    language = Language(real_eyed)
    assert language.prompt_ids("", "", [picture(0, 64, 64)], None).count(language.image_id) == 64
    assert language.pixels([picture(0, 64, 64)])[1].tolist() == [[1, 16, 16]]


@pytest.mark.parametrize("rationale", ["", "The tree is near, so I chop it."])
@pytest.mark.parametrize("actions", [ACTIONS[:1], ACTIONS[3:8], ACTIONS])
def test_an_answered_request_is_the_processors_conversation(
    language: Language, processor: Any, actions: tuple[str, ...], rationale: str
) -> None:
    """The answer as text and as a structured call give the same ids as prompt and completion."""
    completion = render_call(actions, rationale)
    function = {"name": "interact_many", "arguments": {"actions": list(actions)}}
    answers = [
        {"role": "assistant", "content": completion},
        {"role": "assistant", "content": rationale, "tool_calls": [{"function": function}]},
    ]
    ids = language.prompt_ids("Play.", "Now.", [], 5) + language.completion_ids(completion)
    for answer in answers:
        chat = processor.apply_chat_template(
            [*chat_messages("Play.", "Now.", 0), answer], tools=[tool_schema(5)], tokenize=False
        )
        whole = processor(text=[chat.removesuffix("\n")])["input_ids"][0]
        assert list(whole) == ids
    assert language.text_of(language.completion_ids(completion)) == completion


@settings(deadline=None, max_examples=100)
@given(text=FREE_TEXT)
def test_a_completion_of_any_words_is_the_tokenizers(
    language: Language, processor: Any, text: str
) -> None:
    expected = processor.tokenizer(text + processor.tokenizer.eos_token)["input_ids"]
    assert language.completion_ids(text) == expected


def test_the_template_is_the_processors_where_the_tokenizer_has_another(tmp_path: Path) -> None:
    """As in folders of older releases; the engine asks the processor."""
    folder = tmp_path / "model"
    shutil.copytree(TINY, folder)
    template = (folder / "chat_template.jinja").read_text()
    (folder / "chat_template.jinja").unlink()
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": template}))
    settings_of = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(
        json.dumps({**settings_of, "chat_template": "{{ messages[1].content }}"})
    )
    assert_same(
        Language(str(folder)), AutoProcessor.from_pretrained(folder), ("Play.", "Now."), [], 5
    )


@settings(deadline=None, max_examples=60)
@given(
    parts=st.lists(
        st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9)), min_size=0, max_size=4
    ),
    tail=st.integers(1, 9),
)
def test_positions_are_the_models(
    rope_index: Any, parts: list[tuple[int, int, int]], tail: int
) -> None:
    """Words, then a picture of any height and width in tokens, some times over, then words."""
    kinds = [kind for words, *side in parts for kind in [0] * words + [1] * (side[0] * side[1])]
    is_image_L = np.array([*kinds, *[0] * tail], bool)
    sides = [(height, width) for _, height, width in parts]
    expected = rope_index(is_image_L, sides)
    np.testing.assert_array_equal(positions_of(is_image_L, sides), expected)


@pytest.fixture(scope="module")
def rope_index(folder: str) -> Any:
    config = AutoConfig.from_pretrained(folder)
    merge = config.vision_config.spatial_merge_size
    model = Qwen3VLModel(config)

    def of(is_image_L: np.ndarray, sides: list[tuple[int, int]]) -> np.ndarray:
        ids = torch.zeros(1, len(is_image_L), dtype=torch.int64)
        grids = torch.tensor([(1, merge * height, merge * width) for height, width in sides])
        kinds = torch.from_numpy(is_image_L[None].astype(np.int64))
        positions, _ = model.get_rope_index(ids, kinds, grids if sides else None)
        return np.asarray(positions[:, 0])

    return of


@pytest.mark.parametrize("sides", [[(2, 3)], [(1, 2), (2, 1), (1, 1)], []])
def test_positions_refuse_tokens_that_are_not_as_many_as_the_pictures(
    sides: list[tuple[int, int]],
) -> None:
    is_image_L = np.array([0, 1, 1, 0, 1, 1, 0], bool)
    with pytest.raises(ValueError, match="image tokens"):
        positions_of(is_image_L, sides)
