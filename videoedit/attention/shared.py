"""Features that edits take from their source within one forward pass (Tumanyan et al., "Plug-and-Play", CVPR 2023)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from videoedit.errors import ShapeError


@dataclass(frozen=True)
class Shared:
    """Places at which the edits of a batch [source, edit, edit, …] work with the source's values.

    At a self-attention or temporal attention layer these are queries and keys, so that an edit's output is
    softmax(q_source k_source^T / sqrt(D)) v_edit (Plug-and-Play, Eq. 4); at a convolution they are its output,
    f_edit <- f_source (Eq. 3). The source itself, first in the batch, is left as it is.
    """

    groups: int  # parts of the batch, equal in size: the source, and what takes from it
    sites: frozenset[str]  # names of layers

    def apply(self, site: str, values: Tensor) -> Tensor:
        """The batch `values` [G*B*F, …] with the first group in the place of every other, if the site is one."""
        if site not in self.sites:
            return values
        if values.shape[0] % self.groups:
            raise ShapeError(f"a batch of {values.shape[0]} does not divide into {self.groups} groups")
        groups = values.unflatten(0, (self.groups, -1))
        return groups[:1].expand_as(groups).flatten(0, 1)
