"""Plant the faults of this folder one at a time and see which ones the tests notice.

python tests/mutants/run.py [--fast] [--only NAME ...]

Each fault is planted in a copy of the working tree, where the tests run that it names, in a process forked from this
one, which has the large libraries loaded already (and nothing of the project). As many copies as the process may use
cores. Needs `fork`, so Linux or macOS. Exit status 1 if a fault that names tests survives them.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
os.environ.update(dict.fromkeys(THREADS, "1"))  # before any library counts the cores; a forked pool of threads hangs
sys.path.insert(0, str(Path(__file__).parent))

from planted import ROOT, Mutant, read_mutants  # noqa: E402

LIBRARIES = (
    *("av", "cv2", "jinja2", "kornia", "numba", "pandas", "PIL.Image", "psutil", "pydantic", "rich", "scipy.fft"),
    *("scipy.ndimage", "scipy.optimize", "torch", "torchvision.models.optical_flow", "transformers", "typer", "pytest"),
    *("diffusers.models.unets.unet_2d_condition", "diffusers.models.autoencoders.autoencoder_kl"),
    *("diffusers.models.controlnets.controlnet", "diffusers.schedulers.scheduling_ddim", "torch.utils.flop_counter"),
    *("transformers.models.clip.modeling_clip", "transformers.models.clip.tokenization_clip", "torch.utils.checkpoint"),
)
MADE = (".git", ".venv*", ".*_cache", "__pycache__", "build", "dist", "outputs", "demo", "*.egg-info")
LIMIT = 600  # seconds for the tests of one fault; a fault may make a loop that never ends
PASSED, FAILED = 0, 1  # pytest's exit statuses


@dataclass
class Run:
    """The tests of one fault, or of none, at work in a copy of the tree."""

    tree: Path
    mutant: Mutant | None
    began: float = field(default_factory=time.monotonic)
    process: int = 0

    @property
    def log(self) -> Path:
        return self.tree.parent / f"{self.tree.name}.log"

    def start(self, tests: list[str]) -> None:
        """Fork, and run pytest there up to the first failure."""
        self.process = os.fork()
        if self.process == 0:
            status = 3
            try:
                status = _tests(self.tree, tests, self.log)
            finally:
                os._exit(status)

    def finished(self) -> int | None:
        """The exit status of pytest, or None; with a fault, one that runs beyond the limit is stopped, and has failed."""
        late = self.mutant is not None and time.monotonic() - self.began > LIMIT
        if late:
            os.killpg(self.process, signal.SIGKILL)
        process, status = os.waitpid(self.process, 0 if late else os.WNOHANG)
        if process == 0:
            return None
        return FAILED if late else os.waitstatus_to_exitcode(status)


def _tests(tree: Path, tests: list[str], log: Path) -> int:
    """Run tests of a tree in this process, which has nothing of the project loaded."""
    import pytest

    os.setsid()  # what the tests start ends with them
    with log.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    places = [str(tree), str(tree / "methods")]
    sys.path[:] = [*places, *(place for place in sys.path if place != str(Path(__file__).parent))]
    os.environ["PYTHONPATH"] = os.pathsep.join(places)  # of the processes that tests start
    os.environ["TMPDIR"] = tempfile.mkdtemp(dir=tree.parent)
    tempfile.tempdir = None
    os.chdir(tree)
    return int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", "--tb=line", "--rootdir", str(tree), *tests]))


def copy_tree(target: Path) -> None:
    """The working tree without what was built or made in it."""
    shutil.copytree(ROOT, target, ignore=shutil.ignore_patterns(*MADE))


def compile_tree(tree: Path) -> None:
    """Compile the modules once. What is compiled knows its source by contents: times are too coarse for planting."""
    folders = [str(tree / name) for name in ("videoedit", "methods")]
    command = [sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "checked-hash", *folders]
    subprocess.run(command, check=True)


def preload() -> None:
    """Load the libraries that many tests need; those that are missing are left to the tests."""
    import importlib

    for name in LIBRARIES:
        try:
            importlib.import_module(name)
        except ImportError:
            continue
    assert not {"videoedit", "tuneavideo", "rerender", "hybrid", "framewise"} & sys.modules.keys()


def first_failure(log: Path) -> str:
    """The id of the test that failed in a log of pytest."""
    lines = [
        line for line in log.read_text("utf-8", errors="replace").splitlines() if line.startswith(("FAILED ", "ERROR "))
    ]
    return lines[0].split(" ")[1] if lines else "?"


def plant(tree: Path, mutant: Mutant) -> None:
    path = tree / mutant.file
    path.write_text(mutant.planted((ROOT / mutant.file).read_text("utf-8")), "utf-8", newline="")


def run_all(mutants: list[Mutant], folder: Path) -> list[tuple[Mutant, str, str]]:
    """(fault, "killed", "survived" or "broken", the test that failed) of each."""
    results: list[tuple[Mutant, str, str]] = []
    free = [make_tree(folder / f"tree{number}") for number in range(min(cores(), len(mutants)))]
    busy: list[Run] = []
    waiting = list(reversed(mutants))
    while waiting or busy:
        while waiting and free:
            run = Run(free.pop(), waiting.pop())
            assert run.mutant is not None
            plant(run.tree, run.mutant)
            run.start(list(run.mutant.killed_by))
            busy.append(run)
        for run in busy[:]:
            if (status := run.finished()) is None:
                continue
            busy.remove(run)
            assert run.mutant is not None
            shutil.copy2(ROOT / run.mutant.file, run.tree / run.mutant.file)
            free.append(run.tree)
            verdict = {PASSED: "survived", FAILED: "killed"}.get(status, "broken")
            seconds = time.monotonic() - run.began
            test = first_failure(run.log) if verdict != "survived" else ""
            print(f"{verdict:9}{seconds:6.1f} s  {run.mutant.name}  {test}", flush=True)
            if verdict == "broken":
                print(run.log.read_text("utf-8", errors="replace")[-1000:], flush=True)
            results.append((run.mutant, verdict, test))
        time.sleep(0.02)
    return results


def make_tree(tree: Path) -> Path:
    copy_tree(tree)
    compile_tree(tree)
    return tree


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_without_faults(mutants: list[Mutant], folder: Path) -> None:
    """Stop unless all the tests pass in a copy with no fault: else every fault would seem to be noticed."""
    tests = sorted({test for mutant in mutants for test in mutant.killed_by})
    if not tests:
        return
    run = Run(make_tree(folder / "clean"), None)
    run.start(tests)
    while (status := run.finished()) is None:
        time.sleep(0.1)
    if status != PASSED:
        text = run.log.read_text("utf-8", errors="replace")
        raise SystemExit(f"{text[-3000:]}\nthe tests fail without any fault; mend them, or the list, first")
    print(f"{len(tests)} tests pass without faults in {time.monotonic() - run.began:.0f} s", flush=True)


def chosen(mutants: list[Mutant], fast: bool, only: list[str] | None) -> list[Mutant]:
    if only is not None:
        names = {mutant.name for mutant in mutants}
        if unknown := [name for name in only if name not in names]:
            raise SystemExit(f"there is no fault called {unknown[0]!r}")
        return [mutant for mutant in mutants if mutant.name in only]
    return [mutant for mutant in mutants if mutant.fast] if fast else mutants


def main() -> int:
    parser = argparse.ArgumentParser(description="Plant faults, and see which ones the tests notice.")
    parser.add_argument("--fast", action="store_true", help="only the third that CI plants")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="only the faults of these names")
    options = parser.parse_args()
    mutants = chosen(read_mutants(), options.fast, options.only)
    for mutant in mutants:
        mutant.planted((ROOT / mutant.file).read_text("utf-8"))
    survivors = [mutant for mutant in mutants if mutant.survives]
    preload()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        noticeable = [mutant for mutant in mutants if not mutant.survives]
        check_without_faults(noticeable, Path(folder))
        results = run_all(noticeable, Path(folder))
    killed = sum(verdict == "killed" for _, verdict, _ in results)
    print(f"{killed} of {len(mutants)} faults killed in {time.monotonic() - began:.0f} s")
    for mutant in survivors:
        print(f"survives: {mutant.name}: {mutant.survives}")
    missed = [mutant.name for mutant, verdict, _ in results if verdict != "killed"]
    if missed:
        print(f"not noticed: {', '.join(missed)}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
