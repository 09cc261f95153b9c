"""The embedded teacher: plays Crafter by rules, from its views and its memory of them alone."""

from typing import Final

from actors.teacher import build, combat
from actors.teacher.memory import MOVES, Memory
from actors.teacher.paths import UNIT, lava_rims, step_costs, survey
from actors.teacher.pursuit import Pursuit
from actors.teacher.rest import Rest
from actors.teacher.situation import Decision, Situation
from actors.teacher.words import rationale
from cluster.types import Observation

_HORIZON: Final = 70 * UNIT
_FAR_HORIZON: Final = 4 * _HORIZON
_FULL_ENERGY: Final = 9


class Teacher:
    """One player of one episode.

    It knows the game's rules and how its worlds are made, but of this world only what its views
    have shown. It may be cut short anywhere in a list: every decision starts from what is seen.

    Args:
        max_actions: most actions in one decision.
        seed: of its taste in directions; nothing else about it is random.
    """

    def __init__(self, max_actions: int, seed: int) -> None:
        self._max_actions = max_actions
        self._memory = Memory()
        self._rest = Rest(max_actions)
        self._pursuit = Pursuit(seed)

    def decide(self, observation: Observation) -> Decision:
        """The next list of actions, of 1 to `max_actions`, and why."""
        self._memory.update(observation)
        energy = observation.inventory["energy"]
        # With energy full, the next step wakes the player first and then carries out its action.
        if observation.sleeping and energy < _FULL_ENERGY:
            return self._rest.sleep_on(self._memory, energy)
        situation = self._situation(observation, _HORIZON)
        for rule in (
            combat.strike,
            combat.fence_off,
            build.make_tools,
            build.place_first_stone,
            build.place_plant,
            build.place_table,
            build.place_furnace,
            self._rest.shelter,
            self._rest.nap,
            build.pick_sapling,
            self._pursuit.pursue,
        ):
            decision = rule(situation)
            if decision is not None:
                return decision
        far = self._situation(observation, _FAR_HORIZON)
        return self._pursuit.pursue(far) or self._look_around(far)

    def _situation(self, observation: Observation, horizon: int) -> Situation:
        memory = self._memory
        costs = step_costs(observation.inventory, observation.daylight)
        extra = lava_rims(memory)
        for cell, cost in combat.danger(memory).items():
            extra[cell] = extra.get(cell, 0) + cost
        return Situation(
            memory=memory,
            observation=observation,
            unlocked=frozenset(observation.achievements),
            reach=survey(memory, costs, extra, horizon),
            limit=min(combat.caution(memory), self._max_actions),
        )

    def _look_around(self, situation: Situation) -> Decision:
        memory = self._memory
        for step, cell in situation.neighbours():
            if memory.is_open(cell):
                return Decision((MOVES[step],), rationale(memory, "look around"))
        return Decision(("noop",), rationale(memory, "wait"))
