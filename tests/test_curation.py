"""Which episodes and decisions become examples, by hand-worked numbers."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.replay import redraw
from actors.tool import render_call
from cluster.errors import TraceError, UserError
from cluster.types import Completion, Ending, ParseOutcome, Trajectory, Turn
from configs.curation import EpisodeRules, ExportConfig, RowRules
from configs.play import PromptConfig
from learners.curation.curate import Curation, Plan
from learners.curation.episodes import active, broken, return_at
from learners.curation.facts import Facts, facts_of, longest_run, num_states
from learners.curation.render import Renderer
from learners.curation.rows import Answer, RowMaker, fingerprint, leads_to_achievement
from learners.curation.split import held_out
from learners.curation.tally import RuleCount, count_by_rule
from learners.sft_row import SftRow, SftSettings
from tests.builders import START, played, trajectory, turn

FACTS = Facts(
    episode="run/seed_0000-sample_00",
    seed=0,
    ending=Ending.DEATH,
    model="tiny",
    provider="vllm",
    started_at=1_700_000_000.0,
    num_steps=10,
    num_achievements=3,
    episode_return=2.5,
    longest_run=4,
    num_states=6,
)
TEXT_ONLY = PromptConfig(use_vision=False, recent_turns=2, max_actions=2)


def said(index: int, *actions: str, **facts: Any) -> Turn:
    """A decision whose completion is the canonical call."""
    values = {"completion": Completion(text=render_call(actions)), "actions": actions}
    return turn(index, **{**values, "executed": actions, **facts})


def no_redraw(_: Trajectory, size: int) -> Iterator[bytes]:
    raise AssertionError(f"drawn again at {size}")


def maker(prompt: PromptConfig = TEXT_ONLY, **facts: Any) -> RowMaker:
    student = SftSettings(model="student", prompt=prompt, frame_size=facts.pop("size", None))
    renderer = Renderer(
        student, facts.pop("redraw", no_redraw), facts.pop("history_drop", 0.0), seed=0
    )
    values = {"rules": RowRules(), "count_tokens": lambda row: len(row.text), **facts}
    return RowMaker(renderer=renderer, **values)


def curated(
    episodes: Sequence[Trajectory], row_maker: RowMaker | None = None, /, **config: Any
) -> tuple[Plan, list[SftRow]]:
    """What is planned of these episodes, and all rows as stored."""
    rows: list[SftRow] = []
    given = {"inputs": ["run"], "output": "out", "split": {"val_fraction": 0}, **config}
    checked = ExportConfig.model_validate(given)
    curation = Curation(checked, row_maker or maker(rules=checked.rows), rows.append)
    for episode in episodes:
        curation.add(episode, f"run/{episode.spec.id}")
    return curation.plan(), rows


# ---- Episodes ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rules", "facts", "removed_by"),
    [
        ({}, {"ending": Ending.ERROR}, "filter_errors"),
        ({"filter_errors": False}, {"ending": Ending.ERROR}, ""),
        ({}, {"ending": Ending.TIME_LIMIT}, ""),
        ({"filter_timeouts": True}, {"ending": Ending.TIME_LIMIT}, "filter_timeouts"),
        ({"filter_timeouts": True}, {"ending": Ending.TURN_LIMIT}, "filter_timeouts"),
        ({"filter_timeouts": True}, {"ending": Ending.DEATH}, ""),
        ({"models": ["tiny"]}, {}, ""),
        ({"models": "big"}, {}, "models"),
        ({"providers": ["openai", "vllm"]}, {}, ""),
        ({"providers": ["openai"]}, {}, "providers"),
        ({"started_after": "2023-11-14T22:13:20Z"}, {}, ""),
        ({"started_after": "2023-11-14T22:13:21"}, {}, "started_after"),
        ({"started_before": "2023-11-15"}, {}, ""),
        ({"started_before": "2023-11-14T22:13:20"}, {}, "started_before"),
        ({"min_steps": 10, "max_steps": 10}, {}, ""),
        ({"min_steps": 11}, {}, "min_steps"),
        ({"max_steps": 9}, {}, "max_steps"),
        ({"min_achievements": 3, "max_achievements": 3}, {}, ""),
        ({"min_achievements": 4}, {}, "min_achievements"),
        ({"max_achievements": 2}, {}, "max_achievements"),
        ({"min_return": 2.5}, {}, ""),
        ({"min_return": 2.6}, {}, "min_return"),
        ({"max_repeated_actions": 4}, {}, ""),
        ({"max_repeated_actions": 3}, {}, "max_repeated_actions"),
        ({"min_unique_states": 6}, {}, ""),
        ({"min_unique_states": 7}, {}, "min_unique_states"),
        ({"min_steps": 11, "min_unique_states": 7}, {}, "min_steps"),
    ],
)
def test_each_rule_removes_what_lies_beyond_its_bound(
    rules: dict[str, Any], facts: dict[str, Any], removed_by: str
) -> None:
    assert broken(replace(FACTS, **facts), active(EpisodeRules(**rules))) == removed_by


def test_rules_that_are_not_set_do_not_appear() -> None:
    assert [rule.name for rule in active(EpisodeRules())] == ["filter_errors"]


def test_a_percentile_lies_between_returns() -> None:
    episodes = [replace(FACTS, episode_return=float(value)) for value in (1, 2, 3, 4)]
    assert return_at(episodes, 50) == 2.5
    assert return_at(episodes, 100) == 4.0


def test_the_longest_run_goes_on_across_decisions() -> None:
    turns = [said(0, "do", "do"), said(1, "do", "sleep"), said(2, "noop")]
    assert longest_run(turns) == 3
    assert longest_run([]) == 0


def test_a_sleepers_actions_are_no_loop() -> None:
    asleep = replace(START, sleeping=True)
    turns = [said(0, "sleep"), *(said(i, "sleep", observation=asleep) for i in range(1, 9))]
    assert longest_run(turns) == 1


def test_hunger_alone_makes_no_new_state() -> None:
    hungry = replace(START, inventory={**START.inventory, "food": 3}, step=40)
    rich = replace(START, inventory={**START.inventory, "wood": 1})
    moved = replace(START, displacement=(1, 0))
    turned = replace(START, facing=(1, 0))
    seen = [START, hungry, rich, moved, turned, START]
    assert num_states([said(i, "do", observation=facts) for i, facts in enumerate(seen)]) == 4


def test_an_episode_is_measured() -> None:
    turns = (said(0, "do", rewards=(1.0,)), said(1, "noop", rewards=(-0.1,), penalty=-0.5))
    facts = facts_of(trajectory(7, turns=turns, achievements=("collect_wood",)), "run/x")
    assert (facts.episode, facts.seed, facts.num_steps) == ("run/x", 7, 2)
    assert facts.episode_return == pytest.approx(0.4)
    assert (facts.num_achievements, facts.longest_run, facts.num_states) == (1, 1, 1)


def test_counts_follow_the_rules_order() -> None:
    counts = count_by_rule(10, ["a", "b", "c"], {"b": 3, "a": 2})
    assert counts == (RuleCount("a", 8, 2), RuleCount("b", 5, 3), RuleCount("c", 5, 0))


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"episodes": {"min_steps": 5, "max_steps": 4}}, "min_steps 5 is more than max_steps 4"),
        (
            {"episodes": {"min_achievements": 5, "max_achievements": 4}},
            "min_achievements 5 is more than max_achievements 4",
        ),
        (
            {"episodes": {"started_after": "2024-01-02", "started_before": "2024-01-01"}},
            "is not before",
        ),
        ({"episodes": {"min_return": float("nan")}}, "finite"),
        ({"episodes": {"min_return_percentile": 101}}, "less than or equal to 100"),
        ({"split": {"val_fraction": 1}}, "less than 1"),
        ({"inputs": []}, "at least 1 item"),
        ({"inputs": ["a", "a"]}, "'a' twice"),
        (
            {"history_drop": 0.5, "student": {"prompt": {"recent_turns": 0}}},
            "history_drop has nothing to drop",
        ),
        ({"limit": 0}, "greater than 0"),
        ({"rows": {"dedupe": True}}, "Extra inputs"),
    ],
)
def test_settings_that_make_no_sense_are_refused(rules: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ExportConfig.model_validate({"inputs": ["run"], "output": "out", **rules})


# ---- Decisions -----------------------------------------------------------------------------


def test_decisions_lead_to_an_achievement_within_so_many() -> None:
    unlocks = [said(i, "do", unlocked=((0, "eat_cow"),) if i in (2, 6) else ()) for i in range(8)]
    assert [i for i, leads in enumerate(leads_to_achievement(unlocks, 1)) if leads] == [2, 6]
    assert [i for i, yes in enumerate(leads_to_achievement(unlocks, 3)) if yes] == [
        0,
        1,
        2,
        4,
        5,
        6,
    ]
    assert all(leads_to_achievement(unlocks, None))


def test_each_row_rule_is_counted() -> None:
    turns = (
        said(0, "do", unlocked=((0, "eat_cow"),)),
        said(1, "do", completion=Completion(text=" \n"), outcome=ParseOutcome.NO_CALL),
        said(2, outcome=ParseOutcome.EMPTY),
        said(3, "do", outcome=ParseOutcome.BAD_JSON),
        said(4, "do"),
        said(5, "do", "do", "do", unlocked=((0, "eat_plant"),)),
    )
    made = maker(rules=RowRules(achievement_within=1)).make(trajectory(0, turns=turns), "e")
    assert [row.turn for row in made.rows] == [0]
    assert made.removed == Counter(
        empty_answer=2, invalid_call=1, achievement_within=1, max_actions=1
    )


def test_asleep_only_what_wakes_counts() -> None:
    """Tired and awake, asleep and tired, asleep and rested: the game overrules the second alone."""
    tired = {**START.inventory, "energy": 8}
    seen = (
        replace(START, inventory=tired),
        replace(START, inventory=tired, sleeping=True),
        replace(START, sleeping=True),
    )
    turns = tuple(said(i, "sleep", observation=each) for i, each in enumerate(seen))
    awake = maker(rules=RowRules(skip_asleep=True)).make(trajectory(0, turns=turns), "e")
    assert [row.turn for row in awake.rows] == [0, 2]
    assert awake.removed == Counter(skip_asleep=1)
    assert len(maker().make(trajectory(0, turns=turns), "e").rows) == 3


def test_a_row_of_exactly_the_token_budget_stays() -> None:
    turns = (said(0, "do"), said(1, "do"))
    for budget, kept in ((40, 2), (39, 0)):
        rules = RowRules(max_sequence_length=budget)
        made = maker(rules=rules, count_tokens=lambda row: 40).make(trajectory(turns=turns), "e")
        assert (len(made.rows), made.removed["max_sequence_length"]) == (kept, 2 - kept)


def test_the_same_request_with_the_same_call_is_kept_once() -> None:
    """Three decisions without history: equal facts, calls do, do and noop."""
    turns = (said(0, "do"), said(1, "do"), said(2, "noop"))
    alone = TEXT_ONLY.model_copy(update={"recent_turns": 0})
    plan, rows = curated([trajectory(turns=turns)], maker(alone), shuffle=False)
    assert [rows[number].turn for number in plan.train] == [0, 2]
    assert plan.row_counts[-1] == RuleCount("deduplicate", 2, 1)
    whole, _ = curated([trajectory(turns=turns)], maker(alone), rows={"deduplicate": False})
    assert len(whole.train) == 3


def test_pictures_that_differ_make_requests_differ() -> None:
    made = maker().make(trajectory(turns=(said(0, "do"),)), "e")
    (row,) = made.rows
    assert fingerprint(row) == fingerprint(replace(row, episode="other", turn=9))
    assert fingerprint(row) != fingerprint(replace(row, images=(b"png",)))
    assert fingerprint(row) != fingerprint(replace(row, actions=("noop",)))


def test_offset_and_limit_cut_the_shuffled_examples() -> None:
    turns = tuple(said(i, "do", observation=replace(START, step=i)) for i in range(10))
    whole, rows = curated([trajectory(turns=turns)], seed=3)
    assert sorted(whole.train) == list(range(10)) != list(whole.train)
    part, _ = curated([trajectory(turns=turns)], seed=3, offset=2, limit=5)
    assert list(part.train) == list(whole.train)[2:7]
    assert part.row_counts[-2:] == (RuleCount("offset", 8, 2), RuleCount("limit", 5, 3))
    assert [row.step for row in rows] == list(range(10))


def test_only_the_best_of_what_the_other_rules_keep_stay() -> None:
    """Returns 1, 2, 3, 4 and an error of 9: the median of the four is 2.5."""
    episodes = [
        trajectory(seed, turns=(said(0, "do", rewards=(float(seed),)),)) for seed in (1, 2, 3, 4)
    ]
    error = trajectory(9, turns=(said(0, "do", rewards=(9.0,)),), ending=Ending.ERROR)
    plan, rows = curated(
        [*episodes, error],
        episodes={"min_return_percentile": 50},
        rows={"deduplicate": False},
    )
    assert plan.episodes == ("run/seed_0003-sample_00", "run/seed_0004-sample_00")
    assert {rows[number].seed for number in plan.train} == {3, 4}
    assert plan.episode_counts == (
        RuleCount("filter_errors", 4, 1),
        RuleCount("min_return_percentile", 2, 2),
    )
    assert (plan.episodes_read, plan.rows_read) == (5, 2)


def test_nothing_left_names_the_rules_that_removed_it() -> None:
    episodes = [trajectory(0, turns=(said(0, "do", "do", "do"),)), trajectory(1, num_turns=1)]
    message = r"nothing is left of 2 episode\(s\); removed: min_steps 2$"
    with pytest.raises(UserError, match=message):
        curated(episodes, episodes={"min_steps": 2})
    with pytest.raises(UserError, match=r"removed: max_actions 1$"):
        curated(episodes[:1])


def test_a_side_without_examples_is_refused() -> None:
    episodes = [trajectory(seed, turns=(said(0, "do"),)) for seed in range(3)]
    with pytest.raises(UserError, match="none is for validation: raise limit"):
        curated(
            episodes,
            split={"val_fraction": 0.3},
            rows={"deduplicate": False},
            limit=1,
            shuffle=False,
        )


# ---- What the student is told --------------------------------------------------------------


def test_rows_are_told_as_the_students_settings_say() -> None:
    turns = (said(0, "move_left"), said(1, "do", unlocked=((0, "collect_wood"),)), said(2, "noop"))
    rows = maker().make(trajectory(turns=turns), "e").rows
    assert rows[0].text.endswith("Achievements: none.\nCall interact_many with 1 to 2 actions.")
    assert rows[2].text.endswith(
        "Recent actions, oldest first:\nmove_left\ndo; unlocked collect_wood\n"
        "Call interact_many with 1 to 2 actions."
    )
    assert rows[2].completion == render_call(["noop"])
    assert (rows[2].images, rows[2].max_actions, rows[2].actions) == ((), 2, ("noop",))


def test_a_rationale_is_kept_only_for_a_student_that_gives_one() -> None:
    reasoned = said(0, "do", completion=Completion(text=render_call(["do"], "A tree.")))
    episode = trajectory(turns=(reasoned,))
    (plain,) = maker().make(episode, "e").rows
    assert (plain.completion, plain.rationale) == (render_call(["do"]), "")
    asked = TEXT_ONLY.model_copy(update={"rationale": True})
    (row,) = maker(asked).make(episode, "e").rows
    assert (row.completion, row.rationale) == (render_call(["do"], "A tree."), "A tree.")


def test_only_the_students_own_samples_keep_their_ids() -> None:
    text = '<tool_call>{"name":"interact_many","arguments":{"actions":["do"]}}</tool_call>'
    turns = (said(0, "do", completion=Completion(text=text, token_ids=(5, 6, 7))),)
    (own,) = maker().make(trajectory(turns=turns, model="student"), "e").rows
    assert (own.completion, own.token_ids) == (text, (5, 6, 7))
    (other,) = maker().make(trajectory(turns=turns, model="another"), "e").rows
    assert (other.completion, other.token_ids) == (render_call(["do"]), ())
    relabelled = maker(relabel=lambda t: [Answer(("noop",))])
    (told,) = relabelled.make(trajectory(turns=turns, model="student"), "e").rows
    assert (told.completion, told.token_ids) == (render_call(["noop"]), ())


def test_relabelling_takes_every_decision_also_those_answered_badly() -> None:
    turns = (
        said(0, outcome=ParseOutcome.NO_CALL, completion=Completion(text="")),
        said(1, *["do"] * 5),
    )
    made = maker(relabel=lambda t: [Answer(("sleep",)), Answer(("do", "do"))]).make(
        trajectory(turns=turns), "e"
    )
    assert [row.actions for row in made.rows] == [("sleep",), ("do", "do")]
    assert "invalid call (no_call)" in made.rows[1].text
    assert not made.removed


def test_histories_are_dropped_at_their_share_by_a_draw_of_each_decisions_own() -> None:
    turns = tuple(said(i, "do", observation=replace(START, step=i)) for i in range(1000))
    dropping = maker(history_drop=0.3)
    rows = dropping.make(trajectory(turns=turns), "e").rows
    dropped = {row.turn for row in rows if "Recent actions" not in row.text} - {0}
    assert 250 < len(dropped) < 350
    fewer = dropping.make(trajectory(turns=turns[:500]), "e").rows
    assert {r.turn for r in fewer if "Recent actions" not in r.text} - {0} == {
        number for number in dropped if number < 500
    }


def test_a_dropped_history_leaves_the_earlier_frames() -> None:
    episode = played(seed=3, num_turns=4, num_actions=1, frame_size=72)
    episode = replace(
        episode, turns=tuple(said(t.index, *t.actions, **_kept(t)) for t in episode.turns)
    )
    prompt = PromptConfig(image_only=True, history_frames=3, max_actions=1)
    rows = maker(prompt, size=72, history_drop=1.0).make(episode, "e").rows
    frames = [turn.frame for turn in episode.turns]
    assert [row.images for row in rows] == [
        tuple(frames[max(i - 2, 0) : i + 1]) for i in range(len(frames))
    ]
    assert {row.text for row in rows} == {"Call interact_many with 1 action."}


def _kept(told: Turn) -> dict[str, Any]:
    return {
        "observation": told.observation,
        "frame": told.frame,
        "executed": told.executed,
        "rewards": told.rewards,
        "unlocked": told.unlocked,
        "interrupt": told.interrupt,
    }


@pytest.mark.parametrize("recorded", [None, 36, 72])
def test_frames_of_another_size_or_none_are_drawn_again(recorded: int | None) -> None:
    asked: list[int] = []

    def draw(episode: Trajectory, size: int) -> Iterator[bytes]:
        asked.append(size)
        return redraw(episode, size)

    episode = played(seed=5, num_turns=3, num_actions=2, frame_size=recorded)
    prompt = PromptConfig(image_only=True, max_actions=2)
    row_maker = maker(prompt, size=72, redraw=draw)
    rows = row_maker.make(episode, "e").rows
    wanted = [turn.frame for turn in played(seed=5, num_turns=3, frame_size=72).turns]
    assert [row.images for row in rows] == [(frame,) for frame in wanted]
    assert asked == ([] if recorded == 72 else [72])


def test_an_episode_that_does_not_replay_leaves_no_trace_in_the_plan() -> None:
    episode = played(seed=5, num_turns=3, num_actions=2)
    other = replace(episode, spec=replace(episode.spec, seed=6))
    prompt = PromptConfig(image_only=True, max_actions=2)
    stored: list[SftRow] = []
    config = ExportConfig(inputs=("run",), output="out", split={"val_fraction": 0})
    curation = Curation(config, maker(prompt, size=72, redraw=redraw), stored.append)
    with pytest.raises(TraceError, match="does not play out as recorded"):
        curation.add(other, "other")
    assert stored == []
    curation.add(episode, "episode")
    assert curation.plan().episodes == ("episode",)


# ---- The split -----------------------------------------------------------------------------

Worlds = st.dictionaries(
    st.integers(0, 10_000),
    st.lists(st.integers(0, 22), min_size=1, max_size=3),
    min_size=2,
    max_size=60,
)


def facts_of_worlds(worlds: dict[int, list[int]]) -> list[Facts]:
    return [
        replace(FACTS, seed=seed, num_achievements=number)
        for seed, numbers in worlds.items()
        for number in numbers
    ]


@settings(deadline=None, max_examples=200)
@given(Worlds, st.floats(0.01, 0.99), st.integers(0, 5))
def test_the_split_takes_its_share_of_the_worlds_and_leaves_some(
    worlds: dict[int, list[int]], fraction: float, seed: int
) -> None:
    held = held_out(facts_of_worlds(worlds), fraction, seed)
    assert held < worlds.keys()
    assert len(held) == min(max(round(fraction * len(worlds)), 1), len(worlds) - 1)
    again = held_out(reversed(facts_of_worlds(worlds)), fraction, seed)
    assert held == again


@settings(deadline=None, max_examples=200)
@given(Worlds, st.floats(0.01, 0.99), st.integers(0, 5))
def test_every_stretch_of_achievements_gives_its_share_but_for_one(
    worlds: dict[int, list[int]], fraction: float, seed: int
) -> None:
    held = held_out(facts_of_worlds(worlds), fraction, seed)
    mean = {world: sum(numbers) / len(numbers) for world, numbers in worlds.items()}
    for bound in range(23):
        inside = {world for world in worlds if bound <= mean[world] < bound + 1}
        expected = len(held) / len(worlds) * len(inside)
        assert abs(len(held & inside) - expected) < 1 + 1e-9


def test_worlds_of_as_many_achievements_are_drawn_by_seed() -> None:
    episodes = facts_of_worlds({seed: [5] for seed in range(100)})
    draws = {held_out(episodes, 0.1, seed) for seed in range(5)}
    assert len(draws) == 5
    assert {len(draw) for draw in draws} == {10}


def test_no_fraction_holds_nothing_out_and_one_world_can_not_be_divided() -> None:
    assert held_out([FACTS], 0.0, 0) == frozenset()
    with pytest.raises(UserError, match="1 world can't be split"):
        held_out([FACTS], 0.1, 0)


def test_a_world_goes_to_one_side_with_all_its_plays() -> None:
    episodes = [
        trajectory(seed, sample, turns=(said(0, "do"), said(1, "noop")))
        for seed in range(6)
        for sample in range(2)
    ]
    plan, rows = curated(episodes, split={"val_fraction": 0.34}, rows={"deduplicate": False})
    sides = [{rows[number].seed for number in side} for side in (plan.train, plan.val)]
    assert (len(sides[0]), len(sides[1])) == (4, 2)
    assert not sides[0] & sides[1]
    assert (len(plan.train), len(plan.val)) == (16, 8)
