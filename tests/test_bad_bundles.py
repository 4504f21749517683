"""Whatever is wrong with what an owner brings: one sentence with the remedy, exit status not 0, nothing parsed before.

Each case goes through the commands an owner would use. Others of the same matrix: archives and links in
test_install.py, passports in test_passport.py, kills, full disks and missing libraries in engine_build/.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from appliance import cli
from appliance.errors import BadBundle
from appliance.pipeline.manifest import MANIFEST, MANIFEST_HASH, Bundle, sha256
from engine_build import __main__ as engine_build
from tests.served import running
from tests.tiny_bundles import make_tiny_bundle, write_manifest

FLIPS = 1000


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def bundle(tiny_folder: Path, tmp_path: Path) -> Path:
    """A copy with the hash of its manifest, as the exporter writes it."""
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "bundle"))
    (folder / MANIFEST_HASH).write_text(f"{sha256(folder / MANIFEST)}  {MANIFEST}\n")
    return folder


def relisted(bundle: Path) -> Path:
    """With the hashes that its files have now: as somebody who means it would do."""
    (bundle / MANIFEST_HASH).unlink()
    write_manifest(bundle, json.loads((bundle / MANIFEST).read_text()))
    return bundle


def commands(bundle: Path, data: Path) -> list[Callable[[], int]]:
    """Every way a bundle goes into the box."""
    rtx = ["--target", "tensorrt-rtx", "--sm", "86", "--data-dir", str(data)]
    return [
        lambda: cli.main(["generate", "a", "--bundle", str(bundle)]),
        lambda: cli.main(["model", "verify", str(bundle)]),
        lambda: cli.main(["model", "install", str(bundle), "--data-dir", str(data)]),
        lambda: engine_build.main(["verify", str(bundle)]),
        lambda: engine_build.main(["build", str(bundle), *rtx]),
    ]


def refused(bundle: Path, data: Path, capsys: pytest.CaptureFixture[str], told: str) -> None:
    for command in commands(bundle, data):
        assert command() != 0
        captured = capsys.readouterr()
        assert captured.out == ""
        sentence = captured.err.splitlines()[-1]
        assert told in sentence
        assert sentence.endswith(".")
        assert "Traceback" not in captured.err
    assert not list(data.rglob("*.plan"))


def test_the_bundle_is_good_as_it_is(bundle: Path) -> None:
    Bundle.open(bundle).verify()


@pytest.mark.parametrize("part", [0, 0.5, 0.99])
def test_a_truncated_network_is_refused_before_it_is_parsed(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], part: float
) -> None:
    path = bundle / "onnx/unet.onnx"
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    refused(bundle, tmp_path / "data", capsys, "onnx/unet.onnx is not the file that was exported")


def test_a_thousand_flipped_bytes_are_all_found(bundle: Path) -> None:
    chance = random.Random(4)
    files = sorted(path for path in bundle.rglob("*") if path.is_file())
    for _ in range(FLIPS):
        path = chance.choice(files)
        whole = path.read_bytes()
        place = chance.randrange(len(whole))
        flipped = bytearray(whole)
        flipped[place] ^= chance.randrange(1, 256)
        path.write_bytes(flipped)
        with pytest.raises(BadBundle, match=r"\.$"):
            Bundle.open(bundle).verify()
        path.write_bytes(whole)
    Bundle.open(bundle).verify()


def test_a_flipped_byte_is_a_sentence_wherever_the_bundle_goes_in(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = bundle / "onnx/vae_decoder.onnx.data"
    whole = path.read_bytes()
    path.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
    refused(bundle, tmp_path / "data", capsys, "onnx/vae_decoder.onnx.data is not the file that was exported")


def test_a_changed_manifest_is_refused(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (bundle / MANIFEST).read_text()
    (bundle / MANIFEST).write_text(text.replace('"licence": "Apache-2.0"', '"licence": "Apache-1.0"'))
    refused(bundle, tmp_path / "data", capsys, "manifest.json is not the file that was exported")


def test_a_name_that_leads_out_is_refused(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (bundle / MANIFEST_HASH).unlink()
    fields = json.loads((bundle / MANIFEST).read_text())
    fields["files"]["../../secret"] = {"sha256": "0" * 64, "bytes": 1}
    (bundle / MANIFEST).write_text(json.dumps(fields))
    refused(bundle, tmp_path / "data", capsys, "leads out of the bundle")


def test_a_link_that_leads_out_is_refused(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = bundle / "onnx/unet.onnx"
    path.rename(tmp_path / "outside")
    path.symlink_to(tmp_path / "outside")
    refused(bundle, tmp_path / "data", capsys, "leads out of the bundle")


def test_weights_with_a_header_of_a_gigabyte_are_refused(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file is as long as it says, and sparse: a reader that believed it would take a gigabyte."""
    path = bundle / "onnx/more.safetensors"
    with path.open("wb") as file:
        file.write((1 << 30).to_bytes(8, "little"))
        file.truncate(8 + (1 << 30))
    relisted(bundle)
    for command in commands(bundle, tmp_path / "data")[-2:]:
        assert command() == 2
        assert "over the limit" in capsys.readouterr().err.splitlines()[-1]


def test_a_folder_with_a_pickle_is_refused(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (bundle / MANIFEST_HASH).unlink()
    pickle = bundle / "onnx/diffusion_pytorch_model.bin"
    pickle.write_bytes(b"\x80\x04]\x94.")
    fields = json.loads((bundle / MANIFEST).read_text())
    fields["files"]["onnx/diffusion_pytorch_model.bin"] = {"sha256": sha256(pickle), "bytes": pickle.stat().st_size}
    (bundle / MANIFEST).write_text(json.dumps(fields))
    refused(bundle, tmp_path / "data", capsys, "diffusion_pytorch_model.bin")


def test_an_operator_that_is_no_standard_is_told_with_its_remedy(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As ONNX Runtime's optimiser writes them; the hashes are right, the real parser refuses."""
    path = bundle / "onnx/vae_decoder.onnx"
    model = onnx.load(path, load_external_data=False)
    for node in model.graph.node:
        if node.op_type == "Tanh":
            node.op_type, node.domain = "FusedTanh", "com.microsoft"
    model.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    path.write_bytes(model.SerializeToString())
    relisted(bundle)
    assert commands(bundle, tmp_path / "data")[-1]() == 2
    sentence = capsys.readouterr().err.splitlines()[-1]
    assert sentence.startswith("vae_decoder cannot be built (")
    assert "export the bundle again" in sentence


def test_the_engine_that_runs_is_untouched(
    tmp_path: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A box serves with a good bundle; a bad one is refused beside it, and the same engine draws on."""
    data = ["--data-dir", str(tmp_path / "data")]
    assert cli.main(["model", "install", str(tiny_folder), *data]) == 0
    assert cli.main(["model", "activate", "tiny-0.0.1", *data]) == 0
    bad = make_tiny_bundle(tmp_path / "bad", name="bad")
    (bad / "onnx/unet.onnx").write_bytes(b"")
    with running(None, tmp_path / "data") as box:
        engine, pointer = box.engine(), (tmp_path / "data/models/slots.json").read_bytes()
        assert cli.main(["model", "install", str(bad), *data]) == 2
        assert cli.main(["model", "activate", "bad-0.0.1", *data]) == 2
        assert (tmp_path / "data/models/slots.json").read_bytes() == pointer
        status, job = box.call("/v1/jobs", {"prompt": "a red apple", "seed": 1})
        assert status == 202
        assert box.ended(job["id"])["state"] == "finished"
        assert box.engine() == engine
    assert cli.main(["model", "verify", *data]) == 0
