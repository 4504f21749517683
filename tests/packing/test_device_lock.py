"""What the Jetson installs is wheels that fit it, each by its own hash, at the versions that the tests run with."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.markers import Marker

from appliance.errors import BadInput
from packing.device_lock import PYCUDA, RUN, TARGETS, Pin, Target, fits, lock, read

by_device = pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.file.stem)


def pins(target: Target) -> list[Pin]:
    return list(read(target.file.read_text(encoding="utf-8")))


def run_txt(target: Target) -> dict[str, tuple[str, set[str]]]:
    """Name → version and hashes, of what run.txt says for that Python on aarch64."""
    python = ".".join(map(str, target.python))
    where = {"python_version": python, "python_full_version": f"{python}.9", "sys_platform": "linux"}
    where |= {"platform_machine": "aarch64", "platform_system": "Linux", "implementation_name": "cpython"}
    where |= {"platform_python_implementation": "CPython", "os_name": "posix"}
    found = {}
    text = RUN.read_text(encoding="utf-8").replace("\\\n", " ")
    for line in text.splitlines():
        head, *hashes = line.split(" --hash=sha256:")
        pin, _, marker = head.strip().partition(" ; ")
        name, _, version = pin.partition("==")
        if name and (not marker or Marker(marker.strip()).evaluate(where)):
            found[name] = (version, {digest.strip() for digest in hashes})
    return found


@by_device
def test_every_pin_is_wheels_that_install_there(target: Target) -> None:
    assert [str(pin) for pin in pins(target) if not fits(pin, target)] == []


@by_device
def test_every_pin_is_the_one_that_the_tests_run_with(target: Target) -> None:
    tested = run_txt(target)
    locked = {pin.name: pin for pin in pins(target)}
    assert set(tested) <= set(locked)
    for name, (version, hashes) in tested.items():
        assert locked[name].version == version
        assert set(locked[name].hashes) <= hashes, f"{name}: a hash that run.txt does not know"


@by_device
def test_no_address_and_no_name_twice(target: Target) -> None:
    assert "://" not in target.file.read_text(encoding="utf-8")
    names = [pin.name for pin in pins(target)]
    assert sorted(set(names)) == sorted(names)


def test_pycuda_is_one_source_with_its_hash() -> None:
    (pin,) = read(PYCUDA.read_text(encoding="utf-8"))
    assert pin.files == (f"pycuda-{pin.version}.tar.gz",)
    assert len(pin.hashes) == 1


def test_wheels_of_others_do_not_fit() -> None:
    orin = Target((3, 10), 35, "Orin")
    digest = ("0" * 64,)
    for file in (
        *("a-1-cp310-cp310-manylinux_2_28_x86_64.whl", "a-1-cp312-cp312-manylinux_2_28_aarch64.whl"),
        *("a-1-cp310-cp310-manylinux_2_36_aarch64.whl", "a-1-cp310-cp310-musllinux_1_2_aarch64.whl"),
        *("a-2-py3-none-any.whl", "b-1-py3-none-any.whl"),
    ):
        assert not fits(Pin("a", "1", (file,), digest), orin), file
    for file in ("a-1-py3-none-any.whl", "a-1-cp38-abi3-manylinux2014_aarch64.whl"):
        assert fits(Pin("a", "1", (file,), digest), orin), file
    assert not fits(Pin("a", "1", ("a-1-py3-none-any.whl",), ()), orin)


names = st.from_regex(r"[a-z][a-z0-9-]{0,8}[a-z0-9]", fullmatch=True)
digests = st.text("0123456789abcdef", min_size=64, max_size=64)


@given(st.lists(st.tuples(names, st.lists(digests, min_size=1, max_size=3)), min_size=1, max_size=4))
def test_what_is_written_is_read(given_pins: list[tuple[str, list[str]]]) -> None:
    written = [Pin(name, "1.2", tuple(f"{name}-{n}.whl" for n in range(len(d))), tuple(d)) for name, d in given_pins]
    assert list(read("# head\n" + "".join(map(str, written)))) == written


@given(st.text(max_size=100))
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="scripts/lock"):
        list(read(text))


@pytest.mark.network
@by_device
def test_the_index_has_these_very_files(target: Target) -> None:
    """Resolved again for that machine, with nothing to choose: the same wheels and the same hashes."""
    (pycuda,) = read(PYCUDA.read_text(encoding="utf-8"))
    assert lock(target, [target.file, PYCUDA]) == (pins(target), pycuda)
