"""How a task on a ratio or an amount is predicted: its head, read from a schema.

`models.heads` holds the losses and predictions.
"""

from __future__ import annotations

from dataclasses import dataclass

from lt4rec_tf.core.toml import TomlTable

# By kind of head with a size: the key that says it, and what it is unless a schema says it.
SIZES = {
    "cread": ("bins", 32),
    "ordinal": ("bins", 32),
    "cqe": ("quantiles", 19),
    "egmn": ("gaussians", 5),
}
KINDS = ("plain", "wlr", "d2q", *SIZES)
_MOST = 1000  # of every size: an output each, or several


@dataclass(frozen=True)
class Head:
    """How the outputs of a network become the prediction of a ratio or an amount.

    Attributes:
        kind: "plain" (the task's loss), "wlr", "d2q", "cread", "ordinal", "cqe" or "egmn".
        size: Of cread and ordinal: bins; of cqe: quantiles; of egmn: Gaussians; 0 of others.
    """

    kind: str = "plain"
    size: int = 0

    @property
    def is_plain(self) -> bool:
        """Tells if the task's own loss is learned."""
        return self.kind == "plain"


PLAIN = Head()


def usual_head(kind: str) -> Head:
    """Returns the head of this kind, with the size that it has unless a schema says another.

    >>> usual_head("cread"), usual_head("wlr")
    (Head(kind='cread', size=32), Head(kind='wlr', size=0))
    """
    return Head(kind, SIZES[kind][1] if kind in SIZES else 0)


def read_head(table: TomlTable) -> Head:
    """Reads a task's `head = { kind = ... }`; plain where it says none.

    Raises:
        TomlError: The kind is unknown, or the size is none.
    """
    if not table.has("head"):
        return PLAIN
    head = table.table("head")
    kind = head.choice("kind", KINDS)
    if kind not in SIZES:
        head.close()
        return Head(kind)
    key, usual = SIZES[kind]
    size = head.integer(key, minimum=2 if key != "gaussians" else 1, default=usual)
    if size > _MOST:
        raise head.error(key, size, f"at most {_MOST}")
    head.close()
    return Head(kind, size)


def said_of_head(head: Head) -> dict[str, str | int]:
    """Returns a head as a schema's `head` says it.

    >>> said_of_head(Head("cqe", 9))
    {'kind': 'cqe', 'quantiles': 9}
    """
    said: dict[str, str | int] = {"kind": head.kind}
    if head.kind in SIZES:
        said[SIZES[head.kind][0]] = head.size
    return said
