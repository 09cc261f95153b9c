"""Exports of traces: PNG frames, rollouts.db and videos."""

import io
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from actors.replay import redraw, replay
from cluster.errors import TraceError
from cluster.exports.frames import export_frames
from cluster.exports.moment import Moment
from cluster.exports.sqlite import export_sqlite, images_of
from cluster.exports.video import STEP_MS, UNLOCK_MS, export_video, picture
from cluster.types import Completion, Ending, ParseOutcome, Trajectory
from tests.builders import START, played, trajectory, turn


def never(trajectory: Trajectory, size: int) -> Iterator[Any]:
    raise AssertionError("drawn again without need")


@pytest.fixture(scope="module")
def game() -> Trajectory:
    return played(seed=3, num_turns=6, num_actions=3, frame_size=72)


def pixels(png: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(png)))


def test_a_replay_shows_the_reset_and_every_step(game: Trajectory) -> None:
    moments = list(replay(game, 72))
    assert [m.observation.step for m in moments] == list(range(game.num_env_steps + 1))
    assert [m.action for m in moments[1:4]] == list(game.turns[0].executed)
    assert [m.turn for m in moments[:4]] == [None, *[game.turns[0]] * 3]


def test_frames_drawn_again_are_the_frames_recorded(game: Trajectory) -> None:
    for again, decision in zip(redraw(game, 72), game.turns, strict=True):
        assert decision.frame is not None
        np.testing.assert_array_equal(pixels(again), pixels(decision.frame))


def test_a_replay_names_the_first_reward_that_differs(game: Trajectory) -> None:
    wrong = replace(game.turns[2], rewards=(0.0, 0.75, 0.0))
    changed = replace(game, turns=(*game.turns[:2], wrong, *game.turns[3:]))
    action = wrong.executed[1]
    reason = rf"seed_0003-sample_00 .* decision 2, action 1 \({action}\) earns .* recorded 0.75"
    with pytest.raises(TraceError, match=reason):
        list(replay(changed, 72))


def test_a_replay_in_another_world_is_noticed_before_anything_is_earned(game: Trajectory) -> None:
    other = replace(game, spec=replace(game.spec, seed=4))
    with pytest.raises(TraceError, match="decision 0, view is"):
        next(redraw(other, 72))


def test_a_replay_names_an_achievement_that_differs(game: Trajectory) -> None:
    wrong = replace(game.turns[0], unlocked=((1, "collect_diamond"),))
    changed = replace(game, turns=(wrong, *game.turns[1:]))
    with pytest.raises(TraceError, match=r"recorded \('collect_diamond',\)"):
        list(replay(changed, 72))


def test_a_replay_without_usable_settings_says_which(game: Trajectory) -> None:
    with pytest.raises(TraceError, match=r"its settings \{'area': 'big'\} make no game"):
        next(redraw(replace(game, env={"area": "big"}), 72))


def test_frames_are_written_as_recorded_one_per_decision(tmp_path: Path, game: Trajectory) -> None:
    assert export_frames(game, tmp_path, never) == 6
    names = [f"seed_0003/step_{index:03d}.png" for index in range(6)]
    written = sorted(tmp_path.rglob("*.png"))
    assert [str(path.relative_to(tmp_path)) for path in written] == names
    assert [path.read_bytes() for path in written] == [turn.frame for turn in game.turns]


def test_frames_of_another_size_are_drawn_again(tmp_path: Path, game: Trajectory) -> None:
    export_frames(game, tmp_path, redraw, size=90)
    with Image.open(tmp_path / "seed_0003" / "step_005.png") as image:
        assert image.size == (90, 90)


def test_frames_that_were_not_recorded_are_drawn_at_crafters_own_size(
    tmp_path: Path, game: Trajectory
) -> None:
    blind = replace(game, turns=tuple(replace(turn, frame=None) for turn in game.turns))
    assert export_frames(blind, tmp_path, redraw) == 6
    with Image.open(tmp_path / "seed_0003" / "step_000.png") as image:
        assert image.size == (64, 64)


def test_further_plays_of_a_world_get_folders_of_their_own(
    tmp_path: Path, game: Trajectory
) -> None:
    export_frames(game, tmp_path, never)
    export_frames(replace(game, spec=replace(game.spec, sample=1)), tmp_path, never)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["seed_0003", "seed_0003_sample_01"]


def test_frames_of_an_earlier_longer_export_do_not_stay(tmp_path: Path, game: Trajectory) -> None:
    export_frames(game, tmp_path, never)
    export_frames(replace(game, turns=game.turns[:2]), tmp_path, never)
    assert sorted(path.name for path in tmp_path.rglob("*.png")) == ["step_000.png", "step_001.png"]


def by_hand() -> Trajectory:
    """Two decisions with pictures A and B, the second sent both, its call unusable."""
    first = turn(
        0,
        frame=b"A",
        num_images=1,
        completion=Completion(text="go", num_prompt_tokens=10, num_completion_tokens=4),
        executed=("do", "do"),
        rewards=(0.0, 1.1),
        unlocked=((1, "collect_wood"),),
    )
    second = turn(
        1,
        frame=b"B",
        num_images=2,
        completion=Completion(text="?", num_prompt_tokens=20, num_completion_tokens=6),
        outcome=ParseOutcome.NO_CALL,
        executed=("noop",),
        rewards=(-0.9,),
        penalty=-0.25,
        interrupt="death",
    )
    facts = {"ending": Ending.DEATH, "achievements": ("collect_wood",)}
    return trajectory(5, turns=(first, second), **facts)


def rows(path: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as database:
        return database.execute(query).fetchall()


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "rollouts.db"
    assert export_sqlite([by_hand()], path) == 1
    return path


def test_a_session_counts_what_it_holds(database: Path) -> None:
    query = "SELECT session_id, num_timesteps, num_events, num_messages FROM session_traces"
    # One answer and two steps, then one and one; system, user, call and result, then no system.
    assert rows(database, query) == [("tester/seed_0005-sample_00", 2, 5, 7)]
    query = "SELECT step_id, num_events, num_messages FROM session_timesteps ORDER BY step_index"
    assert rows(database, query) == [("decision_0", 3, 4), ("decision_1", 2, 3)]


def test_the_total_reward_is_not_truncated(database: Path) -> None:
    query = "SELECT total_reward, achievements_count, total_steps FROM outcome_rewards"
    assert rows(database, query) == [(pytest.approx(1.1 - 0.9 - 0.25), 1, 3)]


def test_messages_come_in_their_order_and_kind(database: Path) -> None:
    assert rows(database, "SELECT message_type, content FROM messages ORDER BY id")[:3] == [
        ("system", "You play Crafter."),
        ("user", "Decision 0."),
        ("tool_use", "go"),
    ]
    kinds = [kind for (kind,) in rows(database, "SELECT message_type FROM messages ORDER BY id")]
    assert kinds[3:] == ["tool_result", "user", "assistant", "tool_result"]


def test_each_picture_is_stored_once_however_often_it_was_sent(database: Path) -> None:
    assert rows(database, "SELECT data FROM images ORDER BY data") == [(b"A",), (b"B",)]
    query = """
        SELECT content, position, data FROM messages m
        JOIN message_images i ON i.message_id = m.id JOIN images USING (sha256)
        ORDER BY m.id, position"""
    assert rows(database, query) == [
        ("Decision 0.", 0, b"A"),
        ("Decision 1.", 0, b"A"),
        ("Decision 1.", 1, b"B"),
    ]


def test_events_tell_of_answers_and_steps(database: Path) -> None:
    query = "SELECT reward, terminated FROM events WHERE event_type = 'environment' ORDER BY id"
    assert rows(database, query) == [(0.0, 0), (1.1, 0), (-0.9, 1)]
    query = "SELECT total_tokens, latency_ms FROM events WHERE event_type = 'cais' ORDER BY id"
    assert rows(database, query) == [(14, 250.0), (26, 250.0)]


def test_event_rewards_are_unlocks_and_penalties(database: Path) -> None:
    query = """
        SELECT turn_number, reward_type, key, reward_value, event_type
        FROM event_rewards r JOIN events e ON e.id = r.event_id ORDER BY r.id"""
    assert rows(database, query) == [
        (0, "unique_achievement_delta", "collect_wood", 1.0, "environment"),
        (1, "format_penalty", "no_call", -0.25, "cais"),
    ]


def test_the_views_sum_up(database: Path) -> None:
    query = "SELECT total_steps, total_tokens FROM session_summary"
    assert rows(database, query) == [(3, 40)]
    query = "SELECT model_name, usage_count, total_output_tokens FROM model_usage_stats"
    assert rows(database, query) == [("by-hand", 2, 10)]


def test_a_second_export_replaces_the_database(database: Path) -> None:
    export_sqlite([trajectory(1), trajectory(2, num_turns=0)], database)
    assert rows(database, "SELECT count(*) FROM session_traces") == [(2,)]


def test_a_player_that_was_sent_no_pictures_has_none_though_they_were_recorded() -> None:
    assert images_of([turn(0, frame=b"A")], 0) == []


def test_a_video_shows_every_moment_and_dwells_on_an_unlock(tmp_path: Path) -> None:
    path = tmp_path / "a.gif"
    acted = turn(executed=("do", "do"), rewards=(0.0, 1.0), unlocked=((0, "eat_cow"),))
    assert export_video(trajectory(turns=(acted,)), path, painted, size=72) == 3
    with Image.open(path) as video:
        durations = []
        for index in range(video.n_frames):
            video.seek(index)
            durations.append(video.info["duration"])
        assert video.size == (288, 288 + 76)
    assert durations == [STEP_MS, UNLOCK_MS, STEP_MS]


def painted(trajectory: Trajectory, size: int) -> Iterator[Moment]:
    for step in range(3):
        yield moment(step, size, ("eat_cow",) if step == 1 else ())


def moment(step: int, size: int, unlocked: tuple[str, ...] = ()) -> Moment:
    return Moment(
        frame=np.full((size, size, 3), 40 * step, np.uint8),
        observation=replace(START, step=step, achievements=unlocked),
        turn=None,
        action="do",
        reward=0.0,
        unlocked=unlocked,
    )


@pytest.mark.parametrize(("size", "width"), [(64, 320), (72, 288), (288, 288), (300, 300)])
def test_small_pictures_are_scaled_up_by_whole_pixels(size: int, width: int) -> None:
    assert picture(moment(0, size), 0.0).size == (width, width + 76)


def test_an_unlocked_achievement_is_highlighted() -> None:
    gold, plain = (picture(moment(1, 72, names), 0.0) for names in [("eat_cow",), ()])
    assert gold.getpixel((1, 287 + 76)) == (255, 205, 70)
    assert plain.getpixel((1, 287 + 76)) == (24, 26, 32)
