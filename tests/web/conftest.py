from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.web.services import KEY
from tests.web.box import Box, make_box


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    box = make_box(tmp_path)
    yield box
    box.app.extensions[KEY].switchboard.close()
