"""The picture check on a tiny network that flags what is bright: the way is proven, not what a real checker finds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from appliance.engines.onnxruntime import OnnxRuntime
from appliance.errors import BadBundle, EngineFault
from appliance.pipeline.manifest import Bundle
from appliance.pipeline.picture_check import PictureCheck, blurred
from tests.tiny_bundles import make_checked_bundle


def test_what_the_network_scores_above_nothing_is_flagged(tmp_path: Path) -> None:
    check = PictureCheck.load(Bundle.open(make_checked_bundle(tmp_path / "checked", 0.5)), OnnxRuntime())
    assert check.flags(np.full((64, 96, 3), 130, np.uint8))
    assert not check.flags(np.full((64, 96, 3), 125, np.uint8))


def test_an_answer_that_is_no_number_shows_nothing(tmp_path: Path) -> None:
    bundle = Bundle.open(make_checked_bundle(tmp_path / "checked", 0.5))
    how = bundle.require_picture_check().model_copy(update={"mean": (float("nan"),) * 3})
    check = PictureCheck(OnnxRuntime().load(bundle, "safety_checker"), how, "float32")
    with pytest.raises(EngineFault, match="not shown"):
        check.flags(np.zeros((64, 64, 3), np.uint8))


def test_a_bundle_without_a_checker_is_refused_with_the_remedy(tiny: Bundle) -> None:
    with pytest.raises(BadBundle, match="has no safety checker: export the bundle from a folder with"):
        PictureCheck.load(tiny, OnnxRuntime())


def test_blurring_leaves_nothing_to_recognise() -> None:
    """Stripes a tenth of the picture wide are gone; a weak blur would leave them."""
    stripes = np.zeros((100, 100, 3), np.uint8)
    stripes.reshape(100, 5, 20, 3)[:, :, :10] = 255
    soft = blurred(stripes)
    assert soft.shape == stripes.shape
    assert np.ptp(soft[30:70, 30:70].astype(int)) < 12
    assert not np.array_equal(stripes, soft)
