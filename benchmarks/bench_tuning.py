"""Where the time of a tuning on the demo clip goes: ``python benchmarks/bench_tuning.py [STEPS]`` (300).

Encoding the clip and the prompt is done once and counts as overhead, as do noise, saved states and progress; loading
the model does not. Writes results/tuning.json.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from common import write_result

from tuneavideo import VideoUNet
from tuneavideo.tuning import tune
from videoedit import load_models, read_video
from videoedit.config import read_yaml
from videoedit.latents import encode_posterior, frames_to_pixels
from videoedit.prompts import encode_prompts

CONFIG = Path(__file__).parents[1] / "configs" / "tuneavideo" / "demo.yaml"


def measure_tuning(steps: int) -> dict[str, Any]:
    """Wall seconds of each part of a tuning, saved every 50 steps, and the share of all but the learning itself."""
    demo = read_yaml(CONFIG)
    models = load_models("mini", device="cpu")
    start = time.perf_counter()
    video = read_video(CONFIG.parent / demo["clip"])
    posterior = encode_posterior(models.vae, frames_to_pixels(video.frames))
    embeds = encode_prompts(models, [demo["source_prompt"]])
    network = VideoUNet(models.unet, generator=torch.Generator().manual_seed(33))
    prepared = time.perf_counter() - start
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder) / "state.safetensors"
        result = tune(network, posterior, embeds, models.scheduler, steps=steps, state_path=state, checkpoint_every=50)
    seconds = result.seconds | {"preparation": prepared}
    outside = seconds["other"] + prepared
    return {
        "settings": {"steps": steps, "frames": video.num_frames, "latents": list(posterior.mean.shape)},
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "share_outside_learning": round(outside / sum(seconds.values()), 4),
        "target": 0.03,
    }


def main() -> None:
    torch.set_num_threads(1)
    print(write_result("tuning", measure_tuning(int(sys.argv[1]) if len(sys.argv) > 1 else 300)))


if __name__ == "__main__":
    main()
