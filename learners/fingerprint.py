"""What a run was begun with, in short: it must still be the same when it is continued."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from cluster.errors import RunError, UserError
from cluster.run_folder import write_atomically

_FILE: Final = "inputs.json"
_EDGE_BYTES: Final = 2**20
_MODEL_FILES: Final = ("*.json", "*.safetensors", "*.jinja")


def fingerprint(paths: list[Path]) -> str:
    """Of files' names and contents; of large ones their size and both ends will do."""
    whole = hashlib.sha256()
    for path in sorted(paths):
        size = path.stat().st_size
        whole.update(f"{path.name}\0{size}\0".encode())
        with path.open("rb") as file:
            whole.update(file.read(_EDGE_BYTES))
            file.seek(max(size - _EDGE_BYTES, 0))
            whole.update(file.read(_EDGE_BYTES))
    return whole.hexdigest()


def model_fingerprint(model: str) -> str:
    """Of a model's folder; a hub's name stands for itself."""
    folder = Path(model)
    if not folder.is_dir():
        return model
    return fingerprint([path for pattern in _MODEL_FILES for path in folder.glob(pattern)])


def policy_inputs(model: str, adapter: str | None) -> dict[str, str]:
    """What `check_inputs` is given of a model, as it was located, and of an adapter's folder."""
    inputs = {"model": model_fingerprint(model)}
    if adapter is not None:
        inputs["adapter"] = fingerprint(list(Path(adapter).glob("adapter_*")))
    return inputs


def check_inputs(folder: Path, inputs: Mapping[str, str], has_begun: bool) -> None:
    """Keep the inputs' fingerprints with a run that begins; hold one under way to its own.

    Args:
        folder: the run's.
        inputs: setting's name -> fingerprint of what it names.
        has_begun: the run has a checkpoint, or play.

    Raises:
        UserError: an input is not what the run began with.
        RunError: the fingerprints can't be written.
    """
    path = folder / _FILE
    if has_begun and path.exists():
        began = json.loads(path.read_text(encoding="utf-8"))
        changed = [name for name in sorted(inputs) if inputs[name] != began.get(name)]
        if changed:
            raise UserError(
                f"{folder} was begun with another content of {' and '.join(changed)}: give another "
                "output, or what it was"
            )
    try:
        write_atomically(path, json.dumps(dict(inputs), indent=2) + "\n")
    except OSError as error:
        raise RunError(f"can't write {path}: {error.strerror}") from None
