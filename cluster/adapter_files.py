"""An adapter's folder as it crosses process boundaries. Pure."""

import hashlib
from collections.abc import Mapping


def digest(files: Mapping[str, bytes]) -> str:
    """SHA-256 over names and contents: equal adapters have equal digests on every machine."""
    whole = hashlib.sha256()
    for name in sorted(files):
        whole.update(f"{name}\0{len(files[name])}\0".encode())
        whole.update(files[name])
    return whole.hexdigest()
