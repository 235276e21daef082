"""A stock image UNet that denoises video: `VideoUNet` (Wu et al., "Tune-A-Video", ICCV 2023, section 3).

Nothing of the UNet is rewritten: the patch made by `tuneavideo.temporal.video_patch` is installed on it, and taken off
again by `VideoUNet.detach`. Parameter names equal those of the official code, so its checkpoints load as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tuneavideo.config import NetworkConfig
from tuneavideo.temporal import QUERIES, transformer_blocks, video_patch
from tuneavideo.unet_folder import load_unet
from videoedit.attention import FrameState, Shared, install
from videoedit.config import build_config
from videoedit.errors import ConfigError, MethodError, ShapeError, WeightsError

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel

TRAINABLE = {
    "iccv": (*QUERIES, "attn_temp"),
    "v1": ("attn1.to_k", "attn1.to_v", "attn2.to_q", "attn_temp"),
}


class VideoUNet(nn.Module, AbstractContextManager["VideoUNet"]):
    """A `UNet2DConditionModel` with the parts of Tune-A-Video installed; ``.unet`` is the UNet itself.

    All parameters are frozen until `trainable_parameters` selects some. Use it as a context manager, or call
    `detach`, to get the UNet back exactly as it was, values of its own parameters included.

    generator: draws the new parameters, on the CPU.
    options: settings of `NetworkConfig`, as ``attention="first"``; ConfigError for others.
    """

    unet: Any  # diffusers is not typed

    def __init__(
        self,
        unet: UNet2DConditionModel,
        *,
        generator: torch.Generator | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        network = build_config(NetworkConfig, options)
        self.options: dict[str, Any] = network.model_dump()
        check_supported(unet)
        self.unet = unet
        self._state = FrameState()
        self._values: dict[str, Tensor] = {}  # the UNet's own values of parameters that were selected or loaded
        self._requires_grad = {name: p.requires_grad for name, p in self.unet.named_parameters()}
        self._training: bool = self.unet.training
        self._checkpointing: bool = self.unet.is_gradient_checkpointing
        self._installation = install(self.unet, video_patch(self.unet, self._state, generator, network))
        self.requires_grad_(False)

    @classmethod
    def from_pretrained(cls, folder: str | Path, *, allow_pickle: bool = False, **options: Any) -> Self:
        """Load an official video ``unet/`` folder, or an image one, which is then inflated; `options` as above.

        allow_pickle: read ``.bin`` files too, as official folders hold; through torch's restricted unpickler.
        """
        unet, temporal = load_unet(folder, allow_pickle=allow_pickle)
        video_unet = cls(unet, **options)
        video_unet.load_tensors(temporal)
        return video_unet.eval()

    # Taking off

    def detach(self) -> UNet2DConditionModel:
        """Take everything off and return the UNet as it was before; the second time it does nothing."""
        if self._installation.active:
            self._installation.remove()
            parameters = dict(self.unet.named_parameters())
            for name, requires_grad in self._requires_grad.items():
                parameter = parameters[name].requires_grad_(requires_grad)
                parameter.grad = None
                if name in self._values:
                    parameter.data.copy_(self._values[name])
            self.unet.train(self._training)
            if not self._checkpointing:
                self.unet.disable_gradient_checkpointing()
        return self.unet

    def __exit__(self, *exception: object) -> None:
        self.detach()

    # Parameters

    def trainable_parameters(
        self, blocks: Literal["official", "all"] = "all", modules: str | Sequence[str] = "iccv"
    ) -> Iterator[tuple[str, nn.Parameter]]:
        """Select what is tuned, freeze the rest, and yield (official name, parameter).

        blocks: "all", or "official" for the middle and upper ones: the official code checkpoints re-entrantly, so
            its lower blocks silently get no gradient.
        modules: "iccv" for the query projections and the temporal attention (official), "v1" for key and value of
            self-attention, query of cross-attention and the temporal attention (the paper's first version), or
            ends of module names.
        With `lora_rank` the low-rank changes take the place of the query projections.
        """
        if blocks not in ("all", "official"):
            raise ConfigError(f"blocks is {blocks!r}; it must be one of all, official")
        inside = tuple(f"{name}." for name in self._modules_named(modules))
        selected = {}
        for name, parameter in self.unet.named_parameters():
            frozen = blocks == "official" and name.startswith("down_blocks.")
            parameter.requires_grad_(name.startswith(inside) and not frozen and not self._has_lora(name))
            if parameter.requires_grad:
                self._keep_value(name, parameter)
                selected[name] = parameter
        return iter(selected.items())

    def _modules_named(self, modules: str | Sequence[str]) -> list[str]:
        suffixes = TRAINABLE.get(modules) if isinstance(modules, str) else tuple(modules)
        if not suffixes:
            raise ConfigError(f"trainable is {modules!r}; it must be iccv, v1 or a list of ends of module names")
        chosen = [name for name, _ in self.unet.named_modules() if name.endswith(suffixes)]
        for suffix in suffixes:
            if not any(name.endswith(suffix) for name in chosen):
                raise ConfigError(f"trainable names {suffix!r}, but no module of this UNet ends so")
        return chosen

    def _has_lora(self, name: str) -> bool:
        return self.options["lora_rank"] > 0 and name.removesuffix(".weight").endswith(QUERIES)

    def _keep_value(self, name: str, parameter: Tensor) -> None:
        if name in self._requires_grad and name not in self._values:
            self._values[name] = parameter.detach().clone()

    def named_adapter_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Yield (official name, tensor) of all that differs from the UNet: added modules, tensors tuned or loaded."""
        for name, parameter in self.unet.named_parameters():
            if name not in self._requires_grad or name in self._values:
                yield name, parameter.detach()

    @property
    def dtype(self) -> torch.dtype:
        """Type of the UNet's weights and activations."""
        return self.unet.dtype

    def base_sample(self) -> Tensor:
        """Sample of the image UNet's own values, float16 ``[n]``: tells UNets apart."""
        parameters: dict[str, Tensor] = dict(self.unet.named_parameters())
        own = [self._values.get(name, parameters[name]) for name in self._requires_grad]
        return torch.cat([value.detach().flatten()[:4].half().cpu() for value in own])

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Set parameters by official name; `WeightsError` for a name or shape that this network does not have."""
        parameters = dict(self.unet.named_parameters())
        for name, tensor in tensors.items():
            if name not in parameters:
                raise WeightsError(f"{name} is not a parameter of this network; was it made with other options?")
            if parameters[name].shape != tensor.shape:
                expected = list(parameters[name].shape)
                raise WeightsError(f"{name} has shape {list(tensor.shape)}, this network expects {expected}")
        with torch.no_grad():
            for name, tensor in tensors.items():
                self._keep_value(name, parameters[name])
                parameters[name].copy_(tensor)

    def enable_gradient_checkpointing(self) -> None:
        """Recompute activations in the backward pass instead of keeping them; gradients stay the same."""
        self.unet.enable_gradient_checkpointing(
            lambda module, *args: checkpoint(module.__call__, *args, use_reentrant=False)
        )

    # Denoising

    def forward(
        self,
        latents: Tensor,
        t: int | Tensor,
        prompt_embeds: Tensor,
        shared: Shared | None = None,
        residuals: Mapping[str, Any] | None = None,
    ) -> Tensor:
        """Predict the noise (or velocity) of ``latents [B, F, C, h, w]``.

        t: one timestep for all (int or 0-dim) or one per clip ``[B]``.
        prompt_embeds: ``[B, L, D]``, one prompt per clip, the same for each of its frames.
        shared: what clips of the batch take from its first ones; sites as in `structure_sites`.
        residuals: what ControlNets add to the UNet's skips, for ``[B*F, C, h, w]``; as of `Controls.residuals`.
        """
        self._installation.check()  # here too: once detached, the UNet is an image model and checks nothing
        self._check_shapes(latents, t, prompt_embeds)
        frames = self._state.num_frames = latents.shape[1]
        self._state.shared = shared
        timestep = t.repeat_interleave(frames) if isinstance(t, Tensor) and t.ndim == 1 else t
        text = prompt_embeds.repeat_interleave(frames, dim=0)
        folded = latents.flatten(0, 1)
        out = self.unet(folded, timestep, encoder_hidden_states=text, return_dict=False, **(residuals or {}))[0]
        return out.unflatten(0, (-1, frames))

    def _check_shapes(self, latents: Tensor, t: int | Tensor, prompt_embeds: Tensor) -> None:
        channels, width = self.unet.config.in_channels, self.unet.config.cross_attention_dim
        if latents.ndim != 5 or latents.shape[2] != channels or latents.shape[1] == 0:
            raise ShapeError(f"latents have shape {list(latents.shape)}, expected [B, F, {channels}, h, w]")
        if prompt_embeds.ndim != 3 or prompt_embeds.shape[::2] != (len(latents), width):
            raise ShapeError(
                f"prompt_embeds have shape {list(prompt_embeds.shape)}, expected [{len(latents)}, L, {width}]"
            )
        if isinstance(t, Tensor) and t.ndim > 0 and t.shape != latents.shape[:1]:
            raise ShapeError(f"t has shape {list(t.shape)}, expected a number or [{len(latents)}]")


def check_supported(unet: Any) -> None:
    """Raise `MethodError` unless the UNet is a stock one with self- and cross-attention in each transformer block."""
    from diffusers import UNet2DConditionModel

    stock: type[Any] = UNet2DConditionModel
    if not isinstance(unet, stock):
        raise MethodError(f"the UNet is a {type(unet).__name__}; Tune-A-Video needs a UNet2DConditionModel")
    blocks = transformer_blocks(unet).values()
    if not blocks or any(block.attn2 is None or block.only_cross_attention for block in blocks):
        raise MethodError("this UNet lacks self- or cross-attention blocks; Tune-A-Video needs a text-to-image UNet")
    if unet.config.addition_embed_type is not None:
        raise MethodError("this UNet needs more than a prompt (as Stable Diffusion XL does); that is not supported")
