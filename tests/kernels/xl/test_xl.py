"""Transformer-XL attention against dense masked attention, and its memory."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cortexc.kernels import relative_positions, segment_ids, xl_attention, xl_attention_step, xl_memory

from ...tolerances import assert_close

ROWS, HEADS, WIDTH = 3, 2, 4


def draw(steps: int, slots: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(steps)
    shapes = [(ROWS, steps), (ROWS, slots + steps), (ROWS, slots + steps), (slots + 1,), (), ()]
    return [torch.randn(*s, HEADS, WIDTH, generator=generator, dtype=torch.float64) for s in shapes]


def dense(q: Tensor, k: Tensor, v: Tensor, rel: Tensor, u: Tensor, v_bias: Tensor, fill: Tensor, seg: Tensor) -> Tensor:
    """All pairs at once, with positions written down per row: what is seen follows from position and episode alone."""
    steps, slots = q.shape[1], rel.shape[0] - 1
    at_key, at_query = torch.arange(slots + steps), slots + torch.arange(steps)
    apart = at_query[:, None] - at_key
    scores = torch.einsum("btnd,bsnd->bnts", q + u, k)
    scores = scores + torch.einsum("btnd,tsnd->bnts", q + v_bias, rel[apart.clamp(0, slots)])
    seen = torch.zeros(ROWS, steps, slots + steps, dtype=torch.bool)
    for b in range(ROWS):
        for t in range(steps):
            starts = [s for s in range(t + 1) if s == 0 or seg[b, s] != seg[b, s - 1]]
            first = slots + starts[-1] if seg[b, t] else slots - int(fill[b])
            seen[b, t, max(first, t) : slots + t + 1] = True
    scores = (scores / WIDTH**0.5).masked_fill(~seen[:, None], float("-inf"))
    return torch.einsum("bnts,bsnd->btnd", scores.softmax(-1), v)


@pytest.mark.parametrize(("steps", "slots"), [(1, 4), (5, 4), (64, 3), (140, 3), (200, 70), (9, 0), (150, 0), (3, 30)])
@pytest.mark.parametrize("reset", [False, True])
def test_is_dense_masked_attention(steps: int, slots: int, reset: bool) -> None:
    drawn, fill = draw(steps, slots), torch.tensor([0, slots // 2, slots])
    mask = torch.rand(ROWS, steps, generator=torch.Generator().manual_seed(2)) < 0.1 * reset
    segments = segment_ids(mask)
    expected = dense(*drawn, fill, segments)
    assert_close(xl_attention(*drawn, fill, segments), expected)
    if not reset:
        assert_close(xl_attention(*drawn, fill), expected)


def test_empty_slots_are_never_attended() -> None:
    """Whatever an empty slot projects to (a bias, say), the first token attends to itself alone."""
    q, k, v, *rest = draw(1, 5)
    assert_close(xl_attention(q, k, v, *rest, torch.zeros(ROWS, dtype=torch.int64)), v[:, -1:])


def test_step_with_keys_is_a_sequence_of_one() -> None:
    q, *rest = draw(1, 5)
    fill, resets = torch.tensor([0, 3, 5]), torch.tensor([False, True, False])
    stepped = xl_attention_step(q[:, 0], *rest, fill, resets)
    assert_close(stepped[:, None], xl_attention(q, *rest, fill, segment_ids(resets[:, None])))


def test_memory_is_the_last_inputs_of_the_episode() -> None:
    x, mem = torch.arange(1.0, 4.0).view(1, 3, 1), torch.tensor([0.0, 0.0, 8.0, 9.0]).view(1, 4, 1)
    fill = torch.tensor([2])
    after, filled = xl_memory(x, mem, fill)
    assert (after.flatten().tolist(), filled.item()) == ([9, 1, 2, 3], 4)
    after, filled = xl_memory(x, mem, fill, torch.tensor([[0, 1, 1]]))
    assert (after.flatten().tolist(), filled.item()) == ([0, 0, 2, 3], 2)
    after, filled = xl_memory(x[:, :1], mem, fill)
    assert (after.flatten().tolist(), filled.item()) == ([0, 8, 9, 1], 3)


def test_memory_is_detached() -> None:
    x, mem = torch.randn(1, 3, 2, requires_grad=True), torch.randn(1, 4, 2, requires_grad=True)
    assert not xl_memory(x, mem, torch.tensor([4]))[0].requires_grad


def test_relative_positions() -> None:
    table = relative_positions(3, 6, torch.float64)
    assert table.shape == (4, 6)
    for d in range(4):
        for i in range(3):
            angle = torch.tensor(d * 10000.0 ** (-2 * i / 6), dtype=torch.float64)
            assert_close(table[d, i], angle.sin())
            assert_close(table[d, 3 + i], angle.cos())


def test_memory_grows_linearly_with_time() -> None:
    """No tensor is larger than a few times T (M + block)."""
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            nonlocal largest
            result = function(*args, **(kwargs or {}))
            if isinstance(result, Tensor):
                largest = max(largest, result.numel())
            return result

    steps = 2000
    drawn = draw(steps, 4)
    with Watch():
        xl_attention(*drawn, torch.full((ROWS,), 4), torch.zeros(ROWS, steps, dtype=torch.int64))
    assert largest < 2 * ROWS * HEADS * steps * (64 + 4)
