"""Where the project and the real rows lie."""

from __future__ import annotations

from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
REAL_DATA = PROJECT.parent / "shared" / "data"


def real_data(folder: str) -> Path:
    """A folder of real rows; the test is skipped where it is absent."""
    path = REAL_DATA / folder
    if not path.is_dir():
        pytest.skip(f"real rows are not there: ../shared/data/{folder}")
    return path
