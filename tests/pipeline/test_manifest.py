"""Whatever is wrong with a bundle is told in one sentence before anything of it is used."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from appliance.errors import BadBundle
from appliance.pipeline.manifest import Bundle, sha256
from appliance.request import GenerationRequest

FILES = {name: name.encode() * 1000 for name in ("onnx/unet.onnx", "onnx/unet.data", "tokenizer/tokenizer.json")}


def described() -> dict[str, Any]:
    tensor = {"name": "sample", "dtype": "float32", "shape": ["batch", 4, 8, 8]}
    unet = {"file": "onnx/unet.onnx", "weights": "onnx/unet.data", "inputs": [tensor], "outputs": [tensor]}
    return {
        "format": 1,
        "name": "tiny",
        "version": "1",
        "licence": "Apache-2.0",
        "components": {"unet": unet},
        "tokenizer": {
            "file": "tokenizer/tokenizer.json",
            "max_length": 77,
            "bos_token_id": 0,
            "eos_token_id": 1,
            "pad_token_id": 1,
        },
        "scheduler": {"prediction_type": "epsilon", "allowed": ["ddim", "euler"]},
        "latents": {"channels": 4, "scale": 8, "scaling_factor": 0.18215},
        "sizes": [[64, 64], [96, 64]],
        "limits": {"steps": [1, 50], "guidance": [0, 20], "count": 2},
        "defaults": {"steps": 8, "guidance": 3, "locale": "es"},
        "files": {
            name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)} for name, data in FILES.items()
        },
    }


def write(folder: Path, text: bytes | dict[str, Any]) -> Path:
    for name, data in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (folder / "manifest.json").write_bytes(text if isinstance(text, bytes) else json.dumps(text).encode())
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "tiny", described())


def refusal(act: Callable[[], object]) -> str:
    with pytest.raises(BadBundle) as caught:
        act()
    sentence = str(caught.value)
    assert sentence.endswith(".")
    assert "\n" not in sentence
    return sentence


def test_a_good_bundle_opens_and_verifies(folder: Path) -> None:
    bundle = Bundle.open(folder)
    bundle.verify()
    assert bundle.path("onnx/unet.onnx").read_bytes() == FILES["onnx/unet.onnx"]


def test_the_offer_is_what_the_manifest_says(folder: Path) -> None:
    offer = Bundle.open(folder).manifest.offer()
    request = GenerationRequest.of({"prompt": "una manzana roja"}, offer)
    assert (request.width, request.height, request.steps, request.guidance) == (64, 64, 8, 3)
    assert (request.scheduler, request.locale, offer.max_count) == ("ddim", "es", 2)


# --- files -------------------------------------------------------------------------------------------------------


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "onnx/unet.data").unlink()
    assert refusal(Bundle.open(folder).verify) == "tiny: onnx/unet.data is missing: copy the bundle again."


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1],
        lambda data: b"",
        lambda data: data + b"x",
        lambda data: data[:-1] + bytes([data[-1] ^ 1]),
        lambda data: data[::-1],
    ],
)
@pytest.mark.parametrize("name", FILES)
def test_a_file_that_differs_in_any_way_is_named(folder: Path, name: str, damage: Callable[[bytes], bytes]) -> None:
    path = folder / name
    path.write_bytes(damage(path.read_bytes()))
    sentence = refusal(Bundle.open(folder).verify)
    assert sentence == f"tiny: {name} is not the file that was exported (sha256 differs): copy it again."


def test_a_link_out_of_the_bundle_is_refused(folder: Path, tmp_path: Path) -> None:
    path = folder / "onnx/unet.onnx"
    path.rename(tmp_path / "outside")
    path.symlink_to(tmp_path / "outside")
    assert "leads out of the bundle" in refusal(Bundle.open(folder).verify)


def test_a_folder_in_the_place_of_a_file_is_missing(folder: Path) -> None:
    (folder / "onnx/unet.onnx").unlink()
    (folder / "onnx/unet.onnx").mkdir()
    assert "onnx/unet.onnx is missing" in refusal(Bundle.open(folder).verify)


def test_a_file_that_the_manifest_does_not_list_has_no_path(folder: Path) -> None:
    (folder / "more.onnx").touch()
    assert "not among the manifest's files" in refusal(lambda: Bundle.open(folder).path("more.onnx"))


@pytest.mark.parametrize("size", [0, 1, 1 << 20, (1 << 20) + 1])
def test_a_hash_does_not_depend_on_the_pieces(tmp_path: Path, size: int) -> None:
    path = tmp_path / "data"
    path.write_bytes(b"x" * size)
    assert sha256(path) == hashlib.sha256(b"x" * size).hexdigest()


# --- manifest.json -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["nowhere", "empty", "file"])
def test_a_folder_without_a_manifest_is_told(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    assert f"{tmp_path / name} holds no readable manifest.json" in refusal(lambda: Bundle.open(tmp_path / name))


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        (b"", "Invalid JSON"),
        (b"{", "Invalid JSON"),
        (b"[" * 100_000, "Invalid JSON"),
        (b"[]", "as a whole"),
        (b'"tiny"', "as a whole"),
        (b'{"name": "\xff"}', "is not text"),
        (json.dumps(described()).encode("utf-16"), "is not text"),
    ],
)
def test_what_is_no_manifest_is_told(tmp_path: Path, text: bytes, hint: str) -> None:
    assert hint in refusal(lambda: Bundle.open(write(tmp_path / "tiny", text)))


ENTRY = {"sha256": "0" * 64, "bytes": 1}


@pytest.mark.parametrize(
    ("where", "value", "hint"),
    [
        ("format", 2, "format"),
        ("format", "one", "format"),
        ("colour", "red", "colour"),
        ("latents.colour", "red", "latents.colour"),
        ("name", "../tiny", "name"),
        ("name", "tiny\n", "name"),
        ("family", "gan", "family"),
        ("files.../secret", ENTRY, "leads out"),
        ("files.onnx/../../secret", ENTRY, "leads out"),
        ("files./etc/passwd", ENTRY, "leads out"),
        ("files.", ENTRY, "leads out"),
        ("files...\\secret", ENTRY, "leads out"),
        ("files.more", {"sha256": "0" * 63, "bytes": 1}, "files.more.sha256"),
        ("files.more", {"sha256": "0" * 64, "bytes": -1}, "files.more.bytes"),
        ("components.unet.file", "onnx/other.onnx", "onnx/other.onnx is not among"),
        ("components.unet.weights", "../weights", "../weights is not among"),
        ("tokenizer.file", "/etc/passwd", "/etc/passwd is not among"),
        ("latents.scaling_factor", float("nan"), "finite number"),
        ("limits.guidance", [0, float("inf")], "finite number"),
        ("limits.steps", [50, 1], "default of 8 steps is not within 50 to 1"),
        ("limits.steps", [0, 50], "steps"),
        ("defaults.steps", 51, "default of 51 steps is not within 1 to 50"),
        ("defaults.guidance", 21, "default guidance 21 is not within 0 to 20"),
        ("sizes", [], "sizes"),
        ("sizes", [[64]], "sizes.0"),
        ("sizes", [[64, 60]], "the size 64x60 is no multiple of the latents' scale 8"),
        ("sizes", [[0, 64]], "the size 0x64"),
        ("scheduler.allowed", [], "scheduler.allowed"),
        ("locale_prompts", {"en-GB": "en-gb: {}"}, "locale_prompts: 'en-GB' is not among the locales en)"),
        ("locale_prompts", {"en": "en-us:"}, "the template of 'en' must hold {} once"),
        ("locale_prompts", {"en": "{}: {}"}, "the template of 'en' must hold {} once"),
        ("locale_prompts", {"en": "{0}"}, "the template of 'en' must hold {} once"),
        ("locale_prompts", {"en": "{{}}"}, "and no other brace"),
        ("locale_prompts", {"en": "}{ {}"}, "and no other brace"),
        ("locale_prompts", {"en": 5}, "locale_prompts.en"),
        ("preview", {"patch": 1, "matrix": [[1, 1, 1]] * 3, "bias": [0, 0, 0]}, "preview does not map 4 channels"),
        ("preview", {"patch": 2, "matrix": [[1, 1, 1]] * 4, "bias": [0, 0, 0]}, "to 12 numbers"),
    ],
)
def test_a_manifest_that_must_not_be_used_is_told(tmp_path: Path, where: str, value: Any, hint: str) -> None:
    manifest = described()
    inner, (*parts, last) = manifest, (where.split(".", 1) if where.startswith("files.") else where.split("."))
    for part in parts:
        inner = inner[part]
    inner[last] = value
    assert hint in refusal(lambda: Bundle.open(write(tmp_path / "tiny", manifest)))


@pytest.mark.parametrize("name", ["name", "licence", "components", "tokenizer", "files"])
def test_a_manifest_that_lacks_something_is_told(tmp_path: Path, name: str) -> None:
    manifest = described()
    del manifest[name]
    assert f"{name}: Field required" in refusal(lambda: Bundle.open(write(tmp_path / "tiny", manifest)))


def test_templates_may_be_absent_or_only_some(tmp_path: Path) -> None:
    assert Bundle.open(write(tmp_path / "none", described())).manifest.locale_prompts == {}
    some = {"locales": ["en", "es"], "locale_prompts": {"en": "en-us: {}"}}
    manifest = Bundle.open(write(tmp_path / "some", described() | some)).manifest
    assert (manifest.locale_prompts, manifest.offer().locales) == ({"en": "en-us: {}"}, ("en", "es"))


def test_a_preview_that_fits_is_used(tmp_path: Path) -> None:
    preview = {"patch": 1, "matrix": [[1, 0, 0]] * 4, "bias": [0, 0, 0]}
    assert Bundle.open(write(tmp_path / "tiny", {**described(), "preview": preview})).manifest.preview is not None
