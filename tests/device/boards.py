"""The fixture boards, planted as trees of files: see fixtures/README.md for what was recorded."""

from __future__ import annotations

from pathlib import Path

FIXTURES = Path(__file__).parent / "fixtures"
BOARDS = tuple(sorted(path.stem for path in FIXTURES.glob("*.tree")))


def plant(board: str, root: Path) -> Path:
    """Make the board's files under `root`; returns it."""
    for line in (FIXTURES / f"{board}.tree").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            name, content = line.split(" = ", 1)
            put(root, name, content.replace("\\n", "\n").replace("\\0", "\0"))
    return root


def put(root: Path, name: str, content: str) -> None:
    """Make or overwrite one file of the tree."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")


def tegrastats_lines() -> dict[str, str]:
    """Recorded lines by board."""
    lines = (FIXTURES / "tegrastats.txt").read_text(encoding="utf-8").splitlines()[1:]
    return {head[2:].split(":")[0]: line for head, line in zip(lines[::2], lines[1::2], strict=True)}
