"""Turn runs' traces into examples for supervised fine-tuning.

    python -m jobs.export --format sft configs/cpu/export.toml
    python -m jobs.export --format sft --inputs runs/teacher --output runs/data --history_drop 0.3

Writes train and val as .parquet (the learner's own input) and as .jsonl (OpenAI's chat format), and
stats.json: what each rule kept and removed. Traces that can't be read or replayed are named, the
rest is exported, and the exit status is 1.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from cluster.types import Trajectory
    from configs.curation import ExportConfig
    from jobs.relabel import Relabeller
    from learners.curation.curate import Plan
    from learners.curation.rows import RowMaker
    from learners.sft_row import SftRow, SftSettings


def main() -> int:
    from configs.curation import ExportConfig
    from configs.load import load_or_help

    return int(not export_sft(load_or_help(ExportConfig, __doc__ or "")))


def export_sft(config: "ExportConfig") -> bool:
    """Write the dataset, and say what each rule did; false if traces had to be left out.

    Raises:
        UserError: bad input, or no example is left.
    """
    from pathlib import Path

    from cluster.errors import UserError

    inputs = _inputs(config)
    student = _student(config)
    output = Path(config.output)
    try:
        output.mkdir(parents=True, exist_ok=True)
        return _export(config, inputs, student, output)
    except OSError as error:
        raise UserError(f"can't write to output {output}: {error.strerror or error}") from error


def _inputs(config: "ExportConfig") -> "dict[str, Path]":
    """Traces by the name that their episodes get in the dataset."""
    import os
    from pathlib import Path

    from cluster.errors import UserError
    from jobs.export import players

    found: dict[str, Path] = {}
    for given in config.inputs:
        for traces in players(Path(given)).values():
            name = os.path.normpath(traces.parent)
            if any(traces.samefile(other) for other in found.values()):
                raise UserError(f"inputs name {name} twice")
            found[name] = traces
    return found


def _student(config: "ExportConfig") -> "SftSettings":
    from actors.model_files import frame_size, reads_pictures
    from cluster.errors import UserError
    from learners.sft_row import SftSettings

    model, prompt = config.student.model, config.student.prompt
    sees = reads_pictures(model) if prompt.use_vision == "auto" else prompt.use_vision
    if prompt.image_only and not sees:
        raise UserError(f"model {model} reads no pictures: set student.prompt.image_only false")
    size = frame_size(model) if config.student.size == "auto" else config.student.size
    return SftSettings(model=model, prompt=prompt, frame_size=size if sees else None)


def _export(
    config: "ExportConfig", inputs: "dict[str, Path]", student: "SftSettings", output: "Path"
) -> bool:
    from cluster.errors import TraceError
    from jobs.export import Refusals
    from learners.curation.curate import Curation
    from learners.curation.spool import Spool

    tokens = _Tokens(student.model)
    refusals = Refusals()
    with Spool(output) as spool, _relabeller(config, student) as relabeller:
        maker = _row_maker(config, student, tokens, relabeller)
        curation = Curation(config, maker, spool.add)
        episodes = _episodes(inputs, refusals)
        for episode, trajectory in relabeller.ahead(episodes) if relabeller else episodes:
            try:
                curation.add(trajectory, episode)
            except TraceError as error:
                refusals.refuse(error)
        plan = curation.plan()
        _write(config, student, output, plan, spool.read(), tokens)
    return not refusals.told


def _episodes(inputs: "dict[str, Path]", refusals: Any) -> "Iterator[tuple[str, Trajectory]]":
    from cluster.errors import UserError
    from cluster.traces import read_summaries, read_trajectories

    for name, traces in inputs.items():
        scan = read_summaries(traces)
        if not scan.summaries and not scan.refused:
            raise UserError(f"{traces} holds no finished episode yet")
        for trajectory in read_trajectories(traces, on_refused=refusals.refuse):
            yield f"{name}/{trajectory.spec.id}", trajectory


def _relabeller(
    config: "ExportConfig", student: "SftSettings"
) -> "AbstractContextManager[Relabeller | None]":
    from contextlib import nullcontext

    if config.relabel is None:
        return nullcontext()
    from jobs.relabel import Relabeller

    return Relabeller(student.prompt.max_actions)


def _row_maker(
    config: "ExportConfig",
    student: "SftSettings",
    tokens: "_Tokens",
    relabeller: "Relabeller | None",
) -> "RowMaker":
    from actors.replay import redraw
    from learners.curation.render import Renderer
    from learners.curation.rows import RowMaker

    return RowMaker(
        renderer=Renderer(student, redraw, config.history_drop, config.seed),
        rules=config.rows,
        count_tokens=tokens.count,
        relabel=None if relabeller is None else relabeller.answers,
    )


class _Tokens:
    """The student's tokens; its tokenizer is loaded when first asked, most exports never do."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._language: Any = None

    def count(self, row: "SftRow") -> int:
        """Of a row's prompt and answer."""
        prompt = self._load().prompt_ids(row.system, row.text, row.images, row.max_actions)
        return len(prompt) + len(row.token_ids or self.of_answer(row.completion))

    def of_answer(self, text: str) -> list[int]:
        ids: list[int] = self._load().completion_ids(text)
        return ids

    def _load(self) -> Any:
        if self._language is None:
            from actors.model_files import locate
            from cluster.errors import UserError
            from learners.language import Language

            try:
                self._language = Language(locate(self._model))
            except (OSError, ValueError) as error:
                reason = str(error).splitlines()[0]
                raise UserError(f"model {self._model} has no tokenizer here: {reason}") from None
        return self._language


def _write(
    config: "ExportConfig",
    student: "SftSettings",
    output: "Path",
    plan: "Plan",
    rows: Any,
    tokens: _Tokens,
) -> None:
    """All files take their places together, once the last of them is whole."""
    import json
    from contextlib import ExitStack

    from cluster.files import replacing
    from learners.curation.report import report, statistics
    from learners.curation.write import write_side

    orders = {"train": plan.train, "val": plan.val}
    written = {name: order for name, order in orders.items() if order}
    sides = {}
    with ExitStack() as places:
        stats = places.enter_context(replacing(output / "stats.json"))
        for name, order in written.items():
            files = [output / f"{name}.{kind}" for kind in ("parquet", "jsonl")]
            parquet, jsonl = (places.enter_context(replacing(path)) for path in files)
            sides[name] = write_side(rows, order, (parquet, jsonl), student, tokens.of_answer)
        stats.write_text(json.dumps(statistics(config, plan, sides), indent=2) + "\n")
    for name in orders.keys() - written.keys():
        for kind in ("parquet", "jsonl"):
            (output / f"{name}.{kind}").unlink(missing_ok=True)
    for line in report(output, plan, sides):
        print(line)
