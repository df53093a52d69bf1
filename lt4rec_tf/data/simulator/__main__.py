"""Writes a simulated feed; see `writer`."""

from __future__ import annotations

from lt4rec_tf.core.command import before_tensorflow

if __name__ == "__main__":
    before_tensorflow()

from lt4rec_tf.data.simulator.writer import main

if __name__ == "__main__":
    main()
