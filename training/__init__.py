"""Training of the bundled model: a small latent diffusion model from data that packages carry.

Offline only: nothing under ``appliance`` imports this package, and torch is imported nowhere else but here and in
``engine_build``.
"""
