"""Texts by which databases, Hive and pandas write absent values."""

from __future__ import annotations

import re

NO_WORDS = ("NULL", "\\N", "<NA>", "NaN", "NaT")
MARKS = (*NO_WORDS, "null", "nan", "None", "none", "NA", "N/A", "n/a")
_BETWEEN = "[,;|\t\"'=\\[\\] ]"  # two values of a text, or of what is shown of other files
_MARK = re.compile(f"(?:^|(?<={_BETWEEN}))({'|'.join(map(re.escape, MARKS))})(?={_BETWEEN}|$)")


def marks_in(row: str) -> list[str]:
    r"""Finds the marks that stand between the separators of a row, as `bad_rows.shown` writes it.

    >>> marks_in(r"7,NULL,\\N,NANA"), marks_in(r"1\tnull")
    (['NULL', '\\N'], ['null'])
    """
    text = row.replace("\\t", "\t").replace("\\\\", "\\")
    return list(dict.fromkeys(_MARK.findall(text)))
