"""Drafts a schema from logs; see `command`."""

from __future__ import annotations

from lt4rec_tf.core.command import before_tensorflow
from lt4rec_tf.core.start_lines import compute_once

if __name__ == "__main__":
    before_tensorflow()
    compute_once()

import sys

from lt4rec_tf.data.inspect.command import main

if __name__ == "__main__":
    sys.exit(main())
