"""What a unit is measured from: the right frames, at the right size, in the right places; and what stages cost."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from videoedit.config import RunConfig, VideoConfig
from videoedit.diffusion import latents as codec
from videoedit.errors import InputError
from videoedit.evaluation.measuring import choose_metrics, sample_of
from videoedit.evaluation.sanity import RoundTrip
from videoedit.evaluation.suite import Edit, Suite, SuiteClip
from videoedit.evaluation.units import Output, StageCost, Unit, cost_of, probe_clip
from videoedit.media.images import write_image
from videoedit.media.video import probe, read_video, stretch_frames, write_video
from videoedit.models.loading import load_models
from videoedit.runs.progress import Progress
from videoedit.testing import moving_square


def unit_of(clip: SuiteClip, edit: Edit) -> Unit:
    found = probe_clip(clip)
    assert not isinstance(found, str), found
    return Unit(clip, edit, 33, *found)


@pytest.fixture
def numbered(tmp_path: Path) -> Path:
    """A clip of 10 frames whose brightness tells their number: 20 n, at 48x32."""
    write_video(tmp_path / "numbered.mp4", np.stack([np.full((32, 48, 3), 20 * n, np.uint8) for n in range(10)]), 10)
    return tmp_path / "numbered.mp4"


def numbers(frames: np.ndarray) -> list[int]:
    return [round(float(frame.mean()) / 20) for frame in frames]


def test_sample_is_of_the_frames_that_the_video_covers(numbered: Path, tmp_path: Path):
    edit = Edit(id="b", type="subject", prompt="more", truth=numbered)
    boxes = tuple((0.0, 0.0, 0.1 * n, 0.5) for n in range(10))
    (tmp_path / "masks").mkdir()
    for n in range(10):
        mask = np.zeros((32, 48, 3), np.uint8)
        mask[:, : 4 * n] = 255
        write_image(tmp_path / f"masks/{n:03d}.png", mask)
    clip = SuiteClip(
        id="a", path=numbered, prompt="less", start=1, stride=2, edits=(edit,), boxes=boxes, mask=tmp_path / "masks"
    )
    suite = Suite(name="s", clips=(clip,), size=(24, 16))
    write_video(tmp_path / "made.mp4", moving_square(2, (96, 64)), 5)
    output = Output(video="made.mp4", frames=(3, 4, 2), keyframes=(0, 1, 2))
    sample = sample_of(suite, unit_of(clip, edit), output, {"seconds": 3.0}, tmp_path, None)
    assert sample.frames.shape == sample.source.shape == (2, 16, 24, 3)
    assert numbers(sample.source) == [3, 7] and sample.truth is not None and numbers(sample.truth) == [3, 7]
    assert sample.boxes is not None and sample.mask is not None
    np.testing.assert_allclose(sample.boxes, [[0, 0, 0.3 * 24, 8], [0, 0, 0.7 * 24, 8]])
    assert [int(mask[0].sum()) for mask in sample.mask] == [6, 14]
    assert tuple(sample.numbers or ()) == (3, 7) and sample.keyframes == (0, 1)
    assert (sample.prompt, sample.source_prompt, sample.kind) == ("more", "less", "subject")
    assert sample.wanted is not None and sample.output is not None
    assert (sample.wanted.frames, sample.wanted.fps, sample.wanted.size) == (5, 5, (48, 32))
    assert (sample.output.frames, sample.output.size, sample.wanted.seconds) == (2, (96, 64), Fraction(1))
    assert sample.flow_cache == tmp_path / "flow/a"


def test_a_video_that_is_too_short_is_measured_as_far_as_it_goes(numbered: Path, tmp_path: Path):
    edit = Edit(id="b", type="style", prompt="x")
    clip = SuiteClip(id="a", path=numbered, edits=(edit,))
    write_video(tmp_path / "made.mp4", moving_square(7, (48, 32)), 10)
    output = Output(video="made.mp4", frames=(0, 1, 10))
    sample = sample_of(Suite(name="s", clips=(clip,)), unit_of(clip, edit), output, {}, tmp_path, None)
    assert len(sample.frames) == 7 and numbers(sample.source) == list(range(7))
    assert sample.output is not None and sample.output.frames == 7
    assert sample.wanted is not None and sample.wanted.frames == 10


def test_too_few_masks_are_said(numbered: Path, tmp_path: Path):
    (tmp_path / "masks").mkdir()
    write_image(tmp_path / "masks/0.png", np.zeros((32, 48, 3), np.uint8))
    edit = Edit(id="b", type="style", prompt="x")
    clip = SuiteClip(id="a", path=numbered, edits=(edit,), mask=tmp_path / "masks")
    output = Output(video=numbered.name, frames=(0, 1, 10))
    with pytest.raises(InputError, match="holds 1 masks, expected one for each frame up to 9"):
        sample_of(Suite(name="s", clips=(clip,)), unit_of(clip, edit), output, {}, tmp_path, None)


def test_the_vae_row_is_one_round_trip_at_the_models_size_stretched_back(
    tiny_folder: Path, clips: Path, tmp_path: Path
):
    edit = Edit(id="b", type="style", prompt="x")
    clip = SuiteClip(id="a", path=clips / "square.mp4", edits=(edit,), start=1)
    settings = RunConfig(model=str(tiny_folder), device="cpu", video=VideoConfig(size=(32, 24)))
    output = RoundTrip(settings).edit(unit_of(clip, edit), tmp_path / "out", Progress(quiet=True))
    assert output.frames == (1, 1, 4) and output.stages["vae"].seconds > 0
    vae = load_models(tiny_folder, device="cpu").vae
    source = stretch_frames(read_video(clip.path, start=1).frames, (32, 24))
    back = codec.pixels_to_frames(codec.decode(vae, codec.encode(vae, codec.frames_to_pixels(source))))
    write_video(tmp_path / "expected.mp4", stretch_frames(back, (48, 32)), probe(clip.path).fps)
    got, expected = read_video(tmp_path / "out" / output.video).frames, read_video(tmp_path / "expected.mp4").frames
    assert got.shape == expected.shape and np.abs(got.astype(int) - expected).mean() < 1


def test_the_cost_of_a_stage_is_divided_by_those_it_served():
    def output(**stages: tuple[str, float, float]) -> Output:
        costs = {
            name: StageCost(key=key, seconds=seconds, cpu_seconds=2 * seconds, peak_memory_mb=memory)
            for name, (key, seconds, memory) in stages.items()
        }
        return Output(video="", frames=(0, 1, 1), stages=costs)

    one = output(tune=("k", 90.0, 500.0), edit_a=("a", 3.0, 100.0))
    two = output(tune=("k", 90.0, 500.0), edit_b=("b", 5.0, 900.0))
    older = output(tune=("other settings", 40.0, 500.0))
    assert cost_of(one) == {"seconds": 93.0, "cpu_seconds": 186.0, "peak_memory_mb": 500.0}
    assert cost_of(one, [two, older]) == {"seconds": 48.0, "cpu_seconds": 96.0, "peak_memory_mb": 500.0}
    assert cost_of(two, [one, one]) == {"seconds": 35.0, "cpu_seconds": 70.0, "peak_memory_mb": 900.0}
    assert cost_of(output(), [one]) == {}


def test_metrics_are_chosen_by_name_or_id_and_named_in_full(clips: Path):
    edit = Edit(id="b", type="style", prompt="x")
    clip = SuiteClip(id="a", path=clips / "square.mp4", edits=(edit,))
    suite = Suite(name="s", clips=(clip,), metrics=("strength", "warp_error@1", "seam_score@1/dis", "clip_text@tgve"))
    metrics, skipped, problems = choose_metrics(suite, None)
    assert list(metrics) == ["strength@1", "warp_error@1/dis", "seam_score@1/dis"] and problems == []
    assert "clip-vit-large-patch14" in skipped["clip_text@tgve"]
    every, _, _ = choose_metrics(suite.model_copy(update={"metrics": None}), None)
    assert set(metrics) < set(every) and not any("psnr_autoencoder" in name for name in every)
    _, _, problems = choose_metrics(suite.model_copy(update={"flow": "dos"}), None)
    assert len(problems) == 1 and "flow 'dos'" in problems[0]
