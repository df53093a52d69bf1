"""A small run of the commands over a simulated feed, in this process."""

from __future__ import annotations

import pytest

from lt4rec_tf import train
from lt4rec_tf.core.command import exit_on_error
from lt4rec_tf.experiment import publishing, report
from lt4rec_tf.experiment.paths import SAVED_MODEL
from tests.support.schemas import few_features

ROWS = 4000

SMALL = f"""\
# What the tests of whole runs have in common.
--name=small
--simulate_rows={ROWS}
--split=time
--models=base,hard_sharing,s_weight
--hidden_units=16,8
--epochs=1
--embedding_dim=4
--rounds=2
--batch_size=256
--learning_rate=0.01
"""


def small(folder, *flags):
    """Flags of a run in folder/run over the feed that is simulated into folder's parent."""
    flagfile = folder.parent / "small.cfg"
    if not flagfile.exists():
        schema = few_features("simulated_feed", folder.parent)
        flagfile.write_text(SMALL + f"--schema={schema}\n--data_dir={folder.parent}/feed\n")
    return [f"--flagfile={flagfile}", f"--run_dir={folder}", *flags]


def run_main(main, *flags):
    """Runs an entry point in this process."""
    assert exit_on_error(main, ["command", *map(str, flags)]) == 0


def run_training(*flags, pictures=False):
    """Runs train in this process without its export, which takes as long as some trainings."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(publishing, "export_model", lambda folder, *others: folder / SAVED_MODEL)
        if not pictures:
            patch.setattr(report, "draw_run", lambda *arguments: [])
        run_main(train.main, *flags)
