"""`StatefulPart`: the contract that MemoryCore and BaseScaffold share.

Notation: B rows, T steps, H width.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor, nn

from ...kernels.foreign import leaves_of, packed, structure
from ..checks import check_resets
from ..errors import CortexInputError, CortexStateError
from ..module import CompiledStack


class StatefulPart(nn.Module):
    """``y, state = part(x, state, resets=mask)`` with ``x [B, T, H]`` or ``[B, H]``, ``mask`` bool ``[B, T]`` or
    ``[B]``.

    Around ``forward`` this class sees to the borders, so that a subclass need not: no state and an empty one are the
    initial state, the state that ``forward`` gets is a copy of the dicts (the tensors are the caller's: do not write
    into them), and a mask is bool in one of the two shapes."""

    # Whether calls may be recorded as CUDA graphs: no branch on values, no host work that must happen at every call.
    capturable: ClassVar[bool] = False

    def __call__(
        self, x: Tensor, state: TensorDictBase | None = None, *, resets: Tensor | None = None, **more: Any
    ) -> Any:
        if not isinstance(x, Tensor) or x.dim() not in (2, 3):
            got = f"shape {list(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
            raise CortexInputError(f"{type(self).__name__} takes x [B, T, H] or [B, H]; got {got}")
        if state is None or (isinstance(state, TensorDictBase) and state.is_empty()):
            state = self.init_state(x.shape[0], device=x.device, dtype=x.dtype)
        elif not isinstance(state, TensorDictBase):
            raise CortexStateError(
                f"state of {type(self).__name__} is a {type(state).__name__}; expected a TensorDict or None"
            )
        if resets is not None:
            more["resets"] = check_resets(resets, x)
        return super().__call__(x, structure(state), **more)

    def init_state(self, batch: int, *, device: torch.device | str, dtype: torch.dtype) -> TensorDict:
        """A fresh state of ``batch`` rows with every leaf, each ``[batch, ...]`` filled with one number."""
        raise NotImplementedError(f"{type(self).__name__} has no init_state")

    def forward(self, x: Tensor, state: Any, *, resets: Tensor | None = None) -> tuple[Tensor, Any]:
        """y of the shape of x, and the next state with the keys and shapes of init_state."""
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def step(
        self, x: Tensor, state: TensorDictBase | None = None, *, resets: Tensor | None = None
    ) -> tuple[Tensor, TensorDict]:
        """One step: ``x [B, H]``, ``resets [B]``."""
        if x.dim() != 2:
            raise CortexInputError(f"step takes x [B, H]; got shape {list(x.shape)}")
        return self(x, state, resets=resets)

    def reset_state(self, state: TensorDictBase, mask: Tensor) -> TensorDict:
        """The state with the rows where ``mask [B]`` is true as init_state gives them; the given one is not changed.

        Selects, so that NaN in a row that is reset does not survive."""
        rows = mask.shape[0]
        leaves = leaves_of(state)
        like = next((leaf for leaf in leaves.values() if leaf.is_floating_point()), None)
        dtype = torch.get_default_dtype() if like is None else like.dtype
        fresh = leaves_of(self.init_state(rows, device=mask.device, dtype=dtype))
        return packed(((k, _select(mask, fresh[k], v) if k in fresh else v) for k, v in leaves.items()), rows)

    def scan(
        self, update: Any, x: Tensor, state: TensorDictBase, resets: Tensor | None = None
    ) -> tuple[Tensor, TensorDictBase]:
        """``forward`` from the equations of one step, ``y, state = update(x [B, H], state)``: applied once for a step,
        in a loop for a sequence, with every row that is reset put back first. Exact, and slow on long sequences."""
        if x.dim() == 2:
            return update(x, state if resets is None else self.reset_state(state, resets))
        outputs = []
        for t in range(x.shape[1]):
            if resets is not None:
                state = self.reset_state(state, resets[:, t])
            y, state = update(x[:, t], structure(state))
            outputs.append(y)
        return torch.stack(outputs, 1), state

    def flops_per_token(self) -> int:
        """Multiplications and additions per token, for reports. Unless overridden an estimate: every matrix once, and
        what compiled parts inside count."""
        return estimated_flops(self)


def _select(mask: Tensor, fresh: Tensor, leaf: Tensor) -> Tensor:
    return torch.where(mask.view(-1, *[1] * (leaf.dim() - 1)), fresh.to(leaf.dtype), leaf)


def estimated_flops(module: nn.Module) -> int:
    """Every matrix once per token; compiled parts inside say what they count, parts of users what they say."""
    total = sum(2 * p.numel() for p in module.parameters(recurse=False) if p.dim() > 1)
    for child in module.children():
        if isinstance(child, CompiledStack):
            total += child.summary().total_flops_per_token
        else:
            total += child.flops_per_token() if isinstance(child, StatefulPart) else estimated_flops(child)
    return total
