"""An adapter's files where vLLM can read them: it takes a folder alone."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_SHARED_MEMORY: Final = Path("/dev/shm")


@contextmanager
def adapter_folder(files: Mapping[str, bytes]) -> Iterator[str]:
    """A folder of a name never used before, gone on leaving.

    On tmpfs where that has room to spare, else where temporary files go.
    """
    num_bytes = sum(map(len, files.values()))
    has_room = _SHARED_MEMORY.is_dir() and shutil.disk_usage(_SHARED_MEMORY).free > 4 * num_bytes
    folder = Path(
        tempfile.mkdtemp(prefix="pickaxe-adapter-", dir=_SHARED_MEMORY if has_room else None)
    )
    try:
        for name, content in files.items():
            (folder / name).write_bytes(content)
        yield str(folder)
    finally:
        shutil.rmtree(folder)
