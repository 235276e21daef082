"""Where the wall time of a tuning on the demo clip goes: ``python benchmarks/bench_tuning.py [STEPS]`` (300).

The embedded model on one thread, a state saved every 50 steps. Encoding the clip and the prompt is done once
("preparation") and counts as overhead, as do noise, saved states and progress ("other"); loading the model does not.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from common import publish
from results_schema import Row, row

from tuneavideo import VideoUNet
from tuneavideo.tuning import tune
from videoedit import load_models, read_video
from videoedit.diffusion.latents import encode_posterior, frames_to_pixels
from videoedit.diffusion.prompts import encode_prompts
from videoedit.pipeline import demo_config


def rows(steps: int) -> Iterator[Row]:
    """Wall seconds of each part, and their share of the whole."""
    demo: Any = demo_config("tuneavideo")
    models = load_models("mini", device="cpu")
    start = time.perf_counter()
    video = read_video(demo.clip)
    posterior = encode_posterior(models.vae, frames_to_pixels(video.frames))
    embeds = encode_prompts(models, [demo.source_prompt])
    network = VideoUNet(models.unet, generator=torch.Generator().manual_seed(33))
    prepared = time.perf_counter() - start
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder) / "state.safetensors"
        result = tune(network, posterior, embeds, models.scheduler, steps=steps, state_path=state, checkpoint_every=50)
    seconds = result.seconds | {"preparation": prepared}
    whole = sum(seconds.values())
    seconds["outside learning"] = seconds["other"] + prepared
    for name, value in seconds.items():
        wanted = 0.03 if name == "outside learning" else None
        yield row(name, "wall time", value, "s", "lower", against=("the whole tuning", whole), wanted=wanted)


def main() -> None:
    torch.set_num_threads(1)
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    publish(
        "tuning", "Tune-A-Video: where a tuning's time goes", rows(steps), method=__doc__, settings={"steps": steps}
    )


if __name__ == "__main__":
    main()
