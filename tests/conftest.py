"""What several test files start from."""

from collections.abc import Iterator

import pytest

from tests.faulty_server import FaultyServer


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    with FaultyServer() as running:
        yield running
