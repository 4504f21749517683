"""What the plans of a bundle are built from, read from its manifest by the builder and by the engine alike.

Profiles are narrow: the largest shape decides how much memory a plan's activations take (SD 1.5's UNet: 97 MB for
2 x 4 x 64 x 64 alone, 490 MB when up to 4 x 4 x 96 x 96 is allowed).
"""

from __future__ import annotations

from collections.abc import Callable

from appliance.errors import BadBundle
from appliance.pipeline.manifest import SMALLEST_TILE, Bundle, Component, Manifest, Tensor
from appliance.plans import gpu
from appliance.plans.passport import Inputs, Precision, Profile, Range, Source, Target

_FINEST_FIRST: tuple[Precision, ...] = ("float32", "float16", "bfloat16", "int8", "fp8")
_UNET = "unet"
_DECODER = "vae_decoder"  # it may be given a picture tile by tile, so its shapes begin at the smallest tile
_PIXELS = "image"  # a tensor of this name has its sides in pixels, every other picture in latents
_GUIDED = 2  # rows of one picture with guidance


def sources(bundle: Bundle) -> dict[str, Source]:
    """By component, what its plan is built from: the float16 graph where there is one.

    Raises `BadBundle` where TensorRT cannot take a tensor.
    """
    manifest = bundle.of_float16().manifest
    return {name: _source(name, component, manifest) for name, component in manifest.components.items()}


def inputs_for(bundle: Bundle, target: Target, version: str, sm: str, gpu_name: str | None) -> Inputs:
    """All that the bundle's plans depend on: what the builder writes down and the engine looks for."""
    return Inputs(
        bundle=bundle.manifest.title,
        target=target,
        version=version,
        sm=sm,
        gpu=gpu_name if target == "tensorrt" else None,
        l4t=gpu.l4t(),
        components=sources(bundle),
    )


def precision(component: Component) -> Precision:
    """Of the network's arithmetic: a strongly typed network computes as its graph says."""
    dtypes = {tensor.dtype for tensor in (*component.inputs, *component.outputs)}
    halved = component.file == component.f16 or "float16" in dtypes
    return component.precision or ("float16" if halved else "float32")


def coarsest(bundle: Bundle) -> Precision:
    """The coarsest precision among the bundle's networks, which its pictures have."""
    return coarser(*(precision(part) for part in bundle.manifest.components.values()))


def coarser(*precisions: Precision) -> Precision:
    """The coarsest of them."""
    return max(precisions, key=_FINEST_FIRST.index)


def shrinks(name: str) -> bool:
    """Whether a component can do with less memory than its largest shape takes: the decoder, by tiles."""
    return name == _DECODER


def _source(name: str, component: Component, manifest: Manifest) -> Source:
    for tensor in (*component.inputs, *component.outputs):
        if tensor.dtype == "int64":
            raise BadBundle(f"{name}: TensorRT takes no int64, as {tensor.name} is: export the bundle again (int32).")
    files = manifest.files
    return Source(
        onnx=files[component.file].sha256,
        weights=None if component.weights is None else files[component.weights].sha256,
        precision=precision(component),
        profile=_profile(name, component, manifest),
    )


def _profile(name: str, component: Component, manifest: Manifest) -> Profile:
    """The UNet takes batches; every other network is asked for one picture or text at a time."""
    most = manifest.limits.batch if name == _UNET else 1
    usual = min(most, _GUIDED if manifest.defaults.guidance > 1.0 else 1)
    widths, heights = zip(*manifest.sizes, strict=True)
    least = SMALLEST_TILE * manifest.latents.scale if name == _DECODER else max(*heights, *widths)
    spans = {
        "batch": (1, usual, most),
        "height": (min(least, *heights), heights[0], max(heights)),
        "width": (min(least, *widths), widths[0], max(widths)),
    }
    return {tensor.name: _range(name, tensor, spans, manifest) for tensor in component.inputs}


def _range(name: str, tensor: Tensor, spans: dict[str, tuple[int, int, int]], manifest: Manifest) -> Range:
    scale = 1 if tensor.name == _PIXELS else manifest.latents.scale

    def at(which: int) -> tuple[int, ...]:
        def free(axis: int) -> int:
            if axis == 0:
                return spans["batch"][which]
            if len(tensor.shape) == 4 and axis in (2, 3):
                return spans["height" if axis == 2 else "width"][which] // scale
            raise BadBundle(f"{name}: {tensor.name} has a free dimension {axis} of no known meaning: export it again.")

        return _filled(tensor, free)

    return Range(min=at(0), opt=at(1), max=at(2))


def _filled(tensor: Tensor, free: Callable[[int], int]) -> tuple[int, ...]:
    return tuple(size if isinstance(size, int) else free(axis) for axis, size in enumerate(tensor.shape))
