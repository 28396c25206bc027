"""The Triton kernels of the mLSTM against the plain loop in float64: outputs, final state, every gradient."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from cortexc.kernels import mlstm, mlstm_reference, mlstm_step, segment_ids
from cortexc.kernels.mlstm import tiles
from cortexc.kernels.mlstm.fused import mlstm_fused
from cortexc.kernels.mlstm.fused_step import step_fused
from cortexc.kernels.mlstm.step import EPS

from ...tolerances import TOLERANCES, assert_close, distance

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
NAMES = ("h", "c", "n", "m", "d q", "d k", "d v", "d i", "d f", "d c", "d n", "d m")
RESETS = ["none", "random", "first", "last", "all"]
NAN = float("nan")


@pytest.fixture(autouse=True)
def _short_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    if DEVICE == "cpu":
        monkeypatch.setattr(tiles, "CHUNK", 16)  # several chunks, and a rest


def draw(rows: int, steps: int, heads: int, width: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """q, k, v, i, f and a state that is not the initial one."""
    generator = torch.Generator().manual_seed(steps)

    def leaf(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    head, gate = (rows, steps, heads, width), (rows, steps, heads)
    inputs = [leaf(*head), leaf(*head), leaf(*head), leaf(*gate), leaf(*gate) + 2]
    state = [leaf(rows, heads, width, width), leaf(rows, heads, width, 1), leaf(rows, heads, 1, 1)]
    return [*(x.to(DEVICE, dtype) for x in inputs), *(x.to(DEVICE, torch.float32) for x in state)]


def segments_of(kind: str, rows: int, steps: int) -> Tensor | None:
    if kind == "none":
        return None
    mask = torch.full((rows, steps), kind == "all")
    if kind == "random":
        mask = torch.rand(rows, steps, generator=torch.Generator().manual_seed(steps)) < 0.15
    elif kind in ("first", "last"):
        mask[: max(1, rows - 1), 0 if kind == "first" else -1] = True
    return segment_ids(mask.to(DEVICE))


def outcome(function: Callable[..., object], drawn: list[Tensor], segments: Tensor | None) -> list[Tensor]:
    """What comes out, and the gradients of a random loss on all of it."""
    leaves = [x.detach().clone().requires_grad_() for x in drawn]
    outs = function(*leaves, segments)
    generator = torch.Generator().manual_seed(7)
    seeds = [torch.randn(o.shape, generator=generator, dtype=torch.float64).to(o.device, o.dtype) for o in outs]
    return [o.detach() for o in outs] + list(torch.autograd.grad(outs, leaves, seeds))


def compare(drawn: list[Tensor], segments: Tensor | None) -> None:
    found = outcome(mlstm_fused, drawn, segments)
    wanted = outcome(mlstm_reference, [x.double() for x in drawn], segments)
    for name, a, b in zip(NAMES, found, wanted, strict=True):
        assert_close(a, b, torch.float32, name)


@pytest.mark.parametrize("kind", RESETS)
@pytest.mark.parametrize("sizes", [(1, 1, 1, 4), (2, 19, 1, 5)], ids=str)
def test_is_the_reference(sizes: tuple[int, int, int, int], kind: str) -> None:
    compare(draw(*sizes), segments_of(kind, *sizes[:2]))


def test_is_the_reference_in_many_chunks() -> None:
    compare(draw(1, 37, 2, 20), segments_of("random", 1, 37))


@pytest.mark.gpu
@pytest.mark.parametrize("kind", RESETS)
@pytest.mark.parametrize("sizes", [(2, 130, 3, 40), (2, 65, 2, 64), (1, 200, 2, 128), (3, 64, 1, 16)], ids=str)
def test_is_the_reference_on_a_gpu(sizes: tuple[int, int, int, int], kind: str) -> None:
    compare(draw(*sizes), segments_of(kind, *sizes[:2]))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize(
    "width", [5, pytest.param(128, marks=pytest.mark.gpu), pytest.param(200, marks=pytest.mark.gpu)]
)
def test_lower_precision(dtype: torch.dtype, width: int) -> None:
    """Products of rounded numbers; what is carried is float32, and every result has the dtype of its operand."""
    steps = 20 if DEVICE == "cpu" else 150
    drawn, segments = draw(2, steps, 1, width, dtype), segments_of("random", 2, steps)
    found = outcome(mlstm_fused, drawn, segments)
    wanted = outcome(mlstm_reference, [x.double() for x in drawn], segments)
    assert [x.dtype for x in found] == [dtype] + [torch.float32] * 3 + [x.dtype for x in drawn]
    for name, a, b in zip(NAMES[:-1], found[:-1], wanted[:-1], strict=True):
        assert distance(a, b, dtype) <= TOLERANCES[dtype], name


@pytest.mark.parametrize("kind", ["none", "random"])
def test_two_calls_are_one(kind: str) -> None:
    drawn, segments = draw(1, 21, 1, 4), segments_of(kind, 1, 21)

    def cut(*args: Tensor | None) -> list[Tensor]:
        *given, ids = args
        outputs, state = [], given[5:]
        for part in (slice(0, 18), slice(18, 21)):
            own = None if ids is None else ids[:, part] - (ids[:, 17:18] if part.start else 0)
            h, *state = mlstm_fused(*(x[:, part] for x in given[:5]), *state, own)
            outputs.append(h)
        return [torch.cat(outputs, 1), *state]

    for name, a, b in zip(NAMES, outcome(cut, drawn, segments), outcome(mlstm_fused, drawn, segments), strict=True):
        assert_close(a, b, what=name)


def test_operands_may_be_pieces_of_others() -> None:
    """Rows of a split are read where they lie; queries and keys may be one tensor; an output may go unused."""
    q, _, v, i, f, *state = draw(2, 19, 2, 4)
    wide = torch.cat([q.flatten(2), v.flatten(2)], -1).requires_grad_()

    def run(function: Callable[..., tuple[Tensor, ...]], x: Tensor, *rest: Tensor) -> list[Tensor]:
        a, b = (y.unflatten(-1, (2, 4)) for y in x.split(8, -1))
        h = function(a, a, b, *rest, None)[0]
        return [h, *torch.autograd.grad(h.square().sum(), x)]

    found = run(mlstm_fused, wide, i, f, *state)
    wanted = run(mlstm_reference, wide.detach().double().requires_grad_(), i.double(), f.double(), *state)
    for a, b in zip(found, wanted, strict=True):
        assert_close(a, b, torch.float32)


@pytest.mark.parametrize("poison", [NAN, float("inf")])
def test_nothing_survives_a_reset(poison: float) -> None:
    """Rows are poisoned up to their reset, in state and inputs: from it on they are as if freshly started."""
    steps, at = 24, [0, 5, 23]
    clean = draw(3, steps, 1, 4)
    bad = [x.clone() for x in clean]
    mask = torch.zeros(3, steps, dtype=torch.bool, device=DEVICE)
    for row, t in enumerate(at):
        mask[row, t] = True
        for x in bad[:5]:
            x[row, :t] = poison
    for x in bad[5:]:
        x.fill_(poison)
    bad = [x.requires_grad_() for x in bad]
    h, *state = mlstm_fused(*bad, segment_ids(mask))
    loss = sum(h[row, t:].sum() for row, t in enumerate(at)) + sum(s.sum() for s in state)
    grads = torch.autograd.grad(loss, bad)
    for row, t in enumerate(at):
        fresh = [x[row : row + 1, t:].double().requires_grad_() for x in clean[:5]]
        expected = mlstm_reference(*fresh, *(torch.zeros_like(x[row : row + 1]).double() for x in clean[5:]))
        assert h[row, :t].isnan().all()
        for a, b in zip((h[row : row + 1, t:], *(s[row : row + 1] for s in state)), expected, strict=True):
            assert_close(a, b, torch.float32)
        wanted = torch.autograd.grad(sum(x.sum() for x in expected), fresh)
        for a, b in zip(grads[:5], wanted, strict=True):
            assert_close(a[row : row + 1, t:], b, torch.float32, "gradient")
            assert (a[row, :t] == 0).all(), "a gradient crossed the reset"
        assert all((g[row] == 0).all() for g in grads[5:]), "a gradient crossed the reset"


@pytest.mark.parametrize("where", ["h", "c", "m"])
def test_a_gradient_that_is_nan_stays_in_its_episode(where: str) -> None:
    """It reaches the steps at or before it in its own episode, and the incoming state only from the first."""
    steps, reset, at, last_reset = 20, 5, 12, 17
    leaves = [x.requires_grad_() for x in draw(2, steps, 1, 4)]
    mask = torch.zeros(2, steps, dtype=torch.bool, device=DEVICE)
    mask[0, reset], mask[0, last_reset] = True, True
    outs = mlstm_fused(*leaves, segment_ids(mask))
    seeds = [torch.ones_like(o) for o in outs]
    part = "hcnm".index(where)
    seeds[part][0].view(-1)[at * 4 if where == "h" else 0] = NAN
    first, last = (reset, at + 1) if where == "h" else (last_reset, steps)  # the final state is of the last episode
    grads = torch.autograd.grad(outs, leaves, seeds)
    for name, g in zip(NAMES[5:9], grads[1:5], strict=True):
        assert g[0, first:last].isnan().all(), name
        assert torch.isfinite(g[0, :first]).all() and torch.isfinite(g[0, last:]).all(), name
        assert torch.isfinite(g[1]).all(), name
    assert all(torch.isfinite(g).all() for g in (grads[0][0, :first], grads[0][0, last:], *grads[5:]))


def test_a_gradient_that_is_nan_in_the_first_episode_reaches_the_incoming_state() -> None:
    leaves = [x.requires_grad_() for x in draw(2, 8, 1, 4)]
    mask = torch.zeros(2, 8, dtype=torch.bool, device=DEVICE)
    mask[0, 5] = True
    h = mlstm_fused(*leaves, segment_ids(mask))[0]
    seed = torch.ones_like(h)
    seed[0, 3] = NAN
    for g in torch.autograd.grad(h, leaves, seed)[5:]:
        assert g[0].isnan().all() and torch.isfinite(g[1]).all()


@pytest.mark.parametrize("kind", ["none", "random"])
def test_memory_is_not_read_before_it_is_written(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn, segments = draw(2, 19, 1, 5), segments_of(kind, 2, 19)
    expected = outcome(mlstm_fused, drawn, segments)
    empty = torch.empty

    def filled(*args: object, **how: object) -> Tensor:
        made = empty(*args, **how)  # type: ignore[call-overload]
        return made.fill_(NAN if made.is_floating_point() else 1)

    monkeypatch.setattr(torch, "empty", filled)
    for name, a, b in zip(NAMES, outcome(mlstm_fused, drawn, segments), expected, strict=True):
        assert torch.equal(a, b), name


def test_one_node_for_the_compiler_runs_the_kernels() -> None:
    """Its backward differentiates by torch.func, which wraps tensors."""
    torch._dynamo.reset()
    drawn, segments = draw(1, 17, 1, 4), segments_of("random", 1, 17)
    compiled = torch.compile(mlstm, fullgraph=True, backend="aot_eager")
    for a, b in zip(outcome(compiled, drawn, segments), outcome(mlstm_fused, drawn, segments), strict=True):
        assert torch.equal(a, b)


def test_twice_raises() -> None:
    leaves = [x.requires_grad_() for x in draw(1, 3, 1, 4)]
    (gradient,) = torch.autograd.grad(mlstm_fused(*leaves)[0].square().sum(), leaves[0], create_graph=True)
    with pytest.raises(RuntimeError, match="no second derivative"):
        gradient.sum().backward()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("width", [5, pytest.param(130, marks=pytest.mark.gpu)])
def test_step_is_the_step_in_float64(width: int, dtype: torch.dtype) -> None:
    *inputs, c, n, m = draw(3, 1, 2, width, dtype)
    inputs = [x[:, 0] for x in inputs]
    for x in (c, n, m):
        x[1] = NAN
    for resets in (None, torch.tensor([False, True, False], device=DEVICE)):
        found = step_fused(*inputs, c, n, m, resets, EPS)
        wanted = mlstm_step(*(x.double() for x in (*inputs, c, n, m)), resets)
        assert [x.dtype for x in found] == [dtype, torch.float32, torch.float32, torch.float32]
        for a, b in zip(found, wanted, strict=True):
            assert torch.equal(a.isnan(), b.isnan())
            assert_close(a.nan_to_num(), b.nan_to_num(), a.dtype)


@pytest.mark.gpu
def test_equal_calls_give_equal_bits() -> None:
    drawn, segments = draw(4, 300, 2, 64, torch.bfloat16), segments_of("random", 4, 300)
    expected = outcome(mlstm_fused, drawn, segments)
    for _ in range(50):
        assert all(torch.equal(a, b) for a, b in zip(outcome(mlstm_fused, drawn, segments), expected, strict=True))


@pytest.mark.gpu
def test_can_be_recorded() -> None:
    leaves = [x.requires_grad_() for x in draw(2, 100, 2, 64)]
    seeds = [torch.ones_like(leaves[0]), *(torch.ones_like(x) for x in leaves[5:])]

    def run() -> tuple[Tensor, ...]:
        outs = mlstm_fused(*leaves)
        return (*outs, *torch.autograd.grad(outs, leaves, seeds))

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(
        side
    ):  # autograd ties leaves to the stream of their first use, which may not be the main one
        expected = run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = run()
    graph.replay()
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
