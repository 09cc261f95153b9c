"""`python -m jobs.export --format sft`: what it writes where, what it says, its exit status."""

import errno
import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from actors.policies.vllm import sampling_seed
from actors.teacher.teacher import Teacher
from actors.tool import render_call
from cluster.errors import UserError
from cluster.traces import write_part
from cluster.types import Completion, Ending, ParseOutcome, Trajectory
from configs.curation import ExportConfig, SplitConfig, StudentConfig
from configs.load import load
from jobs.export_sft import export_sft
from learners.language import Language
from learners.sft_data import SftDataset, read_sft
from learners.sft_jsonl import to_line
from tests.builders import played

MODEL = "configs/models/tiny"
LOOK = ["--student.prompt.image_only", "true", "--student.prompt.max_actions", "2"]


def game(seed: int, sample: int = 0, num_turns: int = 6, **facts: Any) -> Trajectory:
    """Really played, each decision's completion the canonical call of its actions."""
    episode = played(seed, num_turns, num_actions=2, frame_size=facts.pop("frame_size", 72))
    turns = tuple(
        replace(turn, completion=Completion(text=render_call(turn.actions)))
        for turn in episode.turns
    )
    spec = replace(episode.spec, sample=sample)
    return replace(episode, turns=turns, spec=spec, **facts)


@pytest.fixture(scope="module")
def games() -> list[Trajectory]:
    return [game(seed) for seed in range(6)]


def export(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "jobs.export", "--format", "sft", *map(str, arguments)]
    env = os.environ | {"HF_HUB_OFFLINE": "1"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=env)


def rows_of(dataset: SftDataset) -> list[Any]:
    return [dataset[index] for index in range(len(dataset))]


def test_a_run_becomes_a_dataset(tmp_path: Path, games: list[Trajectory]) -> None:
    run, out = tmp_path / "run", tmp_path / "data"
    write_part(run / "traces", games)
    config = tmp_path / "export.toml"
    config.write_text(
        f'inputs = ["{run}"]\noutput = "{out}"\n[split]\nval_fraction = 0.34\n'
        "[student.prompt]\nimage_only = true\nmax_actions = 2\n"
    )
    done = export(config)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[:3] == [
        "rule                            kept   removed",
        "episodes                           6",
        "  filter_errors                    6         0",
    ]
    assert sorted(path.name for path in out.iterdir()) == [
        "stats.json",
        "train.jsonl",
        "train.parquet",
        "val.jsonl",
        "val.parquet",
    ]
    train, val = (read_sft(out / f"{side}.parquet") for side in ("train", "val"))
    assert f"Wrote {len(train)} examples -> {out}/train.jsonl" in done.stdout
    assert f"Wrote {len(val)} examples -> {out}/val.parquet" in done.stdout
    for side, dataset in (("train", train), ("val", val)):
        assert rows_of(read_sft(out / f"{side}.jsonl")) == rows_of(dataset)
    assert train.settings is not None
    assert (train.settings.model, train.settings.frame_size) == (MODEL, 72)
    seeds = [{row.seed for row in rows_of(dataset)} for dataset in (train, val)]
    assert seeds[0] | seeds[1] == set(range(6))
    assert (len(seeds[0]), len(seeds[1]), seeds[0] & seeds[1]) == (4, 2, set())
    images = [image for row in rows_of(train) for image in row.images]
    assert {Image.open(io.BytesIO(image)).size for image in images} == {(72, 72)}
    assert any("Recent actions" in row.text for row in rows_of(train))


def test_the_statistics_add_up(tmp_path: Path, games: list[Trajectory]) -> None:
    run, out = tmp_path / "run", tmp_path / "data"
    turns = list(games[0].turns)
    turns[1] = replace(turns[1], outcome=ParseOutcome.NO_CALL, actions=())
    turns[2] = replace(turns[2], completion=Completion(text=""), outcome=ParseOutcome.NO_CALL)
    odd = replace(games[0], turns=tuple(turns))
    failed = replace(games[1], ending=Ending.ERROR, error="no answer")
    write_part(run / "traces", [odd, failed, *games[2:]])
    done = export("--inputs", run, "--output", out, *LOOK, "--limit", "20")
    assert done.returncode == 0
    stats = json.loads((out / "stats.json").read_text())
    assert stats["episodes"]["read"] == 6
    assert stats["episodes"]["rules"] == [{"rule": "filter_errors", "kept": 5, "removed": 1}]
    assert stats["episodes"]["kept"] == [f"{run}/seed_{s:04d}-sample_00" for s in (0, 2, 3, 4, 5)]
    rules = {rule["rule"]: rule for rule in stats["rows"]["rules"]}
    assert list(rules) == ["empty_answer", "invalid_call", "max_actions", "deduplicate", "limit"]
    assert (rules["empty_answer"]["removed"], rules["invalid_call"]["removed"]) == (1, 1)
    assert stats["rows"]["read"] == sum(len(episode.turns) for episode in games) - 6
    assert rules["limit"]["kept"] == 20 == stats["train"]["rows"] + stats["val"]["rows"]
    actions = sum(stats["train"]["actions"].values()) + sum(stats["val"]["actions"].values())
    assert actions == 40
    assert stats["train"]["sampled_rows"] == 0
    assert stats["config"]["limit"] == 20


def test_runs_evaluations_and_players_are_merged_under_their_own_names(
    tmp_path: Path, games: list[Trajectory]
) -> None:
    write_part(tmp_path / "one" / "traces", games[:2])
    for player in ("teacher", "student"):
        write_part(tmp_path / "both" / "players" / player / "traces", games[:2])
    write_part(tmp_path / "other" / "players" / "late" / "traces", games[2:3])
    inputs = [tmp_path / "one", tmp_path / "both", tmp_path / "other" / "players" / "late"]
    told = json.dumps([str(path) for path in inputs])
    off = ["--split.val_fraction", "0", "--rows.deduplicate", "false"]
    done = export("--inputs", told, "--output", tmp_path / "out", *LOOK, *off)
    assert (done.returncode, done.stderr) == (0, "")
    rows = rows_of(read_sft(tmp_path / "out" / "train.parquet"))
    assert {Path(row.episode).parent.relative_to(tmp_path).as_posix() for row in rows} == {
        "one",
        "both/players/teacher",
        "both/players/student",
        "other/players/late",
    }
    assert len({(row.episode, row.turn) for row in rows}) == len(rows)
    assert not (tmp_path / "out" / "val.parquet").exists()


def test_the_same_command_gives_the_same_files_in_the_old_ones_place(
    tmp_path: Path, games: list[Trajectory]
) -> None:
    run, out = tmp_path / "run", tmp_path / "data"
    write_part(run / "traces", games)
    command = ["--inputs", run, "--output", out, *LOOK, "--history_drop", "0.5"]
    assert export(*command).returncode == 0
    first = {path.name: path.read_bytes() for path in out.iterdir()}
    assert export(*command).returncode == 0
    assert {path.name: path.read_bytes() for path in out.iterdir()} == first
    assert export(*command, "--split.val_fraction", "0", "--seed", "1").returncode == 0
    assert sorted(path.name for path in out.iterdir()) == [
        "stats.json",
        "train.jsonl",
        "train.parquet",
    ]


def test_frames_are_drawn_for_the_student_whatever_was_recorded(
    tmp_path: Path, games: list[Trajectory]
) -> None:
    bare = [game(seed, frame_size=None) for seed in range(2)]
    write_part(tmp_path / "bare" / "traces", bare)
    write_part(tmp_path / "seen" / "traces", games[:2])
    off = ["--split.val_fraction", "0", "--shuffle", "false"]
    for name in ("bare", "seen"):
        done = export(
            "--inputs", tmp_path / name, "--output", tmp_path / f"{name}-out", *LOOK, *off
        )
        assert (done.returncode, done.stderr) == (0, "")
    told = [rows_of(read_sft(tmp_path / f"{n}-out" / "train.parquet")) for n in ("bare", "seen")]
    assert [row.images for row in told[0]] == [row.images for row in told[1]]


def test_the_teacher_relabels_what_others_played(tmp_path: Path, games: list[Trajectory]) -> None:
    write_part(tmp_path / "run" / "traces", games[:2])
    off = ["--split.val_fraction", "0", "--rows.deduplicate", "false", "--shuffle", "false"]
    done = export(
        "--inputs", tmp_path / "run", "--output", tmp_path / "out", *LOOK, *off,
        "--relabel", "teacher", "--student.prompt.max_actions", "1",
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    rows = rows_of(read_sft(tmp_path / "out" / "train.parquet"))
    teacher = Teacher(1, seed=sampling_seed(games[0].spec, 0))
    wanted = [teacher.decide(turn.observation).actions for turn in games[0].turns]
    assert [row.actions for row in rows[: len(wanted)]] == wanted
    assert [row.completion for row in rows[: len(wanted)]] == [render_call(a) for a in wanted]
    assert len(rows) == sum(len(episode.turns) for episode in games[:2])


@pytest.mark.slow
@pytest.mark.vision
def test_the_students_own_samples_keep_their_ids_and_those_that_drift_are_counted(
    tmp_path: Path, games: list[Trajectory]
) -> None:
    language = Language(MODEL)
    call = render_call(["do", "noop"])
    ids = language.completion_ids(call)
    spelled = [
        *(token for letter in call for token in language.completion_ids(letter)[:-1]),
        language.eos_id,
    ]
    assert language.text_of(spelled) == call
    assert spelled != ids
    turns = tuple(
        replace(
            turn,
            actions=("do", "noop"),
            completion=Completion(text=call, token_ids=tuple(ids if index else spelled)),
        )
        for index, turn in enumerate(games[0].turns)
    )
    write_part(tmp_path / "run" / "traces", [replace(games[0], turns=turns, model=MODEL)])
    off = ["--split.val_fraction", "0", "--shuffle", "false"]
    done = export("--inputs", tmp_path / "run", "--output", tmp_path / "out", *LOOK, *off)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"train: 1 of {len(turns)} sampled examples do not tokenise back" in done.stdout
    rows = rows_of(read_sft(tmp_path / "out" / "train.parquet"))
    assert [list(row.token_ids) for row in rows] == [spelled, *[ids] * (len(turns) - 1)]
    stats = json.loads((tmp_path / "out" / "stats.json").read_text())
    assert stats["train"]["sampled_rows_that_do_not_tokenise_back"] == 1


@pytest.mark.vision
def test_the_token_budget_counts_the_whole_example_in_the_students_tokens(
    tmp_path: Path, games: list[Trajectory]
) -> None:
    write_part(tmp_path / "run" / "traces", games[:1])
    off = ["--split.val_fraction", "0", "--shuffle", "false"]
    command = ["--inputs", tmp_path / "run", "--output", tmp_path / "out", *LOOK, *off]
    assert export(*command).returncode == 0
    language = Language(MODEL)
    lengths = [
        len(language.prompt_ids(row.system, row.text, row.images, 2))
        + len(language.completion_ids(row.completion))
        for row in rows_of(read_sft(tmp_path / "out" / "train.parquet"))
    ]
    assert min(lengths) < max(lengths)
    budget = str(max(lengths) - 1)
    assert export(*command, "--rows.max_sequence_length", budget).returncode == 0
    left = len(read_sft(tmp_path / "out" / "train.parquet"))
    assert left == sum(length < max(lengths) for length in lengths)


# ---- What goes wrong -----------------------------------------------------------------------


def test_damaged_parts_and_odd_games_are_named_and_the_rest_is_exported_with_status_1(
    tmp_path: Path, games: list[Trajectory]
) -> None:
    run = tmp_path / "run"
    other = replace(game(3, frame_size=None), spec=replace(games[3].spec, seed=9))
    write_part(run / "traces", [games[0], games[1], other])
    bad = run / "traces" / "episodes" / "part-bad.parquet"
    bad.write_bytes(b"PAR1")
    done = export("--inputs", run, "--output", tmp_path / "out", *LOOK)
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(f"left out: {bad}: not a whole Parquet file: ")
    assert lines[1].startswith("left out: seed_0009-sample_00 does not play out as recorded")
    stats = json.loads((tmp_path / "out" / "stats.json").read_text())
    assert stats["episodes"]["read"] == 2


def refused(*arguments: str | Path) -> str:
    done = export(*arguments)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert done.stderr.startswith("error: ")
    return done.stderr.removeprefix("error: ").rstrip()


def test_what_the_user_got_wrong_is_one_line_and_status_2(
    tmp_path: Path, games: list[Trajectory]
) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    write_part(run / "traces", games[:2])
    (tmp_path / "new" / "traces").mkdir(parents=True)
    (tmp_path / "file").touch()
    cases: dict[str, list[str | Path]] = {
        "no folder": ["--inputs", tmp_path / "missing", "--output", out],
        "holds no finished episode yet": ["--inputs", tmp_path / "new", "--output", out],
        f"inputs name {run} twice": [
            "--inputs", json.dumps([str(run), f"{run}/"]), "--output", out,
        ],
        "setting 'inputs' is missing": ["--output", out],
        "unknown setting 'val_fraction'; the nearest is 'split.val_fraction'": [
            "--inputs", run, "--output", out, "--val_fraction", "0.1",
        ],
        "can't write to output": ["--inputs", run, "--output", tmp_path / "file" / "x"],
        "model nowhere is neither a folder here": [
            "--inputs", run, "--output", out, "--student.model", "nowhere",
        ],
    }  # fmt: skip
    for message, arguments in cases.items():
        assert message in refused(*arguments, *LOOK)


def test_nothing_left_says_which_rule_removed_it_and_leaves_the_old_files(
    tmp_path: Path, games: list[Trajectory]
) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    write_part(run / "traces", games)
    command = ["--inputs", run, "--output", out, *LOOK]
    assert export(*command).returncode == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    message = refused(*command, "--episodes.min_achievements", "20")
    assert message == "nothing is left of 6 episode(s); removed: min_achievements 6"
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_a_full_disk_is_told_in_one_line_and_leaves_the_old_files_alone(
    tmp_path: Path, games: list[Trajectory], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    write_part(run / "traces", games)
    config = ExportConfig(inputs=(str(run),), output=str(out), split=SplitConfig(val_fraction=0.3))
    config = config.model_copy(update={"student": StudentConfig(size=72)})
    assert export_sft(config)
    before = {path.name: path.read_bytes() for path in out.iterdir()}

    def full(row: Any) -> str:
        if row.seed == val_seed:
            raise OSError(errno.ENOSPC, "No space left on device")
        return to_line(row)

    val_seed = read_sft(out / "val.parquet")[0].seed
    monkeypatch.setattr("learners.curation.write.to_line", full)
    with pytest.raises(UserError, match=rf"can't write to output {out}: No space left on device"):
        export_sft(config)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


# ---- Help ----------------------------------------------------------------------------------


def test_the_help_of_export_tells_of_sft_and_its_configuration() -> None:
    command = [sys.executable, "-m", "jobs.export", "--help"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "python -m jobs.export --format sft configs/cpu/export.toml" in told
    assert "{frames,sft,sqlite,video}" in told


def test_the_help_of_sft_prints_every_setting() -> None:
    told = export("--help").stdout
    for setting in ("--inputs", "--student.prompt.max_actions", "--episodes.min_steps", "--limit"):
        assert f"  {setting}" in told


@pytest.mark.parametrize("preset", ["cpu", "gpu"])
def test_the_presets_load(preset: str) -> None:
    config = load(ExportConfig, [f"configs/{preset}/export.toml"])
    assert config.student.prompt.image_only
    assert config.student.prompt.max_actions == {"cpu": 1, "gpu": 5}[preset]
