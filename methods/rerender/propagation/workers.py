"""Jobs over worker processes that may die: it is said who died over what, the job is done again, nothing else is lost.

Workers are fresh interpreters, neither forks nor children of `multiprocessing`: they never import the caller's main
module, so a script needs no ``if __name__ == "__main__"``. Each works on one thread, so that results do not depend on
how many there are. Jobs go to its standard input, news of them come from its standard output, as pickles. A worker
ends with its parent.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any, Protocol

from videoedit.errors import MethodError, ToolError, VideoEditError

logger = logging.getLogger("videoedit.rerender")

ATTEMPTS = 2
GIVEN_UP = (
    "worker {death} at {name}, and so did the one before it; what is finished is kept: free some memory, or take "
    "fewer workers (--workers 1) or a smaller --size, and give the command again"
)
STARTUP = "import sys; sys.path[:] = {path!r}; from rerender.propagation.workers import serve; serve()"
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
    with _crew(context, workers) as (crew, news):
        while True:
            for worker in crew:
                if not worker.job and not failures and (job := ready.popleft() if ready else next(drawn, None)):
                    worker.begin(job)
            if not any(worker.job for worker in crew):
                break
            worker, event, value = news.get()
            job = worker.hear(event)
            if event == "step":
                advance(1)
            elif event == "done":
                ready.extend(follow(job))
            elif event == "failed":
                failures.append(value)
            elif event == "warning":
                logger.warning("%s", value)
            elif event == "died":
                worker.dismiss()
                crew[crew.index(worker)] = _Worker(worker.context, news)
                if not job:
                    continue
                advance(-worker.steps)
                deaths[job.name] += 1
                if deaths[job.name] < ATTEMPTS:
                    logger.warning("worker %s at %s, which is now done once more", value, job.name)
                    ready.appendleft(job)
                else:
                    failures.append(ToolError(GIVEN_UP.format(death=value, name=job.name)))
    if failures:
        raise failures[0]


@contextlib.contextmanager
def _crew(context: Any, workers: int) -> Iterator[tuple[list[_Worker], _News]]:
    """So many workers, and the news from them; none outlives the block."""
    try:
        packed = pickle.dumps(context)
    except Exception as error:
        raise MethodError(f"the flow estimator cannot be sent to worker processes: {error}") from error
    news: _News = queue.SimpleQueue()
    crew = [_Worker(packed, news) for _ in range(workers)]
    try:
        yield crew, news
    finally:
        for worker in crew:
            worker.dismiss()


class _Worker:
    """A process that runs one job after another, as its parent sees it."""

    def __init__(self, context: bytes, news: _News) -> None:
        self.context = context
        self.fresh = True
        self.job: Job | None = None
        self.steps = 0  # of the present job
        command = [sys.executable, "-c", STARTUP.format(path=sys.path)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ | ONE_THREAD
        )
        assert self.process.stdin and self.process.stdout
        self.input, self.output = self.process.stdin, self.process.stdout
        self.listener = threading.Thread(target=self._listen, args=(news,), daemon=True)
        self.listener.start()

    def begin(self, job: Job) -> None:
        self.job, self.steps = job, 0
        with contextlib.suppress(OSError):  # it is dead: that will be news
            if self.fresh:
                self.input.write(self.context)  # now and not at once, so that all start at the same time
                self.fresh = False
            _send(self.input, job)

    def _listen(self, news: _News) -> None:
        """Hand on what the worker says, ("step" | "done" | "failed" | "warning", value), and at the end how it died."""
        try:
            while True:
                news.put((self, *pickle.load(self.output)))
        except (EOFError, OSError, pickle.UnpicklingError):
            news.put((self, "died", self._obituary()))

    def hear(self, event: str) -> Job | None:
        """Take note of news; returns the job that they are of."""
        job = self.job
        self.steps += event == "step"
        if event in ("done", "failed", "died"):
            self.job = None
        return job

    def _obituary(self) -> str:
        code = self.process.wait()
        if code >= 0:
            return f"{self.process.pid} ended with exit code {code}"
        name = signal.Signals(-code).name
        hint = " (often the system ran out of memory)" if name == "SIGKILL" else ""
        return f"{self.process.pid} was killed by {name}{hint}"

    def dismiss(self) -> None:
        self.process.kill()
        self.listener.join()
        self.output.close()
        with contextlib.suppress(OSError):  # what it was not told any more
            self.input.close()


_News = queue.SimpleQueue[tuple[_Worker, str, Any]]


def _send(pipe: IO[bytes], value: Any) -> None:
    pipe.write(pickle.dumps(value))
    pipe.flush()


def serve() -> None:
    """The life of a worker: jobs come over the standard input, until it is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    news = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is no news
    jobs: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(jobs,), daemon=True).start()
    with contextlib.suppress(OSError):  # nobody listens any more
        context = jobs.get()
        import cv2

        cv2.setNumThreads(1)
        logging.getLogger().addHandler(_Forward(news))
        while True:
            job: Job = jobs.get()
            _send(news, _outcome(job, context, news))


def _receive(jobs: queue.SimpleQueue[Any]) -> None:
    """Queue what the parent sends; end the process with it, or over what cannot be read."""
    try:
        while True:
            jobs.put(pickle.load(sys.stdin.buffer))
    except EOFError:
        os._exit(1)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        os._exit(1)


def _outcome(job: Job, context: Any, news: IO[bytes]) -> tuple[str, Any]:
    try:
        job.run(context, lambda: _send(news, ("step", None)))
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

    def __init__(self, news: IO[bytes]) -> None:
        super().__init__(logging.WARNING)
        self.news = news

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith(("videoedit", "rerender")):
            _send(self.news, ("warning", record.getMessage()))
