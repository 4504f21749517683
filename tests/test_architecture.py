"""The code is held to the shape that ARCHITECTURE.md draws: imports go one way, each vendor in one place."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Container, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("appliance", "engine_build", "packing", "training", "mqtt", "torture")

# who may import whom: the longest matching prefix counts, and whatever is not named here is free to anyone
FORBIDDEN = {
    "appliance": (
        *("engine_build", "packing", "training", "mqtt", "torture", "torch", "diffusers", "transformers", "onnx"),
    ),
    "appliance.pipeline": ("appliance.worker", "appliance.web", "appliance.journal", "appliance.progress", "flask"),
    "appliance.engines": ("appliance.worker", "appliance.web", "appliance.journal", "appliance.progress", "flask"),
    "appliance.web": ("appliance.worker", "appliance.engines", "numpy", "PIL", "onnxruntime"),
    "appliance.device": ("appliance.worker", "appliance.web", "appliance.serve", "flask", "numpy", "jtop"),
    "appliance.journal": ("appliance.device", "appliance.web", "appliance.worker", "flask"),
    "appliance.worker": ("appliance.web", "flask", "gunicorn"),
    "mqtt": ("numpy", "flask", "onnxruntime", "appliance.web", "appliance.worker", "appliance.engines", "training"),
    "mqtt.fleet": ("appliance.config", "appliance.journal", "appliance.images", "appliance.device", "mqtt.link"),
    "packing": ("engine_build", "training", "appliance.web", "appliance.worker", "appliance.journal", "torch"),
    "engine_build": ("packing", "training", "appliance.web", "appliance.worker", "appliance.journal"),
    "torture": ("tests", "torch", "onnx", "engine_build", "training"),
    "training": ("appliance.web", "appliance.worker", "appliance.journal"),
}
ONE_FILE_ONLY = {
    "onnxruntime": {"appliance/engines/onnxruntime.py"},
    "openvino": {"appliance/engines/openvino.py"},
    "tensorrt": {"appliance/engines/tensorrt.py"},
    "tensorrt_rtx": {"appliance/engines/tensorrt.py"},
    "pycuda": {"appliance/engines/cuda.py"},
    "cuda": {"appliance/engines/cuda_graph.py"},
    "apsw": {"appliance/journal/database.py", "appliance/journal_check.py", "mqtt/store.py"},
    "cryptography": {"appliance/network/certificate.py", "mqtt/signing.py"},
    "paho": {"mqtt/connection.py"},
    "gunicorn": {"appliance/web/server.py"},
    "segno": {"appliance/network/qr.py"},
    "zeroconf": {"appliance/network/mdns.py"},
    "tokenizers": {"appliance/pipeline/tokenizer.py"},
    "ctypes": {
        "appliance/device/cuda.py",
        "appliance/device/doctor.py",
        "appliance/plans/gpu.py",
        "appliance/serve.py",
    },
}
BANNED = ("pickle", "dill", "joblib", "shelve", "marshal", "cloudpickle")


def sources() -> list[Path]:
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path) -> Iterator[str]:
    """Full names of what the file imports, `from a import b` as both a and a.b."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def targets(path: Path, modules: Container[str]) -> set[str]:
    """Our modules that the file imports; `from package import module` counts as the module alone."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            full = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in modules else str(node.module) for name in full}
    return {name for name in found if name in modules}


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


@pytest.mark.parametrize("path", sources(), ids=module)
def test_imports_go_one_way(path: Path) -> None:
    name = module(path)
    for package, forbidden in FORBIDDEN.items():
        if within(name, package):
            for imported in imports(path):
                assert not any(within(imported, other) for other in forbidden), f"{name} imports {imported}"


@pytest.mark.parametrize("vendor", ONE_FILE_ONLY)
def test_each_vendor_is_imported_in_its_one_place(vendor: str) -> None:
    found = {
        str(path.relative_to(ROOT))
        for path in sources()
        if path.parts[len(ROOT.parts)] in ("appliance", "mqtt") and "fleet" not in path.parts
        for imported in imports(path)
        if within(imported, vendor)
    }
    assert found <= ONE_FILE_ONLY[vendor]


@pytest.mark.parametrize("path", sources(), ids=module)
def test_there_is_no_pickle_in_any_form(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for imported in imports(path):
        assert not any(within(imported, banned) for banned in BANNED), f"{path}: {imported}"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            dotted = ast.unparse(node.func)
            assert dotted not in ("torch.load", "torch.save", "pandas.read_pickle"), f"{path}: {dotted}"
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            assert isinstance(node.value, ast.Constant)
            assert node.value.value is False


def test_there_are_no_import_circles() -> None:
    modules = {module(path): path for path in sources()}
    graph = {name: {target for target in targets(path, modules) if target != name} for name, path in modules.items()}
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " → ".join((*way[way.index(name) :], name)) if name in way else ""
        if name in done:
            return
        for target in sorted(graph[name]):
            visit(target, (*way, name))
        done.add(name)

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize(
    ("module_name", "unwanted"),
    [
        ("appliance.web", ("numpy", "PIL", "onnxruntime", "torch")),
        ("appliance.journal", ("numpy", "flask")),
        ("appliance.cli", ("numpy", "flask", "onnxruntime")),
        ("mqtt.link", ("numpy", "flask", "onnxruntime", "PIL")),
        ("mqtt.requester", ("numpy", "flask", "onnxruntime", "apsw")),
        ("appliance.worker.process", ("flask", "gunicorn", "torch", "diffusers", "openvino", "tensorrt", "pycuda")),
        ("engine_build.__main__", ("torch", "diffusers")),
        ("engine_build.plans", ("torch", "onnx", "onnxruntime", "numpy", "tensorrt_rtx")),
    ],
)
def test_importing_a_process_loads_only_its_own(module_name: str, unwanted: tuple[str, ...]) -> None:
    code = f"import sys, {module_name}; print([n for n in {unwanted!r} if n in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert answer.stdout.strip() == "[]"


def test_tracked_files_stay_under_56_mib() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    files = [ROOT / name.decode() for name in listed.stdout.split(b"\0") if name]
    size = sum(file.lstat().st_size for file in files if file.is_symlink() or file.exists())
    assert size < 56 << 20
