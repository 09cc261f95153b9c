"""Where a run keeps its adapter versions: a replica that starts late fetches what it lacks."""

from collections.abc import Mapping

from cluster.errors import RunError


class PolicyStore:
    """An actor. A version is published once and never changes."""

    def __init__(self) -> None:
        self._versions: dict[int, Mapping[str, bytes]] = {}

    def publish(self, version: int, files: Mapping[str, bytes]) -> None:
        """Keep an adapter's folder, file name -> content.

        Raises:
            RunError: the number was used before.
        """
        if version in self._versions:
            raise RunError(f"version {version} was published before: every adapter needs its own")
        self._versions[version] = dict(files)

    def files(self, version: int) -> Mapping[str, bytes] | None:
        """A version's files; None where it was never published."""
        return self._versions.get(version)
