"""How a column weighs its experts: contractions over the expert axis, the prior, the mixing weights."""

from __future__ import annotations

from collections.abc import Sequence

from ..ir.types import Dim, Type, numel
from .pointwise import broadcast
from .table import Attrs, Op, Types, first, need


def _einsum(types: Types, attrs: Attrs) -> tuple[Type, ...]:
    """Einstein summation with ``...`` for the leading axes; every other letter is a concrete width."""
    equation = str(attrs["equation"])
    left, _, right = equation.partition("->")
    sizes: dict[str, Dim] = {}
    lead: tuple[Dim, ...] = ()
    for term, t in zip(left.split(","), types, strict=True):
        assert t is not None
        letters = term.replace("...", "")
        if "..." in term:
            lead = broadcast("einsum", [lead, t.shape[: t.rank - len(letters)]])
        for letter, d in zip(letters, t.shape[t.rank - len(letters) :], strict=True):
            need("einsum", sizes.setdefault(letter, d) == d, f"{letter} is both {sizes[letter]} and {d} in {equation}")
    tail = tuple(sizes[letter] for letter in right.replace("...", ""))
    return (Type("f", (*(lead if "..." in right else ()), *tail)),)


def _einsum_flops(types: Types, outs: tuple[Type, ...], attrs: Attrs) -> Dim:
    left, _, right = str(attrs["equation"]).partition("->")
    sizes: dict[str, Dim] = {}
    for term, t in zip(left.split(","), types, strict=True):
        assert t is not None
        letters = term.replace("...", "")
        sizes |= dict(zip(letters, t.shape[t.rank - len(letters) :], strict=True))
    inner = [d for letter, d in sizes.items() if letter not in right]
    return 2 * numel(outs[0].shape) * numel(tuple(inner))


def _emit_einsum(args: Sequence[str], attrs: Attrs) -> str:
    return f"contract({attrs['equation']!r}, {', '.join(args)})"


def _softmax(types: Types, attrs: Attrs) -> tuple[Type, ...]:
    return (Type("f", first(types).shape),)


def _prior(types: Types, attrs: Attrs) -> tuple[Type, ...]:
    """log-softmax of the router's scores, ``-inf`` outside the ``top_k`` best."""
    return (first(types),)


def _column_mix(types: Types, attrs: Attrs) -> tuple[Type, ...]:
    """x, u, query, offset, logits, y_0 … y_{E-1} -> (Σ α_e Δ_e + (u - x), Σ β_f Δ_f), as library/scaffolds/column.py"""
    x, offset = first(types), types[3]
    assert offset is not None
    need("column_mix", offset.shape[0] == len(types) - 5, f"offsets {offset} for {len(types) - 5} experts")
    return (Type("f", x.shape), Type("f", x.shape))


def _column_mix_flops(types: Types, outs: tuple[Type, ...], attrs: Attrs) -> Dim:
    experts = len(types) - 5
    return numel(outs[0].shape) * (experts * (2 * experts + 6) + 2)


def _emit_mix(args: Sequence[str], attrs: Attrs) -> str:
    sparse = ", sparse=True" if attrs.get("sparse") else ""
    return f"column_mix({', '.join(args[:5])}, ({', '.join(args[5:])},), {attrs['scale']!r}{sparse})"


def _linear_vector(types: Types, attrs: Attrs) -> tuple[Type, ...]:
    """``y[E] = w[E, K] · x[K]``"""
    return (Type("f", first(types).shape[:-1]),)


def _unsqueeze(types: Types, attrs: Attrs) -> tuple[Type, ...]:
    """``[…, H]`` -> ``[…, 1, H]``, to broadcast over the experts"""
    x = first(types)
    return (Type(x.dtype, (*x.shape[:-1], 1, x.width)),)


OPS = [
    Op("einsum", "gemm", _einsum, _emit_einsum, _einsum_flops, lambda k: ("contract",)),
    Op("softmax", "reduction", _softmax, lambda a, k: f"softmax({a[0]})", imports=lambda k: ("softmax",)),
    Op("prior", "reduction", _prior, lambda a, k: f"prior({a[0]}, {k['top_k']})", imports=lambda k: ("prior",)),
    Op("column_mix", "reduction", _column_mix, _emit_mix, _column_mix_flops, lambda k: ("column_mix",)),
    Op("linear_vector", "gemm", _linear_vector, lambda a, k: f"{a[0]} @ {a[1]}"),
    Op("unsqueeze", "shape", _unsqueeze, lambda a, k: f"{a[0]}.unsqueeze(-2)"),
    Op(
        "mask_experts",
        "pointwise",
        lambda t, k: (first(t),),
        lambda a, k: f"mask_experts({a[0]}, {a[1]})",
        imports=lambda k: ("mask_experts",),
    ),
    Op(
        "center",
        "reduction",
        lambda t, k: (first(t),),
        lambda a, k: f"{a[0]} - {a[0]}.mean(-1, keepdim=True)",
        lambda i, o, k: 2 * numel(o[0].shape),
    ),
]
