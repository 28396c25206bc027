"""Every part of the contract's matrix: tokens, caret variants, options of cores, scaffolds, nested columns, stacks as
cores, parts alone; each compiled once per backend and dtype, and what the reference says of it."""

from __future__ import annotations

from functools import cache

import torch
from tensordict import TensorDict
from torch import Tensor

import cortexc
from cortexc.compiler.recurrence import State, exp, sigmoid, tanh
from cortexc.cortex_dsl import (
    AdapterScaffoldConfig,
    AxonCoreConfig,
    ColumnScaffoldConfig,
    CortexStackConfig,
    LSTMCoreConfig,
    PassThroughScaffoldConfig,
    PostUpScaffoldConfig,
    PreUpScaffoldConfig,
    RecurrenceCoreConfig,
    RouterConfig,
    mLSTMCoreConfig,
    sLSTMCoreConfig,
)
from cortexc.runtime import CompiledStack

from ..tolerances import assert_close
from .contract import PATTERNS, WIDTH, inputs, leaves, make, mask, run

STEPS = 13
F64 = torch.float64

_LSTM = PassThroughScaffoldConfig(core=LSTMCoreConfig())
_COLUMN = ColumnScaffoldConfig(
    experts=(
        PostUpScaffoldConfig(core=sLSTMCoreConfig()),
        ColumnScaffoldConfig(experts=(_LSTM, PreUpScaffoldConfig(core=AxonCoreConfig())), router=RouterConfig(top_k=1)),
    ),
    router=RouterConfig(whisper_lambda=0.0),
)


def _stack(*layers: object) -> CortexStackConfig:
    return CortexStackConfig(d_hidden=WIDTH, scaffolds=layers)


# A cell that is not in the library, diagonal and not affine, two outputs, a start of its own.
@cortexc.recurrence(inputs="u g", state="h n", params="a b", outputs="h n", initial={"n": 1.0}, start={"a": (0.5, 2.0)})
def own_cell(x, s, p):
    keep = exp(-exp(p.a))
    n = keep * s.n + sigmoid(x.g)
    h = tanh(keep * s.h + p.b * x.u / (1.0 + n))
    return State(h=h, n=n)


cortexc.register_recurrence(own_cell)


PARTS: dict[str, object] = {
    "L": "L",
    "L two layers": "L(num_layers=2, bias=false)",
    "L projected": "L(num_layers=2, proj_size=6)",
    "C": "C",
    "C mixing": "C(kernel_size=3, channel_mixing=true, causal_conv_bias=false)",
    "C identity": "C(kernel_size=0)",
    "Ag": "Ag(eta=3, r=3)",
    "A srht": "A(use_srht=true, activation=silu)",
    "A unmixed": "A(use_untraced_linear=false, activation=tanh)",
    "A full rank": "A(use_fullrank_rtu=true)",
    "gru": "recurrence(cell=gru, num_heads=4)@postup_gated",
    "lru": "recurrence(cell=lru)",
    "mingru": "recurrence(cell=mingru)",
    "minlstm": "recurrence(cell=minlstm, out_proj=true, bias=true, traces=false)",
    "own cell": RecurrenceCoreConfig(cell="own_cell", hidden_size=WIDTH),
    "M wide heads": "M(num_heads=2, conv1d_kernel_size=0)",
    "M axon gates": "M(use_axon_layer=true, chunk_size=4)",
    "M axon qkv": "M(use_axon_qkv=true, conv1d_kernel_size=2)",
    "S narrow heads": "S(num_heads=8, conv1d_kernel_size=0)",
    "X narrow heads": "X(mem_len=5, n_heads=2, head_dim=3, use_bias=false)",
    "X without memory": "X(mem_len=0)",
    "M^": "M^(chunk_size=4)",
    "S^": "S^",
    "X^": "X^(mem_len=5)",
    "X^ without memory": "X^(mem_len=0)",
    "options of scaffolds": "A@postup_gated(proj_factor=0.7, gru_bias=0.5) "
    "M(chunk_size=4)@preup_gated(proj_factor=1.5, activate_cell_input=false)",
    "options of a router": "A S{top_k=1, d_key=5, d_key_local=3, temperature=0.7, local_temperature=0.5, "
    "whisper_lambda=0.4, center_refine=false, restrict_to_topk=false, alpha_init=0.5}",
    "adapter": _stack(AdapterScaffoldConfig(scaffold=_LSTM, bottleneck=5, per_channel_gate=True, activation="tanh")),
    "nested columns": _stack(AdapterScaffoldConfig(scaffold=_COLUMN, bottleneck=5)),
    "stack as core": _stack(PreUpScaffoldConfig(core=CortexStackConfig(scaffolds=(_LSTM, _LSTM)))),
    "preup": "A@preup",
    "postup": "S@postup",
    "no residual": _stack(PassThroughScaffoldConfig(core=sLSTMCoreConfig(), residual=False)),
    "core alone": mLSTMCoreConfig(hidden_size=WIDTH, chunk_size=4),
    "scaffold alone": PostUpScaffoldConfig(core=LSTMCoreConfig()),
}
# With the tokens of the contract's own tests.
EVERY: dict[str, object] = {**PATTERNS, **PARTS}


@cache
def part(name: str, backend: str, dtype: torch.dtype) -> CompiledStack:
    return make(EVERY[name], backend, dtype)  # type: ignore[arg-type]


@cache
def oracle(name: str, kind: str) -> tuple[Tensor, dict[str, Tensor]]:
    """Outputs and final state of the reference in float64, over the whole sequence at once, by the kind of mask."""
    with torch.no_grad():
        y, state = run(part(name, "reference", F64), inputs(STEPS, F64), mask(kind, STEPS), [STEPS])
    return y, leaves(state)


def agree(
    y: Tensor, state: TensorDict, expected: tuple[Tensor, dict[str, Tensor]], dtype: torch.dtype, what: str
) -> None:
    """Outputs and every leaf of the state, as close as `dtype` asks for; `what` is told with a difference."""
    assert_close(y, expected[0].to(dtype), dtype, f"{what}: y")
    found = leaves(state)
    assert found.keys() == expected[1].keys()
    for path, leaf in found.items():
        floating = leaf.is_floating_point()
        assert_close(leaf, expected[1][path].to(leaf.dtype), dtype if floating else None, f"{what}: {path}")
