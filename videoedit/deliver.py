"""Delivery: what a method hands over is written, measured, compared and told to the report; here, for every method.

A method is a function ``edits(config, models, clip, steps)`` that yields `Edit`s, each a version of the clip, and
`Findings`, which are what else is worth showing. Frames of an edit are an array, or a stream for clips of any length.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from videoedit.files import file_stem
from videoedit.media.frame_files import write_frame
from videoedit.media.images import lay_over_white, write_image
from videoedit.media.video import stretch_frames
from videoedit.metrics import measure_edit
from videoedit.metrics.streams import TRUTH, measure_files
from videoedit.runs.clip import Clip
from videoedit.runs.steps import Step, Steps, UnmadeError
from videoedit.types import EditResult

SOURCE, REFERENCE = "source.mp4", "ground truth"

Series = dict[str, list[float]]  # one value a frame, by the figure's name


class Watcher(Protocol):
    """Takes figures of frames that pass by."""

    def watch(self, frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]: ...

    def series(self) -> Series: ...


@dataclass(frozen=True)
class Edit:
    """A version of the clip, as a method hands it over; what makes it is called only if it has to be made.

    `frames` gives an array uint8 [F, H, W, 3] at the working size. `needs` is all that it follows from, as `Steps.keep`
    takes it. `figures`, of the array, takes the place of the usual ones.
    """

    prompt: str
    frames: Callable[[], np.ndarray] = field(repr=False)
    needs: Mapping[str, Any]
    role: str = "edit"
    reference: Path | None = None  # a video of what the edit should show
    figures: Callable[[np.ndarray], dict[str, float]] | None = None

    @property
    def title(self) -> str:
        """The label of its video and figures."""
        return self.prompt or self.role

    @property
    def file(self) -> str:
        """The video to write: ``edit-a-purple-elephant.mp4``, whichever others there are."""
        return f"edit-{file_stem(self.prompt)}.mp4" if self.prompt else f"{self.role}.mp4"


@dataclass(frozen=True)
class StreamedEdit:
    """A version of a clip of any length: `frames` gives its frames, uint8 [H, W, 3] at the working size, as they come.

    `watchers` take series of the frames on their way to the file; `series` gives others, once they have passed, and
    `means` figures out of all. `alpha` gives the opacity of each frame, a gray picture uint8 [H, W, 3]. The usual
    figures are taken of the file, if there is a prompt to measure it by.
    """

    title: str
    frames: Callable[[], Iterable[np.ndarray]] = field(repr=False)
    needs: Mapping[str, Any]
    file: str
    keyframes: tuple[int, ...] = ()
    watchers: Callable[[], Sequence[Watcher]] = field(default=list, repr=False)
    series: Callable[[], Series] = field(default=dict, repr=False)
    means: Callable[[Series], dict[str, float]] = field(default=lambda series: {}, repr=False)
    prompt: str = ""
    reference: Path | None = None
    role: str = "edit"
    alpha: Callable[[], Iterable[np.ndarray]] | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Picture:
    """A still picture for the report."""

    title: str
    caption: str
    file: str
    draw: Callable[[], np.ndarray] = field(repr=False)
    needs: Mapping[str, Any]


@dataclass(frozen=True)
class Findings:
    """News of a method besides its edits: curves, figures by label, pictures, key frames."""

    plots: Mapping[str, list[float]] = field(default_factory=dict)
    figures: Mapping[str, dict[str, float]] = field(default_factory=dict)
    pictures: Sequence[Picture] = ()
    keyframes: tuple[int, ...] = ()


@dataclass
class Delivery:
    """All that a call has delivered so far, for its record and report."""

    clip: Clip
    steps: Steps
    with_clip: bool  # take the figures of the miniature CLIP
    videos: list[dict[str, str]] = field(default_factory=list)
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    plots: dict[str, list[float]] = field(default_factory=dict)
    series: dict[str, Series] = field(default_factory=dict)  # of streamed edits, by title
    pictures: list[dict[str, str]] = field(default_factory=list)
    keyframes: tuple[int, ...] = ()
    edits: dict[str, Path] = field(default_factory=dict)

    def show(self, label: str, role: str, prompt: str, file: str) -> None:
        """Let the report show a video."""
        self.videos.append({"label": label, "role": role, "prompt": prompt, "file": file})

    @property
    def record(self) -> dict[str, Any]:
        """All that the report shows; curves of several edits carry the edit's title."""
        plots = dict(self.plots)
        for title, series in self.series.items():
            for name, values in series.items():
                plots[f"{name}, {title}" if len(self.series) > 1 else name] = values
        return {"videos": self.videos, "metrics": self.metrics, "plots": plots,
                "pictures": self.pictures, "keyframes": list(self.keyframes)}  # fmt: skip


def deliver(
    handed: Iterable[Edit | StreamedEdit | Findings],
    clip: Clip,
    steps: Steps,
    *,
    source_prompt: str = "",
    with_clip: bool = False,
) -> EditResult:
    """Write, measure and show all that a method hands over, in its order; the record gets what the report shows.

    In a dry walk nothing is written, and it ends where something is asked for that only a run will make.
    """
    done = Delivery(clip, steps, with_clip)
    if clip.num_frames == 1:
        steps.note("The clip has one frame: it is edited as a still.")
    try:
        _write_source(done, source_prompt)
        for item in handed:
            _DELIVER[type(item)](done, item)
    except UnmadeError as error:
        assert steps.dry
        steps.status["what follows"] = f"made: after {error}"
    if not steps.dry:
        steps.workspace.record |= done.record
    return EditResult(videos=done.edits, metrics=done.metrics)


def _write_source(done: Delivery, source_prompt: str) -> None:
    """Write the selected frames as a video of their own, for comparing."""
    clip, steps = done.clip, done.steps

    def make() -> None:
        for note in clip.video.notes:
            steps.note(note)
        clip.write(steps.path(SOURCE), iter(clip.video.frames))

    steps.keep("source", make, needs=_written(clip), files=[SOURCE])
    done.show("source", "source", source_prompt, SOURCE)


def _written(clip: Clip) -> dict[str, Any]:
    """All that a written version of the clip depends on besides its pictures."""
    track = {} if clip.audio_track is None else {"audio_track": clip.audio_track}
    return {"clip": clip, "output_size": "{}x{}".format(*clip.output_size), **track}


# -- frames as pictures --------------------------------------------------------------------------------


def _pictures(clip: Clip, edit: Edit | StreamedEdit) -> list[str]:
    """The files of the frames of an edit, if they are wanted as pictures, named by their numbers in the clip."""
    if clip.frame_format == "mp4" or edit.role != "edit":
        return []
    return [f"{Path(edit.file).stem}-frames/{number:06d}.{clip.frame_format}" for number in clip.numbers]


def _pictured(
    done: Delivery,
    edit: Edit | StreamedEdit,
    frames: Iterable[np.ndarray],
    alpha: Iterable[np.ndarray] | None = None,
) -> Iterator[np.ndarray]:
    """The frames for the video, over white where they are transparent; on their way they are written as pictures."""
    files, size = iter(_pictures(done.clip, edit)), done.clip.output_size
    opacities: Iterable[Any] = itertools.repeat(None) if alpha is None else alpha
    for frame, opacity in zip(frames, opacities, strict=False):
        done.steps.preview.add(frame)
        if file := next(files, None):
            shown = None if opacity is None else stretch_frames(opacity, size)[..., 0]
            write_frame(done.steps.path(file), stretch_frames(frame, size), shown)
        yield frame if opacity is None else lay_over_white(frame, opacity)


# -- edits that are arrays -----------------------------------------------------------------------------


def _deliver_array(done: Delivery, edit: Edit) -> None:
    """Write an edit, and measure the array itself."""
    clip, steps = done.clip, done.steps

    def make() -> dict[str, Any]:
        frames = edit.frames()
        figures = {edit.title: edit.figures(frames)} if edit.figures else _measure_array(done, edit, frames)
        clip.write(steps.path(edit.file), _pictured(done, edit, frames))
        return figures

    name = f"measure {edit.title}" if edit.role == "edit" else edit.role
    needs = {**edit.needs, **_written(clip), "reference": edit.reference}
    step = steps.keep(name, make, needs=needs, files=[edit.file, *_pictures(clip, edit)])
    done.show(edit.title, edit.role, edit.prompt, edit.file)
    if reference := edit.reference:
        _write_reference(done, edit, f"truth-{file_stem(edit.prompt)}.mp4", lambda: _at_working_size(clip, reference))
    if steps.dry:
        return
    done.metrics |= step.value
    if edit.role == "edit":
        done.edits[edit.title] = steps.path(edit.file)


def _measure_array(done: Delivery, edit: Edit, frames: np.ndarray) -> dict[str, dict[str, float]]:
    """Figures of an edit, and of its reference if there is one, by label."""
    wanted = _at_working_size(done.clip, edit.reference) if edit.reference else None
    measure = partial(measure_edit, done.clip.frames, prompt=edit.prompt, truth=wanted, with_clip=done.with_clip)
    figures = {edit.title: measure(frames)}
    return figures if wanted is None else figures | {f"{TRUTH}{edit.title}": measure(wanted)}


def _at_working_size(clip: Clip, path: Path) -> np.ndarray:
    """The frames of another file that stand where the clip's do, uint8 [F, H, W, 3]."""
    return stretch_frames(np.stack(list(clip.same_frames(path))), clip.size)


def _write_reference(
    done: Delivery, edit: Edit | StreamedEdit, file: str, frames: Callable[[], Iterable[np.ndarray]]
) -> None:
    """Write what the edit should show beside it."""
    clip, steps = done.clip, done.steps
    needs = {"reference": edit.reference, **_written(clip)}
    steps.keep(f"reference {edit.title}", lambda: clip.write(steps.path(file), frames()), needs=needs, files=[file])
    done.show(f"{TRUTH}{edit.prompt}" if edit.prompt else REFERENCE, "truth", edit.prompt, file)


# -- edits that pass by --------------------------------------------------------------------------------


def _deliver_stream(done: Delivery, edit: StreamedEdit) -> None:
    """Write an edit while its series are taken, then take the figures of the file."""
    clip, steps = done.clip, done.steps

    def make() -> Series:
        watchers = edit.watchers()
        frames = _pictured(done, edit, edit.frames(), edit.alpha and edit.alpha())
        clip.write(steps.path(edit.file), watch(frames, watchers))
        return series_of(watchers) | edit.series()

    needs = {**edit.needs, **_written(clip)}
    written = steps.keep(f"write {edit.title}", make, needs=needs, files=[edit.file, *_pictures(clip, edit)])
    measured = _measure_file(done, edit, written) if edit.prompt else None
    done.show(edit.title, edit.role, edit.prompt, edit.file)
    if reference := edit.reference:
        stem = edit.file.removeprefix("edit") if edit.prompt else ".mp4"
        _write_reference(done, edit, f"truth{stem}", lambda: clip.same_frames(reference))
    if steps.dry:
        return
    figures = measured.value if measured else {edit.title: {}}
    done.metrics |= figures | {edit.title: figures[edit.title] | edit.means(written.value)}
    done.series[edit.title] = written.value
    done.keyframes = edit.keyframes
    done.edits[edit.title] = steps.path(edit.file)


def _measure_file(done: Delivery, edit: StreamedEdit, written: Step) -> Step:
    clip, steps = done.clip, done.steps

    def make() -> dict[str, dict[str, float]]:
        wanted = clip.same_frames(edit.reference) if edit.reference else None
        source, target = steps.path(SOURCE), steps.path(edit.file)
        return measure_files(source, target, edit.prompt, wanted, size=clip.size, with_clip=done.with_clip)

    return steps.keep(f"measure {edit.title}", make, needs={"video": written, "reference": edit.reference})


def watch(frames: Iterable[np.ndarray], watchers: Sequence[Watcher]) -> Iterable[np.ndarray]:
    """The frames, on their way past all `watchers`."""
    for one in watchers:
        frames = one.watch(frames)
    return frames


def series_of(watchers: Sequence[Watcher]) -> Series:
    """All series of watchers that frames have passed."""
    found: Series = {}
    for one in watchers:
        found |= one.series()
    return found


# -- all else ------------------------------------------------------------------------------------------


def _tell(done: Delivery, findings: Findings) -> None:
    """Take over what a method tells besides its edits, and draw its pictures."""
    steps = done.steps
    for picture in findings.pictures:

        def write(picture: Picture = picture) -> None:
            write_image(steps.path(picture.file), picture.draw())

        steps.keep(f"picture {picture.file}", write, needs=picture.needs, files=[picture.file])
        done.pictures.append({"title": picture.title, "file": picture.file, "caption": picture.caption})
    done.plots |= findings.plots
    done.metrics |= findings.figures
    done.keyframes = findings.keyframes or done.keyframes


_DELIVER: dict[type, Callable[[Delivery, Any], None]] = {
    Edit: _deliver_array,
    StreamedEdit: _deliver_stream,
    Findings: _tell,
}
