"""What the tests of writing share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.fork_server import ForkServer, fork_server


@pytest.fixture(scope="session")
def forks() -> Iterator[ForkServer]:
    """A process that forks for each import: one for all tests of a process."""
    with fork_server() as server:
        yield server
