"""Kill a run outright at random moments until it was killed N times; compare with a calm run.

Usage: killer.py METHOD SETTINGS_AS_JSON WORK_FOLDER KILLS; see `videoedit.conformance.kills`.
"""

from __future__ import annotations

import sys

from videoedit.conformance.kills import main

if __name__ == "__main__":
    main(*sys.argv[1:])
