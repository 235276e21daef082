"""Worker processes: order, deaths, errors, warnings; with real processes that are really killed."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from rerender.propagation.workers import run_jobs
from videoedit.errors import InputError, MethodError, ToolError

KILLED = (
    r"ended with exit code"
    if sys.platform == "win32"
    else r"was killed by SIGKILL \(often the system ran out of memory\)"
)


@pytest.fixture
def jobs(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    import crew_jobs

    return crew_jobs


def run(jobs, workers: int = 1, follow=lambda job: (), context="c") -> list[int]:
    steps: list[int] = []
    run_jobs(jobs, context, workers=workers, follow=follow, advance=steps.append)
    return steps


def test_every_job_and_what_follows_is_run_with_the_context(jobs, tmp_path: Path):
    todo = [jobs.Touch(tmp_path / f"{i}.job") for i in range(4)]
    steps = run(todo, 2, lambda job: [jobs.Touch(job.path.with_suffix(".next"))] if job.path.suffix == ".job" else [])
    assert {p.name for p in tmp_path.iterdir()} == {f"{i}.{s}" for i in range(4) for s in ("job", "next")}
    assert (tmp_path / "3.next").read_text() == "c"
    assert sum(steps) == 8


def test_a_worker_that_dies_is_named_and_its_job_done_once_more(jobs, tmp_path: Path, caplog):
    todo = [jobs.Die(tmp_path / "frames 3-5", 1), jobs.Touch(tmp_path / "other")]
    with caplog.at_level(logging.WARNING, logger="videoedit"):
        steps = run(todo)
    assert (tmp_path / "frames 3-5").read_text() == "c" and (tmp_path / "other").is_file()
    (warning,) = [record.getMessage() for record in caplog.records]
    assert re.search(KILLED, warning) and "frames 3-5" in warning and "once more" in warning
    assert sum(steps) == 2  # the lost step was taken back


def test_a_job_that_kills_two_workers_is_an_error_and_what_is_at_work_ends_well(jobs, tmp_path: Path):
    todo = [jobs.Die(tmp_path / "frames 3-5", 2), jobs.Touch(tmp_path / "other")]
    with pytest.raises(ToolError, match=rf"worker \d+ {KILLED}.* at frames 3-5, and so did"):
        run(todo, 2)
    assert (tmp_path / "other").is_file() and not (tmp_path / "frames 3-5").exists()
    run(todo[:1])  # the third attempt, of another call, is free to succeed
    assert (tmp_path / "frames 3-5").is_file()


def test_errors_keep_their_kind_and_say_where(jobs, tmp_path: Path, caplog):
    with pytest.raises(InputError, match="frame 7: no picture"):
        run([jobs.Fail(tmp_path / "frame 7", True)])
    assert "a warning of frame 7" in caplog.text
    with pytest.raises(ToolError, match="frame 8 failed: ZeroDivisionError: a defect"):
        run([jobs.Fail(tmp_path / "frame 8", False)])


def test_what_cannot_be_sent_is_said_before_anything_starts(jobs, tmp_path: Path):
    with pytest.raises(MethodError, match="cannot be sent to worker processes"):
        run([jobs.Touch(tmp_path / "a")], context=lambda: None)


def test_workers_end_with_their_parent(tmp_path: Path):
    """A script without a main guard starts workers; it is killed while they wait."""
    script = tmp_path / "script.py"
    script.write_text(
        "from rerender.propagation.workers import _crew\nwith _crew(1, 2):\n    print('up', flush=True); input()\n"
    )
    with subprocess.Popen([sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout and parent.stdout.readline() == b"up\n"
        workers = psutil.Process(parent.pid).children()
        assert len(workers) == 2
        parent.kill()
    deadline = time.monotonic() + 20
    while any(worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE for worker in workers):
        assert time.monotonic() < deadline
        time.sleep(0.05)
