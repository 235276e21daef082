"""Jobs over worker processes that may die: it is said who died over what, the job is done again, nothing else is lost.

Workers are fresh interpreters, neither forks nor children of `multiprocessing`: they never import the caller's main
module, so a script needs no ``if __name__ == "__main__"``. Each works on one thread, so that results do not depend on
how many there are. A worker ends with its parent.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol

from videoedit.errors import MethodError, ToolError, VideoEditError

logger = logging.getLogger("videoedit.rerender")

ATTEMPTS = 2
GIVEN_UP = (
    "worker {death} at {name}, and so did the one before it; what is finished is kept: free some memory, or take "
    "fewer workers (--workers 1) or a smaller --size, and give the command again"
)
STARTUP = "import sys; sys.path[:] = {path!r}; from rerender.propagation.workers import serve; serve({handle})"
ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "MKL", "OPENBLAS", "NUMBA")}


class Job(Protocol):
    """A piece of work that can be pickled. It leaves a file; nothing is returned."""

    @property
    def name(self) -> str: ...  # as the user reads it: "frames 11-19, forward"

    def run(self, context: Any, step: Callable[[], None]) -> None: ...  # calls `step` after each of its parts


def run_jobs(
    jobs: Iterable[Job],
    context: Any,
    *,
    workers: int,
    follow: Callable[[Any], Iterable[Job]],
    advance: Callable[[int], None],
) -> None:
    """Run every job, and those that `follow` from a finished one, in `workers` processes.

    `jobs` is drawn from when a worker is free, not before. `context` goes to every worker once. `advance` hears how
    many steps were done; less than zero when those of a dead worker are lost. After a job has failed no other is begun,
    but those at work end well; then the first error is raised: the job's own, or ToolError for a job over which
    `ATTEMPTS` workers died.
    """
    drawn, ready = iter(jobs), deque[Job]()
    failures: list[Exception] = []
    deaths = Counter[str]()
    with _crew(context, workers) as crew:
        while True:
            for worker in crew:
                if not worker.job and not failures and (job := ready.popleft() if ready else next(drawn, None)):
                    worker.begin(job)
            busy = {worker.connection: worker for worker in crew if worker.job}
            if not busy:
                break
            for connection in wait(list(busy)):
                worker = busy[connection]  # type: ignore[index]
                job, (event, value) = worker.job, worker.hear()
                assert job is not None
                if event == "step":
                    advance(1)
                elif event == "done":
                    ready.extend(follow(job))
                elif event == "failed":
                    failures.append(value)
                elif event == "warning":
                    logger.warning("%s", value)
                elif event == "died":
                    advance(-worker.steps)
                    deaths[job.name] += 1
                    crew[crew.index(worker)] = _Worker(worker.context)
                    if deaths[job.name] < ATTEMPTS:
                        logger.warning("worker %s at %s, which is now done once more", value, job.name)
                        ready.appendleft(job)
                    else:
                        failures.append(ToolError(GIVEN_UP.format(death=value, name=job.name)))
    if failures:
        raise failures[0]


@contextlib.contextmanager
def _crew(context: Any, workers: int) -> Iterator[list[_Worker]]:
    """So many workers; none outlives the block."""
    try:
        packed = pickle.dumps(context)
    except Exception as error:
        raise MethodError(f"the flow estimator cannot be sent to worker processes: {error}") from error
    crew = [_Worker(packed) for _ in range(workers)]
    try:
        yield crew
    finally:
        for worker in crew:
            worker.dismiss()


class _Worker:
    """A process that runs one job after another, as its parent sees it."""

    def __init__(self, context: bytes) -> None:
        self.context = context
        self.fresh = True
        self.job: Job | None = None
        self.steps = 0  # of the present job
        self.connection, theirs = Pipe()
        code = STARTUP.format(path=sys.path, handle=theirs.fileno())
        self.process = subprocess.Popen(
            [sys.executable, "-c", code],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.PIPE,  # says nothing; it closes when this process ends
            env=os.environ | ONE_THREAD,
        )
        theirs.close()

    def begin(self, job: Job) -> None:
        self.job, self.steps = job, 0
        with contextlib.suppress(OSError):  # it is dead: `hear` says so
            if self.fresh:
                self.connection.send_bytes(self.context)  # now and not at once, so that all start at the same time
                self.fresh = False
            self.connection.send(job)

    def hear(self) -> tuple[str, Any]:
        """The next news: ("step" | "done" | "failed" | "warning" | "died", value)."""
        try:
            event, value = self.connection.recv()
        except (EOFError, OSError):
            event, value = "died", self._obituary()
        self.steps += event == "step"
        if event in ("done", "failed", "died"):
            self.job = None
        return event, value

    def _obituary(self) -> str:
        code = self.process.wait()
        if code >= 0:
            return f"{self.process.pid} ended with exit code {code}"
        hint = " (often the system ran out of memory)" if code == -signal.SIGKILL else ""
        return f"{self.process.pid} was killed by {signal.Signals(-code).name}{hint}"

    def dismiss(self) -> None:
        self.connection.close()
        self.process.kill()
        self.process.communicate()


def serve(handle: int) -> None:
    """The life of a worker: jobs come over the connection `handle`, news of them go back, until it is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    connection = Connection(handle)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        context = connection.recv()
        import cv2

        cv2.setNumThreads(1)
        logging.getLogger().addHandler(_Forward(connection))
        while True:
            job: Job = connection.recv()
            connection.send(_outcome(job, context, connection))


def _end_with_parent() -> None:
    os.read(sys.stdin.fileno(), 1)
    os._exit(1)


def _outcome(job: Job, context: Any, connection: Connection) -> tuple[str, Any]:
    try:
        job.run(context, lambda: connection.send(("step", None)))
    except VideoEditError as error:
        return "failed", type(error)(f"{job.name}: {error}")
    except BrokenPipeError:
        raise
    except Exception as error:
        logging.getLogger(__name__).debug("%s", job.name, exc_info=True)
        return "failed", ToolError(f"{job.name} failed: {type(error).__name__}: {error}")
    return "done", None


class _Forward(logging.Handler):
    """Warnings of a worker are the parent's to show."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(logging.WARNING)
        self.connection = connection

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith(("videoedit", "rerender")):
            self.connection.send(("warning", record.getMessage()))
