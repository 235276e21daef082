"""The one-shot tuning loop: its arithmetic, its checks, and its exact resume."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler
from safetensors.torch import load_file, save_file
from torch import Tensor

from tuneavideo.tuning import TuneResult, tune, tuning_loss
from tuneavideo.tuning_state import TuningState, check_gradients
from tuneavideo.video_unet import VideoUNet
from videoedit.diffusion.latents import Posterior
from videoedit.errors import ConfigError, MethodError, OutputError, ShapeError, WeightsError
from videoedit.testing import SD_SCHEDULER, tiny_unet

LEARNING_RATE = 1e-3


def randn(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def make_unet(dtype: torch.dtype = torch.float32, device: str = "cpu", **options: Any) -> VideoUNet:
    unet = tiny_unet().to(device)
    if dtype != torch.float32:
        unet.to(dtype)
    return VideoUNet(unet, generator=torch.Generator().manual_seed(0), **options)


@dataclass
class Job:
    """Arguments of `tune` on tiny data; `run` makes the network anew unless one is given."""

    frames: int = 4
    device: str = "cpu"
    scheduler: dict[str, Any] = field(default_factory=dict)
    posterior_seed: int = 1
    prompt_seed: int = 2

    @property
    def posterior(self) -> Posterior:
        mean = randn(1, self.frames, 4, 8, 8, seed=self.posterior_seed).to(self.device)
        return Posterior(mean, torch.full_like(mean, 0.1))

    @property
    def prompt(self) -> Tensor:
        return randn(1, 7, 16, seed=self.prompt_seed).to(self.device)

    def run(self, unet: VideoUNet | None = None, **settings: Any) -> TuneResult:
        scheduler = DDIMScheduler(**(SD_SCHEDULER | self.scheduler))
        settings = {"steps": 6, "learning_rate": LEARNING_RATE, **settings}
        return tune(unet or make_unet(), self.posterior, self.prompt, scheduler, **settings)


def values(unet: VideoUNet) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in unet.unet.named_parameters()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def stop_after(step: int) -> Callable[[int, float], None]:
    def callback(done: int, loss: float) -> None:
        if done == step:
            raise KeyboardInterrupt

    return callback


# What a step computes


def readable_twin(
    unet: VideoUNet, job: Job, *, steps: int, prediction_type: str = "epsilon", max_grad_norm: float = 1.0
) -> list[float]:
    """The official loop on the same random numbers, with torch's plain AdamW."""
    tensors = dict(unet.trainable_parameters("all", "iccv"))
    optimizer = torch.optim.AdamW(tensors.values(), lr=LEARNING_RATE, foreach=False, fused=False)
    alphas = DDIMScheduler(**SD_SCHEDULER).alphas_cumprod
    generator = torch.Generator().manual_seed(33)
    losses = []
    for _ in range(steps):
        t = torch.randint(1000, (), generator=generator)
        x0 = job.posterior.mean + job.posterior.std * torch.randn(1, 4, 4, 8, 8, generator=generator)
        noise = torch.randn(1, 4, 4, 8, 8, generator=generator)
        signal_scale, noise_scale = alphas[t].sqrt(), (1 - alphas[t]).sqrt()
        velocity = signal_scale * noise - noise_scale * x0
        target = {"epsilon": noise, "v_prediction": velocity, "sample": x0}[prediction_type]
        loss = (unet(signal_scale * x0 + noise_scale * noise, t, job.prompt) - target).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(tensors.values(), max_grad_norm)
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
def test_equals_the_readable_loop(prediction_type: str) -> None:
    ours, theirs = make_unet(), make_unet()
    before = values(ours)
    job = Job(scheduler={"prediction_type": prediction_type})
    result = job.run(ours, steps=4)
    expected = readable_twin(theirs, job, steps=4, prediction_type=prediction_type)
    assert result.losses == pytest.approx(expected, rel=1e-5)
    for name, value in values(theirs).items():
        torch.testing.assert_close(values(ours)[name], value, rtol=0, atol=1e-5)
    changed = {name for name, value in values(ours).items() if not torch.equal(value, before[name])}
    assert changed == {name for name, _ in make_unet().trainable_parameters("all", "iccv")}


def test_gradients_are_clipped_to_their_norm() -> None:
    """As in the readable loop, and unlike a tuning whose gradients stay below the norm."""
    ours, theirs, unclipped = make_unet(), make_unet(), make_unet()
    Job().run(ours, steps=5, max_grad_norm=1e-6)
    readable_twin(theirs, Job(), steps=5, max_grad_norm=1e-6)
    Job().run(unclipped, steps=5)
    for name, value in values(theirs).items():
        torch.testing.assert_close(values(ours)[name], value, rtol=0, atol=1e-5)
    assert max(float((values(ours)[name] - value).abs().max()) for name, value in values(unclipped).items()) > 1e-4


def test_learns() -> None:
    """The loss on fixed noise falls."""
    unet, job = make_unet(), Job()
    noise = randn(1, 4, 4, 8, 8, seed=9)

    def loss() -> float:
        with torch.no_grad():
            return float(tuning_loss(unet(0.5 * job.posterior.mean + noise, 700, job.prompt), noise))

    before = loss()
    job.run(unet, steps=30, learning_rate=1e-2)
    assert loss() < before - 0.01


def test_single_frame() -> None:
    assert len(Job(frames=1).run(steps=4).losses) == 4


def test_latent_mean_differs_from_sample_and_repeats() -> None:
    mean, sample, again = (Job().run(steps=2, latent=x).losses for x in ("mean", "sample", "sample"))
    assert mean != sample
    assert sample == again


def test_other_seed_other_numbers() -> None:
    assert Job().run(steps=1, seed=1).losses != Job().run(steps=1, seed=2).losses


def test_official_blocks_leave_the_down_blocks_alone() -> None:
    unet = make_unet()
    before = values(unet)
    Job().run(unet, train_blocks="official", steps=3)
    changed = {name for name, value in values(unet).items() if not torch.equal(value, before[name])}
    assert changed
    assert not any(name.startswith("down_blocks") for name in changed)


def test_gradient_checkpointing_changes_nothing() -> None:
    plain, checkpointed = make_unet(), make_unet()
    losses = Job().run(plain, steps=3).losses
    assert Job().run(checkpointed, steps=3, gradient_checkpointing=True).losses == pytest.approx(losses, abs=1e-6)
    assert not checkpointed.unet.is_gradient_checkpointing


def test_prompt_dropout() -> None:
    empty = randn(1, 7, 16, seed=5)
    always = Job().run(steps=3, prompt_dropout=1.0, empty_embeds=empty).losses
    half = Job().run(steps=6, prompt_dropout=0.5, empty_embeds=empty, learning_rate=1e-9).losses
    never = Job().run(steps=3).losses
    assert always != never
    assert len(half) == 6
    with pytest.raises(ConfigError, match="empty_embeds"):
        Job().run(prompt_dropout=0.1)


def test_prompt_dropout_is_the_share_on_the_empty_prompt() -> None:
    """With a learning rate of nothing a step's loss tells which prompt it was on."""

    def losses(share: float, seed: int = 2, empty_seed: int = 5) -> list[float]:
        empty = Job(prompt_seed=empty_seed).prompt
        job = Job(prompt_seed=seed)
        return job.run(steps=12, prompt_dropout=share, empty_embeds=empty, learning_rate=1e-9).losses

    on_prompt, on_empty = losses(0.5, 2, 2), losses(0.5, 5, 5)
    dropped = []
    for share in (0.2, 0.8):
        steps = list(zip(losses(share), on_prompt, on_empty, strict=True))
        assert all(abs(loss - prompt) < 1e-6 or abs(loss - empty) < 1e-6 for loss, prompt, empty in steps)
        dropped.append({i for i, (loss, prompt, empty) in enumerate(steps) if abs(loss - empty) < abs(loss - prompt)})
    assert 0 < len(dropped[0]) < 6 < len(dropped[1]) < 12
    assert dropped[0] < dropped[1]


@pytest.mark.parametrize("options", [{"lora_rank": 2}, {"init": "official"}, {"attention": "full"}])
def test_network_options_learn(options: dict[str, Any]) -> None:
    assert len(Job().run(make_unet(**options), steps=4).losses) == 4


# Loss


def test_smoothness_is_the_second_difference_of_the_error() -> None:
    target, error = randn(1, 5, 4, 2, 2), randn(1, 5, 4, 2, 2, seed=3)
    flicker = error[:, :-2] - 2 * error[:, 1:-1] + error[:, 2:]
    expected = error.pow(2).mean() + 0.3 * flicker.pow(2).mean()
    torch.testing.assert_close(tuning_loss(target + error, target, 0.3), expected)


def test_smoothness_ignores_steady_errors_and_short_clips() -> None:
    target = randn(1, 5, 4, 2, 2)
    drift = target + torch.linspace(0, 1, 5).view(1, 5, 1, 1, 1)
    torch.testing.assert_close(tuning_loss(drift, target, 9.0), tuning_loss(drift, target))
    short = target[:, :2]
    assert tuning_loss(short + 1, short, 9.0) == tuning_loss(short + 1, short)


def test_smoothness_weight_reaches_the_loss() -> None:
    assert Job().run(steps=1, smoothness_weight=0.5).losses[0] > Job().run(steps=1).losses[0]


# Precision


def test_bf16_stays_near_fp32_and_restores_dtypes() -> None:
    unet, reference = make_unet(), make_unet()
    before = values(unet)
    low = Job().run(unet, precision="bf16").losses
    assert low == pytest.approx(Job().run(reference).losses, abs=0.02)
    trained = {name for name, _ in make_unet().trainable_parameters("all", "iccv")}
    for name, parameter in unet.unet.named_parameters():
        assert parameter.dtype == torch.float32
        assert name in trained or torch.equal(parameter, before[name])


def test_trained_tensors_of_a_bf16_network_accumulate_in_fp32(tmp_path: Path) -> None:
    """Fifty updates of 1e-6 are lost in bfloat16 weights near 0.1, and kept in float32 ones."""
    unet = make_unet(torch.bfloat16)
    state = tmp_path / "tune.state.safetensors"
    Job().run(unet, precision="bf16", learning_rate=1e-6, weight_decay=0.0, state_path=state, steps=5)
    assert {p.dtype for p in unet.parameters()} == {torch.bfloat16}
    saved = load_file(state)["parameter.mid_block.attentions.0.transformer_blocks.0.attn1.to_q.weight"]
    assert saved.dtype == torch.float32
    assert not torch.equal(saved, saved.bfloat16().float())


def test_leaves_the_network_frozen_in_its_mode_also_after_an_error() -> None:
    unet = make_unet().eval()
    with pytest.raises(KeyboardInterrupt):
        Job().run(unet, precision="bf16", gradient_checkpointing=True, callback=stop_after(2))
    assert not unet.training
    assert not unet.unet.is_gradient_checkpointing
    for parameter in unet.parameters():
        assert parameter.grad is None
        assert not parameter.requires_grad
        assert parameter.dtype == torch.float32


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"precision": "fp16"}, "fp16 does not work on a CPU; use bf16"),
        ({"precision": "fp8"}, "'fp32', 'bf16' or 'fp16'"),
        ({"latent": "mode"}, "'sample' or 'mean'"),
        ({"checkpoint_every": 0}, "greater than or equal to 1"),
        ({"trainable": "nothing"}, "'iccv' or 'v1'"),
    ],
)
def test_refuses_settings(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        Job().run(**settings)


def test_refuses_two_clips() -> None:
    job = Job()
    two = Posterior(randn(2, 3, 4, 8, 8), randn(2, 3, 4, 8, 8))
    with pytest.raises(ShapeError, match=r"\[2, 3, 4, 8, 8\].*one clip"):
        tune(make_unet(), two, job.prompt, SD_SCHEDULER, steps=1)


def test_fp16_scale_is_undone_and_halved_by_an_overflow() -> None:
    """On tensors alone, as fp16 networks need a GPU: infinite gradients do not count."""
    weight = torch.nn.Parameter(torch.ones(2))
    state = TuningState(
        {"weight": weight}, torch.optim.SGD([weight], lr=1.0), torch.Generator(), {"precision": "fp16"}, {}
    )
    assert state.loss_scale == 2**16
    weight.grad = torch.tensor([float("inf"), 0.0])
    state.apply_gradients(torch.tensor(1.0), max_grad_norm=1.0, num_frames=4)
    assert (state.loss_scale, weight.tolist(), weight.grad) == (2**15, [1.0, 1.0], None)
    weight.grad = torch.tensor([0.25, 0.0]) * state.loss_scale
    state.apply_gradients(torch.tensor(2.0), max_grad_norm=1.0, num_frames=4)
    assert weight.tolist() == [0.75, 1.0]
    assert state.losses == [1.0, 2.0]


# Does everything learn?

TEMPORAL = "up_blocks.1.attentions.0.transformer_blocks.0.attn_temp"


def test_first_gradients_of_identity_init() -> None:
    """Zero exactly for temporal q, k, v, which the check allows; once the output weight is not, it does not."""
    unet, job = make_unet(), Job()
    tensors = dict(unet.trainable_parameters("all", "iccv"))
    tuning_loss(unet(job.posterior.mean, 500, job.prompt), randn(1, 4, 4, 8, 8)).backward()
    zero = {name for name, p in tensors.items() if p.grad is not None and not p.grad.any()}
    assert zero == {name for name in tensors if "attn_temp.to_" in name and "to_out" not in name}
    check_gradients(tensors, num_frames=4)
    with torch.no_grad():
        tensors[f"{TEMPORAL}.to_out.0.weight"].fill_(0.1)
    with pytest.raises(MethodError, match=rf"3 of \d+ tensors \({TEMPORAL}.to_q.weight.*zero"):
        check_gradients(tensors, num_frames=4)


def test_names_the_blocks_that_no_gradient_reaches() -> None:
    """As with the official code's re-entrant checkpointing: what comes before a cut does not learn."""
    unet = make_unet()
    unet.unet.down_blocks[0].register_forward_hook(
        lambda module, args, output: (output[0].detach(), tuple(x.detach() for x in output[1]))
    )
    before = values(unet)
    with pytest.raises(MethodError, match=r"no gradient reaches 7 of 28 tensors \(down_blocks\.0.*re-entrant"):
        Job().run(unet)
    assert same(values(unet), before)
    Job().run(unet, train_blocks="official", steps=1)


def test_names_tensors_without_effect() -> None:
    """Temporal q alone cannot learn behind a frozen zero output weight."""
    with pytest.raises(MethodError, match=r"4 of 4 tensors.*attn_temp\.to_q\.weight.*zero"):
        Job().run(trainable=["attn_temp.to_q"])


def test_names_tensors_that_do_not_move() -> None:
    with pytest.raises(MethodError, match=r"did not move in 3 updates; learning_rate 1e-20"):
        Job().run(learning_rate=1e-20, weight_decay=0.0)


@pytest.mark.parametrize(("precision", "advice"), [("fp32", "lower learning_rate"), ("bf16", "precision fp32")])
def test_stops_at_a_loss_that_is_not_finite(precision: str, advice: str, tmp_path: Path) -> None:
    unet, calls = make_unet(), []

    def poison(module: Any, args: Any, output: Tensor) -> Tensor:
        calls.append(1)
        return output * float("nan") if len(calls) == 4 else output

    unet.unet.conv_norm_out.register_forward_hook(poison)
    state = tmp_path / "tune.state.safetensors"
    with pytest.raises(MethodError, match=f"loss of step 4 is nan.*{advice}"):
        Job().run(unet, precision=precision, state_path=state, checkpoint_every=3)
    assert all(value.isfinite().all() for value in values(unet).values())
    assert Job().run(precision=precision, state_path=state).resumed_from == 3


def test_stops_at_a_gradient_that_is_not_finite() -> None:
    unet = make_unet()
    name = "mid_block.attentions.0.transformer_blocks.0.attn_temp.to_out.0.bias"
    bias = dict(unet.trainable_parameters("all", "iccv"))[name]
    bias.register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(MethodError, match=rf"gradient of 1 of 28 tensors \({name}\) is not finite in step 1"):
        Job().run(unet)


# Resume


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"precision": "bf16", "gradient_checkpointing": True},
        {"prompt_dropout": 0.5, "empty_embeds": randn(1, 7, 16, seed=5), "smoothness_weight": 0.1},
    ],
    ids=["defaults", "bf16", "options"],
)
def test_resumed_run_has_the_same_bytes(settings: dict[str, Any], tmp_path: Path, is_mapped) -> None:
    state = tmp_path / "tune.state.safetensors"
    settings = {**settings, "steps": 8, "checkpoint_every": 3}
    whole, stopped, resumed = make_unet(), make_unet(), make_unet()
    expected = Job().run(whole, **settings, state_path=tmp_path / "whole.state.safetensors")
    with pytest.raises(KeyboardInterrupt):
        Job().run(stopped, **settings, state_path=state, callback=stop_after(5))
    steps = []

    def note(step: int, loss: float) -> None:
        steps.append(step)
        assert not is_mapped(state)

    result = Job().run(resumed, **settings, state_path=state, callback=note)
    assert (result.resumed_from, steps) == (3, [4, 5, 6, 7, 8])
    assert result.losses == expected.losses
    assert same(values(resumed), values(whole))
    assert state.read_bytes() == (tmp_path / "whole.state.safetensors").read_bytes()
    assert [path.name for path in tmp_path.glob("*part*")] == []


def test_finished_state_gives_the_result_at_once(tmp_path: Path) -> None:
    first, second = make_unet(), make_unet()
    expected = Job().run(first, state_path=tmp_path / "state")
    result = Job().run(second, state_path=tmp_path / "state", callback=stop_after(1))
    assert (result.losses, result.resumed_from) == (expected.losses, 6)
    assert same(values(first), values(second))


def test_steps_may_grow_but_not_shrink(tmp_path: Path) -> None:
    whole, longer = make_unet(), make_unet()
    Job().run(whole, steps=6)
    Job().run(steps=4, state_path=tmp_path / "state")
    Job().run(longer, steps=6, state_path=tmp_path / "state")
    assert same(values(whole), values(longer))
    with pytest.raises(MethodError, match="already at step 6 of 5"):
        Job().run(steps=5, state_path=tmp_path / "state")


@pytest.mark.parametrize(
    ("job", "settings", "named"),
    [
        (Job(), {"learning_rate": 2e-3}, "learning_rate"),
        (Job(), {"seed": 5, "precision": "bf16"}, "precision, seed"),
        (Job(), {"trainable": "v1"}, "trained tensors"),
        (Job(posterior_seed=7), {}, "clip"),
        (Job(frames=3), {}, "clip"),
        (Job(prompt_seed=7), {}, "prompt"),
        (Job(scheduler={"prediction_type": "v_prediction"}), {}, "v_prediction"),
        (Job(scheduler={"beta_end": 0.02}), {}, "schedule"),
        (Job(), {"unet": make_unet(attention="first")}, "network"),
        (Job(), {"unet": VideoUNet(tiny_unet(seed=1))}, "weights"),
    ],
)
def test_refuses_the_state_of_another_tuning(job: Job, settings: dict[str, Any], named: str, tmp_path: Path) -> None:
    state = tmp_path / "tune.state.safetensors"
    Job().run(steps=1, state_path=state)
    kept = state.read_bytes()
    with pytest.raises(MethodError, match=rf"another tuning \(.*{named}.*\); delete it"):
        job.run(**settings, state_path=state)
    assert state.read_bytes() == kept


def test_refuses_damaged_and_foreign_files(tmp_path: Path) -> None:
    state = tmp_path / "tune.state.safetensors"
    Job().run(steps=1, state_path=state)
    state.write_bytes(state.read_bytes()[:5000])
    with pytest.raises(WeightsError, match="is damaged"):
        Job().run(state_path=state)
    save_file({"a": torch.zeros(1)}, state)
    with pytest.raises(WeightsError, match="not a tuning state"):
        Job().run(state_path=state)


def test_full_disk_is_one_clear_error_and_keeps_the_old_state(tmp_path: Path) -> None:
    state = tmp_path / "tune.state.safetensors"
    Job().run(steps=1, state_path=state)
    resource = pytest.importorskip("resource")
    kept, limits = state.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(OutputError, match="no space left to write"):
            Job().run(steps=2, state_path=state)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert state.read_bytes() == kept
    assert list(tmp_path.iterdir()) == [state]


KILLED = """
import os, signal, sys
sys.path.insert(0, {folder!r})
from test_tuning import Job, Path
def callback(step, loss):
    if step == {step}:
        os.kill(os.getpid(), signal.SIGKILL)
Job().run(steps=8, checkpoint_every=2, state_path=Path({state!r}), callback=callback)
"""


@pytest.mark.slow
def test_killed_run_ends_with_the_same_bytes(tmp_path: Path) -> None:
    whole, resumed = make_unet(), make_unet()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        expected = Job().run(whole, steps=8, checkpoint_every=2).losses
        state = tmp_path / "tune.state.safetensors"
        step = int.from_bytes(os.urandom(1)) % 8 + 1
        code = KILLED.format(folder=str(Path(__file__).parent), step=step, state=str(state))
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        done = subprocess.run([sys.executable, "-c", code], env=environment, check=False, capture_output=True)
        assert done.returncode == -signal.SIGKILL, done.stderr.decode()
        result = Job().run(resumed, steps=8, checkpoint_every=2, state_path=state)
    finally:
        torch.set_num_threads(threads)
    assert result.resumed_from == step // 2 * 2
    assert result.losses == expected
    assert same(values(resumed), values(whole))


# Time


def test_reports_where_the_time_went(tmp_path: Path) -> None:
    result = Job().run(steps=5, state_path=tmp_path / "state", checkpoint_every=100)
    assert result.seconds.keys() == {"forward", "backward", "optimiser", "other"}
    assert all(seconds > 0 for seconds in result.seconds.values())
    assert 0 < result.overhead < 0.5


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_gpu_draws_the_same_numbers(precision: str, tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    on_cpu = Job().run(steps=4).losses
    unet = make_unet(device="cuda")
    on_gpu = replace(Job(), device="cuda").run(unet, steps=4, precision=precision, state_path=tmp_path / "state")
    assert on_gpu.losses == pytest.approx(on_cpu, abs=1e-3 if precision == "fp32" else 0.05)
    again = make_unet(device="cuda")
    assert (
        replace(Job(), device="cuda").run(again, steps=4, precision=precision, state_path=tmp_path / "state").losses
        == on_gpu.losses
    )
