"""A run's folder: whose it is, what configuration it holds, and that one process writes it."""

from pathlib import Path
from typing import IO, Any

from cluster.errors import RunError, UserError
from cluster.files import replacing, wait_for_lock
from configs.jobs import PlayedRun
from configs.learning import PretrainConfig
from configs.load import dump, read_toml
from configs.sft import SftConfig

_LOCK = ".lock"
_CONFIG = "config.toml"
_ELSEWHERE = {"cluster", "learner", "output"}
"""Sections that say where a run happens, not what it is: they may change when it is continued."""
_PRECIOUS = ("*.parquet", "state.pt")
"""What a run leaves that is worth defending: play, and training."""

AnyRun = PlayedRun | PretrainConfig | SftConfig


class RunFolder:
    """Opens or continues a run; use as a context manager."""

    def __init__(self, config: AnyRun) -> None:
        self.path = Path(config.output).absolute()
        self._config = config
        self._lock: IO[str] | None = None

    def __enter__(self) -> "RunFolder":
        """Take the folder.

        Raises:
            UserError: it can't be written, another process is at it, or it holds another run.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._refuse_foreign()
            self._lock = wait_for_lock(self.path / _LOCK, timeout_s=0)
        except TimeoutError:
            raise UserError(f"another process is writing to {self.path}") from None
        except OSError as error:
            raise UserError(f"can't write to output {self.path}: {error.strerror}") from None
        try:
            self._configure()
        except BaseException:
            self._lock.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            self._lock.close()

    def _refuse_foreign(self) -> None:
        names = {entry.name for entry in self.path.iterdir() if not entry.name.startswith(".")}
        if names and _CONFIG not in names:
            raise UserError(f"{self.path} is not empty and holds no run: give another output")

    def _configure(self) -> None:
        path = self.path / _CONFIG
        # A refused start leaves its configuration behind, and nothing else.
        if path.exists() and self._is_worth_defending():
            key = first_difference(_identity(read_toml(path)), _identity(_as_dict(self._config)))
            if key:
                raise UserError(
                    f"{self.path} holds a run with another configuration ({key} differs): "
                    "give another output, or the same settings to continue it"
                )
        write_atomically(path, dump(self._config))

    def _is_worth_defending(self) -> bool:
        return any(next(self.path.rglob(pattern), None) for pattern in _PRECIOUS)

    def write_text(self, name: str, text: str) -> Path:
        """Put a file into the folder, whole or not at all.

        Raises:
            RunError: it can't be written.
        """
        path = self.path / name
        try:
            write_atomically(path, text)
        except OSError as error:
            raise RunError(f"can't write {path}: {error.strerror}") from None
        return path


def write_atomically(path: Path, text: str) -> None:
    """A reader sees the old text or the new."""
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8")


def first_difference(left: Any, right: Any, name: str = "") -> str:
    """Dotted name of the first setting in which two configurations differ; '' if none does."""
    if isinstance(left, dict) and isinstance(right, dict):
        for key in sorted(left.keys() | right.keys()):
            inner = f"{name}.{key}" if name else key
            if key not in left or key not in right:
                return inner
            found = first_difference(left[key], right[key], inner)
            if found:
                return found
        return ""
    return "" if left == right else name


def _as_dict(config: AnyRun) -> dict[str, Any]:
    data: dict[str, Any] = config.model_dump(mode="json")
    return data


def _identity(data: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if key not in _ELSEWHERE}
