"""How long blending a frame takes, and the exact Poisson solution beside SciPy's `lsqr`, on one thread.

Two pictures of Big Buck Bunny (tests/data/flow) play the two propagations. The solvers get all three channels; `lsqr`
gets the same system and its default tolerances, as in the official code; building its sparse matrix is not counted.
"difference" is the largest between the two solutions, in 8-bit Lab levels, for the worst channel.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from common import measure, publish
from results_schema import Row, row
from scipy import sparse
from scipy.sparse.linalg import lsqr

from rerender.propagation.blend import (
    GRADIENT_WEIGHTS,
    histogram_blend,
    poisson_blend,
    screened_poisson,
    select_min_error,
    selected_gradient,
)

PICTURES = Path(__file__).parents[1] / "tests" / "data" / "flow"
SOLVED, BLENDED = ((256, 256), (512, 288)), ((512, 288), (1920, 1080))
REPEATS = 5


class Inputs(NamedTuple):
    """Two propagations, their error maps, and what the first two steps make of them."""

    fwd: np.ndarray
    bwd: np.ndarray
    errors: list[np.ndarray]
    selected: np.ndarray
    mask: np.ndarray
    hist: np.ndarray


class Problem(NamedTuple):
    """One channel for `screened_poisson`."""

    image: np.ndarray
    dy: np.ndarray
    dx: np.ndarray
    g: float


def inputs(size: tuple[int, int]) -> Inputs:
    """`size` is (width, height); smooth random error maps switch between the pictures in patches."""
    fwd, bwd = (cv2.imread(str(PICTURES / f"bunny_{i}.png"))[..., ::-1] for i in ("0000", "0005"))
    fwd, bwd = (cv2.resize(image, size, interpolation=cv2.INTER_CUBIC) for image in (fwd, bwd))
    noise = np.random.default_rng(0).random((2, size[1], size[0]), np.float32)
    errors = [cv2.GaussianBlur(channel, (0, 0), 8) for channel in noise]
    selected, mask = select_min_error(fwd, bwd, *errors, 0.5)
    return Inputs(fwd, bwd, errors, selected, mask, histogram_blend(fwd, bwd, selected, 0.5))


def problems(x: Inputs) -> list[Problem]:
    """L, a and b."""
    labs = (np.moveaxis(cv2.cvtColor(image, cv2.COLOR_RGB2Lab), -1, 0) for image in (x.hist, x.fwd, x.bwd))
    return [
        Problem(hist, *selected_gradient(fwd, bwd, x.mask), g)
        for hist, fwd, bwd, g in zip(*labs, GRADIENT_WEIGHTS, strict=True)
    ]


def system(problem: Problem) -> tuple[sparse.csr_array, np.ndarray]:
    """The same least squares as a matrix and its right side."""
    (height, width), g = problem.image.shape, problem.g
    rows = sparse.kron(difference(height), sparse.eye_array(width))
    columns = sparse.kron(sparse.eye_array(height), difference(width))
    matrix = sparse.vstack([sparse.eye_array(height * width), g * rows, g * columns]).tocsr()
    return matrix, np.concatenate([problem.image.ravel(), g * problem.dy.ravel(), g * problem.dx.ravel()])


def difference(n: int) -> sparse.csr_array:
    """Next minus this, ``[n - 1, n]``."""
    return sparse.diags_array([-np.ones(n - 1), np.ones(n - 1)], offsets=[0, 1], shape=(n - 1, n)).tocsr()


def solvers(size: tuple[int, int]) -> Iterator[Row]:
    """Both solvers on the same three channels."""
    exact_inputs = problems(inputs(size))
    systems = [system(problem) for problem in exact_inputs]

    def exact() -> list[np.ndarray]:
        return [screened_poisson(*problem) for problem in exact_inputs]

    def iterative() -> list[np.ndarray]:
        return [lsqr(*matrix_and_right)[0] for matrix_and_right in systems]

    group, slow = f"Poisson solvers, {size[0]}x{size[1]}", measure(iterative, REPEATS)
    fast = measure(exact, REPEATS)
    apart = max(float(np.abs(a.ravel() - b).max()) for a, b in zip(exact(), iterative(), strict=True))
    compared = {"against": ("lsqr", slow.best), "wanted": 0.1}
    yield row("cosine transform", "CPU time", fast.best, "s", "lower", group=group, values=fast.seconds, **compared)
    yield row("lsqr", "CPU time", slow.best, "s", "lower", group=group, values=slow.seconds)
    yield row("cosine transform", "difference", apart, "levels", "lower", group=group)


def steps(size: tuple[int, int]) -> Iterator[Row]:
    """The three steps for one frame."""
    x = inputs(size)
    work = {
        "select_min_error": partial(select_min_error, x.fwd, x.bwd, *x.errors, 0.5, x.mask),
        "histogram_blend": partial(histogram_blend, x.fwd, x.bwd, x.selected, 0.5),
        "poisson_blend": partial(poisson_blend, x.hist, x.fwd, x.bwd, x.mask),
    }
    group = f"steps, {size[0]}x{size[1]}"
    for name, step in work.items():
        cost = measure(step, REPEATS)
        yield row(name, "CPU time", cost.best, "s", "lower", group=group, values=cost.seconds)
        yield row(name, "peak memory", cost.peak_gib, "GiB", "lower", group=group)


def rows() -> Iterator[Row]:
    for size in SOLVED:
        yield from solvers(size)
    for size in BLENDED:
        yield from steps(size)


def main() -> None:
    cv2.setNumThreads(1)
    publish("blend", "Rerender: blending the two propagations", rows(), method=__doc__)


if __name__ == "__main__":
    main()
