"""Takes the README's picture of TensorBoard in a headless Chromium: `make screenshots`."""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

from tensorboard import program

MOST_SECONDS = 60  # until TensorBoard has read a run's events, and for the browser
WINDOW = "1720,1130"  # pixels; wide enough for three curves beside each other
# Of the browser's clock: it draws the page when so many milliseconds are over, and waits for none.
DRAWN_AFTER = 20_000


def main() -> None:
    """Opens TensorBoard, takes the picture and prints its path."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="Folder of a finished run.")
    parser.add_argument("--picture", type=Path, required=True, help="PNG to write.")
    parser.add_argument("--browser", required=True, help="Program, such as chromium.")
    arguments = parser.parse_args()

    url = _open_tensorboard(arguments.run / "tensorboard")
    _take_picture(arguments.browser, f"{url}#timeseries", arguments.picture)
    print(arguments.picture)


def _open_tensorboard(logdir: Path) -> str:
    """Serves event files until this process ends; returns the address once all are read."""
    board = program.TensorBoard()
    board.configure(logdir=str(logdir), host="127.0.0.1", port=0, load_fast="false")
    url: str = board.launch()

    before, waiting_until = b"", time.monotonic() + MOST_SECONDS
    while time.monotonic() < waiting_until:
        time.sleep(2)
        with urllib.request.urlopen(f"{url}data/plugin/timeseries/tags") as answer:
            tags = answer.read()
        # The metrics of test are written when a run ends.
        if b'"test/' in tags and tags == before:
            return url
        before = tags
    raise SystemExit(f"{logdir}: found no tag test/..., expected those of a finished training")


def _take_picture(browser: str, url: str, picture: Path) -> None:
    with tempfile.TemporaryDirectory() as profile:
        flags = [
            f"--window-size={WINDOW}",
            f"--virtual-time-budget={DRAWN_AFTER}",
            f"--screenshot={picture.absolute()}",
            f"--user-data-dir={profile}",
            # With WebGL a thread draws the curves, at times too late; without it the page does.
            "--disable-3d-apis",
        ]
        command = [browser, "--headless", "--no-sandbox", "--hide-scrollbars", *flags, url]
        subprocess.run(command, check=True, capture_output=True, timeout=MOST_SECONDS)


if __name__ == "__main__":
    main()
