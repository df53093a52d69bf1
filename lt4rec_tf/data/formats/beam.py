"""Apache Beam, an extra of the package that is imported only where a pipeline is made."""

from __future__ import annotations

from typing import Any

from lt4rec_tf.data.formats.files import DataError


def import_beam(refusal: str) -> Any:
    """Imports Apache Beam.

    Args:
        refusal: The message where it is not installed; "{error}" stands for Python's own.

    Returns:
        The module `apache_beam`.

    Raises:
        DataError: It is not installed.
    """
    try:
        import apache_beam
    except ImportError as error:
        raise DataError(refusal.format(error=error)) from error
    return apache_beam
