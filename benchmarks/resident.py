"""Memory that a process holds, as Linux counts it."""

from __future__ import annotations

from pathlib import Path


def most_held() -> int:
    """Returns the most bytes that this process held at a time since `starting_anew`."""
    return _bytes("VmHWM")


def held() -> int:
    """Returns the bytes that this process holds now."""
    return _bytes("VmRSS")


def _bytes(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    (line,) = (line for line in lines if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


def starting_anew() -> None:
    """Begins `most_held` anew, at what is held now."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
