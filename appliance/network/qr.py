"""An address as a code for a phone's camera: for the page (SVG) and for the console."""

from __future__ import annotations

import io

import segno


def svg(text: str) -> bytes:
    """A picture of it, black on nothing: its ground must be white."""
    out = io.BytesIO()
    segno.make(text, micro=False).save(out, kind="svg", border=1, scale=4, xmldecl=False, omitsize=True, svgclass=None)
    return out.getvalue()


def terminal(text: str) -> str:
    """Lines of half blocks."""
    out = io.StringIO()
    segno.make(text, micro=False).terminal(out, border=2, compact=True)
    return out.getvalue()
