"""`export`: a diffusers folder → a bundle, built beside its place and moved there in one step."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from appliance.engines.onnxruntime import OnnxRuntime
from appliance.errors import BadInput
from appliance.pipeline.manifest import (
    Bundle,
    Component,
    Defaults,
    FileEntry,
    Manifest,
    SchedulerSettings,
    Tokenizer,
    sha256,
)
from engine_build import (
    families,
    golden_reference,
    lora,
    onnx_export,
    parity,
    preview_fit,
    safety_checker,
    scheduler,
    weights,
)
from engine_build.bundle_folder import built_beside, check_place, write_manifest
from engine_build.components import Network
from engine_build.lora import Lora
from engine_build.source import Source
from engine_build.source_folder import write_source
from engine_build.tokenizer import write_tokenizers

Say = Callable[[str], None]
Precision = Literal["f32", "f16"]


@dataclass(frozen=True, slots=True)
class Exported:
    """One network written: its counts, torch's answers to hold it to, and which layers of each LoRA it took."""

    network: Network
    written: onnx_export.Written
    reference: parity.Reference
    f16: bool
    merged: tuple[frozenset[lora.Layer], ...]


@dataclass(frozen=True, slots=True)
class Choices:
    """How a bundle is written: the weights' type on the disk, whether a float16 set is added, what is merged.

    `opset` is of the graphs for ONNX Runtime and OpenVINO; the float16 set keeps to 18, which every TensorRT takes.
    """

    storage: weights.Storage = "float16"
    precision: Precision = "f32"
    loras: tuple[Lora, ...] = ()
    preview: bool = True
    opset: onnx_export.Opset = onnx_export.OPSET


def export(source: Source, out: Path, storage: weights.Storage, say: Say, preview: bool = True) -> dict[str, Any]:
    """Write the bundle `out` with float32 graphs; → the report. Raises as `export_with`."""
    return export_with(source, out, Choices(storage, preview=preview), say)


def export_with(source: Source, out: Path, choices: Choices, say: Say) -> dict[str, Any]:
    """Write the bundle `out`; → the report. Raises `BadInput` or `BadBundle`, and then leaves `out` alone."""
    out = out.resolve()
    check_place(out)
    settings = scheduler.settings_from(source.scheduler)
    family = families.recognised(source)
    networks = families.declared(family, source)
    sizes = _sizes(source)
    with built_beside(out) as folder:
        tokenizers = write_tokenizers(source, folder)
        say(f"{source.folder.name} is of the family {family}")
        exported = _export_networks(source, networks, folder, choices, say)
        write_source(source, folder, networks)
        manifest = _described(source, settings, sizes, tokenizers, exported, folder)
        write_manifest(folder, manifest)
        parities = _check_parity(Bundle.open(folder), exported, say)
        fit = preview_fit.fit(Bundle.open(folder), say) if choices.preview else None
        if fit is not None:
            manifest = manifest.model_copy(update={"preview": fit.preview})
        manifest = golden_reference.added(folder, manifest)
        write_manifest(folder, manifest)
        report = _report(out, folder, manifest, choices)
    report["components"] = [_network_report(*pair) for pair in zip(exported, parities, strict=True)]
    report["preview"] = None if fit is None else fit.summary()
    say(f"wrote {out} ({report['bytes']:,} bytes)")
    return report


def _export_networks(
    source: Source, networks: Sequence[Network], folder: Path, choices: Choices, say: Say
) -> list[Exported]:
    """All of them, one at a time. Raises `BadInput` for a LoRA that fits none."""
    (folder / "onnx").mkdir()
    exported = [_export_network(source, network, folder, choices, say) for network in networks]
    for index, one in enumerate(choices.loras):
        lora.check_fit(one, [layer for network in exported for layer in network.merged[index]], say)
    return exported


def _described(
    source: Source,
    settings: SchedulerSettings,
    sizes: list[tuple[int, int]],
    tokenizers: dict[str, Tokenizer],
    exported: Sequence[Exported],
    folder: Path,
) -> Manifest:
    """The manifest of what lies in the folder by now, without a preview."""
    family = families.recognised(source)
    return Manifest(
        name=source.card.name or _name_of(source.folder),
        version=source.card.version or "1",
        licence=source.card.licence or "unknown: ask whoever trained the model",
        family=family,
        components={one.network.name: _component(one) for one in exported},
        **tokenizers,
        force_zeros_for_empty_prompt=family.startswith("sdxl") and _zeros_for_empty(source),
        scheduler=settings,
        latents=families.latents_of(source),
        picture_check=safety_checker.preparation(source),
        sizes=[list(size) for size in sizes],
        defaults=_defaults(source, settings),
        locales=source.card.locales or ["en"],
        locale_prompts=source.card.locale_prompts,
        examples={place: words for place, words in source.card.examples.items() if words},
        files=_files(folder),
    )


def _export_network(source: Source, network: Network, folder: Path, choices: Choices, say: Say) -> Exported:
    say(f"{network.name}: exporting {network.class_name}")
    with onnx_export.quiet():
        model = onnx_export.load(source, network)
        merged = tuple(lora.merge(one, model, network.folder) for one in choices.loras)
        original = onnx_export.outputs(model, network)
        rounded = onnx_export.round_weights(model, choices.storage)
        stored = onnx_export.outputs(model, network) if rounded else original
        written = onnx_export.write(model, network, folder, choices.storage, choices.opset)
    f16 = choices.precision == "f16" and _add_float16(model, network, folder, say)
    return Exported(network, written, parity.Reference(stored, original), f16, merged)


def _add_float16(model: Any, network: Network, folder: Path, say: Say) -> bool:
    """Write the graph that computes in float16; False where that type cannot hold this network's numbers."""
    if network.float32_for is not None:
        say(f"{network.name}: stays in float32, for {network.float32_for}")
        return False
    with onnx_export.quiet():
        if not onnx_export.largest(model, network) <= parity.FLOAT16_LARGEST:
            say(f"{network.name}: stays in float32, for in float16 its numbers are not finite")
            return False
        onnx_export.write_graph(model.half(), network, folder / network.f16_file, folder / network.weights)
    return True


def _check_parity(bundle: Bundle, exported: list[Exported], say: Say) -> list[parity.Parity]:
    engine, found = OnnxRuntime(), []
    for one in exported:
        loaded = engine.load(bundle, one.network.name)
        result = parity.check(one.network, loaded, one.reference)
        loaded.close()
        errors = f"{result.error:.1e} ({result.error_from_original:.1e} from the original weights)"
        if one.f16:
            loaded = engine.load(bundle.of_float16(), one.network.name)
            errors += f"; computing in float16 {parity.check_float16(one.network, loaded, one.reference):.1e}"
            loaded.close()
        say(f"{one.network.name}: relative error {errors}")
        found.append(result)
    return found


def _component(exported: Exported) -> Component:
    network = exported.network
    return Component(
        file=network.file,
        f16=network.f16_file if exported.f16 else None,
        weights=network.weights,
        inputs=[tensor.in_manifest() for tensor in network.inputs],
        outputs=[tensor.in_manifest() for tensor in network.outputs],
        parameters=exported.written.parameters,
    )


def _name_of(folder: Path) -> str:
    """The folder's name with what a bundle's name may not hold left out."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", folder.resolve().name).strip("._-")[:64] or "model"


def _sizes(source: Source) -> list[tuple[int, int]]:
    """(width, height) in pixels, the default first; the UNet must be able to halve them."""
    scale = families.latents_of(source).scale
    height, width = families.native_latents(source)
    step = scale * families.size_multiple(source)
    sizes = [(w, h) for w, h in source.card.sizes] or [(width * scale, height * scale)]
    for w, h in sizes:
        if w % step or h % step:
            raise BadInput(f"The size {w}x{h} cannot be drawn: both must be multiples of {step}.")
    return sizes


def _usual(source: Source, settings: SchedulerSettings) -> tuple[int, float]:
    """(steps, guidance): few steps without a second row for a distilled model, the usual ones otherwise."""
    if source.configs["unet"].get("time_cond_proj_dim") is not None:
        return 4, 8.5  # the guidance is embedded: Luo et al. 2023, arXiv:2310.04378, section 5
    if settings.allowed[0] == "lcm":
        return 4, 1.0
    euler = settings.allowed[0] in ("euler", "euler_ancestral")
    if euler and (settings.timestep_spacing, settings.prediction_type) == ("trailing", "epsilon"):
        return 1, 1.0  # as SD-Turbo and SDXL-Turbo are published (Sauer et al. 2023, arXiv:2311.17042)
    return 20, 4.0 if settings.prediction_type == "flow" else 7.5


def _zeros_for_empty(source: Source) -> bool:
    """Absent means true, as in diffusers."""
    return bool(source.index.get("force_zeros_for_empty_prompt", True))


def _defaults(source: Source, settings: SchedulerSettings) -> Defaults:
    """The card's, else the usual ones."""
    steps, guidance = _usual(source, settings)
    card = source.card
    return Defaults(
        steps=card.default_steps or steps,
        guidance=guidance if card.default_guidance is None else card.default_guidance,
        locale=card.default_locale or (card.locales[0] if card.locales else "en"),
    )


def _files(folder: Path) -> dict[str, FileEntry]:
    """What run time reads, with size and hash; `source/` is for training and not among it."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    names = sorted(name for name in (str(path.relative_to(folder)) for path in paths) if not name.startswith("source/"))
    return {name: FileEntry(sha256=sha256(folder / name), bytes=(folder / name).stat().st_size) for name in names}


def _report(out: Path, folder: Path, manifest: Manifest, choices: Choices) -> dict[str, Any]:
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return {
        "bundle": str(out),
        "name": manifest.name,
        "version": manifest.version,
        "family": manifest.family,
        "weights": choices.storage,
        "opset": choices.opset,
        "float16": sorted(name for name, component in manifest.components.items() if component.f16),
        "bytes": sum(path.stat().st_size for path in files),
        "scheduler": manifest.scheduler.model_dump(),
        "sizes": manifest.sizes,
    }


def _network_report(exported: Exported, found: parity.Parity) -> dict[str, Any]:
    return {"name": exported.network.name, **asdict(exported.written), **asdict(found)}
