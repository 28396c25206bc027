"""Routed adapters (A1-A5): every linear map of a row has the weights of its slot. The oracle is a stack without
adapters, run row by row with the weights merged."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

import cortexc
from cortexc.kernels import warnings
from cortexc.kernels.recurrence import tiles
from cortexc.runtime import CompiledStack

from ..tolerances import CANCELLING, TOLERANCES, assert_close
from .contract import DEVICE, ROWS, WIDTH, carried, inputs, leaves, mask, pieces, run
from .routed import ALPHA, F32, F64, OPTIONAL, PATTERNS, RANK, ROUTES, SLOTS, Routed, adapted, compiled, pair

STEPS = 9
BACKENDS = [("reference", F64), ("eager", F64)]


def weight_of(path: str) -> str:
    """The weight that an adapter parameter belongs to."""
    owner = path.removesuffix(".down").removesuffix(".up").removesuffix("adapter")
    return f"{owner}weight" if owner.endswith(".") else owner.removesuffix("_")


def merged(stack: CompiledStack, slot: int) -> dict[str, Tensor]:
    """The trunk's state dict with W + (alpha/rank) B_s A_s for every weight that has an adapter."""
    own = adapted(stack)
    found = {k: v.clone() for k, v in stack.state_dict().items() if k not in own}
    for name, up in own.items():
        if name.endswith(".up"):
            down = own[name.removesuffix("up") + "down"]
            found[weight_of(name)] += ALPHA / RANK * (up[slot] @ down[slot]).detach()
    return found


def loss(y: Tensor, after: dict[str, Tensor], rows: slice) -> Tensor:
    """A fixed random projection of outputs and final state."""
    generator = torch.Generator().manual_seed(11)
    total = torch.zeros((), dtype=torch.float64, device=DEVICE)
    for part in (y, *after.values()):
        weight = torch.randn(ROWS, *part.shape[1:], generator=generator, dtype=torch.float64).to(DEVICE)
        total = total + (part.double() * weight[rows]).sum()
    return total


Tree = dict[str, Tensor]


def whole(stack: CompiledStack, rows: slice, dtype: torch.dtype, **call: Tensor) -> tuple[Tensor, Tree, Tensor, Tree]:
    """Outputs, state and gradients of a call with resets, from a state that a call before it filled. The state comes in
    detached, so that eligibility traces count too."""
    with torch.no_grad():
        _, state = stack(inputs(5, dtype, seed=7)[rows], **call)
    x = inputs(STEPS, dtype)[rows].requires_grad_()
    y, after = stack(x, state, resets=mask("random", STEPS)[rows], **call)  # type: ignore[index]
    names, params = zip(*stack.named_parameters(), strict=True) if list(stack.parameters()) else ((), ())
    found = torch.autograd.grad(loss(y, carried(after), rows), [x, *params], allow_unused=True)
    grads = {n: torch.zeros_like(p) if g is None else g for n, p, g in zip(names, params, found[1:], strict=True)}
    return y.detach(), leaves(after), found[0], grads


def check_against_merged(name: str, backend: str, dtype: torch.dtype) -> None:
    stack, plain = pair(PATTERNS[name], backend, dtype)
    y, after, dx, grads = whole(stack, slice(None), dtype, route_ids=ROUTES)
    expected = {n: torch.zeros_like(p) for n, p in stack.named_parameters()}
    for row, slot in enumerate(ROUTES.tolist()):
        rows = slice(row, row + 1)
        plain.load_state_dict(merged(stack, slot))
        y_row, after_row, dx_row, grads_row = whole(plain, rows, dtype)
        assert_close(y[rows], y_row, dtype, "y")
        assert_close(dx[rows], dx_row, dtype, "dx")
        for path, leaf in after_row.items():
            assert_close(after[path][rows], leaf, dtype if leaf.is_floating_point() else None, path)
        for n, g in grads_row.items():
            expected[n] += g
        for n in adapted(stack):
            g = ALPHA / RANK * grads_row[weight_of(n)]
            if n.endswith(".up"):
                expected[n][slot] += g @ stack.get_parameter(n.removesuffix("up") + "down")[slot].transpose(-1, -2)
            else:
                expected[n][slot] += stack.get_parameter(n.removesuffix("down") + "up")[slot].transpose(-1, -2) @ g
    largest = max((g.norm().item() for g in expected.values()), default=0.0)
    for n, g in expected.items():
        error = (grads[n] - g).double().norm().item()
        scale = 1.0 if dtype == F64 else max(g.norm().item(), CANCELLING[DEVICE] * largest)
        assert error <= 10 * TOLERANCES[dtype] * scale, f"{n}: {error:.1e} of {scale:.1e}"


@pytest.mark.parametrize("name", PATTERNS)
@pytest.mark.parametrize("backend", BACKENDS, ids=lambda b: b[0])
def test_a_row_has_the_weights_of_its_slot(name: str, backend: tuple[str, torch.dtype]) -> None:
    """Outputs, state and all gradients are those of W + (alpha/rank) B_s A_s, row by row; with resets inside."""
    check_against_merged(name, *backend)


@pytest.mark.parametrize("name", ["A", "S"])
def test_kernels(name: str) -> None:
    """The same on the Triton backend, also where every row has a recurrent matrix of its own."""
    check_against_merged(name, "triton", F32)


@pytest.mark.long
@pytest.mark.parametrize("name", PATTERNS)
def test_all_kernels(name: str) -> None:
    check_against_merged(name, "triton", F32)


@pytest.mark.long
def test_inductor() -> None:
    check_against_merged("L", "inductor", F32)


# What has two axes or more and is no linear map: kernels of convolutions over time, vectors of experts and heads.
NOT_MAPS = ("conv.weight", "conv1d.weight", "keys", "k_loc", "q_bias", "core.u", "core.v", "core.bias")


@pytest.mark.parametrize("name", PATTERNS)
def test_every_linear_map_has_one(name: str) -> None:
    stack = pair(PATTERNS[name], "eager", F64)[0]
    own = adapted(stack)
    assert own.keys() == stack._trunk.adapters
    matrices = {n for n, p in stack.named_parameters() if p.dim() > 1 and n not in own}
    assert {n for n in matrices if not n.endswith(NOT_MAPS)} == {weight_of(n) for n in own}
    for n, p in own.items():
        *heads, out, inp = stack.get_parameter(weight_of(n)).shape
        assert p.shape == (SLOTS, *heads, *((RANK, inp) if n.endswith("down") else (out, RANK)))


@pytest.mark.parametrize("name", PATTERNS)
@pytest.mark.parametrize("cut", ["random", "steps"])
def test_one_function_however_cut(name: str, cut: str) -> None:
    """A sequence, its pieces and single steps give the same outputs and state, on all backends; with resets inside."""
    x, m = inputs(13, F64), mask("random", 13)
    found = []
    for backend in ("reference", "eager"):
        stack = pair(PATTERNS[name], backend, F64)[0]
        call = Routed(stack, ROUTES)
        with torch.no_grad():
            lengths = [13] if backend == "reference" else pieces(cut, 13)
            found.append(run(call, x, m, lengths, by_step=cut == "steps" and backend == "eager"))  # type: ignore[arg-type]
    (expected, expected_state), (y, state) = found
    assert_close(y, expected, F64)
    for path, leaf in leaves(state).items():
        assert_close(leaf, leaves(expected_state)[path], leaf.dtype, path)


@pytest.mark.parametrize("name", PATTERNS)
def test_the_start_is_the_trunk(name: str) -> None:
    """B = 0: the same seed gives the same function as without adapters, with routes and without; a checkpoint of a
    stack without adapters loads and lacks the adapters alone."""
    torch.manual_seed(3)
    plain = cortexc.compile(PATTERNS[name], d_hidden=WIDTH, backend="eager", dtype=F64, device=DEVICE)
    torch.manual_seed(3)
    stack = compiled(PATTERNS[name], OPTIONAL)
    own = adapted(stack)
    for path, p in plain.state_dict().items():
        assert torch.equal(p, stack.state_dict()[path]), path
    lacking = stack.load_state_dict(plain.state_dict(), strict=False)
    assert set(lacking.missing_keys) == own.keys() and not lacking.unexpected_keys
    x, m = inputs(STEPS, F64), mask("random", STEPS)
    expected, expected_state = plain(x, resets=m)
    for routes in (ROUTES, None):
        y, state = stack(x, resets=m, route_ids=routes)
        assert_close(y, expected, F64)
        for path, leaf in leaves(state).items():
            assert_close(leaf, leaves(expected_state)[path], leaf.dtype, path)
        y, _ = stack.step(x[:, 0], state, route_ids=routes)
        assert_close(y, plain.step(x[:, 0], expected_state)[0], F64)


def test_without_routes_the_trunk_runs_alone() -> None:
    """require_route_ids=False: adapters that have learned do nothing in a call without ids, in any mode."""
    pattern = "A X(mem_len=5) S L(proj_size=6)"
    stack, plain = compiled(pattern, OPTIONAL), cortexc.compile(pattern, d_hidden=WIDTH, backend="eager", dtype=F64)
    trained, _ = pair(pattern, "eager", F64)
    stack.load_state_dict(trained.state_dict())
    plain.to(DEVICE).load_state_dict({k: v for k, v in trained.state_dict().items() if k not in adapted(stack)})
    x, m = inputs(STEPS, F64), mask("random", STEPS)
    y, state = stack(x, resets=m)
    expected, _ = plain(x, resets=m)
    assert_close(y, expected, F64)
    assert_close(stack.step(x[:, 0], state)[0], plain.step(x[:, 0], state)[0], F64)
    assert not torch.allclose(stack(x, resets=m, route_ids=ROUTES)[0], expected)


def test_rows_are_apart() -> None:
    """A NaN stays in its row, forward and in the gradient of the other slots' adapters; rows can be gathered."""
    stack = pair(PATTERNS["AXMS"], "eager", F64)[0]
    x = inputs(STEPS, F64)
    clean, _ = stack(x, route_ids=ROUTES)
    dirty = x.clone()
    dirty[1] = float("nan")
    y, _ = stack(dirty, route_ids=ROUTES)
    assert_close(y[[0, 2]], clean[[0, 2]], F64)
    own = adapted(stack)
    grads = torch.autograd.grad(y[[0, 2]].sum(), list(own.values()))
    for name, g in zip(own, grads, strict=True):
        assert torch.isfinite(g[[1, 2, 3]]).all() and not g[[1, 3]].any(), name
    order = torch.tensor([2, 1])
    assert_close(stack(x[order], route_ids=ROUTES[order])[0], clean[order], F64)


@pytest.mark.parametrize("name", ["AXMS", "L", "A full rank"])
def test_bfloat16(name: str) -> None:
    """Under autocast and in bfloat16 the adapters work, and accumulators stay float32."""
    stack = pair(PATTERNS[name], "eager", F32)[0]
    expected, _ = stack(inputs(STEPS, F32), route_ids=ROUTES)
    with torch.autocast(DEVICE, torch.bfloat16):
        y, state = stack(inputs(STEPS, F32), route_ids=ROUTES)
    narrow = copy.deepcopy(stack).bfloat16()
    z, narrow_state = narrow(inputs(STEPS, torch.bfloat16), route_ids=ROUTES)
    for got in (y, z):
        assert ((got.float() - expected).norm() / expected.norm()).item() < 3 * TOLERANCES[torch.bfloat16]
    for found in (state, narrow_state):
        assert {v.dtype for k, v in leaves(found).items() if k.endswith(("hc1", "hc2", "/c", "/n"))} == {F32}


def test_a_large_matrix_of_each_row_falls_back_aloud(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warnings, "_SAID", set())
    monkeypatch.setattr(tiles, "ON_CHIP", 16)
    stack = compiled("S", backend="triton", dtype=F32)
    with pytest.warns(cortexc.CortexWarning, match="W413 slstm: every row has recurrent matrices of its own"):
        stack(inputs(2, F32), route_ids=ROUTES)
