"""Change a UNet only inside `with attend(unet, plan):`, and give it back exactly as it was.

A plan has three extension points: attention processors, hooks after transformer blocks (Tune-A-Video's
temporal attention runs there, after the feed-forward), and modules put in place of others or added (norms that
see all frames).
While a plan is installed every forward pass first checks that nobody replaced a part: diffusers'
`set_attention_slice`, `fuse_qkv_projections`, xformers and IP-Adapter loading do so without a word.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from videoedit.attention.sites import AttnSite, attn_sites
from videoedit.errors import MethodError

Processor = Callable[..., Tensor]
BlockHook = Callable[[Tensor], Tensor]  # tokens [B*F, N, C] -> the same


@dataclass(frozen=True)
class Plan:
    """What to install; names are module names inside the UNet, anything not named stays as it is.

    `processors` may also be a function of the site that returns None for those to leave alone.
    `post_block` is keyed by the transformer block's name (`AttnSite.transformer_block`).
    `modules` replaces what stands at a name, or adds it where nothing does (the parent must exist).
    """

    processors: Mapping[str, Processor] | Callable[[AttnSite], Processor | None] = field(default_factory=dict)
    post_block: Mapping[str, BlockHook] = field(default_factory=dict)
    modules: Mapping[str, nn.Module] = field(default_factory=dict)


class Installation:
    """A plan at work on a UNet; made by `install`, ended by `remove`."""

    def __init__(self, unet: nn.Module, plan: Plan) -> None:
        self.unet = unet
        self._shadowed = False  # a later installation on the same UNet is in charge
        self._handles: list[RemovableHandle] = []
        self._saved_modules: list[tuple[nn.Module, str, nn.Module | None]] = []
        self._expected_modules: list[tuple[str, nn.Module, str, nn.Module]] = []
        self._layers: dict[str, Any] = {site.name: unet.get_submodule(site.name) for site in attn_sites(unet)}
        self._saved_processors = {name: layer.processor for name, layer in self._layers.items()}
        try:
            self._put_processors(plan)
            self._put_modules(plan)
            self._put_hooks(plan)
        except BaseException:
            self._restore()
            raise
        self._expected = {name: layer.processor for name, layer in self._layers.items()}

    def _put_processors(self, plan: Plan) -> None:
        for name, processor in _chosen_processors(self.unet, plan).items():
            self._layers[name].set_processor(processor)

    def _put_modules(self, plan: Plan) -> None:
        for name, module in plan.modules.items():
            parent_name, _, attribute = name.rpartition(".")
            parent = _submodule(self.unet, parent_name)
            self._saved_modules.append((parent, attribute, getattr(parent, attribute, None)))
            setattr(parent, attribute, module)
            self._expected_modules.append((name, parent, attribute, module))

    def _put_hooks(self, plan: Plan) -> None:
        for name, hook in plan.post_block.items():
            block = _submodule(self.unet, name)
            self._handles.append(block.register_forward_hook(_as_forward_hook(hook)))
        self._handles.append(self.unet.register_forward_pre_hook(self._guard))

    def _guard(self, _module: nn.Module, _args: Any) -> None:
        self.check()

    def check(self) -> None:
        """Raise MethodError, naming the place, if anything this plan relies on was replaced since."""
        if self._shadowed:
            return
        for name, expected in self._expected.items():
            if (found := self._layers[name].processor) is not expected:
                raise _replaced(f"the attention processor at {name}", expected, found)
        for name, parent, attribute, module in self._expected_modules:
            if (found := getattr(parent, attribute, None)) is not module:
                raise _replaced(f"the module {name}", module, found)

    def remove(self) -> None:
        """Give the UNet back exactly as `install` found it."""
        stack = _installations(self.unet)
        if not stack or stack[-1] is not self:
            raise MethodError("plans come off a UNet in reverse order of installing: remove the newer first")
        stack.pop()
        self._restore()
        if stack:
            stack[-1]._shadowed = False
        else:
            delattr(self.unet, _ATTRIBUTE)

    def _restore(self) -> None:
        for handle in self._handles:
            handle.remove()
        for parent, attribute, module in reversed(self._saved_modules):
            if module is None:
                delattr(parent, attribute)
            else:
                setattr(parent, attribute, module)
        for name, processor in self._saved_processors.items():
            if self._layers[name].processor is not processor:
                self._layers[name].set_processor(processor)


_ATTRIBUTE = "_videoedit_installations"  # on the UNet itself, so that both are collected, or deep-copied, together


def _installations(unet: nn.Module) -> list[Installation]:
    return getattr(unet, _ATTRIBUTE, [])


def install(unet: nn.Module, plan: Plan) -> Installation:
    """Put `plan` into `unet` until `.remove()` of what is returned; prefer `attend` where a block will do."""
    installation = Installation(unet, plan)
    stack = _installations(unet)
    if stack:
        stack[-1]._shadowed = True
    setattr(unet, _ATTRIBUTE, [*stack, installation])
    return installation


@contextmanager
def attend(unet: nn.Module, plan: Plan) -> Iterator[Installation]:
    """Install `plan` for a `with` block and restore `unet` exactly, whatever happens inside; nests."""
    installation = install(unet, plan)
    try:
        yield installation
    finally:
        installation.remove()


def check_installed(unet: nn.Module) -> None:
    """Raise MethodError unless a plan is installed in `unet` and none of its parts was replaced."""
    stack = _installations(unet)
    if not stack:
        raise MethodError("no plan is installed in this UNet; use it inside `with attend(unet, plan):`")
    stack[-1].check()


def _chosen_processors(unet: nn.Module, plan: Plan) -> dict[str, Processor]:
    sites = {site.name: site for site in attn_sites(unet)}
    if callable(plan.processors):
        choices = {name: plan.processors(site) for name, site in sites.items()}
        return {name: processor for name, processor in choices.items() if processor is not None}
    chosen = {name.removesuffix(".processor"): processor for name, processor in plan.processors.items()}
    if unknown := sorted(chosen.keys() - sites.keys()):
        raise MethodError(f"the plan names an attention layer that this UNet does not have: {unknown[0]!r}")
    return chosen


def _submodule(unet: nn.Module, name: str) -> nn.Module:
    try:
        return unet.get_submodule(name)
    except AttributeError as error:
        raise MethodError(f"the plan names a module that this UNet does not have: {name!r}") from error


def _as_forward_hook(hook: BlockHook) -> Callable[[nn.Module, Any, Tensor], Tensor]:
    def forward_hook(_module: nn.Module, _args: Any, output: Tensor) -> Tensor:
        return hook(output)

    return forward_hook


def _replaced(what: str, expected: object, found: object) -> MethodError:
    return MethodError(
        f"{what} was replaced: expected {type(expected).__name__}, found another {type(found).__name__}; "
        "set_attention_slice, fuse_qkv_projections, xformers, IP-Adapter loading do that: call them before"
    )
