"""RecBole's LightGCN in a process of its own; see lightgcn.py, which starts it."""

from __future__ import annotations

import argparse
import contextlib
import gzip
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.utils import get_model, get_trainer, init_seed


def main() -> None:
    """Makes RecBole's files, model and batches, then takes a turn per line of standard input."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data_dir", type=Path, required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--dimension", type=int, required=True)
    parser.add_argument("--steps", type=int, required=True)
    flags = parser.parse_args()

    data_dir = flags.data_dir.absolute()
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):  # it writes logs there
        write_atomic_file(data_dir, Path(folder) / "pairs")
        config = Config(
            model="LightGCN",
            dataset="pairs",
            config_dict={
                "data_path": folder,
                "embedding_size": flags.dimension,
                "n_layers": 3,
                "reg_weight": 1e-4,
                "train_batch_size": flags.batch,
                "use_gpu": False,
                "show_progress": False,
                "eval_args": {"split": {"RS": [1, 0, 0]}, "order": "RO", "mode": "full"},
            },
        )
        init_seed(0, True)
        train, *_ = data_preparation(config, create_dataset(config))
        model = get_model("LightGCN")(config, train.dataset)
        optimizer = get_trainer(config["MODEL_TYPE"], "LightGCN")(config, model).optimizer

    def take_step(batch) -> None:
        optimizer.zero_grad()
        model.calculate_loss(batch).backward()
        optimizer.step()

    print(f"steps={len(train)}", flush=True)
    batches = iter(train)
    take_step(next(batches))
    for _ in sys.stdin:
        started, taken = time.perf_counter(), 0
        while taken < flags.steps:
            for batch in islice(batches, flags.steps - taken):
                take_step(batch)
                taken += 1
            if taken < flags.steps:
                batches = iter(train)
        print(f"seconds={(time.perf_counter() - started) / taken}", flush=True)


def write_atomic_file(data_dir: Path, folder: Path) -> None:
    """Writes train as RecBole's .inter file."""
    folder.mkdir()
    path = next(p for p in (data_dir / "train.txt", data_dir / "train.txt.gz") if p.exists())
    with (
        gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines,
        (folder / "pairs.inter").open("w") as out,
    ):
        out.write("user_id:token\titem_id:token\n")
        for line in lines:
            user, *items = line.split()
            out.writelines(f"{user}\t{item}\n" for item in items)


if __name__ == "__main__":
    main()
