"""Recurrences as cores: the library's, and one that a user wrote, from equations to a token in a pattern."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import nn

import cortexc
from cortexc.compiler.library.recurrences import EQUATIONS
from cortexc.compiler.recurrence import State, recurrence, sigmoid, tanh
from cortexc.compiler.recurrence.frontend import START_RULES
from cortexc.cortex_dsl import (
    CortexSpecError,
    CortexStackConfig,
    RecurrenceCoreConfig,
    Registry,
    check,
    default_registry,
    format_spec,
    parse,
)
from cortexc.cortex_dsl.equations import known_recurrences
from cortexc.cortex_dsl.spec import PreUpScaffoldConfig
from cortexc.runtime.init import RULES

from ...tolerances import assert_close

F64 = torch.float64
H, B, T = 6, 3, 11
EXACT = 1e-9  # of gradients across calls, float64


@recurrence(inputs="u g", state="h", params="a b", outputs="h", start={"a": (1.0, 3.0), "b": ("normal", 0.1)})
def my_cell(x, s, p):
    """Diagonal; not affine, since h stands inside tanh."""
    keep = sigmoid(p.a + x.g)
    return State(h=keep * s.h + (1.0 - keep) * tanh(x.u + p.b * s.h))


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    cortexc.register_recurrence(my_cell)
    yield
    EQUATIONS.remove("my_cell")
    default_registry().remove("G")


def core(cell: str, backend: str = "eager", **options: object) -> cortexc.CompiledStack:
    return cortexc.compile(RecurrenceCoreConfig(cell=cell, hidden_size=H, **options), backend=backend, dtype=F64)


@pytest.mark.parametrize("backend", ["reference", "eager"])
def test_gru_is_torchs(backend: str) -> None:
    """With torch.nn.GRU's weights: its outputs, final state and gradients."""
    torch.manual_seed(0)
    oracle, found = nn.GRU(H, H, batch_first=True, dtype=F64), core("gru", backend)
    with torch.no_grad():
        found.in_proj.weight.copy_(oracle.weight_ih_l0)
        found.in_proj.bias.copy_(oracle.bias_ih_l0 + torch.cat([oracle.bias_hh_l0[: 2 * H], torch.zeros(H)]))
        found.b.copy_(oracle.bias_hh_l0[2 * H :])
        found.recurrent_kernel.copy_(oracle.weight_hh_l0.view(1, 3, H, H))
    x, h = torch.randn(B, T, H, dtype=F64), torch.randn(B, H, dtype=F64)
    state = found.init_state(B)
    state["h"] = h
    y, after = found(x, state)
    expected, last = oracle(x, h[None])
    assert_close(y, expected)
    assert_close(after["h"], last[0])
    weights = torch.randn_like(y)
    wanted = torch.autograd.grad((expected * weights).sum(), [oracle.weight_ih_l0, oracle.weight_hh_l0])
    got = torch.autograd.grad((y * weights).sum(), [found.in_proj.weight, found.recurrent_kernel])
    for a, b in zip(got, wanted, strict=True):
        assert_close(a.reshape(b.shape), b)


def test_heads_cut_the_matrix() -> None:
    """A GRU of two heads is two GRUs side by side behind the same map."""
    torch.manual_seed(0)
    two = core("gru", num_heads=2)
    assert two.recurrent_kernel.shape == (2, 3, H // 2, H // 2)
    x = torch.randn(B, T, H, dtype=F64)
    y, _ = two(x)
    (gradient,) = torch.autograd.grad(y[..., : H // 2].sum(), two.recurrent_kernel)
    assert gradient[0].abs().min() > 0 and (gradient[1] == 0).all()


@pytest.mark.parametrize("cell", ["lru", "mingru", "minlstm", "my_cell"])
@pytest.mark.parametrize("backend", ["reference", "eager"])
def test_traces_carry_the_gradient_across_calls(cell: str, backend: str) -> None:
    """Chunks with a detached state between them: their gradients sum to those of one call over everything."""
    torch.manual_seed(0)
    module = core(cell, backend)
    with torch.no_grad():
        for p in module.parameters():
            p.add_(0.1 * torch.randn_like(p))
    names = EQUATIONS[cell].params
    params = [module.get_parameter(n) for n in names]
    x, weights = torch.randn(2, B, T, H, dtype=F64)
    resets = torch.rand(B, T) < 0.2
    resets[2] = False
    wanted = torch.autograd.grad((module(x, resets=resets)[0] * weights).sum(), params)
    assert all(g.abs().max() > 1e-3 for g in wanted)
    for cuts in ([0, 5, T], [0, 1, 4, 9, T], list(range(T + 1))):
        for traced in (True, False):
            state, total = None, [torch.zeros_like(p) for p in params]
            for first, stop in pairwise(cuts):
                y, state = module(x[:, first:stop], state, resets=resets[:, first:stop])
                state = state.detach()
                if not traced:
                    state = state.apply(torch.zeros_like).update(state.select(*EQUATIONS[cell].state))
                found = torch.autograd.grad((y * weights[:, first:stop]).sum(), params)
                total = [t + g for t, g in zip(total, found, strict=True)]
            error = max((t - g).abs().max().item() for t, g in zip(total, wanted, strict=True))
            assert (error <= EXACT) is traced, f"{cuts}, traces {traced}: off by {error:.1e}"


def test_start() -> None:
    """Parameters start by the rules that the cell gives; 1/√H where it gives none; the state as the equations say."""
    torch.manual_seed(0)
    wide = cortexc.compile(RecurrenceCoreConfig(cell="my_cell", hidden_size=4096), backend="eager")
    assert 1.0 <= wide.a.min() < 1.1 and 2.9 < wide.a.max() <= 3.0
    assert abs(wide.b.std().item() - 0.1) < 0.01
    lru = core("lru")
    assert (lru.gamma_log == 0).all() and not hasattr(lru.in_proj, "bias")
    modulus = torch.exp(-torch.exp(lru.nu_log))
    assert ((modulus > 0) & (modulus < 1)).all()
    assert core("gru").b.abs().max() <= H**-0.5
    assert set(START_RULES) <= set(RULES)


def test_options() -> None:
    assert {n for n, _ in core("mingru").named_parameters()} == {"b_z", "b_h", "in_proj.weight"}
    asked = core("mingru", bias=True, out_proj=True, traces=False)
    assert {"in_proj.bias", "out_proj.weight", "out_proj.bias"} <= {n for n, _ in asked.named_parameters()}
    assert set(asked.init_state(1).keys()) == {"h"}
    assert set(core("gru", bias=False).init_state(1).keys()) == {"h"}


def test_own_token() -> None:
    """From the equations to a pattern that trains, in three statements; the text of its spec reads back."""
    cortexc.register_recurrence(my_cell, token="G", out_proj=True)
    spec = parse("AG x2 / G(bias=false)", d_hidden=16)
    inner = spec.scaffolds[0].experts[1]
    assert (inner.kind, inner.core) == ("postup_gated", RecurrenceCoreConfig(cell="my_cell", out_proj=True))
    assert parse(format_spec(spec)) == spec
    assert CortexStackConfig.model_validate_json(spec.model_dump_json()) == spec
    stack = cortexc.compile("AG x2", d_hidden=16, backend="eager")
    optimiser = torch.optim.Adam(stack.parameters(), lr=1e-2)
    x = torch.randn(4, 8, 16)
    losses = []
    for _ in range(8):
        loss = (stack(x)[0] - x.roll(1, dims=1)).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
    assert [row.core for row in stack.summary().rows[:2]] == ["axon", "my_cell"]
    assert stack.summary().rows[1].why.startswith("diagonal, not affine")


def test_token_in_a_registry_and_a_scaffold_of_ones_own() -> None:
    registry = Registry(default_registry().infos())
    cortexc.register_recurrence(my_cell, token="Q", scaffold=PreUpScaffoldConfig(proj_factor=1.5), registry=registry)
    assert parse("Q", registry=registry).scaffolds[0].experts[0].proj_factor == 1.5
    assert "Q" not in default_registry().names()


def test_names_of_the_language_are_those_of_the_compiler() -> None:
    """The language knows the names without the equations; what it says of their matrices is so."""
    for name, matrices in known_recurrences().items():
        assert (EQUATIONS[name].recurrent is not None) is matrices
    assert {"gru", "lru", "mingru", "minlstm", "my_cell"} <= set(known_recurrences())


def test_unknown_and_misfit() -> None:
    (found,) = check("recurrence(cell=my_cel) with d_hidden=8")
    assert found.code == "E514" and "did you mean `my_cell`?" in found.message
    assert found.fix is not None and found.fix.replacement == "my_cell"
    assert [d.code for d in check("recurrence(cell=lru, num_heads=2) with d_hidden=8")] == ["E515"]
    assert [d.code for d in check("recurrence(cell=gru, num_heads=3) with d_hidden=8")] == ["E502"]
    with pytest.raises(CortexSpecError, match="unknown recurrence `nothing`"):
        cortexc.compile(RecurrenceCoreConfig(cell="nothing"), d_hidden=8)
    with pytest.raises(ValueError, match="pattern"):
        RecurrenceCoreConfig(cell="No name")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda x, s: State(h=x.u), "put `@recurrence"),
        (EQUATIONS["lstm"], "belongs to the library"),
        (
            recurrence(inputs="u", state="h", outputs="h", name="mlstm_step")(lambda x, s: State(h=x.u)),
            "generated code",
        ),
        (recurrence(inputs="u", state="h", outputs="h", name="sequence")(lambda x, s: State(h=x.u)), "generated code"),
    ],
)
def test_refused(given: object, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        cortexc.register_recurrence(given)


@pytest.mark.parametrize("given", ["uniform", (2.0, 1.0), ("nothing", 1.0), ("constant", "1"), None])
def test_bad_start(given: object) -> None:
    def of(start: dict[str, object]) -> object:
        make = recurrence(inputs="u", state="h", params="a", outputs="h", start=start, name="cell")
        return make(lambda x, s, p: State(h=p.a * x.u))

    with pytest.raises(ValueError, match=r"cell: start of a is a number, \(low, high\) or .* got"):
        of({"a": given})
    with pytest.raises(ValueError, match="cell: start names b; parameters: a"):
        of({"b": 1})


ELSEWHERE = """
import sys, warnings, torch, cortexc
stack = cortexc.load(sys.argv[1])
y, _ = stack(torch.ones(2, 3, 8))
print(f"sum {y.sum().item():.6f}", stack.spec.scaffolds[0].experts[0].core.cell)
try:
    cortexc.load(sys.argv[1], backend="reference")
except cortexc.CortexSpecError as error:
    print(error)
"""


def test_a_package_runs_where_the_equations_are_not(tmp_path: Path) -> None:
    """The package carries its kernels. Compiling it anew needs the equations: one error that names them."""
    from cortexc.compiler import build

    cortexc.register_recurrence(my_cell, token="G")
    spec = parse("G", d_hidden=8)
    folder = build(spec, backend="eager", pattern="G").write(tmp_path, "own")
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, str(folder)], capture_output=True, text=True, check=True
    ).stdout
    assert done.startswith("sum ") and " my_cell\n" in done
    assert "E514" in done and "unknown recurrence `my_cell`" in done and "register_recurrence" in done
