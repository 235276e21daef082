"""Ways into the toolkit that readers share."""

from __future__ import annotations

import contextlib
import io
from typing import Any

from videoedit.errors import VideoEditError


def command_line(*arguments: Any) -> str:
    """Give a command; returns what it says. A refusal is a VideoEditError with its line."""
    from videoedit.cli import main

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), contextlib.suppress(SystemExit):
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = end.code
            raise
        finally:
            said = out.getvalue() + err.getvalue()
    bad = [letter for letter in said if not letter.isprintable() and letter not in "\n\r\t"]
    assert not bad, f"escape codes reach the terminal: {bad[:5]}"
    assert "Traceback" not in said
    assert code in (0, None, 1, 2), f"exit code {code}"
    if code == 2:
        lines = [line for line in err.getvalue().splitlines() if line.startswith("error: ")]
        assert lines, "exit code 2, and no line that says why"
        raise VideoEditError(lines[0])
    return said
