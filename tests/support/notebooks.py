"""Runs notebooks without Jupyter, and keeps what their cells show.

    python -m tests.support.notebooks docs/notebooks/feed.ipynb

runs a notebook in its folder and writes its outputs into it: what cells print, and the text, HTML
and picture of a last expression, as Jupyter keeps them (nbformat 4).
"""

from __future__ import annotations

import ast
import base64
import json
import os
import subprocess
import sys
from pathlib import Path

from tests.support.paths import PROJECT

# Before the cells: `_show(cell, value)` keeps what Jupyter would of a cell's last expression.
_HEAD = """
import base64 as _base64, contextlib as _contextlib, io as _io, json as _json
_outputs = {}
def _show(cell, value):
    if value is not None:
        data = {"text/plain": repr(value)}
        for kind, name in (("text/html", "_repr_html_"), ("image/png", "_repr_png_")):
            if hasattr(value, name):
                found = getattr(value, name)()
                as_text = isinstance(found, str)
                data[kind] = found if as_text else _base64.b64encode(found).decode()
        _outputs.setdefault(cell, []).append(data)
"""
_CELL = """
with _contextlib.redirect_stdout(_io.StringIO()) as _printed:
{cell}
if _printed.getvalue():
    _outputs.setdefault({number}, []).insert(0, _printed.getvalue())
"""
_TAIL = "\nopen({path!r}, 'w').write(_json.dumps(_outputs))\n"


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def source_of(cell: dict) -> str:
    return "".join(cell["source"])


def script_of(notebook: dict, result: Path) -> str:
    """One program of all code cells, each of which may end in an expression that is shown."""
    parts = [_HEAD]
    for number, cell in enumerate(notebook["cells"]):
        if cell["cell_type"] == "code":
            parsed = ast.parse(source_of(cell))
            if parsed.body and isinstance(parsed.body[-1], ast.Expr):
                show = ast.parse(f"_show({number}, _)").body[0]
                show.value.args[1] = parsed.body[-1].value
                parsed.body[-1] = show
            lines = ast.unparse(parsed).splitlines()
            indented = "\n".join(f"    {line}" for line in lines)
            parts.append(_CELL.format(cell=indented, number=number))
    return "".join(parts) + _TAIL.format(path=str(result))


def run(notebook: dict, folder: Path) -> dict[int, list]:
    """Runs the cells in a folder, in a process of their own; returns what each shows."""
    script, result = folder / "cells.py", folder / "outputs.json"
    script.write_text(script_of(notebook, result), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    made = subprocess.run(
        [sys.executable, script.name],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert made.returncode == 0, made.stderr[-3000:]
    shown = json.loads(result.read_text(encoding="utf-8"))
    script.unlink()
    result.unlink()
    return {int(number): outputs for number, outputs in shown.items()}


def with_outputs(notebook: dict, shown: dict[int, list]) -> dict:
    """The notebook with its cells' outputs, as Jupyter writes them."""
    cells = []
    for number, cell in enumerate(notebook["cells"]):
        if cell["cell_type"] == "code":
            outputs = [_output(found, number) for found in shown.get(number, [])]
            cell = {**cell, "outputs": outputs, "execution_count": number}
        cells.append(cell)
    return {**notebook, "cells": cells}


def _output(found: str | dict, number: int) -> dict:
    if isinstance(found, str):
        return {"output_type": "stream", "name": "stdout", "text": found.splitlines(True)}
    data = {
        kind: text if kind == "image/png" else text.splitlines(True) for kind, text in found.items()
    }
    kind = "execute_result"
    return {"output_type": kind, "execution_count": number, "metadata": {}, "data": data}


def pictures_of(notebook: dict) -> list[bytes]:
    """The PNG pictures that a notebook keeps."""
    kept = []
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                kept.append(base64.b64decode(output["data"]["image/png"]))
    return kept


if __name__ == "__main__":
    notebook_path = Path(sys.argv[1]).resolve()
    opened = read(notebook_path)
    whole = with_outputs(opened, run(opened, notebook_path.parent))
    notebook_path.write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n", "utf-8")
