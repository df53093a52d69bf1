"""Memory that a process grows by with each version that it loads as TensorFlow Serving does.

    python benchmarks/versions_in_memory.py models/feed/1 models/feed/2 models/feed/1

All versions stay loaded, as two do while a server exchanges one for the other. A version's warm-up
requests are replayed where the `serving` extra is installed. The first one's growth includes what
TensorFlow takes once for all of them.
"""

from __future__ import annotations

import argparse

from lt4rec_tf.core.command import before_tensorflow

if __name__ == "__main__":
    before_tensorflow()

from pathlib import Path

from resident import held

from lt4rec_tf.reports.text_tables import markdown_table
from lt4rec_tf.serving.development_server.loaded_version import LoadedVersion
from lt4rec_tf.serving.model_card import folder_size

MEGABYTE = 1e6


def main() -> None:
    """Loads versions one after the other and prints what each takes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("versions", type=Path, nargs="+", help="folders with a saved_model.pb")
    flags = parser.parse_args()

    loaded, lines = [], []
    for folder in flags.versions:
        before = held()
        loaded.append(LoadedVersion(folder))
        on_disk, grown = folder_size(folder) / MEGABYTE, (held() - before) / MEGABYTE
        lines.append([str(folder), f"{on_disk:.1f}", f"{grown:.1f}", f"{held() / MEGABYTE:.0f}"])
    header = ["version", "on disk, MB", "memory it adds, MB", "process, MB"]
    print(markdown_table(header, lines))


if __name__ == "__main__":
    main()
