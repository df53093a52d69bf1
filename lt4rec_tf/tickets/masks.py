"""Masks of a tower's kernels: density, overlap, dead neurons, a safe file.

A ticket is a dict from kernel name to a bool array of the kernel's shape, (inputs, units); True
(1) keeps a weight, False (0) cuts it. The dict's order is the tower's, from the input upwards.
"""

from __future__ import annotations

import hashlib
import io
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from lt4rec_tf.core.artifacts import write_atomically
from lt4rec_tf.core.errors import InputError

Masks = dict[str, np.ndarray]

NO_COMMENT = struct.pack("<H", 0)
UNITS = ".units"  # ends the name of what says how many of a kernel's last bits are padding
DIGEST_LENGTH = 2 * hashlib.sha256().digest_size


class MaskError(InputError, ValueError):
    """Masks do not fit the model or each other, or their file is damaged."""


def ones(shapes: Mapping[str, tuple[int, ...]]) -> Masks:
    """Returns masks that keep every weight.

    Args:
        shapes: Kernel name -> shape.
    """
    return {name: np.ones(shape, bool) for name, shape in shapes.items()}


def ones_like(kernels: Mapping[str, np.ndarray]) -> Masks:
    """Returns masks that keep every weight of the kernels.

    >>> ones_like({"tower_0": np.zeros((1, 2))})
    {'tower_0': array([[ True,  True]])}
    """
    return ones({name: tuple(kernel.shape) for name, kernel in kernels.items()})


def as_numbers(mask: np.ndarray, shape: tuple[int, ...], name: str) -> np.ndarray:
    """Returns a mask as a layer holds it, float32.

    >>> as_numbers(np.array([[True, False]]), (1, 2), "tower_0")
    array([[1., 0.]], dtype=float32)

    Args:
        mask: (inputs, units), bool or 0/1; 1 keeps a weight.
        shape: Of the kernel.
        name: Begins a message.

    Raises:
        ValueError: The shape is not the kernel's, or a value is neither 0 nor 1.
    """
    if mask.shape != shape:
        raise ValueError(f"{name}: mask has shape {mask.shape}, the kernel {shape}")
    if not np.isin(mask, (0, 1)).all():
        raise ValueError(f"{name}: a mask holds 0 and 1 only")
    return mask.astype(np.float32)


def density(masks: Masks) -> float:
    """Returns the share of all weights that is kept, in [0, 1]; nan without weights.

    >>> density({"tower_0": np.array([[True, False, True]]), "tower_1": np.array([[False]])})
    0.5
    """
    weights_kept = sum(int(np.count_nonzero(mask)) for mask in masks.values())
    return _ratio(weights_kept, sum(mask.size for mask in masks.values()))


def densities(masks: Masks) -> dict[str, float]:
    """Returns the share of each kernel's weights that is kept, in [0, 1].

    >>> densities({"tower_0": np.array([[True, False]]), "tower_1": np.array([[False]])})
    {'tower_0': 0.5, 'tower_1': 0.0}
    """
    return {name: density({name: mask}) for name, mask in masks.items()}


def overlap(tickets: Sequence[Masks]) -> float:
    """Returns the overlap ratio of tickets over all kernels: |AND_t M_t| / |OR_t M_t|.

    >>> ctr = {"tower_0": np.array([[True, True, True, False]])}
    >>> cvr = {"tower_0": np.array([[True, False, True, True]])}
    >>> overlap([ctr, cvr])
    0.5

    Args:
        tickets: One a task, over the same kernels.

    Returns:
        A number in [0, 1]; 1 if the tickets are equal, nan if none keeps a weight.

    Raises:
        MaskError: The tickets' kernels differ, or there is no ticket.

    Source: Sun et al., Learning Sparse Sharing (AAAI 2020, arXiv 1911.05034).
    """
    _check_same_kernels(tickets)
    kept_by_all, kept_by_any = 0, 0
    for name in tickets[0]:
        stacked = np.stack([masks[name] for masks in tickets])
        kept_by_all += int(np.count_nonzero(stacked.all(axis=0)))
        kept_by_any += int(np.count_nonzero(stacked.any(axis=0)))
    return _ratio(kept_by_all, kept_by_any)


def overlaps(tickets: Sequence[Masks]) -> dict[str, float]:
    """Returns the overlap ratio of tickets by kernel; see `overlap`."""
    _check_same_kernels(tickets)
    ratios = {}
    for name in tickets[0]:
        ratios[name] = overlap([{name: masks[name]} for masks in tickets])
    return ratios


def union(tickets: Sequence[Masks]) -> Masks:
    """Returns masks that keep what any ticket keeps: the weights that joint training can move.

    >>> union([{"tower_0": np.array([True, False, False])},
    ...        {"tower_0": np.array([True, True, False])}])
    {'tower_0': array([ True,  True, False])}

    Raises:
        MaskError: The tickets' kernels differ, or there is no ticket.
    """
    _check_same_kernels(tickets)
    united = {}
    for name in tickets[0]:
        united[name] = np.any([masks[name] for masks in tickets], axis=0)
    return united


def find_dead_neurons(masks: Masks) -> dict[str, np.ndarray]:
    """Finds the neurons through which no input reaches the head.

    A neuron is constant if each of its inputs is cut or comes from a constant neuron: its output
    is the activation of its bias for every example. It is unread if each of its outputs is cut or
    goes to an unread neuron. It is dead if it is constant or unread.

    >>> found = find_dead_neurons({
    ...     "tower_0": np.array([[True, False, True], [True, False, True]]),
    ...     "tower_1": np.array([[True, False], [True, True], [False, False]])})
    >>> found["tower_0"]   # the second has no input, the third no output
    array([False,  True,  True])
    >>> found["tower_1"]   # the second reads only the dead second neuron below
    array([False,  True])

    Args:
        masks: Consecutive layers of one tower, (inputs, units) each; the head reads the last.

    Returns:
        Kernel name -> bool (units,).

    Raises:
        MaskError: A kernel does not take as many inputs as the kernel below has units.
    """
    _check_chain(masks)

    # The tower's inputs are no constants; one value stands for all of them.
    below = np.zeros(1, bool)
    constant = {}
    for name, mask in masks.items():
        below = _none(mask & ~below[:, None], axis=0)
        constant[name] = below

    unread = _unread(masks)[1:]
    return {name: constant[name] | above for name, above in zip(masks, unread, strict=True)}


def dead_neurons(masks: Masks) -> dict[str, int]:
    """Counts the dead neurons of each layer; see `find_dead_neurons`."""
    return {name: int(dead.sum()) for name, dead in find_dead_neurons(masks).items()}


def write_masks(path: Path, masks: Masks) -> None:
    """Writes masks, atomically, as a compressed npz archive of their bits.

    NumPy alone reads a mask: np.unpackbits(file[name], axis=-1, count=int(file[name + ".units"])).
    The archive's comment is the SHA-256 of the archive, so one wrong bit anywhere is noticed. Equal
    masks give equal bytes.

    Raises:
        MaskError: A mask is not bool.
    """
    for name, mask in masks.items():
        if mask.dtype != bool:
            raise MaskError(f"{path}: mask {name!r}: found dtype {mask.dtype}, expected bool")

    members = {}
    for name in sorted(masks):
        members[name] = np.packbits(masks[name], axis=-1)
        members[name + UNITS] = np.array(masks[name].shape[-1])

    buffer = io.BytesIO()
    np.savez_compressed(buffer, **members)  # type: ignore[arg-type]
    write_atomically(path, _sealed(buffer.getvalue()))


def read_masks(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> Masks:
    """Reads masks that `write_masks` wrote, in the order of the model's kernels.

    Args:
        path: The file.
        shapes: The model's kernels: name -> shape.

    Raises:
        MaskError: The file is absent or damaged, or does not fit the model.
    """
    packed_masks = _read_archive(Path(path))
    if packed_masks.keys() != dict(shapes).keys():
        raise MaskError(f"{path}: found kernels {sorted(packed_masks)}, expected {sorted(shapes)}")
    return {
        name: _unpacked(f"{path}: kernel {name!r}", *packed_masks[name], shape)
        for name, shape in shapes.items()
    }


def _unpacked(what: str, packed: np.ndarray, units: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    if packed.dtype != np.uint8 or units.dtype != np.int64 or packed.ndim == 0 or units.ndim != 0:
        raise MaskError(
            f"{what}: found {packed.dtype} and {units.dtype}, expected bits and a number"
        )
    packed_shape = (*packed.shape[:-1], int(units))
    if packed_shape != tuple(shape):
        raise MaskError(f"{what}: found a mask of shape {packed_shape}, expected {tuple(shape)}")

    mask = np.unpackbits(packed, axis=-1)[..., : packed_shape[-1]]
    if not np.array_equal(np.packbits(mask, axis=-1), packed):
        raise MaskError(
            f"{what}: found more bits than its shape {packed_shape} has, expected no others"
        )
    return mask.view(bool)


def _read_archive(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Reads the archive: kernel name -> its bits, its number of units."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise MaskError(f"{path}: masks cannot be read ({error})") from error

    # The checksum comes first: only bytes that write_masks wrote are parsed.
    if _sealed(content[: -len(NO_COMMENT) - DIGEST_LENGTH] + NO_COMMENT) != content:
        checksum = content[-DIGEST_LENGTH:].decode("ascii", "backslashreplace")
        raise MaskError(
            f"{path}: damaged, or not a file of masks: found checksum {checksum!r}, "
            "expected the SHA-256 of the bytes before it"
        )

    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            names = [name for name in archive.files if not name.endswith(UNITS)]
            return {name: (archive[name], archive[name + UNITS]) for name in names}
    except Exception as error:  # NumPy raises a dozen kinds on bytes that are no archive
        raise MaskError(f"{path}: found {error}, expected an npz archive of masks") from error


def _sealed(archive: bytes) -> bytes:
    # A zip archive ends with the length of its comment, 0 as NumPy writes it.
    digest = hashlib.sha256(archive).hexdigest().encode("ascii")
    return archive[: -len(NO_COMMENT)] + struct.pack("<H", len(digest)) + digest


def _check_same_kernels(tickets: Sequence[Masks]) -> None:
    if not tickets:
        raise MaskError("found no ticket, expected at least one")
    expected = _shapes(tickets[0])
    for index, masks in enumerate(tickets[1:], start=1):
        if _shapes(masks) != expected:
            raise MaskError(
                f"ticket {index}: found kernels {_shapes(masks)}, "
                f"expected those of ticket 0, {expected}"
            )


def _check_chain(masks: Masks) -> None:
    units: int | None = None
    for name, mask in masks.items():
        if mask.ndim != 2 or units not in (None, mask.shape[0]):
            raise MaskError(
                f"kernel {name!r}: found shape {mask.shape}, expected "
                f"({'inputs' if units is None else units}, units)"
            )
        units = mask.shape[1]


def _unread(masks: Masks) -> list[np.ndarray]:
    """Returns masks of the tower's inputs, then of each layer's neurons, that no live one reads."""
    # The head reads the whole last layer; one value stands for all of its neurons.
    unread = [np.zeros(1, bool)]
    for mask in reversed(masks.values()):
        unread.append(_none(mask & ~unread[-1], axis=1))
    return unread[::-1]


def _none(values: np.ndarray, axis: int) -> np.ndarray:
    return np.asarray(~values.any(axis=axis))


def _shapes(masks: Masks) -> dict[str, tuple[int, ...]]:
    return {name: mask.shape for name, mask in masks.items()}


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
