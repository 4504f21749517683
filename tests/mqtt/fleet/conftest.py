"""One real Prometheus for all tests of the cloud side: each uses device names of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.mqtt.fleet.services import RealPrometheus, prometheus


@pytest.fixture(scope="session")
def real_prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealPrometheus]:
    with prometheus(tmp_path_factory.mktemp("prometheus")) as real:
        yield real
