"""Time of an epoch of LightGCN, beside RecBole's in PyTorch.

    python benchmarks/lightgcn.py --data_dir=DIR --peer=peer/bin/python

`peer` is a virtual environment with RecBole, which wants an older NumPy: docs/embedding_tickets.md
has its packages. An epoch is as many triples of user, item met and item not met as train has pairs,
whatever the batch; with softmax it is every user once. Three layers, Adam. Both take turns, each in
a process of its own, some steps a turn; medians of the turns, times the steps of an epoch.
"""

from __future__ import annotations

import argparse

from lt4rec_tf.core.command import before_tensorflow

if __name__ == "__main__":
    before_tensorflow()

import os
import statistics
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

from lt4rec_tf.core.command import make_deterministic

MODELS = {  # name -> (package, loss, batch)
    "RecBole, bpr 2,048": ("recbole", "bpr", 2048),
    "RecBole, bpr 65,536": ("recbole", "bpr", 65536),
    "lt4rec_tf, bpr 2,048": ("lt4rec_tf", "bpr", 2048),
    "lt4rec_tf, bpr 65,536": ("lt4rec_tf", "bpr", 65536),
    "lt4rec_tf, softmax 4,096": ("lt4rec_tf", "softmax", 4096),
}
LAYERS = 3
HERE = Path(__file__).parent


def main() -> None:
    """Starts a process per model, lets them take turns, prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data_dir", required=True, help="train.txt and test.txt, or .gz")
    parser.add_argument("--peer", default="", help="Python that has RecBole; none: ours alone")
    parser.add_argument("--dimension", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4, help="of a turn")
    parser.add_argument("--serve", choices=MODELS, help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.serve:
        serve(flags)
        return

    workers = {
        name: Worker(name, flags) for name, (package, *_) in MODELS.items()
        if package == "lt4rec_tf" or flags.peer
    }  # fmt: skip
    turns: dict[str, list[float]] = {name: [] for name in workers}
    for _ in range(flags.rounds):
        for name, worker in workers.items():
            turns[name].append(worker.turn())

    print(
        f"{os.cpu_count()} cores, dimension {flags.dimension}, {flags.rounds} x {flags.steps} steps"
    )
    print("| model and batch | ms a step | steps an epoch | s an epoch | of the first |")
    print("| :-- | --: | --: | --: | --: |")
    medians = {name: statistics.median(seconds) for name, seconds in turns.items()}
    epochs = {name: medians[name] * worker.steps_per_epoch for name, worker in workers.items()}
    first = next(iter(epochs.values()))
    for name, worker in workers.items():
        cells = f"{1000 * medians[name]:.0f} | {worker.steps_per_epoch} | {epochs[name]:.1f}"
        print(f"| {name} | {cells} | {epochs[name] / first:.2f} |")


class Worker:
    """A process that takes some steps per turn."""

    def __init__(self, name: str, flags: argparse.Namespace) -> None:
        peer = MODELS[name][0] == "recbole"
        script = HERE / ("lightgcn_recbole.py" if peer else "lightgcn.py")
        model = ["--serve", name] if not peer else ["--batch", str(MODELS[name][2])]
        self.process = subprocess.Popen(
            [flags.peer if peer else sys.executable, script, *model, "--data_dir", flags.data_dir,
             "--dimension", str(flags.dimension), "--steps", str(flags.steps)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.steps_per_epoch = int(self._answer("steps"))

    def turn(self) -> float:
        """Takes a turn; returns the seconds of a step."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return float(self._answer("seconds"))

    def _answer(self, what: str) -> str:
        for line in self.process.stdout:  # past what libraries print
            if line.startswith(f"{what}="):
                return line.split("=")[1]
        raise SystemExit(f"{self.process.args}: ended with {self.process.wait()}")


def serve(flags: argparse.Namespace) -> None:
    """Trains with this package, in a process of its own: a turn per line of standard input."""
    from lt4rec_tf.core.progress import Progress
    from lt4rec_tf.data.public.interactions import read_split
    from lt4rec_tf.experiment.lightgcn.trainer import PairPlan, PairTrainer

    make_deterministic()
    train = read_split(Path(flags.data_dir)).train
    _, loss, batch = MODELS[flags.serve]
    plan = PairPlan(
        layers=LAYERS, loss=loss, batch=batch, cosine=False, temperature=0.2, learning_rate=0.001,
        beta_2=0.999, epsilon=1e-7, l2=1e-4, epochs=1, validate_every=1, patience=0, cooldown=0,
        k=20,
    )  # fmt: skip
    with Progress(1, batch) as progress:
        trainer = PairTrainer(train, None, flags.dimension, plan, 0, progress, lambda *_: None)
    next(trainer.steps(0))  # traces
    say_turns(plan.steps_per_epoch(train), lambda: [*islice(trainer.steps(1), flags.steps)])


def say_turns(steps_per_epoch: int, take_steps) -> None:
    """Prints the steps of an epoch, then per line of standard input the seconds of a step."""
    print(f"steps={steps_per_epoch}", flush=True)
    for _ in sys.stdin:
        started = time.perf_counter()
        taken = take_steps()
        print(f"seconds={(time.perf_counter() - started) / len(taken)}", flush=True)


if __name__ == "__main__":
    main()
