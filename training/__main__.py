"""``python -m training``."""

from __future__ import annotations

from training.train import main

if __name__ == "__main__":
    main()
