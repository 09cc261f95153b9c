"""Our fine-tuning step against the loop that one would write with transformers and PEFT alone.

Both train the same adapter (rank 16 on every linear layer of the language model, tower frozen,
AdamW, one thread) on the same played decisions, 32 a step: the teacher's, each a picture, the last
actions and one call. A step begins with words and PNG and ends with new weights. The bare loop is a
careful one: the processor on the whole batch, padding masked out, labels on the answer alone.
Steps alternate, each side on weights of its own; both must have the same loss before and after.
A figure is the median of the repeats; `<row>_iqr` is the distance between their quartiles.
"""

import asyncio
import copy
import io
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from jobs.benchmarks import median_of

ROWS: Final = {
    "speedup": "samples a second, ours over the bare loop",
    "cpu_ratio": "CPU seconds a trained token, ours over the bare loop",
    "samples_per_s": "of ours",
}

_MODEL: Final = "configs/models/tiny"
_SEEDS: Final = range(4)
_TURNS: Final = 120
_BATCH: Final = 32
_REPEATS: Final = 12
_MAX_GRAD_NORM: Final = 1.0
_SAME_BEFORE: Final = 1e-4
_SAME_AFTER: Final = 1e-2
"""Rounding grows from step to step; work that differs differs by more."""


class Row(NamedTuple):
    """One decision, as the player was asked, and the answer to learn."""

    system: str
    text: str
    images: tuple[bytes, ...]
    completion: str


def run() -> dict[str, float]:
    """The figures of `ROWS`, each with its `_iqr`.

    Raises:
        ValueError: the two sides do not do the same work.
    """
    import numpy as np
    import torch

    torch.set_num_threads(1)
    rows, model, rng = _play(), _adapted(), np.random.default_rng(0)
    ours, bare = _Ours(copy.deepcopy(model)), _Bare(model)
    batches = [
        [rows[index] for index in rng.choice(len(rows), _BATCH, replace=False)]
        for _ in range(_REPEATS + 1)
    ]
    _check_same(ours.loss(batches[0]), bare.loss(batches[0]), _SAME_BEFORE)
    times = [(*_time(ours.step, batch), *_time(bare.step, batch)) for batch in batches]
    _check_same(ours.loss(batches[0]), bare.loss(batches[0]), _SAME_AFTER)
    our_s, our_cpu_s, bare_s, bare_cpu_s = np.array(times[1:]).T  # the first warms up
    return {
        **median_of("speedup", bare_s / our_s),
        **median_of("cpu_ratio", our_cpu_s / bare_cpu_s),
        **median_of("samples_per_s", _BATCH / our_s),
    }


def _check_same(ours: float, bare: float, tolerance: float) -> None:
    if not abs(ours - bare) <= tolerance:
        raise ValueError(f"loss {ours} of ours and {bare} of the bare loop: not the same work")


def _time(step: Callable[[Sequence[Row]], None], rows: Sequence[Row]) -> tuple[float, float]:
    """Seconds and CPU seconds of one step."""
    clock, cpu_clock = time.perf_counter(), time.process_time()
    step(rows)
    return time.perf_counter() - clock, time.process_time() - cpu_clock


def _play() -> list[Row]:
    """Decisions of the teacher in a few worlds, each a single action."""
    from actors.episode import Table, play
    from actors.game import Game
    from actors.policies.scripted import ScriptedPolicy
    from cluster.types import EpisodeSpec
    from configs.play import EnvConfig, PlayConfig, PromptConfig
    from configs.player import ScriptedPlayer

    table = Table(
        player="teacher",
        model="scripted",
        provider="pickaxe",
        prompt=PromptConfig(image_only=True, max_actions=1),
        play=PlayConfig(max_turns=_TURNS),
        sees_pictures=True,
        frame_size=72,
        env={},
    )
    rows: list[Row] = []
    for spec in (EpisodeSpec(seed=seed) for seed in _SEEDS):
        teacher = ScriptedPolicy(ScriptedPlayer(kind="scripted"), 1, spec)
        played = asyncio.run(play(spec, lambda seed: Game(EnvConfig(), seed), teacher, table))
        rows += [
            Row(turn.system, turn.text, (turn.frame,), turn.completion.text)
            for turn in played.turns
            if turn.frame is not None
        ]
    return rows


def _adapted() -> Any:
    import transformers

    from configs.learning import LoraConfig
    from learners.lora import add_lora

    auto: Any = transformers.AutoModelForImageTextToText
    return add_lora(auto.from_pretrained(_MODEL), LoraConfig(), 0, _MODEL).train()


class _Ours:
    """The learner's own parts."""

    def __init__(self, model: Any) -> None:
        from configs.learning import OptimConfig
        from learners.language import Language
        from learners.optimizer import build_optimizer

        self._model, self._language = model, Language(_MODEL)
        self._optimizer = build_optimizer(model, OptimConfig())

    def loss(self, rows: Sequence[Row]) -> float:
        """Mean over the labels."""
        from learners.step import measure

        return measure(self._model, [self._batch(rows)]).loss

    def step(self, rows: Sequence[Row]) -> None:
        from learners.step import take_step

        take_step(self._model, self._optimizer, [self._batch(rows)], _MAX_GRAD_NORM)

    def _batch(self, rows: Sequence[Row]) -> Any:
        from learners.batch import collate
        from learners.example import answered

        language = self._language
        examples = [
            answered(
                language.prompt_ids(row.system, row.text, row.images, 1),
                language.completion_ids(row.completion),
                row.images,
            )
            for row in rows
        ]
        return collate(examples, language, int(self._model.config.vision_config.spatial_merge_size))


class _Bare:
    """transformers and PEFT, by their manuals."""

    def __init__(self, model: Any) -> None:
        import torch
        import transformers

        from configs.learning import OptimConfig

        auto: Any = transformers.AutoProcessor
        self._model, self._processor, optim = model, auto.from_pretrained(_MODEL), OptimConfig()
        self._trained = [weight for weight in model.parameters() if weight.requires_grad]
        self._optimizer = torch.optim.AdamW(
            self._trained,
            lr=optim.learning_rate,
            betas=(0.9, optim.beta2),
            weight_decay=optim.weight_decay,
        )

    def loss(self, rows: Sequence[Row]) -> float:
        """Mean over the labels."""
        import torch

        with torch.no_grad():
            return float(self._model(**self._inputs(rows)).loss)

    def step(self, rows: Sequence[Row]) -> None:
        import torch

        self._optimizer.zero_grad()
        self._model(**self._inputs(rows)).loss.backward()
        torch.nn.utils.clip_grad_norm_(self._trained, _MAX_GRAD_NORM)
        self._optimizer.step()

    def _inputs(self, rows: Sequence[Row]) -> dict[str, Any]:
        import torch
        from PIL import Image

        answers = [row.completion + self._processor.tokenizer.eos_token for row in rows]
        images = [png for row in rows for png in row.images]
        inputs = self._processor(
            text=[self._prompt(row) + answer for row, answer in zip(rows, answers, strict=True)],
            images=[Image.open(io.BytesIO(png)).convert("RGB") for png in images],
            padding=True,
            return_tensors="pt",
        )
        ids, labels = inputs["input_ids"], torch.full_like(inputs["input_ids"], -100)
        ends = inputs["attention_mask"].sum(1).tolist()
        lengths = [len(answer) for answer in self._processor.tokenizer(answers)["input_ids"]]
        for row, (end, length) in enumerate(zip(ends, lengths, strict=True)):
            labels[row, end - length : end] = ids[row, end - length : end]
        return {**inputs, "labels": labels}

    def _prompt(self, row: Row) -> str:
        from actors.prompt import chat_messages
        from actors.tool import tool_schema

        prompt: str = self._processor.apply_chat_template(
            chat_messages(row.system, row.text, len(row.images)),
            tools=[tool_schema(1)],
            add_generation_prompt=True,
            tokenize=False,
        )
        return prompt
