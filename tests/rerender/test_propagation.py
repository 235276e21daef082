"""Intervals, one direction, both directions, and the whole function, on clips whose motion is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from rerender import propagate
from rerender.patchmatch import synthesize
from rerender.propagation import guides
from rerender.propagation.interval import (
    Interval,
    Made,
    blend,
    intervals,
    propagate_flow,
    propagate_patchmatch,
)
from videoedit.errors import ConfigError, InputError, ShapeError
from videoedit.metrics import psnr
from videoedit.motion.estimators import Dis, FlowPair, flow_pair
from videoedit.testing import other_colors as edited
from videoedit.testing import panning


def still(height: int = 8, width: int = 8, shift: float = 0.0) -> FlowPair:
    """Everything moves `shift` pixels to the right from the first frame to the second."""
    fwd = torch.zeros(1, 2, height, width)
    fwd[:, 0] = shift
    seen = torch.zeros(1, 1, height, width, dtype=torch.bool)
    return FlowPair(fwd, -fwd, seen, seen)


def known(frames: np.ndarray, step: int = 1) -> Iterator[tuple[np.ndarray, FlowPair]]:
    """The steps after the first frame of `panning`, with the true motion."""
    for frame in frames[1:]:
        yield frame, still(*frame.shape[:2], shift=-step)


# ------------------------------------------------------------------------------------------------ intervals


def test_between_before_and_after_the_key_frames():
    assert intervals(12, [3, 8]) == (
        Interval(0, 3, None, 3),
        Interval(4, 8, 3, 8),
        Interval(9, 12, 8, None),
    )
    assert intervals(1, [0]) == intervals(2, [0, 1]) == ()
    assert intervals(2, [1]) == (Interval(0, 1, None, 1),)


def test_every_frame_is_a_key_frame_or_made_once():
    for keys in ([0], [5], [9], [0, 9], [2, 3, 7], range(10)):
        made = [frame for interval in intervals(10, keys, cuts=()) for frame in interval.frames]
        assert sorted([*made, *keys]) == list(range(10))


def test_a_key_frame_does_not_serve_across_a_cut():
    assert intervals(10, [2, 7], cuts=[5]) == (
        Interval(0, 2, None, 2),
        Interval(3, 5, 2, None),
        Interval(5, 7, None, 7),
        Interval(8, 10, 7, None),
    )
    with pytest.raises(InputError, match=r"frames 5 to 9 are a shot.*no key frame.*cuts"):
        intervals(10, [0, 4], cuts=[5])


def test_key_frames_outside_the_clip_or_none():
    with pytest.raises(InputError, match="key frame 10 does not exist; the clip's frames are 0 to 9"):
        intervals(10, [0, 10])
    with pytest.raises(InputError, match="no key frame"):
        intervals(10, [])


def test_weights_are_symmetric_and_rise_in_equal_steps():
    weights = [Interval(1, 5, 0, 5).backward_weight(frame) for frame in range(1, 5)]
    assert weights == [0.2, 0.4, 0.6, 0.8]
    assert Interval(0, 3, None, 3).backward_weight(1) == 1 and Interval(4, 9, 3, None).backward_weight(8) == 0


def test_walks_lead_away_from_the_key_frame():
    interval = Interval(1, 4, 0, 4)
    assert [list(interval.walk(way)) for way in interval.keys] == [[1, 2, 3], [3, 2, 1]]
    assert list(interval.span) == [0, 1, 2, 3, 4] and list(Interval(1, 4, 0, None).span) == [0, 1, 2, 3]


# -------------------------------------------------------------------------------------------- one direction


def test_along_the_true_flow_the_key_frame_arrives_where_it_belongs():
    frames = panning(5)
    made = list(propagate_flow(edited(frames)[0], frames[0], known(frames)))
    assert len(made) == 4
    for one, truth in zip(made, edited(frames)[1:], strict=True):
        assert np.array_equal(one.image[:, :-5], truth[:, :-5])  # the last columns come into view
        assert one.error[4:-4, :-10].max() == 0


def test_what_the_flow_explains_badly_or_does_not_show_has_a_large_error():
    frames = panning(3)
    frames[2, 10:20, 10:20] ^= 255  # something else appears
    seen = torch.zeros(1, 1, 48, 64, dtype=torch.bool)
    seen[..., 30:40, 30:40] = True
    hidden = FlowPair(still(48, 64, -1).fwd, still(48, 64, -1).bwd, seen, seen)
    _, last = propagate_flow(frames[0], frames[0], [(frames[1], hidden), (frames[2], still(48, 64, -1))])
    assert last.error[12:18, 12:18].min() > 1e4 > last.error[25:28, 25:28].max()
    assert last.error[31:39, 30:38].min() > last.error[12:18, 12:18].max()  # hidden in the frame before, moved along


@pytest.mark.parametrize("preset", ["preview", "fast"])
def test_patches_follow_the_motion(preset: str):
    frames = panning(4)
    style = edited(frames)
    made = list(propagate_patchmatch(style[0], frames[0], known(frames), preset=preset, seed=0))
    for one, truth in zip(made, style[1:], strict=True):
        assert psnr(one.image[None], truth[None]) > psnr(style[:1], truth[None]) + 8
        assert one.error.dtype == np.float32 and one.error.shape == (48, 64)


@pytest.mark.parametrize("preset", ["preview", "fast"])
def test_patches_are_chosen_by_the_four_guides_of_the_paper(preset: str):
    """Section 4.2, frame by frame: colour 6, edge 0.5, position 2, and time 0.5 from the frame made before."""
    frames, hidden = panning(4, (40, 24)), torch.zeros(1, 1, 24, 40, dtype=torch.bool)
    hidden[..., 5:9, 10:20] = True
    steps = [(frame, replace(motion, occ_bwd=hidden)) for frame, motion in known(frames)]
    style = edited(frames)[0]
    start = places = guides.positional_guide(24, 40)
    before, first = style, frames[0]
    for made, (frame, motion) in zip(
        propagate_patchmatch(style, first, steps, preset=preset, seed=3), steps, strict=True
    ):
        places = guides.advance_positions(places, motion.bwd, hidden)
        nearest = places.round().clip(0, (39, 23)).astype(np.int32)
        before, error = synthesize(
            style,
            [
                (first, frame, 6.0),
                (guides.edge_guide(first), guides.edge_guide(frame), 0.5),
                (guides.positional_image(start), guides.positional_image(places), 2.0),
                (style, guides.advance(before, motion.bwd, hidden), 0.5),
            ],
            preset=preset,
            seed=3,
            init=nearest if preset == "preview" else None,
        )
        assert np.array_equal(made.image, before) and np.array_equal(made.error, error)


def test_only_what_the_walk_does_not_show_is_unseen():
    """The backward occlusion is on the frame that is made; the forward one, on the frame before, says nothing of it."""
    frames = panning(2)
    none, some = torch.zeros(2, 1, 1, 48, 64, dtype=torch.bool).unbind()
    some[..., 20:30, 20:30] = True
    errors = []
    for occ_fwd, occ_bwd in ((none, none), (some, none), (none, some)):
        motion = replace(still(48, 64, -1), occ_fwd=occ_fwd, occ_bwd=occ_bwd)
        errors.append(next(propagate_flow(frames[0], frames[0], [(frames[1], motion)])).error)
    assert np.array_equal(errors[0], errors[1])
    assert (errors[2] - errors[0])[20:30, 20:30].min() > 1e6


def test_preset_and_seed_change_something():
    frames = panning(2)

    def run(preset: str = "preview", seed: int = 0) -> np.ndarray:
        (one,) = propagate_patchmatch(edited(frames)[0], frames[0], known(frames), preset=preset, seed=seed)
        return one.image

    assert np.array_equal(run(), run())
    assert (run() != run(preset="fast")).any() and (run() != run(seed=1)).any()


# ----------------------------------------------------------------------------------------- both directions


def flat(value: int, error: Callable[[int], np.ndarray]) -> Callable[[int], Made]:
    return lambda frame: Made(np.full((8, 8, 3), value, np.uint8), error(frame).astype(np.float32))


def columns(below: int) -> np.ndarray:
    """Error 9 in the columns below, 1 in the others."""
    return np.where(np.arange(8)[None] < below, 9.0, 1.0).repeat(8, 0)


def test_each_frame_is_judged_by_its_own_errors():
    """The occluder of Rerender's mirrored index: what the later key sees shrinks frame by frame."""
    interval = Interval(1, 8, 0, 8)
    made = {"forward": flat(10, lambda frame: np.full((8, 8), 4.0)), "backward": flat(200, columns)}
    result = [one.image[0, :, 0] == 200 for one in blend(interval, made, lambda a, b: still(), how="select")]
    expected = np.arange(8) >= 1  # frame 1; the mask stays where it once was
    for frame, backward in zip(interval.frames, result, strict=True):
        weight = interval.backward_weight(frame)
        own = (1 - weight) * columns(frame)[0] <= weight * 4
        expected = own if frame == 1 else expected | own
        assert np.array_equal(backward, expected), frame


def test_what_came_from_the_later_key_stays_so_and_moves_along():
    once = {"forward": flat(10, lambda frame: np.full((8, 8), 4.0)),
            "backward": flat(200, lambda frame: columns(6 if frame == 4 else 8))}  # fmt: skip
    blended = blend(Interval(4, 8, 0, 8), once, lambda a, b: still(shift=-1), how="select")
    first, second, *_ = [np.flatnonzero(one.image[0, :, 0] == 200) for one in blended]
    assert list(first) == [6, 7] and list(second) == [5, 6]


def test_figures_of_a_blend():
    made = {"forward": flat(10, lambda frame: np.full((8, 8), 4.0)), "backward": flat(200, lambda frame: columns(4))}
    (one,) = blend(Interval(1, 2, 0, 2), made, lambda a, b: still(), how="select")
    assert one.backward == 0.5 and one.seams == 1 / 8 and one.patch_error == (4 + 1) / 2


def test_one_sided_frames_are_taken_as_they_are():
    made = {"backward": flat(200, lambda frame: np.full((8, 8), 7.0))}
    (one,) = blend(Interval(0, 1, None, 1), made, lambda a, b: still())
    assert (one.image == 200).all() and (one.patch_error, one.backward, one.seams) == (7, 1, 0)


def test_every_option_of_the_blend_changes_something():
    rng = np.random.default_rng(0)
    images = {way: rng.integers(0, 255, (8, 8, 3), dtype=np.uint8) for way in ("forward", "backward")}
    errors = rng.random((2, 8, 8), np.float32)
    made = {
        way: (lambda frame, way=way, error=error: Made(images[way], error))
        for way, error in zip(images, errors, strict=True)
    }
    results = [
        next(blend(Interval(1, 2, 0, 2), made, lambda a, b: still(), **options)).image.tobytes()
        for options in ({"how": "select"}, {}, {"poisson": True}, {"how": "select", "poisson": True})
    ]
    assert len(set(results)) == 4


# --------------------------------------------------------------------------------------------- all at once


@pytest.mark.parametrize("propagator", ["flow", "patchmatch"])
def test_key_frames_come_back_and_the_others_follow_them(propagator):
    frames = panning(8)
    style = edited(frames)
    keys = {2: style[2], 5: style[5]}
    result = propagate(frames, keys, flow="dis", preset="preview", propagator=propagator, workers=1)
    assert result.shape == frames.shape and result.dtype == np.uint8
    for index, key in keys.items():
        assert np.array_equal(result[index], key)
    held = style[[2, 2, 2, 2, 5, 5, 5, 5]]
    for frame in (0, 1, 3, 4, 6, 7):
        assert psnr(result[frame, None], style[frame, None]) > psnr(held[frame, None], style[frame, None]) + 5


def test_backward_is_forward_of_the_reversed_clip():
    frames = panning(4)
    key = edited(frames)[3]
    backward = propagate(frames, {3: key}, flow=Dis(), propagator="flow", workers=1)
    forward = propagate(frames[::-1], {0: key}, flow=Dis(), propagator="flow", workers=1)
    assert np.array_equal(backward, forward[::-1])


def test_clips_that_are_all_key_frames_need_no_workers():
    frames = panning(2)
    assert np.array_equal(propagate(frames[:1], {0: frames[1]}, flow="dis"), frames[1:])
    assert np.array_equal(propagate(frames, {0: frames[1], 1: frames[0]}, flow="dis"), frames[::-1])


def test_what_does_not_fit_is_said_in_one_line():
    frames = panning(3)
    with pytest.raises(ShapeError, match=r"key frame 1 is uint8 \(24, 64, 3\); expected uint8 \(48, 64, 3\)"):
        propagate(frames, {1: frames[1, ::2]})
    with pytest.raises(ShapeError, match=r"the clip is float64"):
        propagate(frames / 255, {1: frames[1]})
    with pytest.raises(InputError, match="key frame 3 does not exist"):
        propagate(frames, {3: frames[0]}, flow="dis")
    with pytest.raises(ConfigError, match=r"'propagator': .* 'patchmatch' or 'flow' \(given: 'patch'\)"):
        propagate(frames, {0: frames[0]}, propagator="patch")
    with pytest.raises(ConfigError, match=r"'preset': .* 'official', 'default', 'fast' or 'preview' \(given: 'best'\)"):
        propagate(frames, {0: frames[0]}, preset="best")
    with pytest.raises(ConfigError, match=r"'workers': .* greater than or equal to 1 \(given: 0\)"):
        propagate(frames, {0: frames[0]}, flow="dis", workers=0)


def test_the_flow_used_is_the_estimators():
    frames = panning(3, step=2)
    pair = flow_pair(Dis(), frames[0], frames[1])
    assert abs(float(pair.fwd[0, 0, 8:-8, 8:-8].median()) + 2) < 0.3
