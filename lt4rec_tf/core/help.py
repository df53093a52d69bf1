"""The help page of a command: its flags by section, the dozen that matter or all of them."""

from __future__ import annotations

import dataclasses
import textwrap
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal

WIDTH = 88
MANY = 40  # flags of a command, more than a page that is not full shows
FLAGFILE = "Text file of flags, one a line; those that follow on the command line win."
_VALUES = {
    str: "TEXT",
    bool: "",
    int: "N",
    float: "X",
    float | None: "X",
    float | str | None: "X",
    tuple[int, ...]: "N,N",
    tuple[str, ...]: "TEXT,TEXT",
}


def help_page(doc: str, groups: Sequence[type], more_help: Mapping[str, str], *, full: bool) -> str:
    """Returns a help page.

    Of a command with many flags, a page that is not full shows those that are marked as main. A
    section is a dataclass; its name is the first line of its docstring.

    Args:
        doc: What the command does.
        groups: Dataclasses of flags.
        more_help: Flag -> what stands after its own help.
        full: Whether all flags are shown.
    """
    by_section = {_title(group): _flags_of(group) for group in groups}
    all_flags = [item for items in by_section.values() for item, _ in items]
    some = not full and len(all_flags) > MANY

    parts, shown = [doc.strip()], 0
    for title, items in by_section.items():
        chosen = [(item, hint) for item, hint in items if item.metadata["main"] or not some]
        entries = [_entry(item, hint, more_help.get(item.name, "")) for item, hint in chosen]
        parts += ["\n".join([title, *entries])] if entries else []
        shown += len(entries)

    parts.append("\n".join(["Of every command", _text("--flagfile=FILE", FLAGFILE)]))
    if some:
        parts.append(f"{len(all_flags) - shown} more flags: --helpfull")
    return "\n\n".join(parts)


def _title(group: type) -> str:
    doc = group.__doc__ or ""
    written = not doc.startswith(f"{group.__name__}(")  # what dataclass writes where there is none
    return doc.splitlines()[0].rstrip(".") if written else "What it reads and writes"


def _flags_of(group: type) -> list[tuple[dataclasses.Field[Any], Any]]:
    """Returns a section's flags with their types, its own before those that it inherits."""
    hints, own = typing.get_type_hints(group), vars(group).get("__annotations__", {})
    items = [item for item in dataclasses.fields(group) if "help" in item.metadata]
    items.sort(key=lambda item: item.name not in own)
    return [(item, hints[item.name]) for item in items]


def _entry(item: dataclasses.Field[Any], hint: Any, more: str) -> str:
    """Returns a flag's lines: its name and values, what it is without it, its help."""
    if typing.get_origin(hint) is Literal:
        values = "{" + "|".join(typing.get_args(hint)) + "}"
    else:
        values = _VALUES[hint]
    name = f"--[no]{item.name}" if hint is bool else f"--{item.name}={values}"
    return _text(f"{name}  {_default(item)}".rstrip(), f"{item.metadata['help']} {more}")


def _default(item: dataclasses.Field[Any]) -> str:
    default: Any = item.default
    if default in ("", (), None):
        return "(required)" if item.metadata["required"] else ""
    if isinstance(default, tuple):
        default = ",".join(map(str, default))
    return f"(default: {str(default).lower() if isinstance(default, bool) else default})"


def _text(first: str, text: str) -> str:
    around = textwrap.TextWrapper(
        WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6, break_on_hyphens=False
    )
    return "\n".join([f"  {first}", *around.wrap(text.strip())])
