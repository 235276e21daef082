"""Units of work: the same bytes for any number of workers, after interruptions, and within bounded memory."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from rerender.config import PropagateConfig
from rerender.propagation.interval import Interval, intervals
from rerender.propagation.units import (
    Blend,
    Context,
    FrameArchive,
    Unit,
    count_steps,
    make_frames,
    new_archive,
    read_figures,
    stitch,
)
from videoedit.config import build_config
from videoedit.errors import ConfigError
from videoedit.motion.estimators import Dis
from videoedit.testing import other_colors, panning

COUNT = 10
FRAMES = panning(COUNT)
KEYS = {0: other_colors(FRAMES)[0], 4: other_colors(FRAMES)[4], 8: other_colors(FRAMES)[8]}
PARTS = intervals(COUNT, KEYS)
QUICK = PropagateConfig(propagator="flow")


def targets(folder: Path) -> dict[Interval, Path]:
    """Where the finished frames of each interval go."""
    return {part: folder / f"{part.start}.zip" for part in PARTS}


def context(folder: Path, config: PropagateConfig = QUICK, flow_folder: Path | None = None) -> Context:
    return Context(folder / "work", config, Dis(), flow_folder=flow_folder)


def make(
    folder: Path, config: PropagateConfig = QUICK, workers: int = 1, frames=FRAMES, flow_folder=None, **options
) -> np.ndarray:
    places, config = targets(folder), config.model_copy(update={"workers": workers})
    make_frames(frames, KEYS, places, context(folder, config, flow_folder), **options)
    return np.stack(list(stitch(COUNT, KEYS, places)))


@pytest.fixture(scope="module")
def calm(tmp_path_factory) -> np.ndarray:
    """What an undisturbed worker makes."""
    return make(tmp_path_factory.mktemp("calm"))


@pytest.mark.slow
@pytest.mark.parametrize("config", [QUICK, PropagateConfig(preset="preview")], ids=["flow", "patchmatch"])
def test_the_number_of_workers_changes_no_byte(config: PropagateConfig, tmp_path: Path):
    one, two, four = (make(tmp_path / str(workers), config, workers) for workers in (1, 2, 4))
    assert np.array_equal(one, two) and np.array_equal(one, four)
    assert (one[1] != KEYS[0]).any() and np.array_equal(one[4], KEYS[4])


def made_here(folder: Path, seed: int = 0, **settings) -> np.ndarray:
    """The frames of the first interval, by its units one after the other in this process."""
    part, target = PARTS[0], folder / "frames.zip"
    there = Context(folder / "work", PropagateConfig(**settings), Dis(), seed)
    with new_archive(there.path(part, "source")) as archive:
        for frame in part.span:
            archive.put_raw(frame, FRAMES[frame])
    for direction, key in part.keys.items():
        Unit(part, direction, KEYS[key], target).run(there, lambda: None)
    Blend(part, target).run(there, lambda: None)
    with FrameArchive(target) as archive:
        return np.stack([archive.image(frame) for frame in part.frames])


def test_every_setting_and_the_seed_reach_the_frames(tmp_path: Path):
    results = []
    for number, changed in enumerate(
        (
            {"propagator": "flow"},
            {"propagator": "flow", "poisson": True},
            {"propagator": "flow", "blend": "select"},
            {"preset": "preview"},
            {"preset": "preview", "seed": 1},
            {"preset": "fast"},
        )
    ):
        results.append(made_here(tmp_path / str(number), **changed).tobytes())
    assert len(set(results)) == len(results)


def test_only_finished_frames_stay_and_only_what_is_missing_is_made_again(calm: np.ndarray, tmp_path: Path):
    steps: list[int] = []
    make(tmp_path, advance=steps.append)
    places = targets(tmp_path)
    assert sorted(tmp_path.glob("*.zip")) == list(places.values())
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["flow"]
    assert sum(steps) == count_steps(places) == count_steps(places, context(tmp_path)) == 3 * 3 + 3 * 3 + 2 * 1

    kept, lost, *_ = places.values()
    before = kept.stat().st_mtime_ns
    lost.unlink()
    (tmp_path / "work/.000001-000003.backward.77.part.zip").write_bytes(b"left by a killed worker")
    again: list[int] = []
    assert np.array_equal(make(tmp_path, advance=again.append), calm)
    assert kept.stat().st_mtime_ns == before and sum(again) == 3 * 3
    assert not list((tmp_path / "work").glob(".*"))


def test_a_unit_that_is_there_is_used(calm: np.ndarray, tmp_path: Path):
    first = PARTS[0]
    white = np.full_like(FRAMES[0], 255)
    for way in first.keys:
        with new_archive(tmp_path / f"work/{first.start:06d}-{first.stop - 1:06d}.{way}.zip") as archive:
            for frame in first.frames:
                archive.put_raw(frame, white, np.zeros(white.shape[:2]))
    assert count_steps(targets(tmp_path), context(tmp_path)) == 6
    result = make(tmp_path, PropagateConfig(propagator="flow", blend="select"))
    assert (result[1:4] == 255).all() and np.array_equal(result[9], calm[9])


@pytest.mark.slow
def test_a_worker_killed_at_work_is_named_and_costs_nothing(calm: np.ndarray, tmp_path: Path, caplog):
    killed: list[int] = []

    def kill(steps: int) -> None:
        if not killed:
            (worker,) = psutil.Process().children()
            killed.append(worker.pid)
            worker.kill()

    with caplog.at_level(logging.WARNING, logger="videoedit"):
        assert np.array_equal(make(tmp_path, advance=kill), calm)
    death = "ended with exit code" if sys.platform == "win32" else "was killed by SIGKILL"
    assert f"worker {killed[0]} {death}" in caplog.text
    assert "frames 1-3, forward from key frame 0" in caplog.text


def test_a_damaged_flow_cache_is_named_and_made_again(calm: np.ndarray, tmp_path: Path, caplog):
    make(tmp_path / "a", flow_folder=tmp_path / "flow")
    damaged = sorted((tmp_path / "flow").iterdir())[0]
    damaged.write_bytes(damaged.read_bytes()[:100])
    with caplog.at_level(logging.WARNING, logger="videoedit"):
        assert np.array_equal(make(tmp_path / "b", flow_folder=tmp_path / "flow"), calm)
    assert damaged.name in caplog.text and "made again" in caplog.text


def test_frames_are_read_just_ahead_of_the_work(tmp_path: Path):
    read: list[int] = []
    ahead: list[int] = []

    def reading() -> Iterator[np.ndarray]:
        for frame in FRAMES:
            read.append(1)
            yield frame

    make(tmp_path, frames=reading(), advance=lambda steps: ahead.append(len(read)))
    assert max(ahead[: len(PARTS[0].frames)]) <= 5  # the first unit: no frame beyond the second key


def test_figures_of_every_frame(tmp_path: Path):
    make(tmp_path)
    figures = read_figures(COUNT, targets(tmp_path))
    assert set(figures) == {"patch_error", "backward", "seams"}
    assert all(len(values) == COUNT for values in figures.values())
    assert figures["patch_error"][0] == figures["backward"][4] == 0 < figures["patch_error"][2]
    assert figures["backward"][9] == 0  # after the last key frame there is one direction


def test_no_workers_are_refused():
    with pytest.raises(ConfigError, match=r"'workers': .* greater than or equal to 1 \(given: 0\)"):
        build_config(PropagateConfig, {"workers": 0})


def test_an_archive_appears_whole_or_not_at_all(tmp_path: Path):
    error = np.random.default_rng(0).random((48, 64), np.float32)
    with new_archive(tmp_path / "a.zip") as archive:
        archive.put_raw(7, FRAMES[0], error)
        archive.put(3, FRAMES[1])
        assert not (tmp_path / "a.zip").exists()
    with FrameArchive(tmp_path / "a.zip") as archive:
        assert np.array_equal(archive.image(7), FRAMES[0]) and np.array_equal(archive.image(3), FRAMES[1])
        assert np.array_equal(archive.error(7), error)
    with pytest.raises(KeyboardInterrupt), new_archive(tmp_path / "b.zip") as archive:
        archive.put(0, FRAMES[0])
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def test_an_archive_has_the_same_bytes_on_every_system(tmp_path: Path, monkeypatch):
    def written(name: str) -> bytes:
        with new_archive(tmp_path / name) as archive:
            archive.put(1, FRAMES[0])
            archive.put_raw(2, FRAMES[0], np.zeros((2, 2)))
        return (tmp_path / name).read_bytes()

    here = written("a.zip")
    monkeypatch.setattr(sys, "platform", "win32" if sys.platform != "win32" else "linux")
    assert written("b.zip") == here
