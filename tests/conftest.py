"""One thread: the networks of the tests are too small for more, and threads that wait for a busy core cost dearly."""

from __future__ import annotations

import os

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")
