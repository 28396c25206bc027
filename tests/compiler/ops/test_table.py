"""The op table: shape rules against what torch gives, the text that is emitted, and the FLOPs of known products."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cortexc import kernels
from cortexc.compiler.ir import B, T, Type
from cortexc.compiler.ops import FAMILIES, OPS, ShapeError, shape_rules

ROWS, STEPS = 3, 5
LEAD = {"B": ROWS, "T": STEPS}


def f(*shape: object) -> Type:
    return Type("f", tuple(shape))  # type: ignore[arg-type]


X = f(B, T, 8)
ROUTES = Type("i64", (B,), optional=True)
CASES = [
    *((op, [X], {}) for op in ("silu", "sigmoid", "tanh", "relu", "gelu", "exp", "neg", "alias", "softmax", "center")),
    *((op, [X, other], {}) for op in ("add", "sub", "mul", "div") for other in (X, f(8), f(), f(B, T, 1))),
    ("lerp", [X, X, X], {}),
    *((op, [X], {"c": 2.0}) for op in ("add_scalar", "mul_scalar", "div_scalar")),
    ("linear", [X, f(6, 8)], {}),
    ("linear", [f(B, 8), f(6, 8), f(6)], {}),
    ("linear_t", [X, f(8, 6)], {}),
    ("pack", [f(2, 8), f(3, 8)], {}),
    ("pack", [f(2), f(3)], {}),
    ("head_linear", [X, f(2, 4, 4), f(2, 4, 4)], {}),
    ("layer_norm", [X, f(8)], {"width": 8}),
    ("layer_norm", [X, f(8), f(8)], {"width": 8}),
    ("rms_norm", [X, f(8)], {"width": 8}),
    ("head_norm", [X, f(8)], {"heads": 2}),
    ("split", [X], {"sizes": (3, 5)}),
    ("cat", [X, f(B, T, 4)], {}),
    ("cat", [f(B, T, 2, 8), f(B, T, 1, 8)], {"axis": -2}),
    ("unflatten", [X], {"sizes": (2, 4)}),
    ("flatten", [f(B, T, 2, 4)], {"join": 2}),
    ("stack", [X, X, X], {}),
    ("view", [f(2, 4)], {"shape": (8,)}),
    ("unsqueeze", [X], {}),
    ("linear_vector", [f(4, 8), f(8)], {}),
    ("prior", [f(4)], {"top_k": 2}),
    ("prior", [f(4)], {"top_k": None}),
    ("einsum", [X, f(4, 8)], {"equation": "...h,eh->...e"}),
    ("einsum", [f(4, 8), f(6, 8)], {"equation": "eh,fh->ef"}),
    ("einsum", [f(B, 1, 4), f(B, T, 4, 8)], {"equation": "...e,...eh->...h"}),
    ("routed_adapter", [f(B, T, 6), X, f(9, 2, 8), f(9, 6, 2), ROUTES], {"scale": 0.5}),
    ("routed_adapter", [f(B, 6), f(B, 8), f(9, 2, 1, 4), f(9, 2, 3, 1), ROUTES], {"scale": 0.5}),
    ("routed_weight", [f(6, 8), f(9, 2, 8), f(9, 6, 2), ROUTES], {"scale": 0.5, "shape": None}),
    ("routed_weight", [f(6, 8), f(9, 2, 8), f(9, 6, 2), ROUTES], {"scale": 0.5, "shape": (2, 3, 8)}),
    ("per_row", [f(4, 8), X], {}),
    ("mask_experts", [f(B, T, 4, 4), f(B, T, 4)], {}),
    ("column_mix", [X, X, X, f(2, 8), f(B, T, 2), X, X], {"scale": 0.5}),
]


def draw(t: Type) -> Tensor:
    if t.dtype == "i64":
        return torch.arange(ROWS)
    generator = torch.Generator().manual_seed(len(t.shape))
    return torch.randn([LEAD.get(str(d)) or int(d) for d in t.shape], generator=generator, dtype=torch.float64)


@pytest.mark.parametrize(("op", "types", "attrs"), CASES, ids=lambda v: v if isinstance(v, str) else "")
def test_the_shape_rule_is_right_about_the_emitted_text(op: str, types: list[Type], attrs: dict[str, object]) -> None:
    row = OPS[op]
    names = [f"a{i}" for i in range(len(types))]
    space = {"torch": torch, "F": F, **{n: getattr(kernels, n) for n in row.imports(attrs)}}
    found = eval(row.emit(names, attrs), space, dict(zip(names, map(draw, types), strict=True)))
    outs = found if isinstance(found, tuple | list) else (found,)
    expected = row.infer(tuple(types), attrs)
    assert [tuple(o.shape) for o in outs] == [tuple(LEAD.get(str(d)) or d for d in t.shape) for t in expected]


@pytest.mark.parametrize(
    ("op", "types", "attrs", "message"),
    [
        ("linear", [X, f(6, 9)], {}, r"linear: weight f\[6,9\] does not take an input of width 8"),
        ("linear_t", [X, f(9, 6)], {}, r"linear_t: weight f\[9,6\] has no 8 rows"),
        ("pack", [f(2, 8), f(2, 7)], {}, "pack: cannot stack"),
        ("head_linear", [X, f(2, 3, 3)], {}, "head_linear: "),
        ("layer_norm", [X, f(7)], {}, "layer_norm: weight .* for an input of width 8"),
        ("add", [X, f(7)], {}, "add: shapes .* do not broadcast"),
        ("split", [X], {"sizes": (3, 4)}, r"split: sizes \(3, 4\) of a width 8"),
        ("unflatten", [X], {"sizes": (3, 3)}, r"unflatten: sizes \(3, 3\) of a width 8"),
        ("cat", [X, f(B, 8)], {}, "cat: "),
        ("view", [f(2, 4)], {"shape": (9,)}, "view: "),
        ("einsum", [f(4, 8), f(6, 7)], {"equation": "eh,fh->ef"}, "einsum: h is both 8 and 7"),
        ("routed_adapter", [X, X, f(9, 2, 7), f(9, 8, 2), ROUTES], {}, "routed_adapter: .* on a map 8 -> 8"),
        ("routed_adapter", [f(4, 8), f(4, 8), f(9, 2, 8), f(9, 8, 2), ROUTES], {}, "are not one for each row"),
        ("routed_weight", [f(6, 8), f(9, 2, 8), f(9, 5, 2), ROUTES], {"shape": None}, "on a weight"),
        ("routed_weight", [f(6, 8), f(9, 2, 8), f(9, 6, 2), ROUTES], {"shape": (7, 7)}, "routed_weight: .* seen as"),
        ("per_row", [X, X], {}, "per_row: .* has rows already"),
        ("column_mix", [X, X, X, f(3, 8), f(B, T, 3), X, X], {}, r"column_mix: offsets f\[3,8\] for 2 experts"),
    ],
)
def test_operands_that_do_not_fit(op: str, types: list[Type], attrs: dict[str, object], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        OPS[op].infer(tuple(types), attrs)


@pytest.mark.parametrize(
    ("op", "types", "attrs", "flops"),
    [
        ("linear", [X, f(6, 8)], {}, 2 * 6 * 8 * B * T),
        ("head_linear", [X, f(2, 4, 4), f(2, 4, 4)], {}, 2 * 2 * 8 * 4 * B * T),
        ("add", [X, f(8)], {}, 8 * B * T),
        ("routed_adapter", [f(B, T, 6), X, f(9, 2, 8), f(9, 6, 2), ROUTES], {}, 2 * 2 * (6 + 8) * B * T),
        ("einsum", [X, f(4, 8)], {"equation": "...h,eh->...e"}, 2 * 4 * 8 * B * T),
        ("layer_norm", [X, f(8)], {"width": 8}, 5 * 8 * B * T),
        ("split", [X], {"sizes": (3, 5)}, 0),
    ],
)
def test_flops(op: str, types: list[Type], attrs: dict[str, object], flops: object) -> None:
    row = OPS[op]
    assert row.flops(tuple(types), row.infer(tuple(types), attrs), attrs) == flops


def test_every_op_belongs_to_a_family_and_has_a_rule() -> None:
    assert {op.family for op in OPS.values()} <= FAMILIES.keys()
    assert shape_rules().keys() == OPS.keys()
    assert all(name == op.name for name, op in OPS.items())


def test_pointwise_keeps_accumulators_only_among_themselves() -> None:
    acc = Type("acc", (B, 8))
    assert OPS["add"].infer((acc, acc), {})[0].dtype == "acc"
    assert OPS["add"].infer((acc, f(B, 8)), {})[0].dtype == "f"
