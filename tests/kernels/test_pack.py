"""Parameters merged without copies: a view while they lie together, right in any case."""

from __future__ import annotations

import copy
import gc
import weakref

import pytest
import torch
from torch import Tensor, nn

from cortexc.kernels import lay_out, pack


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 3), nn.Linear(4, 5)
        lay_out([self.a.weight, self.b.weight])

    def forward(self, x: Tensor) -> Tensor:
        return x @ pack(self.a.weight, self.b.weight).T


def right(model: Two) -> bool:
    """Values and gradients are those of torch.cat."""
    merged = pack(model.a.weight, model.b.weight)
    plain = torch.cat([model.a.weight, model.b.weight])
    weights = torch.arange(1.0, 33.0).view(8, 4).to(merged.dtype)
    ours = torch.autograd.grad((merged * weights).sum(), [model.a.weight, model.b.weight])
    theirs = torch.autograd.grad((plain * weights).sum(), [model.a.weight, model.b.weight])
    return torch.equal(merged, plain) and all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def free(model: Two) -> bool:
    return pack(model.a.weight, model.b.weight).data_ptr() == model.a.weight.data_ptr()


def test_laying_out_keeps_parameters_and_makes_packing_free() -> None:
    torch.manual_seed(0)
    model = Two()
    names, objects = [n for n, _ in model.named_parameters()], list(model.parameters())
    values = [p.detach().clone() for p in objects]
    lay_out([model.a.weight, model.b.weight])
    assert [n for n, _ in model.named_parameters()] == names
    assert all(p is o and torch.equal(p, v) for p, o, v in zip(model.parameters(), objects, values, strict=True))
    assert right(model)
    assert free(model)


@torch.no_grad()
def test_a_view_is_handed_out_again_while_it_is_right() -> None:
    model = Two()
    view = pack(model.a.weight, model.b.weight)
    assert pack(model.a.weight, model.b.weight) is view
    with torch.inference_mode():
        assert pack(model.a.weight, model.b.weight) is view
    model.a.weight.add_(1)
    assert torch.equal(view, torch.cat([model.a.weight, model.b.weight]))
    other = [nn.Parameter(torch.randn(4, 4)) for _ in range(2)]
    lay_out(other)
    pack(*other)
    other[1].data = other[1].data.T  # where it was, and not as it was
    assert torch.equal(pack(*other), torch.cat(other))


@torch.no_grad()
def test_views_are_forgotten_with_their_parameters() -> None:
    model = Two()
    view = weakref.ref(pack(model.a.weight, model.b.weight))
    assert view() is not None
    lay_out([model.b.weight, model.a.weight])
    assert view() is None
    view = weakref.ref(pack(model.b.weight, model.a.weight))
    assert view() is not None
    del model
    gc.collect()
    assert view() is None


def test_optimizer_steps_in_place() -> None:
    model, twin = Two(), Two()
    twin.load_state_dict(model.state_dict())
    ours, theirs = (torch.optim.AdamW(m.parameters(), lr=0.1) for m in (model, twin))
    x = torch.randn(6, 4)
    for _ in range(3):
        for optimizer, y in ((ours, model(x)), (theirs, x @ torch.cat([twin.a.weight, twin.b.weight]).T)):
            optimizer.zero_grad()
            y.square().sum().backward()
            optimizer.step()
    assert torch.allclose(model.a.weight, twin.a.weight)
    assert torch.allclose(model.b.weight, twin.b.weight)
    assert right(model)
    assert free(model)


def test_state_dict_loads_in_place() -> None:
    model = Two()
    model.load_state_dict({k: torch.randn_like(v) for k, v in model.state_dict().items()})
    assert right(model)
    assert free(model)


def test_what_moves_a_parameter_out_is_noticed() -> None:
    model = Two()
    moved = [copy.deepcopy(model), copy.deepcopy(model).to(torch.float64)]
    assigned = copy.deepcopy(model)
    assigned.load_state_dict({k: torch.randn_like(v) for k, v in model.state_dict().items()}, assign=True)
    written = Two()
    written.b.weight.data = torch.randn(5, 4)
    frozen = Two()
    frozen.b.weight = nn.Parameter(torch.randn(5, 4))
    for other in (*moved, assigned, written, frozen):
        assert right(other)
        assert not free(other)
    assert right(model)
    assert free(model)


def test_a_copy_is_independent() -> None:
    model = Two()
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.a.weight.zero_()
    assert not (model.a.weight == 0).any()


def test_writing_between_forward_and_backward_raises() -> None:
    for which in ("a", "b"):
        model = Two()
        loss = model(torch.randn(6, 4)).sum()
        with torch.no_grad():
            getattr(model, which).weight.add_(1)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()


def test_other_orders_and_kinds_are_copied() -> None:
    model = Two()
    assert torch.equal(pack(model.b.weight, model.a.weight), torch.cat([model.b.weight, model.a.weight]))
    transposed = torch.randn(4, 4).T
    assert torch.equal(pack(transposed, transposed), torch.cat([transposed, transposed]))
    assert pack(model.a.weight) is model.a.weight


def test_compiles_and_transforms() -> None:
    torch._dynamo.reset()
    model, x = Two(), torch.randn(6, 4)
    assert torch.equal(torch.compile(model, fullgraph=True, backend="aot_eager")(x), model(x))
    parameters = dict(model.named_parameters())
    grads = torch.func.grad(lambda p: torch.func.functional_call(model, p, (x,)).sum())(parameters)
    model(x).sum().backward()
    assert torch.allclose(grads["a.weight"], model.a.weight.grad)
    assert torch.allclose(grads["b.weight"], model.b.weight.grad)
