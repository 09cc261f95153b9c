"""When to rest: an early nap for `wake_up`; nights and wounds slept off in a shelter."""

from typing import Final

from actors.teacher import combat, shelter
from actors.teacher.memory import Memory
from actors.teacher.situation import Decision, Situation
from actors.teacher.words import rationale

_FULL: Final = 9
_SLEEP_STEPS: Final = 11
"""Environment steps of sleep that give back one energy."""
_NAP_FROM: Final = 48
"""Energy first falls at step 31 and a nap takes the same time until step 62; meanwhile the
zombies that a world starts with vanish."""
_LONGEST_NAP: Final = 40
_NAP_LIGHT: Final = 0.7
_QUIET_STEPS: Final = 6
_SEARCH_AGAIN: Final = 20
_WORTH_RESTING: Final = 40
_WORTH_A_NIGHT: Final = 150


class Rest:
    """The rules of rest, with the shelter being made."""

    def __init__(self, max_actions: int) -> None:
        self._max_actions = max_actions
        self._pocket: shelter.Pocket | None = None

    def sleep_on(self, memory: Memory, energy: int) -> Decision:
        """While asleep: sleep on, but not past waking; when hurt, be ready to act."""
        if memory.hurt_step == memory.step:
            return Decision(("noop",), rationale(memory, "wake up, something hurts"))
        left = _SLEEP_STEPS * (_FULL - energy) - (memory.step - memory.rest_step)
        count = min(max(left, 1), self._max_actions)
        return Decision(("sleep",) * count, rationale(memory, "sleep on until rested"))

    def shelter(self, situation: Situation) -> Decision | None:
        """Get into a shelter when tired, at night or badly hurt, and stay until well."""
        memory = situation.memory
        tired = _needs_rest(situation)
        if shelter.enclosed(memory):
            if tired or (self._pocket is not None and _could_rest(situation)):
                return self._rest(situation)
            self._pocket = None
            return None
        if not tired:
            self._pocket = None
            return None
        if self._pocket is None or memory.step % _SEARCH_AGAIN == 0:
            self._pocket = shelter.find_pocket(situation)
        decision = shelter.enter(situation, self._pocket) if self._pocket else None
        if decision is None:
            self._pocket = None
        return decision

    def nap(self, situation: Situation) -> Decision | None:
        """Sleep off the first lost energy by day, where no enemy is about."""
        memory = situation.memory
        lost = _FULL - situation.inventory["energy"]
        if "wake_up" in situation.unlocked or not lost or memory.step < _NAP_FROM:
            return None
        quiet = memory.step - memory.last_zombie_step > _QUIET_STEPS
        safe = quiet and not combat.enemies(memory)
        light = situation.observation.daylight > _NAP_LIGHT
        short = _SLEEP_STEPS * lost + 2 <= min(situation.remaining, _LONGEST_NAP)
        if short and ((safe and light) or shelter.enclosed(memory)):
            actions = ("sleep",) * self._max_actions
            return Decision(actions, rationale(memory, "nap, to wake up rested"))
        return None

    def _rest(self, situation: Situation) -> Decision:
        if situation.inventory["energy"] < _FULL:
            actions = ("sleep",) * self._max_actions
            return Decision(actions, rationale(situation.memory, "sleep in the shelter"))
        actions = ("noop",) * situation.limit
        return Decision(actions, rationale(situation.memory, "heal in the shelter"))


def _fed(situation: Situation) -> bool:
    inventory = situation.inventory
    enough = min(inventory["food"], inventory["drink"]) > 1
    return enough and situation.remaining >= _WORTH_RESTING


def _needs_rest(situation: Situation) -> bool:
    inventory = situation.inventory
    night = situation.dark and situation.remaining > _WORTH_A_NIGHT
    return _fed(situation) and (
        inventory["energy"] <= (5 if night else 2)
        or inventory["health"] < (5 if situation.dark else 4)
    )


def _could_rest(situation: Situation) -> bool:
    inventory = situation.inventory
    return _fed(situation) and (inventory["energy"] < _FULL or inventory["health"] < 7)
