"""The check of a GPU, on machines without one: it says so, and what one part does costs the others nothing.

That the checks themselves are right is seen on a GPU alone; what was seen there is in docs/benchmarks.md.
"""

from __future__ import annotations

import ast
import ctypes
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.gpu import __main__ as gpu
from benchmarks.gpu import part
from benchmarks.gpu.device import described

ROOT = Path(__file__).resolve().parents[2]


def gpu_is_here() -> bool:
    try:
        return bool(ctypes.CDLL("libcuda.so.1").cuInit(0) == 0)
    except OSError:
        return False


without_a_gpu = pytest.mark.skipif(gpu_is_here(), reason="a CUDA device is here")


@without_a_gpu
def test_without_a_device_it_says_so_in_one_sentence_and_in_its_json(tmp_path: Path) -> None:
    command = [str(ROOT / "scripts" / "gpu-check"), "--out", "gpu.json"]
    environment = {**os.environ, "PYTHON": sys.executable}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 2
    assert done.stderr == "No CUDA device is there: run this on a machine with an NVIDIA GPU and its driver.\n"
    told = json.loads((tmp_path / "gpu.json").read_text())
    assert (told["device"], told["checks"]) == (None, {})
    assert told["failed"] in done.stderr


@pytest.mark.parametrize("name", part.LIMITS)
def test_each_check_is_a_module_with_one_function(name: str) -> None:
    source = ast.parse((ROOT / "benchmarks" / "gpu" / f"{name}.py").read_text())
    assert [node.name for node in source.body if isinstance(node, ast.FunctionDef)].count("check") == 1


@without_a_gpu
def test_the_driver_is_asked_and_nothing_is_invented() -> None:
    assert described() is None


def fake_torch(folder: Path, available: str) -> str:
    """A torch that says what `available` computes: only how a check's end is told is proven with it."""
    (folder / "torch.py").write_text(
        "class cuda:\n    @staticmethod\n    def is_available():\n"
        f"        print('a library prints')\n        return {available}\n"
        "class Tensor: pass\nclass device: pass\ncuda.CUDAGraph = None\n"
    )
    return str(folder)


@pytest.mark.parametrize(
    ("available", "told"),
    [
        ("1 / 0", {"failed": "ZeroDivisionError: division by zero"}),
        ("False", {"not_here": "torch sees no CUDA device"}),
        ("__import__('os')._exit(7)", {"failed": "exit status 7: a library prints"}),
    ],
    ids=["raises", "has no device", "dies"],
)
def test_a_check_ends_in_words(tmp_path: Path, available: str, told: dict[str, str]) -> None:
    seen = part.run("matmul", 60, fake_torch(tmp_path, available))
    assert seen.pop("seconds") >= 0
    assert seen == told


def test_a_check_that_hangs_is_ended(tmp_path: Path) -> None:
    seen = part.run("matmul", 1.5, fake_torch(tmp_path, "__import__('signal').pause()"))
    assert seen["failed"] == "it took more than its 2 s"


def test_no_check_is_started_without_time_for_it() -> None:
    assert "--budget" in part.run("matmul", 0.5)["not_here"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--out", "/nowhere/gpu.json"], "/nowhere/gpu.json cannot be written (No such file or directory): name"),
        (["--out", "/dev/null", "--wheels", "/nowhere"], "/nowhere holds no wheels"),
        (["--out", "/dev/null", "--only", "metal"], "Argument --only: invalid choice: 'metal'"),
        ([], "The following arguments are required: --out"),
    ],
)
def test_bad_input_is_one_sentence(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.main(arguments) == 2
    assert capsys.readouterr().err.startswith(said)
