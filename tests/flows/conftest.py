"""Where whole systems of tests live."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder outside pytest's own: under root, Postgres runs as a system user, which pytest shuts out of those."""
    with tempfile.TemporaryDirectory(prefix="muniment-test-", ignore_cleanup_errors=True) as folder:
        yield Path(folder).resolve()
