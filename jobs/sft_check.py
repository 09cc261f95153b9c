"""What jobs.sft finds out before anything starts: everything fits together, or why not."""

from dataclasses import dataclass
from pathlib import Path

from actors.model_files import frame_size, locate, portable, reads_pictures
from cluster.errors import UserError
from configs.sft import SftConfig
from jobs.training import Start
from learners.checkpoints import CHECKPOINTS, Checkpoints
from learners.fingerprint import fingerprint
from learners.language import Language
from learners.learner import sft_recipe
from learners.lora import empty_model
from learners.memory import MemoryPlan, plan_memory
from learners.sft_data import SftDataset
from learners.sft_examples import (
    Extent,
    check_fit,
    find_data,
    measure_rows,
    open_data,
)
from learners.sft_progress import Progress
from learners.sft_worker import SftTask


@dataclass(frozen=True, slots=True)
class Prepared:
    """A run that can start."""

    task: SftTask
    num_steps: int
    memory: MemoryPlan


def prepare(config: SftConfig, folder: Path) -> Prepared:
    """Check model, adapter and data against each other and the settings.

    Args:
        config: as given.
        folder: the run's, taken.

    Raises:
        UserError: something does not fit; says what to give instead.
    """
    absolute = config.model_copy(
        update={
            "output": str(folder),
            "data": str(Path(config.data).absolute()),
            "adapter": config.adapter and str(Path(config.adapter).absolute()),
        }
    )
    reads_pictures(config.model)  # says it if there is no such model
    model = empty_model(locate(config.model))
    start = Start(config.model, absolute.adapter, config.lora)
    start.check(model)
    checkpoints = Checkpoints(folder / CHECKPOINTS, Progress)
    start.check_unchanged(checkpoints, folder, {"data": _data_fingerprint(Path(absolute.data))})
    train, val = _extents(absolute)
    longest = max(int(part.lengths_N.max()) for part in (train, val) if part is not None)
    _check_positions(model, longest)
    num_steps = config.steps_for(len(train.lengths_N))
    if config.optim.warmup_steps >= num_steps:
        raise UserError(
            f"optim.warmup_steps {config.optim.warmup_steps} leaves nothing of {num_steps} steps: "
            "lower it"
        )
    task = SftTask(
        config=absolute,
        model=portable(config.model),
        locate=locate,
        train_lengths_N=train.lengths_N,
        val_lengths_N=None if val is None else val.lengths_N,
    )
    memory = plan_memory(
        model, sft_recipe(config), config.cluster, longest, int(train.labels_N.max())
    )
    return Prepared(task, num_steps, memory)


def _data_fingerprint(data: Path) -> str:
    return fingerprint([path for name in ("train", "val") if (path := find_data(data, name))])


def _extents(config: SftConfig) -> tuple[Extent, Extent | None]:
    """What the rows take; None for validation that is not asked for."""
    data = Path(config.data)
    train = open_data(data, "train")
    _check_rendering(train, config.model)
    language = Language(locate(config.model))
    if config.evaluation.every_steps is None:
        return _extent(train, language, config), None
    if find_data(data, "val") is None:
        raise UserError(
            f"data {data} has no val.parquet or val.jsonl: export it with split.val_fraction, or "
            'set evaluation.every_steps none and checkpoint.final "last"'
        )
    val = open_data(data, "val")
    return _extent(train, language, config), _extent(val, language, config)


def _extent(rows: SftDataset, language: Language, config: SftConfig) -> Extent:
    extent = measure_rows(rows, language)
    check_fit(extent, config.max_sequence_length, config.max_images)
    return extent


def _check_rendering(rows: SftDataset, model: str) -> None:
    """Refuse pictures that were drawn for a model of another grid."""
    told = rows.settings
    if told is None or told.frame_size is None or portable(told.model) == portable(model):
        return
    size = frame_size(model)
    if told.frame_size != size:
        raise UserError(
            f"the data was made for {told.model}, with pictures of {told.frame_size} pixels; model "
            f"{model} takes a tile for a token at {size}: export it again with student.model "
            f"{model}"
        )


def _check_positions(model: object, longest: int) -> None:
    most = getattr(getattr(model, "config", None), "text_config", None)
    limit = getattr(most, "max_position_embeddings", longest)
    if longest > limit:
        raise UserError(f"examples of {longest} tokens are longer than the model's {limit}")
