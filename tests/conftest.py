"""What all tests share: reproducible hypothesis, named graphs, the folder of real data."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from tests.graphs import CONNECTED, NAMED

if TYPE_CHECKING:
    from geoquant import Graph

settings.register_profile(
    "geoquant",
    derandomize=True,
    max_examples=60,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("geoquant")


@pytest.fixture(params=NAMED)
def named_graph(request: pytest.FixtureRequest) -> Graph:
    """Every tiny graph in turn."""
    return NAMED[request.param]


@pytest.fixture(params=CONNECTED)
def connected_graph(request: pytest.FixtureRequest) -> Graph:
    """Every tiny connected graph in turn."""
    return CONNECTED[request.param]


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Folder of real latents, named by the environment variable GEOQUANT_DATA."""
    folder = os.environ.get("GEOQUANT_DATA")
    if folder is None:
        pytest.skip("GEOQUANT_DATA is not set")
    return Path(folder)
