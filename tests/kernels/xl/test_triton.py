"""The Triton kernels of Transformer-XL attention against the plain loop in float64, with every gradient."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from cortexc import kernels
from cortexc.kernels import segment_ids, xl_attention, xl_attention_reference
from cortexc.kernels.xl import fused, memory, step
from cortexc.kernels.xl.fused import fused_attention

from ...tolerances import TOLERANCES, assert_close

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
NAMES = ("y", "q", "k", "v", "rel", "u", "v_bias")


@dataclass(frozen=True)
class Shape:
    rows: int
    steps: int
    heads: int
    width: int
    slots: int

    def __str__(self) -> str:
        return f"B{self.rows}T{self.steps}N{self.heads}D{self.width}M{self.slots}"


SMALL = [
    Shape(2, 5, 2, 24, 5),
    Shape(1, 1, 1, 8, 0),
    Shape(1, 19, 1, 8, 0),
    Shape(2, 1, 2, 64, 5),
    Shape(1, 37, 1, 16, 33),
]
LARGE = [Shape(3, 200, 2, 64, 128), Shape(1, 130, 4, 80, 33), Shape(2, 70, 1, 256, 40), Shape(2, 67, 2, 24, 5)]
SHAPES = SMALL if DEVICE == "cpu" else [*SMALL, *LARGE]
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


def draw(shape: Shape, dtype: torch.dtype = torch.float32, per_row: bool = False) -> list[Tensor]:
    """q, k, v, rel, u, v_bias and the gradient of y."""
    rows, steps, heads, width, slots = shape.rows, shape.steps, shape.heads, shape.width, shape.slots
    generator = torch.Generator().manual_seed(steps)
    own = (rows,) if per_row else ()
    sizes = [(rows, steps), (rows, slots + steps), (rows, slots + steps), (*own, slots + 1), (), (), (rows, steps)]
    drawn = [torch.randn(*s, heads, width, generator=generator).to(dtype).to(DEVICE) for s in sizes]
    return [x.requires_grad_() for x in drawn[:-1]] + drawn[-1:]


def partial(shape: Shape) -> Tensor:
    return torch.arange(shape.rows, device=DEVICE) * 7 % (shape.slots + 1)


def resets_of(shape: Shape, kind: str) -> Tensor | None:
    if kind == "none":
        return None
    if kind == "random":
        generator = torch.Generator().manual_seed(1)
        return segment_ids((torch.rand(shape.rows, shape.steps, generator=generator) < 0.15).to(DEVICE))
    mask = torch.full((shape.rows, shape.steps), kind == "all", device=DEVICE)
    if kind in ("first", "last"):
        mask[0, 0 if kind == "first" else -1] = True
    return segment_ids(mask)


def dropped(shape: Shape, kind: str) -> Tensor | None:
    if kind == "kept":
        return None
    sizes = (shape.rows, shape.steps) if kind == "by step" else (shape.rows,)
    generator = torch.Generator().manual_seed(2)
    return (torch.rand(*sizes, shape.heads, shape.slots + 1, generator=generator) < 0.7).to(DEVICE, torch.float32) * 1.5


def run(function: Callable[..., Tensor], drawn: list[Tensor], *rest: Tensor | None) -> list[Tensor]:
    """y and every gradient."""
    *leaves, d_y = drawn
    y = function(*leaves, *rest)
    return [y.detach(), *torch.autograd.grad(y, leaves, d_y)]


def oracle(drawn: list[Tensor], fill: Tensor, segments: Tensor | None, drop: Tensor | None) -> list[Tensor]:
    exact = [x.detach().double().requires_grad_(x.requires_grad) for x in drawn]
    return run(xl_attention_reference, exact, fill, segments, None if drop is None else drop.double())


def compare(found: list[Tensor], wanted: list[Tensor], dtype: torch.dtype = torch.float32) -> None:
    for name, a, b in zip(NAMES, found, wanted, strict=True):
        assert_close(a, b, dtype, name)


@every_shape
@pytest.mark.parametrize("kind", ["none", "random", "first", "last", "all"])
def test_is_the_reference(shape: Shape, kind: str) -> None:
    drawn, rest = draw(shape), (partial(shape), resets_of(shape, kind), None)
    compare(run(fused_attention, drawn, *rest), oracle(drawn, *rest))


@pytest.mark.parametrize("shape", [SHAPES[0], SHAPES[-1]], ids=str)
@pytest.mark.parametrize("fill", ["empty", "full"])
@pytest.mark.parametrize("drop", ["kept", "by step", "by episode"])
@pytest.mark.parametrize("per_row", [False, True])
def test_memory_dropout_and_rows_of_their_own(shape: Shape, fill: str, drop: str, per_row: bool) -> None:
    drawn = draw(shape, per_row=per_row)
    filled = torch.full((shape.rows,), shape.slots * (fill == "full"), device=DEVICE)
    rest = filled, resets_of(shape, "random"), dropped(shape, drop)
    compare(run(fused_attention, drawn, *rest), oracle(drawn, *rest))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_keeps_its_dtypes(dtype: torch.dtype) -> None:
    shape = SHAPES[-1]
    drawn, rest = draw(shape, dtype), (partial(shape), resets_of(shape, "random"), None)
    found = run(fused_attention, drawn, *rest)
    assert {x.dtype for x in found} == {dtype}
    compare(found, oracle(drawn, *rest), dtype)


def test_biases_may_be_wider_than_queries() -> None:
    """As under autocast, where parameters stay float32."""
    shape = SMALL[0]
    *narrow, d_y = draw(shape, torch.bfloat16)
    wide = [*narrow[:4], *(x.detach().float().requires_grad_() for x in narrow[4:]), d_y]
    found = run(xl_attention, wide, partial(shape), None, None)
    assert [x.dtype for x in found[-2:]] == [torch.float32] * 2
    compare(found, oracle(wide, partial(shape), None, None), torch.bfloat16)


def test_a_call_runs_on_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr("cortexc.kernels.xl.sequence.fused_attention", lambda *a: calls.append(a) or a[0])
    xl_attention(*draw(SMALL[0])[:-1], partial(SMALL[0]))
    assert len(calls) == 1
    xl_attention(*(x.double() for x in draw(SMALL[0])[:-1]), partial(SMALL[0]))
    assert len(calls) == 1


def test_views_of_one_projection_are_read_in_place() -> None:
    """Keys and values as halves of one product: strides, no copies."""
    shape = SMALL[0]
    q, k, v, *rest = draw(shape)
    both = torch.cat([k.flatten(2), v.flatten(2)], -1).detach()
    halves = [x.unflatten(-1, k.shape[2:]) for x in both.chunk(2, -1)]
    assert not halves[0].is_contiguous()
    found = fused_attention(q, *halves, *rest[:-1], partial(shape), None, None)
    assert torch.equal(found, fused_attention(q, k, v, *rest[:-1], partial(shape), None, None))
    apart = q.detach().transpose(1, 2).contiguous().transpose(1, 2)  # heads are not inside
    assert torch.equal(found, fused_attention(apart, k, v, *rest[:-1], partial(shape), None, None))


def test_memory_of_a_launch_may_hold_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is read that was not written."""
    shape = SMALL[0]
    drawn, rest = draw(shape), (partial(shape), resets_of(shape, "random"), None)
    wanted = run(fused_attention, drawn, *rest)

    def poisoned(*sizes: object, **options: object) -> Tensor:
        return torch.full(sizes[0] if isinstance(sizes[0], torch.Size) else sizes, float("nan"), **options)  # type: ignore[arg-type]

    monkeypatch.setattr(fused.torch, "empty", poisoned)
    for a, b in zip(run(fused_attention, drawn, *rest), wanted, strict=True):
        assert torch.equal(a, b)


ISOLATED = Shape(2, 20, 1, 8, 6)
NAN, INF = float("nan"), float("inf")
every_place = pytest.mark.parametrize("places", [((0, 2), (1, 19)), ((0, 7), (1, 13))])


def isolated() -> tuple[list[Tensor], Tensor, Tensor, list[Tensor]]:
    """Arguments with resets in both rows, and what they give."""
    mask = torch.zeros(ISOLATED.rows, ISOLATED.steps, dtype=torch.bool, device=DEVICE)
    mask[0, 7] = mask[0, 15] = mask[1, 0] = mask[1, 11] = True
    drawn, fill, segments = draw(ISOLATED), torch.tensor([3, 6], device=DEVICE), segment_ids(mask)
    return drawn, fill, segments, run(fused_attention, drawn, fill, segments, None)


def same_but(found: Tensor, wanted: Tensor, odd: Tensor) -> None:
    """Equal where `odd` [B, S] is false."""
    assert_close(found[~odd], wanted[~odd], torch.float32)


@pytest.mark.parametrize(("which", "poison"), [(0, NAN), (1, NAN), (2, NAN), (0, INF), (2, -INF)])
@every_place
def test_nan_is_seen_in_its_window_and_episode_alone(which: int, poison: float, places: tuple[tuple[int, int]]) -> None:
    drawn, fill, segments, clean = isolated()
    slots, steps = ISOLATED.slots, torch.arange(ISOLATED.steps, device=DEVICE)
    odd, episode = (torch.zeros_like(segments, dtype=torch.bool) for _ in range(2))
    of_keys = torch.nn.functional.pad(episode, (slots, 0))
    for row, at in places:
        with torch.no_grad():
            drawn[which][row, at if which == 0 else slots + at, 0, 3] = poison
        episode[row] = segments[row] == segments[row, at]
        of_keys[row, slots:], of_keys[row, :slots] = episode[row], segments[row, at] == 0
        sees = (steps >= at) & (steps <= at + slots)
        odd[row] = sees & episode[row] if which else steps == at
    found = run(fused_attention, drawn, fill, segments, None)
    assert found[0][odd].isnan().all()
    for a, b, where in zip(found, clean, (odd, episode, of_keys, of_keys), strict=False):
        same_but(a, b, where)
    assert all(x.isfinite().all() for x in found[1:]), "what saw a NaN hands nothing on, as a constant would not"


@pytest.mark.parametrize("poison", [NAN, INF])
@every_place
def test_a_nan_gradient_reaches_what_its_step_saw_alone(poison: float, places: tuple[tuple[int, int]]) -> None:
    drawn, fill, segments, clean = isolated()
    odd = torch.zeros_like(segments, dtype=torch.bool)
    keys = torch.nn.functional.pad(odd, (ISOLATED.slots, 0))
    for row, at in places:
        drawn[-1][row, at, 0, 1] = poison
        odd[row, at] = True
        start = ISOLATED.slots + int((segments[row] == segments[row, at]).nonzero()[0])
        first = start if segments[row, at] else ISOLATED.slots - int(fill[row])
        keys[row, max(first, at) : at + ISOLATED.slots + 1] = True
    _, *found = run(fused_attention, drawn, fill, segments, None)
    for a, b, where in zip(found, clean[1:], (odd, keys, keys), strict=False):
        assert a[where].isnan().all()
        same_but(a, b, where)


def test_twice_raises() -> None:
    q, *rest, _ = draw(SMALL[0])
    y = fused_attention(q, *rest, partial(SMALL[0]), None, None)
    (gradient,) = torch.autograd.grad(y.square().sum(), q, create_graph=True)
    with pytest.raises(RuntimeError, match="second derivative"):
        gradient.sum().backward()


def test_one_node_under_compile() -> None:
    torch._dynamo.reset()
    drawn, rest = draw(SMALL[0]), (partial(SMALL[0]), resets_of(SMALL[0], "random"), None)
    compiled = torch.compile(xl_attention, fullgraph=True, backend="aot_eager")
    compare(run(compiled, drawn, *rest), oracle(drawn, *rest))


@pytest.mark.gpu
def test_repeated_calls_are_the_same() -> None:
    drawn, rest = draw(LARGE[0], torch.bfloat16), (partial(LARGE[0]), resets_of(LARGE[0], "random"), None)
    first = run(fused_attention, drawn, *rest)
    for _ in range(200):
        assert all(torch.equal(a, b) for a, b in zip(run(fused_attention, drawn, *rest), first, strict=True))


STEPS = [Shape(3, 1, 2, 24, 5), Shape(2, 1, 4, 16, 33), Shape(1, 1, 1, 8, 0)]


@pytest.mark.parametrize("shape", STEPS, ids=str)
@pytest.mark.parametrize("resets", [False, True])
@pytest.mark.parametrize("per_row", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_one_query_is_the_torch_step(shape: Shape, resets: bool, per_row: bool, dtype: torch.dtype) -> None:
    inputs, heads = 40, (shape.heads, shape.width)
    own = (shape.rows,) if per_row else ()
    fill = partial(shape)
    mask = torch.arange(shape.rows, device=DEVICE) % 2 == 0 if resets else None

    def drawn(*sizes: int) -> Tensor:
        return torch.randn(*sizes, dtype=dtype).to(DEVICE)

    mem = drawn(shape.rows, shape.slots, inputs)
    mem = torch.where((torch.arange(shape.slots, device=DEVICE) >= shape.slots - fill[:, None])[..., None], mem, 0)
    if mask is not None:
        mem = torch.where(mask[:, None, None], float("nan"), mem)  # is reset
    matrix, bias = (heads[0] * heads[1], inputs), (heads[0] * heads[1],)
    x, q = drawn(shape.rows, inputs), drawn(shape.rows, *heads)
    weights = [drawn(*matrix), drawn(*bias), drawn(*matrix), drawn(*bias)]
    relative = [drawn(*own, *matrix), drawn(shape.slots + 1, inputs), drawn(*heads), drawn(*heads)]
    with torch.no_grad():
        assert step.takes(q, mem)
        found = kernels.xl_step(x, q, mem, fill, *weights, *relative, mask)
        exact = [t.double() for t in (x, q, mem, *weights, *relative)]
        wanted = kernels.xl_step(*exact[:3], fill, *exact[3:], mask)
    assert found.dtype == dtype
    assert ((found.double() - wanted).norm() / wanted.norm()).item() < TOLERANCES[dtype]


@pytest.mark.parametrize("steps", [1, 3, 6, 15])
@pytest.mark.parametrize("kind", ["none", "random", "first", "last", "all"])
def test_memory_and_context_are_those_of_torch(steps: int, kind: str) -> None:
    shape = Shape(3, steps, 1, 20, 6)
    fill, segments = partial(shape), resets_of(shape, kind)
    x = torch.randn(shape.rows, steps, 2 * shape.width)[..., : shape.width].to(DEVICE).requires_grad_()
    mem = torch.randn(shape.rows, shape.slots, shape.width).to(DEVICE)
    mem = torch.where((torch.arange(shape.slots, device=DEVICE) >= shape.slots - fill[:, None])[..., None], mem, 0)
    found, wanted = memory.xl_memory(x, mem, fill, segments), memory.xl_memory(x.double(), mem.double(), fill, segments)
    assert torch.equal(found[0].double(), wanted[0])
    assert torch.equal(found[1], wanted[1])
    assert not found[0].requires_grad
    context = memory.xl_context(x, mem, segments)
    assert torch.equal(context.double(), memory.xl_context(x.double(), mem.double(), segments))
    seed = torch.randn_like(context)
    assert torch.equal(torch.autograd.grad(context, x, seed)[0], seed[:, shape.slots :])
