"""Change a UNet only inside `with attend(unet, patch):`, and give it back exactly as it was.

A patch has three parts: attention processors, modules put in place of others or added, and forward hooks, which run
what was added. While a patch is installed every forward pass first checks that nobody replaced a part: diffusers'
`set_attention_slice`, `fuse_qkv_projections`, xformers and IP-Adapter loading do so without a word.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from videoedit.attention.sites import attn_layers
from videoedit.errors import MethodError

Processor = Callable[..., Tensor]
ForwardHook = Callable[[Any, tuple[Any, ...], Tensor], Tensor]  # (module, arguments, output) -> output

_INSTALLED = "_videoedit_installation"  # on the UNet itself, so that both are collected, or deep-copied, together


@dataclass(frozen=True)
class Patch:
    """Changes of a UNet by module name; anything not named stays as it is.

    `processors` are keyed by attention layer (`AttnSite.name`).
    `modules` replaces what stands at a name, or adds it where nothing does (the parent must exist).
    `hooks` are torch's forward hooks: what one returns takes the place of the module's output.
    """

    processors: Mapping[str, Processor] = field(default_factory=dict)
    modules: Mapping[str, nn.Module] = field(default_factory=dict)
    hooks: Mapping[str, ForwardHook] = field(default_factory=dict)


class Installation:
    """A patch at work on a UNet; made by `install`, ended by `remove`."""

    def __init__(self, unet: nn.Module, patch: Patch) -> None:
        self.unet = unet
        self._layers = attn_layers(unet)
        self._found = {name: layer.processor for name, layer in self._layers.items()}
        self._expected = {**self._found, **patch.processors}
        self._swaps: dict[str, tuple[nn.Module, nn.Module | None, nn.Module]] = {}  # name -> parent, found, put
        self._handles: list[RemovableHandle] = []
        setattr(unet, _INSTALLED, self)
        try:
            self._put(patch)
        except BaseException:
            self.remove()
            raise

    def _put(self, patch: Patch) -> None:
        if unknown := sorted(patch.processors.keys() - self._layers.keys()):
            raise MethodError(f"the patch names an attention layer that this UNet does not have: {unknown[0]!r}")
        for name, processor in patch.processors.items():
            self._layers[name].set_processor(processor)
        for name, module in patch.modules.items():
            parent = _submodule(self.unet, name.rpartition(".")[0])
            self._swaps[name] = parent, getattr(parent, _last(name), None), module
            setattr(parent, _last(name), module)
        for name, hook in patch.hooks.items():
            self._handles.append(_submodule(self.unet, name).register_forward_hook(hook))
        self._handles.append(self.unet.register_forward_pre_hook(self._guard))

    def _guard(self, _unet: nn.Module, _args: Any) -> None:
        self.check()

    @property
    def active(self) -> bool:
        """True until `remove`."""
        return getattr(self.unet, _INSTALLED, None) is self

    def check(self) -> None:
        """Raise MethodError, naming the place, if anything of this patch was replaced or all of it taken off."""
        if not self.active:
            raise MethodError("this patch was taken off its UNet; install it again before use")
        for name, processor in self._expected.items():
            _check_same(f"the attention processor at {name}", processor, self._layers[name].processor)
        for name, (parent, _, put) in self._swaps.items():
            _check_same(f"the module {name}", put, getattr(parent, _last(name), None))

    def remove(self) -> None:
        """Give the UNet back exactly as `install` found it; the second time it does nothing."""
        if not self.active:
            return
        delattr(self.unet, _INSTALLED)
        for handle in self._handles:
            handle.remove()
        for name, (parent, found, _) in reversed(self._swaps.items()):
            if found is None:
                parent._modules.pop(_last(name), None)  # somebody may have taken it off already
            else:
                setattr(parent, _last(name), found)
        for name, processor in self._found.items():
            if self._layers[name].processor is not processor:
                self._layers[name].set_processor(processor)


def install(unet: nn.Module, patch: Patch) -> Installation:
    """Put `patch` into `unet` until `.remove()` of what is returned; prefer `attend` where a block will do.

    A UNet carries one patch at a time: two could not both be sure of their parts.
    """
    if hasattr(unet, _INSTALLED):
        raise MethodError("this UNet already carries a patch; take that one off first (its detach() or remove())")
    return Installation(unet, patch)


@contextmanager
def attend(unet: nn.Module, patch: Patch) -> Iterator[Installation]:
    """Install `patch` for a `with` block and restore `unet` exactly, whatever happens inside."""
    installation = install(unet, patch)
    try:
        yield installation
    finally:
        installation.remove()


def _submodule(unet: nn.Module, name: str) -> nn.Module:
    try:
        return unet.get_submodule(name)
    except AttributeError as error:
        raise MethodError(f"the patch names a module that this UNet does not have: {name!r}") from error


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _check_same(what: str, expected: object, found: object) -> None:
    if found is not expected:
        raise MethodError(
            f"{what} was replaced: expected {type(expected).__name__}, found another {type(found).__name__}; "
            "set_attention_slice, fuse_qkv_projections, xformers, IP-Adapter loading do that: call them before the "
            "patch is installed"
        )
