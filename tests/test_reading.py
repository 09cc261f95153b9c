"""Questions about a picture: what is asked, and what the answer is."""

import numpy as np
import pytest

from cluster.names import ITEMS, TILES
from learners.example import NO_LABEL
from learners.language import Language
from learners.reading import (
    Sight,
    ask_cell,
    ask_facing,
    ask_item,
    ask_nearest,
    balance_of,
    frame_weights,
    reading,
    sight_of,
)
from learners.reading_score import Answers, score
from learners.scenes import Lessons, Scene, scenes_of
from tests.builders import played
from tests.drawn import seen

pytestmark = [pytest.mark.vision, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

DRAWING = """
.........
..T......
.........
....@~...
...Z.....
.T.......
........#
"""


def sight(drawing: str = DRAWING, facing: tuple[int, int] = (1, 0), **held: int) -> Sight:
    return sight_of(b"", seen(drawing, held, facing=facing))


def said(words: tuple[tuple[str, bool], ...]) -> str:
    """The answer alone."""
    return "".join(word for word, is_answer in words if is_answer)


def asked(words: tuple[tuple[str, bool], ...]) -> str:
    return "".join(word for word, is_answer in words if not is_answer)


def test_a_cell_is_asked_by_row_and_column() -> None:
    words = ask_cell(sight(), 1 * 9 + 2)
    assert (asked(words), said(words)) == (" 1 2", " tree")


def test_the_cells_below_the_view_are_the_inventory_by_rows() -> None:
    held = sight(wood=5)
    place = 63 + ITEMS.index("wood")
    words = ask_cell(held, place)
    assert (asked(words), said(words)) == (" 7 5", " 5")


def test_an_item_is_asked_by_name() -> None:
    words = ask_item(sight(coal=2), ITEMS.index("coal"))
    assert (asked(words), said(words)) == (" item coal", " 2")


def test_what_is_faced_is_a_direction_and_a_tile() -> None:
    assert said(ask_facing(sight())) == " right water"
    assert said(ask_facing(sight(facing=(0, -1)))) == " up grass"


@pytest.mark.parametrize(
    ("tile", "answer"),
    [
        ("water", " 1 right;"),
        ("zombie", " 1 left 1 down;"),
        ("tree", " 2 left 2 up;"),
        ("stone", " 4 right 3 down;"),
        ("lava", " none;"),
    ],
)
def test_the_nearest_is_told_as_the_state_text_tells_it(tile: str, answer: str) -> None:
    assert said(ask_nearest(sight(), TILES.index(tile))) == answer


def test_rare_tiles_weigh_more_by_the_root_of_their_rarity() -> None:
    weights = balance_of([sight()]).tile_weights
    trees, grass = 2, DRAWING.count(".")
    assert weights[TILES.index("tree")] / weights[TILES.index("grass")] == pytest.approx(
        (grass / trees) ** 0.5
    )


def test_a_picture_with_a_rare_tile_is_shown_more_often() -> None:
    common, rare = sight(DRAWING.replace("#", ".")), sight(DRAWING)
    weights = frame_weights([common, common, common, rare])
    # Its rarest tile is in 1 of 4 pictures, theirs in 4 of 4: 1 to 1/2, over 2.5 in all.
    assert weights.tolist() == pytest.approx([0.2, 0.2, 0.2, 0.4])


def test_every_word_of_a_reading_is_one_token_of_the_tiny_model(language: Language) -> None:
    rng = np.random.default_rng(0)
    for seed in range(20):
        scene = sight(wood=seed % 10)
        words = [w for q in reading(scene, balance_of([scene]), rng) for w, _ in q]
        prompt = language.prompt_ids("", "Read the picture.", (), None)
        whole = language.completion_ids("".join(words))[:-1]
        assert whole == [language.id_of(word) for word in words], prompt


@pytest.fixture(scope="module")
def language() -> Language:
    return Language("configs/models/tiny")


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return list(scenes_of([played(3, num_turns=12, frame_size=72)], seed=0))


def test_every_recorded_decision_is_a_scene(scenes: list[Scene]) -> None:
    assert len(scenes) == 12
    assert len({scene.sight.frame for scene in scenes}) > 1


def test_a_lesson_follows_from_its_seed_and_step_alone(
    language: Language, scenes: list[Scene]
) -> None:
    lessons = Lessons(scenes, language, play_share=0.5)
    first, again = lessons.batch(7, 3, 8), lessons.batch(7, 3, 8)
    other = lessons.batch(7, 4, 8)
    assert [e.ids_L.tolist() for e in first] == [e.ids_L.tolist() for e in again]
    assert [e.ids_L.tolist() for e in first] != [e.ids_L.tolist() for e in other]


def test_labels_are_the_cells_and_then_the_answers(language: Language, scenes: list[Scene]) -> None:
    (example,) = Lessons(scenes[:1], language, play_share=0.0).batch(0, 0, 1)
    shown = scenes[0].sight
    is_image = example.ids_L == language.image_id
    cells = example.labels_L[is_image]
    assert cells[0] == language.id_of(f" {TILES[shown.tiles[0, 0]]}")
    assert cells[78] == language.id_of(f" {shown.counts[15]}")
    assert cells[79:].tolist() == [NO_LABEL, NO_LABEL]
    after = ~is_image & (example.labels_L != NO_LABEL)
    places = np.flatnonzero(after)
    assert example.labels_L[places].tolist() == example.ids_L[places + 1].tolist()


def test_a_request_to_play_is_answered_with_a_legal_call(
    language: Language, scenes: list[Scene]
) -> None:
    from actors.parse import parse

    for example in Lessons(scenes, language, play_share=1.0).batch(0, 0, 16):
        last_image = int(np.flatnonzero(example.ids_L == language.image_id)[-1])
        labels = example.labels_L[last_image + 1 :]
        answer = language.text_of(labels[labels != NO_LABEL].tolist())
        assert parse(answer, max_actions=8).actions, answer


def test_scores_by_hand() -> None:
    grass, tree = TILES.index("grass"), TILES.index("tree")
    shown = np.zeros((3, 79), np.int64)
    shown[:, :63] = grass
    shown[:, 0] = tree
    shown[0, 63] = 9
    said_NC = shown.copy()
    said_NC[0, 0] = grass  # by day, one of two trees
    said_NC[2, :63] = -1  # in the dark, nothing
    said_NC[1, 64] = 5  # one zero of 31
    result = score(Answers(shown, said_NC, np.array([1.0, 0.6, 0.1]), np.array([False] * 3)))
    assert result["pictures_by_day"] == 2
    assert result["tiles_by_day"] == pytest.approx(125 / 126)
    assert result["recall_by_day"] == {"grass": 1.0, "tree": 0.5}
    assert result["mean_recall_by_day"] == pytest.approx(0.75)
    assert result["digits_by_day"]["zeros"] == pytest.approx(30 / 31)
    assert result["digits_by_day"]["nines"] == 1.0
    assert result["tiles_by_daylight"]["0.00-0.25"] == 0.0
    assert result["tiles_asleep"] is None


def test_a_sleeper_counts_apart() -> None:
    shown = np.zeros((2, 79), np.int64)
    said_NC = shown.copy()
    said_NC[1] = -1
    result = score(Answers(shown, said_NC, np.array([0.9, 0.9]), np.array([False, True])))
    assert (result["tiles_by_day"], result["tiles_asleep"]) == (1.0, 0.0)
