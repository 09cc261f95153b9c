"""Whether a stored adapter may be what a training begins with."""

from pathlib import Path
from typing import Final

from actors.adapter import check_adapter, read_adapter
from cluster.errors import UserError
from configs.learning import LoraConfig
from configs.player import ServingLora
from learners.lora import check_same_lora

_PEFT_PREFIX: Final = "base_model.model."


def check_warm_start(folder: Path, lora: LoraConfig, names: tuple[str, ...]) -> None:
    """Hold an adapter to the settings.

    Args:
        folder: the adapter's.
        lora: what is going to be trained.
        names: full names of the layers that these settings mean.

    Raises:
        UserError: it is on other layers, or its matrices mean something else.
    """
    modules = check_adapter(read_adapter(folder), ServingLora(max_rank=lora.r, tower=lora.tower))
    check_same_lora(folder, lora)
    own = {name.removeprefix(_PEFT_PREFIX) for name in modules}
    different = sorted(own ^ set(names))
    if different:
        side = "has" if different[0] in own else "lacks"
        raise UserError(
            f"adapter {folder} is on {len(own)} layers, lora.targets and lora.tower ask for "
            f"{len(names)}; it {side} {different[0]}"
        )
