"""The memory of this machine, to which sizes are compared before anything is allocated."""

from __future__ import annotations

import os
from pathlib import Path

GIB = 2**30  # bytes

_CONTAINER_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def memory_bytes() -> int:
    """Returns the memory that a process may have here: the machine's, or its container's limit."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in _CONTAINER_LIMITS:
        try:
            limits.append(int(path.read_text()))
        except (OSError, ValueError):  # no such container, or "max"
            continue
    return min(limits)


def in_gib(size: float) -> str:
    """Writes a number of bytes for messages.

    >>> in_gib(1.5 * 2**30), in_gib(4e14)
    ('1.5 GiB', '372,529 GiB')
    """
    gib = size / GIB
    return f"{gib:,.0f} GiB" if gib >= 100 else f"{gib:.2g} GiB"
