"""Which worlds: a number, a list, or a text such as "0-9,42" (both ends included)."""

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field


def _expand(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return (value,)
    if not isinstance(value, str):
        return value
    seeds: list[int] = []
    for part in filter(None, (part.strip() for part in value.split(","))):
        first, dash, last = part.partition("-")
        try:
            low, high = int(first), int(last if dash else first)
        except ValueError:
            raise ValueError(f"{part!r} is neither a number nor a-b") from None
        if low > high:
            raise ValueError(f"{part!r} runs backwards")
        seeds.extend(range(low, high + 1))
    return tuple(seeds)


def _distinct(seeds: tuple[int, ...]) -> tuple[int, ...]:
    if not seeds:
        raise ValueError('the seed list is empty: give at least one, such as "0-9"')
    if len(set(seeds)) < len(seeds):
        repeated = next(seed for seed in seeds if seeds.count(seed) > 1)
        raise ValueError(f"seed {repeated} is listed twice: use samples to play a world again")
    return seeds


Seeds = Annotated[
    tuple[Annotated[int, Field(ge=0, lt=2**31)], ...],
    BeforeValidator(_expand),
    AfterValidator(_distinct),
]
