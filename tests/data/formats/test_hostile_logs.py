"""Records and files that were changed at random: counted or refused, in every format.

`python -m tests.support.hostile_logs 20000` tries many more.
"""

import pytest

from tests.support.hostile_logs import CASES, Tally, tried


@pytest.mark.parametrize("case", CASES)
def test_what_was_changed_is_counted_or_refused(tmp_path, case):
    tally = Tally()
    tried(tmp_path, case, 100, 0, tally, reading=False)
    assert tally.files.total() == 1
    _, _, of_file = case
    if not of_file:
        assert tally.files["read"] == 1
        assert tally.changed > 30
        assert tally.rows["usable"] > 40


def test_training_reads_the_rows_that_are_usable(tmp_path):
    tally = Tally()
    tried(tmp_path, ("jsonl", "zst", False), 200, 0, tally)
    assert tally.rows["usable"] > 100
