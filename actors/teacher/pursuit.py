"""Going for the best goal: choose it, walk there, do the work, leave it when it leads nowhere."""

from collections import deque
from typing import Final

import numpy as np

from actors.teacher.craft import needs
from actors.teacher.explore import Interest, best_lookout, gain_at, gains
from actors.teacher.garden import VISIT, garden_goals
from actors.teacher.goals import Goal, choose
from actors.teacher.memory import NAME, NUM_CELLS, SIDE, offset
from actors.teacher.paths import UNIT, Script, step_between
from actors.teacher.situation import Decision, Situation
from actors.teacher.wants import EAT_COW, options
from actors.teacher.words import rationale

EXPLORE: Final = "explore"
_VALUE: Final = 2.0
_FULL_GAIN: Final = 40.0
"""Useful new cells for which exploring is worth its value; more are worth up to half as much
again."""
_NOTHING_LEFT: Final = 0.03
"""Share of that value when nothing is left to be found."""
_STICK: Final = 1.3
_FOUND_BY_LOOKING: Final = frozenset(
    {
        "collect_coal",
        "collect_iron",
        "collect_diamond",
        "collect_drink",
        "eat_cow",
        "defeat_skeleton",
        "defeat_zombie",
        "make_iron_pickaxe",
        "make_iron_sword",
    }
)
_RUT: Final = 4
_BAN_STEPS: Final = 50


class Pursuit:
    """The goal being pursued, and the goals that have proved vain."""

    def __init__(self, seed: int) -> None:
        self._goal: Goal | None = None
        self._bias = np.random.default_rng(seed).uniform(0.93, 1.07, 4).astype(np.float32)
        self._recent: deque[object] = deque(maxlen=16)
        self._banned: dict[tuple[str, int], int] = {}

    def pursue(self, situation: Situation) -> Decision | None:
        """The next actions towards the best goal; none if there is no goal in reach."""
        memory = situation.memory
        goals = options(situation) + garden_goals(situation) + self._lookouts(situation)
        goals = [g for g in goals if self._banned.get((g.kind, g.target), 0) <= memory.step]
        self._goal = goal = choose(goals, self._goal, memory, situation.reach)
        if goal is None:
            return None
        self._leave_ruts(situation, goal)
        script = situation.script()
        if goal.stand != memory.here:
            script.follow(situation.reach.route(goal.stand))
        _work(script, goal, situation.inventory["drink"])
        actions = tuple(script.actions)
        if not actions and goal.kind == VISIT:
            actions = ("noop",) * situation.limit
        return Decision(actions, _why(situation, goal)) if actions else None

    def _leave_ruts(self, situation: Situation, goal: Goal) -> None:
        """Ban a goal for a while when pursuing it comes back to the same state again and again."""
        memory = situation.memory
        held = tuple(
            number
            for item, number in situation.inventory.items()
            if item not in ("health", "food", "energy")
        )
        state = (memory.here, memory.facing, held, goal.kind, goal.target)
        self._recent.append(state)
        if self._recent.count(state) >= _RUT and goal.kind != VISIT:
            self._recent.clear()
            self._banned[goal.kind, goal.target] = memory.step + _BAN_STEPS

    def _lookouts(self, situation: Situation) -> list[Goal]:
        """The best place to see something new from; the one on the way to, if as good."""
        view = situation.observation.view
        costs = situation.reach.cost
        gain = gains(situation.memory, _interest(situation), (len(view[0]), len(view)))
        found = best_lookout(situation.memory, situation.reach, gain, self._bias)
        if found is None:
            return []
        value = _VALUE if _something_left(situation) else _VALUE * _NOTHING_LEFT
        cell, cost, worth = found.cell, found.cost, found.gain
        goal = self._goal
        if goal is not None and goal.kind == EXPLORE and goal.target in costs:
            before = gain_at(gain, goal.target)
            price = costs[goal.target]
            if before * (cost + 4 * UNIT) * _STICK > worth * (price + 4 * UNIT):
                cell, cost, worth = goal.target, price, before
        return [Goal(EXPLORE, cell, cell, cost, value * min(1.5, worth / _FULL_GAIN))]


def _work(script: Script, goal: Goal, drink: int) -> None:
    if script.stopped or script.cell != goal.stand:
        return
    if goal.place:
        if (script.cell + script.facing) % NUM_CELLS != goal.target:
            dx, dy = offset(goal.stand, goal.target)
            script.go(dx // 2 + dy // 2 * SIDE)
        script.add(goal.place)
    elif goal.kind not in (EXPLORE, "make tools", VISIT):
        script.face(step_between(goal.stand, goal.target))
        script.add("do")
        for _ in range(8 - drink if goal.kind == "drink" else 0):
            script.add("do")


def _something_left(situation: Situation) -> bool:
    inventory = situation.inventory
    needy = min(inventory["food"], inventory["drink"]) <= 4
    return needy or not situation.unlocked >= _FOUND_BY_LOOKING


def _interest(situation: Situation) -> Interest:
    inventory, unlocked = situation.inventory, situation.unlocked
    short_of_wood = inventory["wood"] < needs(inventory, unlocked).wood_now
    return Interest(
        mountain=1.0 if inventory["wood_pickaxe"] else 0.4,
        trees=1.0 if short_of_wood else 0.1,
        water=1.0 if inventory["drink"] <= 4 else 0.3 if "collect_drink" not in unlocked else 0.0,
        grass=1.0 if inventory["food"] <= 4 else 0.2 if "eat_cow" not in unlocked else 0.0,
    )


def _sought(situation: Situation) -> str:
    """What exploring is for, in a word."""
    inventory, unlocked = situation.inventory, situation.unlocked
    need = needs(inventory, unlocked)
    wishes = (
        (inventory["drink"] <= 4, "water"),
        (inventory["food"] <= 4, "cows"),
        (inventory["wood"] < need.wood_now, "trees"),
        (inventory["stone"] < need.stone_now, "stone"),
        (inventory["coal"] < need.coal, "coal"),
        (inventory["iron"] < need.iron, "iron"),
        ("collect_diamond" not in unlocked, "diamonds"),
        ("defeat_skeleton" not in unlocked, "skeletons"),
    )
    return next((name for wanted, name in wishes if wanted), "anything new")


def _why(situation: Situation, goal: Goal) -> str:
    memory = situation.memory
    if goal.kind == EXPLORE:
        return rationale(memory, f"look for {_sought(situation)}", goal.target, "lookout")
    name = memory.creatures.get(goal.target) or NAME[memory.tile(goal.target)]
    if goal.kind == EAT_COW and name != "cow":
        name = "cow last seen"
    return rationale(memory, goal.kind, goal.target, name)
