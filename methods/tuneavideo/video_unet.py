"""A stock image UNet that denoises video: `VideoUNet` (Wu et al., "Tune-A-Video", ICCV 2023, section 3).

Nothing of the UNet is rewritten. Installed on it, and taken off again by `VideoUNet.detach`, are

- a processor at each self-attention that lets frames see the first and the previous one;
- ``norm_temp`` and ``attn_temp`` in each transformer block, applied to the block's output by a forward hook;
- group norms of the residual blocks whose statistics run over the frames of a clip;
- if asked, low-rank changes of the query projections.

Parameter names equal those of the official code, so its checkpoints load as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tuneavideo.temporal import ClipGroupNorm, QueryLoRA, TemporalAttention
from tuneavideo.unet_folder import load_unet
from videoedit.attention.processors import FirstPrevious, FrameMode, FrameState
from videoedit.errors import ConfigError, MethodError, ShapeError, WeightsError

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel

POOLED_NORM = re.compile(r"resnets\.\d+\.norm[12]$|^conv_norm_out$")
TRAINABLE = {
    "iccv": ("attn1.to_q", "attn2.to_q", "attn_temp"),
    "v1": ("attn1.to_k", "attn1.to_v", "attn2.to_q", "attn_temp"),
}
CHOICES = {
    "group_norm": ("clip", "frame"),
    "init": ("identity", "official"),
    "temporal_mask": ("none", "causal"),
    "attention": get_args(FrameMode),
    "blocks": ("all", "official"),
}


def check_choice(name: str, value: str) -> str:
    """`value` if it is one of ``CHOICES[name]``, else a `ConfigError`."""
    if value not in CHOICES[name]:
        raise ConfigError(f"{name} is {value!r}; it must be one of {', '.join(CHOICES[name])}")
    return value


class VideoUNet(nn.Module):
    """A `UNet2DConditionModel` with the parts of Tune-A-Video installed; ``.unet`` is the UNet itself.

    All parameters are frozen until `trainable_parameters` selects some. Use it as a context manager, or call
    `detach`, to get the UNet back exactly as it was, values of its own parameters included.

    group_norm: "clip" pools the statistics of the residual blocks' norms over frames (official), "frame" does not.
    init: of the temporal layers; "identity" changes nothing at first, "official" leaves a random output bias.
    temporal_mask: "causal" hides later frames from the temporal attention.
    attention: which frames self-attention sees, see `videoedit.attention.processors.FirstPrevious`.
    lora_rank: if > 0, query projections are tuned by a low-rank change instead of as a whole.
    generator: draws the new parameters, on the CPU.
    """

    unet: Any  # diffusers is not typed
    _blocks: dict[str, Any]

    def __init__(
        self,
        unet: UNet2DConditionModel,
        *,
        group_norm: Literal["clip", "frame"] = "clip",
        init: Literal["identity", "official"] = "identity",
        temporal_mask: Literal["none", "causal"] = "none",
        attention: FrameMode = "sparse_causal",
        lora_rank: int = 0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.options: dict[str, Any] = {
            "group_norm": check_choice("group_norm", group_norm),
            "init": check_choice("init", init),
            "temporal_mask": check_choice("temporal_mask", temporal_mask),
            "attention": check_choice("attention", attention),
            "lora_rank": lora_rank,
        }
        check_supported(unet)
        self.unet = unet
        self._state = FrameState()
        self._processor = FirstPrevious(self._state, attention)
        self._blocks = transformer_blocks(unet)
        self._merged = self._detached = False
        self._hooks: list[torch.utils.hooks.RemovableHandle] = []
        self._norms: dict[str, nn.GroupNorm] = {}  # the UNet's own norms that were replaced
        self._values: dict[str, Tensor] = {}  # the UNet's own values of parameters that were selected or loaded
        self._requires_grad = {name: p.requires_grad for name, p in self.unet.named_parameters()}
        self._processors = dict(self.unet.attn_processors)
        self._training: bool = self.unet.training
        self._checkpointing: bool = self.unet.is_gradient_checkpointing
        try:
            self._install(generator)
        except BaseException:
            self.detach()
            raise

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        group_norm: Literal["clip", "frame"] = "clip",
        *,
        allow_pickle: bool = False,
        **options: Any,
    ) -> Self:
        """Load an official video ``unet/`` folder, or an image one, which is then inflated; `options` as above.

        allow_pickle: read ``.bin`` files too, as official folders hold; through torch's restricted unpickler.
        """
        unet, temporal = load_unet(folder, allow_pickle=allow_pickle)
        video_unet = cls(unet, group_norm=group_norm, **options)
        video_unet.load_tensors(temporal)
        return video_unet.eval()

    # Installing and taking off

    def _install(self, generator: torch.Generator | None) -> None:
        like = next(self.unet.parameters())
        self.unet.set_attn_processor(
            {name: self._processor if name.endswith("attn1.processor") else p for name, p in self._processors.items()}
        )
        for block in self._blocks.values():
            dim = block.norm1.normalized_shape[0]
            temporal = TemporalAttention(dim, block.attn1.heads, self.options["init"], generator)
            block.norm_temp = nn.LayerNorm(dim).to(like)
            block.attn_temp = temporal.to(like)
            self._hooks.append(block.register_forward_hook(self._apply_temporal))
        if self.options["lora_rank"] > 0:
            for layer in self._query_projections().values():
                layer.lora = QueryLoRA(layer, self.options["lora_rank"], generator).to(like)
                self._hooks.append(layer.register_forward_hook(self._apply_lora))
        if self.options["group_norm"] == "clip":
            self._pool_group_norms()
        self.requires_grad_(False)

    def _pool_group_norms(self) -> None:
        self._norms = {
            name: module
            for name, module in self.unet.named_modules()
            if isinstance(module, nn.GroupNorm) and POOLED_NORM.search(name)
        }
        for name, norm in self._norms.items():
            self.unet.set_submodule(name, ClipGroupNorm(norm, self._state))

    def _query_projections(self) -> dict[str, Any]:
        sites = [
            (f"{name}.{kind}", getattr(b, kind)) for name, b in self._blocks.items() for kind in ("attn1", "attn2")
        ]
        return {f"{name}.to_q": attn.to_q for name, attn in sites}

    def _apply_temporal(self, block: Any, args: Any, output: Tensor) -> Tensor:
        causal = self.options["temporal_mask"] == "causal"
        return output + block.attn_temp(block.norm_temp(output), self._state.num_frames, causal)

    def _apply_lora(self, layer: Any, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return output if self._merged else output + layer.lora(args[0])

    def detach(self) -> UNet2DConditionModel:
        """Take everything off and return the UNet as it was before; the second time it does nothing."""
        unet = self.unet
        if self._detached:
            return unet
        self._detached = True
        while self._hooks:
            self._hooks.pop().remove()
        for name, norm in self._norms.items():
            unet.set_submodule(name, norm)
        for block in self._blocks.values():
            for name in ("norm_temp", "attn_temp"):
                block._modules.pop(name, None)
        for layer in self._query_projections().values():
            layer._modules.pop("lora", None)
        unet.set_attn_processor(dict(self._processors))
        parameters = dict(unet.named_parameters())
        with torch.no_grad():
            for name, value in self._values.items():
                parameters[name].copy_(value)
        for name, requires_grad in self._requires_grad.items():
            parameters[name].requires_grad_(requires_grad)
            parameters[name].grad = None
        unet.train(self._training)
        if not self._checkpointing:
            unet.disable_gradient_checkpointing()
        return unet

    def __enter__(self) -> Self:
        return self

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
        check_choice("blocks", blocks)
        suffixes = TRAINABLE.get(modules) if isinstance(modules, str) else tuple(modules)
        if not suffixes:
            raise ConfigError(f"trainable is {modules!r}; it must be iccv, v1 or a list of ends of module names")
        chosen = [name for name, _ in self.unet.named_modules() if name.endswith(suffixes)]
        for suffix in suffixes:
            if not any(name.endswith(suffix) for name in chosen):
                raise ConfigError(f"trainable names {suffix!r}, but no module of this UNet ends so")
        selected = {}
        self._merged = False
        for name, parameter in self.unet.named_parameters():
            inside = any(name.startswith(f"{module}.") for module in chosen)
            frozen = blocks == "official" and name.startswith("down_blocks.")
            parameter.requires_grad_(inside and not frozen and not self._has_lora(name))
            if parameter.requires_grad:
                self._keep_value(name, parameter)
                selected[name] = parameter
        return iter(selected.items())

    def _has_lora(self, name: str) -> bool:
        return self.options["lora_rank"] > 0 and name.endswith(("attn1.to_q.weight", "attn2.to_q.weight"))

    def _keep_value(self, name: str, parameter: Tensor) -> None:
        if name in self._requires_grad and name not in self._values:
            self._values[name] = parameter.detach().clone()

    def named_adapter_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """(official name, tensor) of what differs from the UNet: the added modules, what was tuned or loaded."""
        for name, parameter in self.unet.named_parameters():
            if name not in self._requires_grad or name in self._values:
                yield name, parameter.detach()

    @property
    def dtype(self) -> torch.dtype:
        """Of the UNet's weights and activations."""
        return self.unet.dtype

    def base_sample(self) -> Tensor:
        """A few of the image UNet's own values, float16 ``[n]``: tells UNets apart."""
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
        self._merged = False
        with torch.no_grad():
            for name, tensor in tensors.items():
                self._keep_value(name, parameters[name])
                parameters[name].copy_(tensor)

    @torch.no_grad()
    def merge_lora(self) -> None:
        """Fold the low-rank changes into the query projections: the same output with less work."""
        for name, layer in self._query_projections().items():
            if hasattr(layer, "lora"):
                self._keep_value(f"{name}.weight", layer.weight)
                layer.weight += layer.lora.delta()
                nn.init.zeros_(layer.lora.up.weight)
        self._merged = True

    def enable_gradient_checkpointing(self) -> None:
        """Recompute activations in the backward pass instead of keeping them; gradients stay the same."""
        self.unet.enable_gradient_checkpointing(
            lambda module, *args: checkpoint(module.__call__, *args, use_reentrant=False)
        )

    # Denoising

    def check_installed(self) -> None:
        """`MethodError` if something took a part off or replaced it, as some diffusers calls silently do."""
        for name, block in self._blocks.items():
            processor = block.attn1.processor
            if processor is not self._processor:
                raise MethodError(
                    f"the self-attention processor at {name}.attn1 was replaced by {type(processor).__name__} "
                    "(set_attention_slice, fuse_qkv_projections and detach() do that); make a new VideoUNet"
                )
            if not isinstance(block._modules.get("attn_temp"), TemporalAttention):
                raise MethodError(f"the temporal attention at {name} was taken off; make a new VideoUNet")

    def forward(self, latents: Tensor, t: int | Tensor, prompt_embeds: Tensor) -> Tensor:
        """Predict the noise (or velocity) of ``latents [B, F, C, h, w]``.

        t: one timestep for all (int or 0-dim) or one per clip ``[B]``.
        prompt_embeds: ``[B, L, D]``, one prompt per clip, the same for each of its frames.
        """
        self.check_installed()
        self._check_shapes(latents, t, prompt_embeds)
        frames = self._state.num_frames = latents.shape[1]
        timestep = t.repeat_interleave(frames) if isinstance(t, Tensor) and t.ndim == 1 else t
        text = prompt_embeds.repeat_interleave(frames, dim=0)
        out = self.unet(latents.flatten(0, 1), timestep, encoder_hidden_states=text, return_dict=False)[0]
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


def transformer_blocks(unet: Any) -> dict[str, Any]:
    """The UNet's transformer blocks by name."""
    from diffusers.models.attention import BasicTransformerBlock

    return {name: module for name, module in unet.named_modules() if isinstance(module, BasicTransformerBlock)}


def check_supported(unet: Any) -> None:
    """`MethodError` unless the UNet is a stock one with self- and cross-attention in each transformer block."""
    from diffusers import UNet2DConditionModel

    stock: type[Any] = UNet2DConditionModel
    if not isinstance(unet, stock):
        raise MethodError(f"the UNet is a {type(unet).__name__}; Tune-A-Video needs a UNet2DConditionModel")
    blocks = transformer_blocks(unet).values()
    if not blocks or any(block.attn2 is None or block.only_cross_attention for block in blocks):
        raise MethodError("this UNet lacks self- or cross-attention blocks; Tune-A-Video needs a text-to-image UNet")
    if unet.config.addition_embed_type is not None:
        raise MethodError("this UNet needs more than a prompt (as Stable Diffusion XL does); that is not supported")
    if any(hasattr(block, "attn_temp") for block in blocks):
        raise MethodError("this UNet already carries a VideoUNet: call its detach() first")
