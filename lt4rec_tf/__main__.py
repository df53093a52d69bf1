"""All commands under one name: `lt4rec train ...` is `python -m lt4rec_tf.train ...`."""

from __future__ import annotations

from collections.abc import Sequence

import lt4rec_tf
from lt4rec_tf.core.command import run, run_module
from lt4rec_tf.core.errors import InputError

# By the names of commands: their module, and what each does.
COMMANDS = {
    "quickstart": ("lt4rec_tf.quickstart", "writes ./configs and trains on a simulated feed"),
    "inspect": ("lt4rec_tf.data.inspect", "looks at logs and writes a first schema to edit"),
    "convert": ("lt4rec_tf.data.convert", "converts logs of any size to shards of TFRecords"),
    "simulate": ("lt4rec_tf.data.simulator", "writes the logs of a simulated feed"),
    "train": ("lt4rec_tf.train", "trains models on logs, compares and exports them"),
    "evaluate": ("lt4rec_tf.evaluate", "measures the models of a run"),
    "predict": ("lt4rec_tf.predict", "scores logs of any size"),
    "export": ("lt4rec_tf.export", "publishes a model for TensorFlow Serving"),
    "serve": ("lt4rec_tf.serve", "serves a model for development, as TensorFlow Serving does"),
    "compare": ("lt4rec_tf.compare", "trains many models over seeds, with intervals"),
    "simulate_online": ("lt4rec_tf.simulate_online", "what rankings earn on a simulated feed"),
    "embedding_tickets": ("lt4rec_tf.embedding_tickets", "tickets in LightGCN's table"),
}
HELP = ("--help", "-h", "help")
USAGE = (
    "CTR and CVR in one shared network, each task wearing its own lottery ticket (LT4REC).",
    "",
    "usage: lt4rec COMMAND [--flag=value ...]; lt4rec COMMAND --help lists a command's flags",
    "",
)


def main(argv: Sequence[str]) -> None:
    """Runs a command by its name.

    Args:
        argv: Program, command, its flags.

    Raises:
        InputError: There is no such command.
    """
    name = argv[1] if len(argv) > 1 else "--help"
    if name in HELP:
        print(_usage())
    elif name == "--version":
        print(f"lt4rec_tf {lt4rec_tf.__version__}")
    elif name not in COMMANDS:
        raise InputError(f"found command {name!r}, expected one of {', '.join(COMMANDS)}")
    else:
        run_module(COMMANDS[name][0], [f"lt4rec {name}", *argv[2:]])


def _usage() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {what}" for name, (_, what) in COMMANDS.items()]
    return "\n".join([*USAGE, *lines])


def console() -> None:
    """Runs the command line of this process, and ends it."""
    run(main)


if __name__ == "__main__":
    console()
