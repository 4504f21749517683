"""One command, and a device has all it needs; what it may not have, nobody gives it."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from cryptography import x509

from appliance.errors import BadInput
from mqtt.fleet import acl
from mqtt.fleet.__main__ import main
from mqtt.fleet.certificates import Authority
from mqtt.fleet.provision import Pki

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def test_one_command_gives_certificate_rights_and_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--pki", str(tmp_path), "--pool", "garden", "--broker", "mqtts://cloud:8883"]
    assert main(["provision", "box-1", *arguments]) == 0
    told = capsys.readouterr()
    assert "SIGHUP" in told.err
    folder = Path(told.out.strip())
    assert {file.name for file in folder.iterdir()} == {"ca.crt", "cert.pem", "key.pem", "mqtt.toml"}
    settings = tomllib.loads((folder / "mqtt.toml").read_text())
    assert (settings["mqtt"], settings["mqtt_device"], settings["mqtt_pool"]) == (
        "mqtts://cloud:8883",
        "box-1",
        "garden",
    )
    assert "topic read ensueno/v1/pools/garden/jobs" in acl.read(Pki(tmp_path).rights)["box-1"]


def test_keys_are_for_their_owner_alone_and_the_authoritys_stays_home(tmp_path: Path) -> None:
    pki = Pki(tmp_path)
    pki.broker(["localhost"])
    pki.user("box-1", "device")
    for key in (tmp_path / "ca.key", tmp_path / "broker" / "key.pem", tmp_path / "box-1" / "key.pem"):
        assert key.stat().st_mode & 0o077 == 0
    carried = [file.read_bytes() for name in ("broker", "box-1") for file in (tmp_path / name).iterdir()]
    assert (tmp_path / "ca.key").read_bytes() not in carried


def test_provisioning_again_changes_one_block_only(tmp_path: Path) -> None:
    pki = Pki(tmp_path)
    for name in ("box-1", "box-2"):
        pki.user(name, "device")
    before = acl.read(pki.rights)
    pki.user("box-2", "device", pools=["garden"])
    after = acl.read(pki.rights)
    assert after["box-1"] == before["box-1"]
    assert "garden" in after["box-2"]


def test_a_revoked_name_has_no_rights_and_is_on_the_brokers_list(tmp_path: Path) -> None:
    pki = Pki(tmp_path)
    pki.user("box-1", "device")
    before = (tmp_path / "broker" / "crl.pem").read_bytes()
    assert main(["provision", "box-1", "--revoke", "--pki", str(tmp_path)]) == 0
    assert acl.read(pki.rights) == {}
    assert (tmp_path / "broker" / "crl.pem").read_bytes() != before


def serial(certificate: bytes) -> int:
    return x509.load_pem_x509_certificate(certificate).serial_number


def revoked(pki: Path) -> set[int]:
    return {entry.serial_number for entry in x509.load_pem_x509_crl((pki / "broker" / "crl.pem").read_bytes())}


def test_a_name_is_revoked_though_its_folder_was_carried_away_and_whatever_it_was_given(tmp_path: Path) -> None:
    pki, given = Pki(tmp_path), set()
    for _ in range(2):
        folder = pki.user("box-1", "device")
        given.add(serial((folder / "cert.pem").read_bytes()))
        shutil.rmtree(folder)
    pki.user("box-2", "device")
    assert main(["provision", "box-1", "--revoke", "--pki", str(tmp_path)]) == 0
    assert revoked(tmp_path) == given
    assert set(acl.read(pki.rights)) == {"box-2"}


def test_a_name_that_is_given_anew_leaves_what_was_revoked_revoked(tmp_path: Path) -> None:
    pki = Pki(tmp_path)
    old = serial((pki.user("box-1", "device") / "cert.pem").read_bytes())
    pki.revoke("box-1")
    new = serial((pki.user("box-1", "device") / "cert.pem").read_bytes())
    assert revoked(tmp_path) == {old}
    pki.revoke("box-1")
    assert revoked(tmp_path) == {old, new}


def test_nobody_can_be_revoked_who_was_never_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        assert main(["provision", "box-1", "--revoke", "--pki", str(tmp_path)]) == 2
        assert "check the name" in capsys.readouterr().err
        Pki(tmp_path).user("box-2", "device")


@pytest.mark.parametrize("name", ["", "a b", "+", "#", "a/b", "../etc", "pools", "replies", "broker", "x\ntopic #"])
def test_a_name_that_could_be_another_right_is_refused(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["provision", name, "--pki", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_broken_authority_is_said_in_a_sentence(tmp_path: Path) -> None:
    Authority(tmp_path)
    (tmp_path / "ca.key").write_bytes(b"nonsense")
    with pytest.raises(BadInput, match="cannot be read"):
        Authority(tmp_path)


def test_a_brokers_name_may_have_letters_of_its_own_language(tmp_path: Path) -> None:
    folder = Pki(tmp_path).broker(["müller.example", "127.0.0.1"])
    certificate = x509.load_pem_x509_certificate((folder / "cert.pem").read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["xn--mller-kva.example"]


def test_what_a_configuration_names_is_written_as_it_was_given(tmp_path: Path) -> None:
    folder = Pki(tmp_path).user("box-1", "device", broker='mqtts://a"b\\c:8883')
    assert tomllib.loads((folder / "mqtt.toml").read_text())["mqtt"] == 'mqtts://a"b\\c:8883'


def test_a_broker_needs_a_name() -> None:
    with pytest.raises(BadInput, match="give --host"):
        Pki(Path("unused")).broker([])
