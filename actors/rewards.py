"""What the steps of an episode earn, by the strategy of `play.reward`."""

from collections import Counter
from collections.abc import Iterable

from actors.game import Step
from configs.rewards import RewardConfig


class Rewards:
    """One episode's rewards: is shown every step once, in the order of play."""

    def __init__(self, config: RewardConfig) -> None:
        self._config = config
        self._counted: Counter[str] = Counter()
        self._is_paid = False

    def of(self, step: Step, index: int) -> float:
        """What `step` earns, the step at place `index` of its decision: 0 begins another one."""
        config = self._config
        match config.strategy:
            case "crafter":
                return step.reward
            case "achievements":
                return (
                    self._worth(step.unlocked)
                    + config.health_weight * step.health_change
                    + self._gain(step)
                    + config.idle_penalty * step.idle
                )
            case "consistent":
                return config.scale if self._is_first_unlock(step, index) else 0.0
            case "per_achievement":
                return config.scale * (self._worth(self._counting(step)) + self._gain(step))

    def _worth(self, achievements: Iterable[str]) -> float:
        weights = self._config.achievement_weights
        return sum((weights.get(name, 1.0) for name in achievements), 0.0)

    def _is_first_unlock(self, step: Step, index: int) -> bool:
        """Whether no step of this decision has unlocked anything before, and this one does."""
        was_paid = self._is_paid and index > 0
        self._is_paid = was_paid or bool(step.unlocked)
        return self._is_paid and not was_paid

    def _counting(self, step: Step) -> list[str]:
        """The achievements of this step that have not yet counted as often as they may."""
        self._counted.update(step.earned)
        limits = self._config.repeats
        return [
            name
            for name in step.earned
            if (limit := limits.get(name, 1)) == 0 or self._counted[name] <= limit
        ]

    def _gain(self, step: Step) -> float:
        weights = self._config.item_weights
        return sum((weights.get(name, 0.0) * more for name, more in step.gained.items()), 0.0)
