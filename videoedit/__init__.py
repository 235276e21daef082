"""videoedit: text-guided video editing with diffusion models.

Names are loaded on first use, so that ``import videoedit`` and ``videoedit --help`` stay instant.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from videoedit.diffusion.inversion import ddim_invert
    from videoedit.diffusion.sampling import StepInfo, ddim_sample
    from videoedit.errors import VideoEditError
    from videoedit.media.video import read_video, write_video
    from videoedit.models.loading import load_models
    from videoedit.pipeline import edit, plan
    from videoedit.types import EditResult, Models, Video

__version__ = "0.1.0"

_WHERE = {
    "EditResult": "types",
    "Models": "types",
    "StepInfo": "diffusion.sampling",
    "Video": "types",
    "VideoEditError": "errors",
    "ddim_invert": "diffusion.inversion",
    "ddim_sample": "diffusion.sampling",
    "edit": "pipeline",
    "load_models": "models.loading",
    "plan": "pipeline",
    "read_video": "media.video",
    "write_video": "media.video",
}

__all__ = [
    "EditResult",
    "Models",
    "StepInfo",
    "Video",
    "VideoEditError",
    "__version__",
    "ddim_invert",
    "ddim_sample",
    "edit",
    "load_models",
    "plan",
    "read_video",
    "write_video",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'videoedit' has no attribute {name!r}")
    return getattr(import_module(f"videoedit.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return __all__
