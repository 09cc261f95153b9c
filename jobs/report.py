"""The table people read after an evaluation."""

from collections.abc import Sequence
from typing import Any


def table(policies: Sequence[dict[str, Any]]) -> str:
    """One line for each policy; intervals are 95 % bootstrap intervals over worlds."""
    width = max(12, *(len(policy["name"]) + 2 for policy in policies))
    lines = [
        f"{'policy':<{width}}{'episodes':>9}{'achievements':>22}{'progress':>10}{'score':>22}"
        f"{'return':>8}{'decisions':>11}{'env steps':>11}{'bad calls':>11}"
    ]
    for policy in policies:
        low, high = policy["mean_achievements_ci"]
        score_low, score_high = policy["crafter_score_ci"]
        achievements = f"{policy['mean_achievements']:.2f} [{low:.2f}, {high:.2f}]"
        score = f"{policy['crafter_score']:.1f} [{score_low:.1f}, {score_high:.1f}]"
        lines.append(
            f"{policy['name']:<{width}}{policy['episodes']:>9}{achievements:>22}"
            f"{policy['progress']:>10.1%}{score:>22}{policy['mean_return']:>8.2f}"
            f"{policy['mean_steps']:>11.1f}{policy['mean_env_steps']:>11.1f}"
            f"{sum(policy['invalid_calls'].values()):>11}"
        )
    return "\n".join(lines)
