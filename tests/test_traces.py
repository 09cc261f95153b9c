"""Traces on disk: what is written is what is read, whole or not at all, by anyone."""

import importlib
import json
import tempfile
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.names import ITEMS
from cluster.traces import read_summaries, read_trajectories, sweep, write_part
from cluster.types import (
    Completion,
    Ending,
    EpisodeSpec,
    Observation,
    ParseOutcome,
    Summary,
    Trajectory,
    Turn,
)
from tests.builders import START, trajectory, turn

numbers = st.integers(0, 2**31 - 1)
floats = st.floats()
ids = st.lists(numbers, max_size=6).map(tuple)
words = st.lists(st.text(max_size=8), max_size=4).map(tuple)
offsets = st.tuples(st.integers(-99, 99), st.integers(-99, 99))
counts = st.lists(st.integers(0, 9), min_size=len(ITEMS), max_size=len(ITEMS))

observations = st.builds(
    Observation,
    step=numbers,
    length=numbers,
    view=st.lists(words, max_size=3).map(tuple),
    inventory=counts.map(lambda ns: dict(zip(ITEMS, ns, strict=True))),
    facing=offsets,
    displacement=offsets,
    sleeping=st.booleans(),
    daylight=floats,
    achievements=words,
)
completions = st.builds(
    Completion,
    text=st.text(),
    finish_reason=st.text(max_size=8),
    prompt_ids=ids,
    token_ids=ids,
    logprobs=st.lists(floats, max_size=6).map(tuple),
    temperature=st.none() | floats,
    version=st.integers(0, 2**40),
    num_prompt_tokens=numbers,
    num_completion_tokens=numbers,
    cost_usd=floats,
    replica=st.text(max_size=8),
)
turns = st.builds(
    Turn,
    index=numbers,
    observation=observations,
    frame=st.none() | st.binary(max_size=40),
    system=st.text(max_size=20),
    text=st.text(max_size=20),
    num_images=st.integers(0, 4),
    completion=completions,
    outcome=st.sampled_from(ParseOutcome),
    actions=words,
    executed=words,
    rewards=st.lists(floats, max_size=4).map(tuple),
    penalty=floats,
    unlocked=st.lists(st.tuples(st.integers(0, 9), st.text(max_size=8)), max_size=3).map(tuple),
    interrupt=st.text(max_size=8),
    act_s=floats,
    env_s=floats,
)
trajectories = st.builds(
    Trajectory,
    spec=st.builds(EpisodeSpec, seed=numbers, sample=numbers),
    player=st.text(max_size=8),
    model=st.text(max_size=8),
    provider=st.text(max_size=8),
    turns=st.lists(turns, max_size=3).map(tuple),
    ending=st.sampled_from(Ending),
    error=st.text(max_size=20),
    achievements=words,
    started_at=floats,
    duration_s=floats,
    env=st.dictionaries(st.text(max_size=4), st.integers() | st.lists(st.text()), max_size=3),
)


@settings(deadline=None, max_examples=60)
@given(st.lists(trajectories, min_size=1, max_size=3, unique_by=lambda t: t.spec.id))
def test_what_is_read_is_what_was_written(written: list[Trajectory]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_part(Path(folder), written)
        read = list(read_trajectories(Path(folder)))
        scan = read_summaries(Path(folder))
    written.sort(key=lambda t: (t.spec.seed, t.spec.sample))
    # repr, because NaN is unlike itself and -0.0 is like 0.0.
    assert repr(read) == repr(written)
    assert [facts(s) for s in scan.summaries] == [facts(t.summary()) for t in written]
    assert scan.refused == ()


def facts(summary: Summary) -> str:
    """Comparable with NaN in it; the sum of no numbers, the integer 0, counts as 0.0."""
    values = asdict(summary) | {
        "total_reward": float(summary.total_reward),
        "cost_usd": float(summary.cost_usd),
    }
    return json.dumps(values, sort_keys=True)


def test_episodes_come_by_seed_and_sample_whatever_part_holds_them(tmp_path: Path) -> None:
    write_part(tmp_path, [trajectory(10), trajectory(2, 1)])
    write_part(tmp_path, [trajectory(2, 0), trajectory(9)])
    specs = [(t.spec.seed, t.spec.sample) for t in read_trajectories(tmp_path)]
    assert specs == [(2, 0), (2, 1), (9, 0), (10, 0)]


def test_an_episode_that_failed_before_its_first_decision_is_kept(tmp_path: Path) -> None:
    failed = trajectory(1, num_turns=0, ending=Ending.ERROR, error="no route to host")
    write_part(tmp_path, [trajectory(0), failed, trajectory(2)])
    assert list(read_trajectories(tmp_path)) == [trajectory(0), failed, trajectory(2)]


def test_only_the_episodes_asked_for_are_read(tmp_path: Path) -> None:
    write_part(tmp_path, [trajectory(seed) for seed in range(3)])
    read = list(read_trajectories(tmp_path, ids={"seed_0001-sample_00", "seed_0007-sample_00"}))
    assert read == [trajectory(1)]


def test_a_folder_that_does_not_exist_holds_nothing(tmp_path: Path) -> None:
    assert read_summaries(tmp_path / "new").summaries == ()
    assert list(read_trajectories(tmp_path / "new")) == []
    assert sweep(tmp_path / "new") == []


def test_half_a_surrogate_pair_in_a_completion_becomes_the_replacement_character(
    tmp_path: Path,
) -> None:
    odd = turn(completion=Completion(text="a\ud83db\U0001f600"))
    write_part(tmp_path, [trajectory(turns=(odd,))])
    (read,) = read_trajectories(tmp_path)
    assert read.turns[0].completion.text == "a\ufffdb\U0001f600"


def files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_an_incomplete_inventory_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    bare = replace(START, inventory={"wood": 1})
    with pytest.raises(ValueError, match="16 items"):
        write_part(tmp_path, [trajectory(turns=(turn(observation=bare),))])
    assert files(tmp_path) == []


def test_env_settings_that_json_would_change_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="mode='json'"):
        write_part(tmp_path, [trajectory(env={"area": (64, 64)})])


def test_one_part_does_not_take_an_episode_twice(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="different episodes"):
        write_part(tmp_path, [trajectory(3), trajectory(3)])


def test_writing_a_part_again_under_its_name_changes_nothing(tmp_path: Path) -> None:
    for _ in range(2):
        assert write_part(tmp_path, [trajectory(4)], "a") == "part-a.parquet"
    assert list(read_trajectories(tmp_path)) == [trajectory(4)]
    assert files(tmp_path) == ["episodes/part-a.parquet", "turns/part-a.parquet"]


def readable(folder: Path) -> Trajectory:
    decision = turn(
        frame=b"\x89PNG",
        completion=Completion(text="go", token_ids=(5, 6), logprobs=(-0.5, -1.25)),
        rewards=(0.0, 1.1),
        unlocked=((1, "collect_wood"),),
    )
    only = trajectory(7, turns=(decision,), achievements=("collect_wood",))
    write_part(folder, [only])
    return only


def test_duckdb_reads_the_files_as_they_are(tmp_path: Path) -> None:
    import duckdb

    readable(tmp_path)
    query = "select seed, inventory.health, rewards[2], unlocked[1].name, view[1][1], frame from "
    with duckdb.connect() as database:
        rows = database.sql(f"{query} '{tmp_path}/turns/*.parquet'").fetchall()
        episodes = database.sql(f"select total_reward from '{tmp_path}/episodes/*.parquet'")
        assert episodes.fetchall() == [(1.1,)]
    assert rows == [(7, 9, 1.1, "collect_wood", "grass", b"\x89PNG")]


def test_pandas_reads_the_files_as_they_are(tmp_path: Path) -> None:
    import pandas as pd

    readable(tmp_path)
    (row,) = pd.read_parquet(tmp_path / "turns").to_dict("records")
    assert row["inventory"]["health"] == 9
    assert list(row["logprobs"]) == [-0.5, -1.25]
    assert row["view"][6][8] == "grass"
    assert row["frame"] == b"\x89PNG"


def test_pyarrow_datasets_read_the_folder_as_it_is(tmp_path: Path) -> None:
    import pyarrow.dataset as ds

    readable(tmp_path)
    table = ds.dataset(tmp_path / "turns").to_table(columns=["token_ids", "outcome"])
    assert table.to_pylist() == [{"token_ids": [5, 6], "outcome": "ok"}]


def test_hugging_face_datasets_read_the_files_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = importlib.import_module("datasets")
    readable(tmp_path)
    write_part(tmp_path, [trajectory(8, num_turns=0)])
    datasets.disable_progress_bars()
    rows = datasets.load_dataset(
        "parquet",
        data_files=str(tmp_path / "turns" / "*.parquet"),
        split="train",
        cache_dir=str(tmp_path / "cache"),
    )
    (row,) = rows
    assert row["unlocked"] == [{"step": 1, "name": "collect_wood"}]
    assert row["frame"] == b"\x89PNG"
    assert row["inventory"]["food"] == 9
