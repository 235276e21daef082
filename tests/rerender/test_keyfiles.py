"""Key frames as artists deliver them: names, tables, sizes, and pictures of another frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rerender.fit import misplaced
from rerender.keyfiles import find_keyframes, frame_number, table
from videoedit.cli import main
from videoedit.config import CLIPS
from videoedit.errors import InputError
from videoedit.media.images import Pictures, write_image
from videoedit.media.video import read_video, write_video
from videoedit.runs.folder import read_workspace
from videoedit.testing import panning

SIZE = (64, 48)


def picture(path: Path, size: tuple[int, int] = SIZE, color: object = 0) -> Path:
    Image.new("RGB", size, color).save(path)  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("0005.png", 5),
        ("frame_0012.png", 12),
        ("shot2_0040.jpg", 40),
        ("scene_2_0040.png", 40),
        ("clip_1920x1080_0007.webp", 7),
        ("0005_final.png", 5),
        ("out 3 .png", 3),
        ("v0005.png", 5),
        ("img-12.jpg", 12),
        ("clip_1920x1080_007.webp", 7),
        ("sh0010_0040.png", 40),
        ("scene3_frame40.png", 40),
    ],
)
def test_plain_names_say_their_frame(name: str, number: int) -> None:
    assert frame_number(Path(name)) == number


@pytest.mark.parametrize(
    ("name", "readings"),
    [
        ("0005_v2.png", "5 or 2"),
        ("0005@2x.png", "5 or 2"),
        ("0005 (1).png", "5 or 1"),
        ("00005-7.png", "5 or 7"),
        ("2024-05-01_0040.png", "2024 or 5 or 1 or 40"),
        ("frame0005-7.png", "5 or 7"),
        ("frame_5-2.png", "5 or 2"),
        ("frame5-2.png", "5 or 2"),
        ("shot5take2.png", "5 or 2"),
        ("img5_v2.png", "5 or 2"),
        ("shot3_0005.final.v12.png", "3 or 5 or 12"),
    ],
)
def test_doubtful_names_are_asked_about(name: str, readings: str, tmp_path: Path) -> None:
    path = picture(tmp_path / name)
    with pytest.raises(InputError) as caught:
        find_keyframes([tmp_path], range(50), SIZE)
    line = str(caught.value)
    assert f"may be for frame {readings};" in line and f"--keyframe {readings.split()[0]}={path}" in line
    assert find_keyframes([tmp_path], range(50), SIZE, {5: path}) == {5: path}  # said, it is taken


def test_named_files_need_no_folder_and_count_in_the_clip(tmp_path: Path) -> None:
    first, second = picture(tmp_path / "first.png"), picture(tmp_path / "second.png")
    assert find_keyframes([], range(10, 20, 2), SIZE, {12: second, 10: first}) == {0: first, 1: second}
    with pytest.raises(InputError, match=r"second.png is for frame 11, but the edited frames are"):
        find_keyframes([], range(10, 20, 2), SIZE, {11: second})


def test_of_two_files_for_a_frame_the_one_that_was_said_is_taken(tmp_path: Path) -> None:
    first, second = picture(tmp_path / "0005.png"), picture(tmp_path / "frame_5.png")
    with pytest.raises(InputError, match=r"both for frame 5; .* --keyframe 5="):
        find_keyframes([tmp_path], range(9), SIZE)
    for path in (first, second):
        assert find_keyframes([tmp_path], range(9), SIZE, {5: path}) == {5: path}


def test_a_long_table_shows_its_ends() -> None:
    lines = table({index: Path(f"{index:04}.png") for index in range(300)}, range(300)).splitlines()
    assert len(lines) == 26 and "276 more" in lines[13]
    assert lines[12].split() == ["11:", "0011.png"] and lines[14].split() == ["288:", "0288.png"]


def test_the_table_has_a_line_for_each_key_frame() -> None:
    text = table({0: Path("keys/a.png"), 3: Path("keys/b.png")}, range(10, 20, 2))
    assert text.splitlines() == ["key frames (frame: file)", "      10: a.png", "      16: b.png"]


@pytest.mark.parametrize("times", [2, 4])
def test_whole_multiples_of_the_size_are_shrunk_by_area(times: int, tmp_path: Path) -> None:
    small = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    write_image(tmp_path / "3.png", small.repeat(times, 0).repeat(times, 1))
    files = find_keyframes([tmp_path], range(5), SIZE)
    assert np.array_equal(Pictures(files, SIZE)[3], small)
    with pytest.raises(InputError, match=r"is 96x72, .* export them at 64x48 or 2, 3, 4, 8 times that"):
        find_keyframes([picture(tmp_path / "4.png", (96, 72))], range(5), SIZE)


def test_a_header_that_declares_too_much_is_refused(tmp_path: Path) -> None:
    data = bytearray(picture(tmp_path / "1.png").read_bytes())
    data[16:24] = (60000).to_bytes(4, "big") * 2
    import zlib

    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    (tmp_path / "1.png").write_bytes(data)
    with pytest.raises(InputError, match=r"1\.png.*pixels than are read|1\.png.*pixels are more than"):
        find_keyframes([tmp_path], range(5), SIZE)


# ------------------------------------------------------------------------------------- whose frame it is


def test_swapped_key_frames_are_noticed_and_edited_ones_are_not() -> None:
    for name in ("car-grass", "elephant-beach"):
        frames = read_video(CLIPS / f"{name}.mp4").frames
        assert misplaced({0: 255 - frames[0], 12: frames[12][..., ::-1]}, frames) == {}
        assert misplaced({4: 255 - frames[20]}, frames) == {4: 20}
        for kind in ("attribute", "background", "style", "subject"):
            edited = read_video(CLIPS / f"{name}--{kind}.mp4").frames
            assert misplaced({index: edited[index] for index in (0, 7, 15, 23)}, frames) == {}, (name, kind)
    edited = read_video(CLIPS / "car-grass--background.mp4").frames
    assert misplaced({index - 1: edited[index] for index in (1, 9, 17)}, read_video(CLIPS / "car-grass.mp4").frames)


def test_the_command_says_which_file_it_takes_and_what_looks_wrong(tmp_path: Path, capsys) -> None:
    frames = panning(6, SIZE, step=4)
    write_video(tmp_path / "clip.mp4", frames, 8)
    write_image(tmp_path / "a.png", frames[5].repeat(2, 0).repeat(2, 1))
    write_image(tmp_path / "b5.png", frames[5])
    command = ["propagate", str(tmp_path / "clip.mp4"), "--keyframe", f"0={tmp_path / 'a.png'}"]
    command += ["--keyframes", str(tmp_path / "b5.png"), "--propagator", "flow", "-o", str(tmp_path / "out")]
    for more in (["--dry-run"], []):
        with pytest.raises(SystemExit) as ended:
            main([*command, *more])
        said = capsys.readouterr()
        assert ended.value.code in (0, None), said
        text = " ".join((said.out + said.err).split())
        assert "0: a.png 5: b5.png" in text
        assert "Key frames of 128x96 are shrunk to 64x48." in text
        assert more or "The key frame for frame 0 looks more like frame 5" in text
    assert any("looks more like frame 5" in note for note in read_workspace(tmp_path / "out")["notes"])
