"""`export`: a diffusers folder → a bundle, built beside its place and moved there in one step."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from appliance.engines.onnxruntime import OnnxRuntime
from appliance.errors import BadInput
from appliance.pipeline.manifest import (
    MANIFEST,
    Bundle,
    Component,
    Defaults,
    FileEntry,
    Manifest,
    SchedulerSettings,
    sha256,
)
from engine_build import components, onnx_export, parity, preview_fit, scheduler, weights
from engine_build.components import Network
from engine_build.source import WEIGHTS, Source, read_json
from engine_build.tokenizer import write_tokenizer

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Exported:
    """One network written: its counts, and torch's answers to hold it to."""

    network: Network
    written: onnx_export.Written
    reference: parity.Reference


def export(source: Source, out: Path, storage: weights.Storage, say: Say, preview: bool = True) -> dict[str, Any]:
    """Write the bundle `out`; → the report. Raises `BadInput` or `BadBundle`, and then leaves `out` alone."""
    out = out.resolve()
    _check_place(out)
    settings = scheduler.settings_from(source.scheduler)
    networks = components.declared("sd", source)
    sizes = _sizes(source)
    with _built_beside(out) as folder:
        tokenizer = write_tokenizer(source, folder)
        (folder / "onnx").mkdir()
        exported = [_export_network(source, network, folder, storage, say) for network in networks]
        _write_source(source, folder, networks)
        manifest = Manifest(
            name=source.card.name or _name_of(source.folder),
            version=source.card.version or "1",
            licence=source.card.licence or "unknown: ask whoever trained the model",
            components={one.network.name: _component(one) for one in exported},
            tokenizer=tokenizer,
            scheduler=settings,
            latents=components.latents_of(source),
            sizes=[list(size) for size in sizes],
            defaults=_defaults(source, settings),
            locales=source.card.locales or ["en"],
            locale_prompts=source.card.locale_prompts,
            examples={place: words for place, words in source.card.examples.items() if words},
            files=_files(folder, networks, tokenizer.file),
        )
        _write_manifest(folder, manifest)
        parities = _check_parity(Bundle.open(folder), exported, say)
        fit = preview_fit.fit(Bundle.open(folder), say) if preview else None
        if fit is not None:
            _write_manifest(folder, manifest.model_copy(update={"preview": fit.preview}))
        report = _report(out, folder, manifest, storage)
    report["components"] = [_network_report(*pair) for pair in zip(exported, parities, strict=True)]
    report["preview"] = None if fit is None else fit.summary()
    say(f"wrote {out} ({report['bytes']:,} bytes)")
    return report


def _export_network(source: Source, network: Network, folder: Path, storage: weights.Storage, say: Say) -> Exported:
    say(f"{network.name}: exporting {network.class_name}")
    with onnx_export.quiet():
        model = onnx_export.load(source, network)
        original = onnx_export.outputs(model, network)
        onnx_export.round_weights(model, storage)
        stored = onnx_export.outputs(model, network)
        written = onnx_export.write(model, network, folder, storage)
    return Exported(network, written, parity.Reference(stored, original))


def _check_parity(bundle: Bundle, exported: list[Exported], say: Say) -> list[parity.Parity]:
    engine, found = OnnxRuntime(), []
    for one in exported:
        loaded = engine.load(bundle, one.network.name)
        result = parity.check(one.network, loaded, one.reference)
        loaded.close()
        errors = f"{result.error:.1e} ({result.error_from_original:.1e} from the original weights)"
        say(f"{one.network.name}: relative error {errors}")
        found.append(result)
    return found


def _component(exported: Exported) -> Component:
    network = exported.network
    return Component(
        file=network.file,
        weights=network.weights,
        inputs=[tensor.in_manifest() for tensor in network.inputs],
        outputs=[network.output.in_manifest()],
        parameters=exported.written.parameters,
    )


def _name_of(folder: Path) -> str:
    """The folder's name with what a bundle's name may not hold left out."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", folder.resolve().name).strip("._-")[:64] or "model"


def _sizes(source: Source) -> list[tuple[int, int]]:
    """(width, height) in pixels, the default first; the UNet must be able to halve them."""
    scale = components.latents_of(source).scale
    height, width = components.native_latents(source)
    step = scale * components.size_multiple(source)
    sizes = [(w, h) for w, h in source.card.sizes] or [(width * scale, height * scale)]
    for w, h in sizes:
        if w % step or h % step:
            raise BadInput(f"The size {w}x{h} cannot be drawn: both must be multiples of {step}.")
    return sizes


def _defaults(source: Source, settings: SchedulerSettings) -> Defaults:
    """The card's, or a few steps without guidance for a distilled model, the usual ones otherwise."""
    distilled = settings.allowed[0] == "lcm"
    steps, guidance = (4, 1.0) if distilled else (20, 4.0 if settings.prediction_type == "flow" else 7.5)
    card = source.card
    return Defaults(
        steps=card.default_steps or steps,
        guidance=guidance if card.default_guidance is None else card.default_guidance,
        locale=card.default_locale or (card.locales[0] if card.locales else "en"),
    )


def _files(folder: Path, networks: tuple[Network, ...], tokenizer: str) -> dict[str, FileEntry]:
    """What run time reads, with size and hash; `source/` is for training and not among it."""
    names = sorted([tokenizer, *(n.file for n in networks), *(n.weights for n in networks)])
    return {name: FileEntry(sha256=sha256(folder / name), bytes=(folder / name).stat().st_size) for name in names}


def _write_source(source: Source, bundle: Path, networks: tuple[Network, ...]) -> None:
    """`source/`: a diffusers folder whose weights are links to the ones in `onnx/`."""
    folder = bundle / "source"
    for network in networks:
        (folder / network.folder).mkdir(parents=True)
        _write_json(folder / network.folder / "config.json", source.configs[network.folder])
        link = folder / network.folder / f"{WEIGHTS[network.folder]}.safetensors"
        link.symlink_to(Path("../..") / network.weights)
    (folder / "scheduler").mkdir()
    _write_json(folder / "scheduler" / "scheduler_config.json", source.scheduler)
    _write_json(folder / "model_index.json", _index(source))
    card = source.card.model_dump(exclude_defaults=True)
    if card:
        _write_json(folder / "ensueno.json", card)
    (folder / "tokenizer").mkdir()
    (folder / "tokenizer" / "tokenizer.json").symlink_to("../../tokenizer/tokenizer.json")
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        if (source.folder / "tokenizer" / name).is_file():
            _write_json(folder / "tokenizer" / name, read_json(source.folder / "tokenizer" / name))


def _index(source: Source) -> dict[str, Any]:
    """model_index.json with the networks that were left out marked absent."""
    kept = {*source.classes, "tokenizer", "scheduler"}
    return {
        key: value if key in kept or not isinstance(value, list) else [None, None]
        for key, value in source.index.items()
    }


def _write_json(path: Path, value: dict[str, Any]) -> None:
    """Without `_name_or_path`, which names a folder of the machine that trained."""
    value = {key: item for key, item in value.items() if key != "_name_or_path"}
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _write_manifest(folder: Path, manifest: Manifest) -> None:
    """Indented json, but each list of numbers on one line."""
    text = manifest.model_dump_json(indent=2)
    text = re.sub(r"\[[-\d.e,\s]+\]", _on_one_line, text)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def _on_one_line(numbers: re.Match[str]) -> str:
    return "[" + ", ".join(numbers[0][1:-1].split()).replace(",,", ",") + "]"


def _report(out: Path, folder: Path, manifest: Manifest, storage: weights.Storage) -> dict[str, Any]:
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return {
        "bundle": str(out),
        "name": manifest.name,
        "version": manifest.version,
        "weights": storage,
        "bytes": sum(path.stat().st_size for path in files),
        "scheduler": manifest.scheduler.model_dump(),
        "sizes": manifest.sizes,
    }


def _network_report(exported: Exported, found: parity.Parity) -> dict[str, Any]:
    return {"name": exported.network.name, **asdict(exported.written), **asdict(found)}


def _check_place(out: Path) -> None:
    if out.exists() and not (out / MANIFEST).is_file():
        raise BadInput(f"{out} exists and is no bundle (no {MANIFEST}): name another --out or remove it.")
    if not out.parent.is_dir():
        raise BadInput(f"There is no folder {out.parent} to put the bundle in: make it first.")


@contextlib.contextmanager
def _built_beside(out: Path) -> Iterator[Path]:
    """A new folder next to `out` that takes its place only if the block succeeds."""
    try:
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".new", dir=out.parent))
    except OSError as error:
        raise BadInput(f"{out.parent} cannot be written ({error.strerror}): name another --out.") from None
    try:
        folder.chmod(0o755)
        yield folder
        if out.exists():
            old = folder.with_suffix(".old")
            os.rename(out, old)
            os.rename(folder, out)
            shutil.rmtree(old)
        else:
            os.rename(folder, out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
