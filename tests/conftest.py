"""What several test files start from."""

from collections.abc import Iterator

import pytest

from tests.faulty_server import FaultyServer
from tests.rl_runs import Ended, undisturbed


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    with FaultyServer() as running:
        yield running


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Torch on one thread while a module's tests run."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def undisturbed_rl(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    return undisturbed(tmp_path_factory.mktemp("undisturbed"))
