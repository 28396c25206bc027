"""Element-by-element ops. Each row: the torch text with ``{0}``, ``{1}``… for the operands."""

from __future__ import annotations

from collections.abc import Sequence

from ..ir.types import Dim, Type, numel
from .table import Attrs, Op, Types, first, need, one_flop_each

UNARY = {
    "silu": "F.silu({0})",
    "sigmoid": "torch.sigmoid({0})",
    "tanh": "torch.tanh({0})",
    "relu": "torch.relu({0})",
    "exp": "torch.exp({0})",
    "neg": "-{0}",
}
BINARY = {"add": "{0} + {1}", "sub": "{0} - {1}", "mul": "{0} * {1}", "div": "{0} / {1}"}
TERNARY = {"lerp": "{0} + {2} * ({1} - {0})"}  # how a gate mixes two paths; torch.lerp refuses mixed dtypes
SCALAR = {"add_scalar": "{0} + {c}", "mul_scalar": "{0} * {c}", "div_scalar": "{0} / {c}"}


def broadcast(op: str, shapes: Sequence[tuple[Dim, ...]]) -> tuple[Dim, ...]:
    """The common shape under the usual right-aligned rule."""
    rank = max(len(s) for s in shapes)
    out: list[Dim] = []
    for axis in range(rank):
        dims = {s[axis - rank + len(s)] for s in shapes if axis - rank + len(s) >= 0} - {1}
        need(op, len(dims) <= 1, f"shapes {', '.join(map(str, shapes))} do not broadcast")
        out.append(dims.pop() if dims else 1)
    return tuple(out)


def _pointwise(name: str, text: str) -> Op:
    def infer(types: Types, attrs: Attrs) -> tuple[Type, ...]:
        present = [t for t in types if t is not None]
        shape = broadcast(name, [t.shape for t in present])
        return (Type("acc" if all(t.dtype == "acc" for t in present) else "f", shape),)

    def emit(args: Sequence[str], attrs: Attrs) -> str:
        return text.format(*args, **attrs)

    return Op(name, "pointwise", infer, emit, one_flop_each)


def _fused(types: Types, attrs: Attrs) -> tuple[Type, ...]:
    """A region made by ``passes/fuse_pointwise.py``: every result has the shape of the full operands."""
    results = attrs["results"]
    assert isinstance(results, tuple)
    full = max((t for t in types if t is not None), key=lambda t: t.rank)
    return (Type("f", full.shape),) * len(results)


def _fused_flops(types: Types, outs: tuple[Type, ...], attrs: Attrs) -> Dim:
    body = attrs["body"]
    assert isinstance(body, tuple)
    return numel(outs[0].shape) * len(body)


def _gelu(args: Sequence[str], attrs: Attrs) -> str:
    return f"{'gelu_step' if attrs.get('impl') == 'step' else 'F.gelu'}({args[0]})"


OPS = [
    Op(
        "gelu",
        "pointwise",
        lambda t, k: (first(t),),
        _gelu,
        one_flop_each,
        imports=lambda k: ("gelu_step",) if k.get("impl") == "step" else (),
    ),
    *(_pointwise(name, text) for name, text in (UNARY | BINARY | TERNARY | SCALAR).items()),
    Op("fused", "pointwise", _fused, lambda a, k: f"{k['name']}({', '.join(a)})", _fused_flops),
]
