"""The shared world, as it is and as a live deployment, and the log."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.web.shared import log, shared
from tests.world import World

__all__ = ["log", "shared"]


@pytest.fixture
def live(shared: World) -> Iterator[World]:
    """The shared world as a live deployment."""
    state = shared.app.state
    settings, issuing = state.settings, state.admission.issuing
    state.settings = settings.model_copy(update={"environment": "live"})
    state.admission.issuing = replace(issuing, environment="live")
    yield shared
    state.settings, state.admission.issuing = settings, issuing
