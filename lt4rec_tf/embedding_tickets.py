"""Lottery tickets in the embedding table of LightGCN or matrix factorisation.

    python -m lt4rec_tf.embedding_tickets --flagfile=configs/embedding_tickets/gowalla_mf.cfg

Started again with the same flags, it goes on where it was stopped.
"""

from __future__ import annotations

from lt4rec_tf.core.command import before_tensorflow

if __name__ == "__main__":
    before_tensorflow()

from collections.abc import Sequence
from contextlib import closing

from lt4rec_tf.config.settings import Places
from lt4rec_tf.core import artifacts, command
from lt4rec_tf.core.flags import build, parse_flags
from lt4rec_tf.experiment.lightgcn import procedure, report, search
from lt4rec_tf.experiment.lightgcn.settings import EmbeddingSettings, check
from lt4rec_tf.experiment.paths import EMBEDDING_PICTURE, EVALUATION, TENSORBOARD
from lt4rec_tf.reports.figures import save_png
from lt4rec_tf.reports.run_report import StageLog


def main(argv: Sequence[str]) -> None:
    """Reads pairs, trains every way at every density, measures once on test, prints and draws."""
    values = parse_flags(argv, __doc__ or "", [EmbeddingSettings, Places])
    settings, places = build(EmbeddingSettings, values), build(Places, values)
    check(settings)
    split = procedure.read_pairs(settings)
    folder = procedure.run_folder(settings, places)
    command.make_deterministic()

    with artifacts.locked(folder), closing(StageLog(folder / TENSORBOARD)) as log:
        artifacts.sweep(folder)
        procedure.claim_folder(folder, settings, split)
        print(f"run: {folder}\n{report.statistics(split)}")
        rows = procedure.train_and_measure(settings, split, folder, log)
        artifacts.write_json(folder / EVALUATION, artifacts.undefined_as_null({"rows": rows}))
        picture = folder / EMBEDDING_PICTURE
        save_png(report.search_figure(rows, settings.top_k), picture)

    print(f"\non test\n\n{report.level_table(rows, settings.top_k)}\n")
    missing = search.not_reached(folder, settings.rounds) if "pep" in settings.ways else ""
    if missing:
        print(f"{missing}\n")
    print(f"TensorBoard: tensorboard --logdir {folder / TENSORBOARD}")
    print(f"picture: {picture}\nall numbers: {folder / EVALUATION}")


if __name__ == "__main__":
    command.run(main)
