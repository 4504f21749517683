"""What runs on the box: the page and API (`web`), the engine process (`worker`), and what they share."""

import os
import sys

__version__ = "0.1.0"

# Two engines would tell their makers that they run: ONNX Runtime reads this when it is imported, and OpenVINO goes
# without its reporter when that cannot be imported. Both come later than this, and nothing leaves the building.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
