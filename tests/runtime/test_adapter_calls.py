"""Routed adapters as they are called (A1-A5): ids, errors, the stepper, what learns, the report, text and packages."""

from __future__ import annotations

import copy
import io
import pickle
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

import cortexc
from cortexc import CortexInputError, CortexSpecError, RoutedAdapterConfig
from cortexc.cells import AxonCellConfig, XLCellConfig
from cortexc.cortex_dsl import format_spec, parse
from cortexc.stacks import build_cortex_auto_stack

from ..tolerances import assert_close
from .contract import DEVICE, ROWS, WIDTH, inputs, leaves, mask
from .routed import F32, F64, OPTIONAL, OPTIONS, ROUTES, adapted, compiled, pair

STEPS = 9


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (None, r"route_ids is missing; pass int64 \[3\], one slot in \[0, 4\)"),
        ([0, 1, 2], "route_ids is a list; expected a tensor"),
        (torch.tensor([0, 1, 2], dtype=torch.int32), r"route_ids is torch.int32; expected int64 \[3\].*route_ids.long"),
        (torch.tensor([0, 1]), r"route_ids has shape \[2\]; expected int64 \[3\]"),
        (torch.zeros(3, STEPS, dtype=torch.int64), r"route_ids has shape \[3, 9\].*one route for each row"),
        # On a GPU the gather itself stops, which would end the process.
        pytest.param(
            torch.tensor([0, 4, 1]),
            "route_ids holds 4; this stack has 4 slots, 0 to 3",
            marks=pytest.mark.interpreter,
        ),
        pytest.param(torch.tensor([0, -1, 1]), "route_ids holds -1", marks=pytest.mark.interpreter),
    ],
)
def test_bad_routes(ids: object, message: str) -> None:
    stack, x = compiled("A"), inputs(STEPS, F64)
    bad = ids.to(DEVICE) if isinstance(ids, Tensor) else ids
    calls = [lambda: stack(x, route_ids=bad), lambda: stack.stepper(ROWS)(x[:, 0], route_ids=bad)]
    if not isinstance(ids, Tensor) or ids.dim() == 1:
        calls.append(lambda: stack.step(x[:, 0], route_ids=bad))  # type: ignore[arg-type]
    for call in calls:
        with pytest.raises(CortexInputError, match=message):
            call()


@pytest.mark.parametrize("pattern", ["A", "A" + OPTIONS + " adapter_enabled=false"])
def test_routes_for_a_stack_without_adapters(pattern: str) -> None:
    """Adapters that are switched off are as if they were not there."""
    stack = cortexc.compile(pattern, d_hidden=WIDTH, backend="eager", device=DEVICE)
    assert not adapted(stack)
    with pytest.raises(CortexInputError, match="this stack has no routed adapters"):
        stack(inputs(STEPS, F32), route_ids=ROUTES)


def test_what_does_not_compile_yet() -> None:
    inner = parse("A" + OPTIONS, d_hidden=WIDTH)
    with pytest.raises(CortexSpecError, match="routed_adapter") as raised:
        cortexc.compile(_around(inner), backend="eager")
    assert raised.value.diagnostics[0].code == "E513"


def _around(inner: cortexc.CortexStackConfig) -> cortexc.CortexStackConfig:
    """A stack whose core is a stack."""
    scaffold = cortexc.config.PassThroughScaffoldConfig(core=inner)
    return cortexc.CortexStackConfig(d_hidden=WIDTH, scaffolds=(scaffold,))


def test_adapters_reach_a_stack_used_as_a_core() -> None:
    spec = _around(parse("L", d_hidden=WIDTH)).model_copy(update={"routed_adapter": RoutedAdapterConfig(num_slots=2)})
    stack = cortexc.compile(spec, backend="eager", device=DEVICE)
    assert any(".core.layers.0." in name for name in adapted(stack))
    stack(inputs(STEPS, F32), route_ids=torch.zeros(ROWS, dtype=torch.int64, device=DEVICE))


def test_stepper() -> None:
    """Routes are data of a step: they may change from one to the next, and come and go where they are optional."""
    torch.manual_seed(5)
    stack = compiled("A S", OPTIONAL)
    with torch.no_grad():
        for p in adapted(stack).values():
            p.normal_(0, 0.3)
    stepper, state = stack.stepper(ROWS), None
    for t, routes in enumerate([ROUTES, ROUTES.flip(0), None, None, ROUTES]):
        x = inputs(5, F64)[:, t]
        expected, state = stack.step(x, state, route_ids=routes)
        with torch.no_grad():
            assert_close(stepper(x, route_ids=routes), expected, F64, f"step {t}")


def test_only_the_adapters_learn() -> None:
    """An optimizer over the adapters fits a target for two slots; the trunk and the other slots stay."""
    stack = compiled("A S", " adapter_freeze_base=true")
    own = adapted(stack)
    assert {n for n, p in stack.named_parameters() if p.requires_grad} == own.keys()
    before = {n: p.detach().clone() for n, p in stack.named_parameters()}
    optimizer = torch.optim.AdamW(own.values(), lr=0.01, weight_decay=0.0)
    x, target = inputs(STEPS, F64), inputs(STEPS, F64, seed=9)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        error = (stack(x, route_ids=ROUTES)[0] - target).square().mean()
        error.backward()
        optimizer.step()
        losses.append(error.item())
    assert losses[-1] < 0.8 * losses[0]
    for n, p in stack.named_parameters():
        if n in own:
            assert torch.equal(p[[1, 3]], before[n][[1, 3]]), n
            # The router's context is 0 at the start and frozen here, and with it the prior.
            still = n.endswith("down") or ".router." in n
            assert still or not torch.equal(p[[0, 2]], before[n][[0, 2]]), n
        else:
            assert torch.equal(p, before[n]), n


def trunk_scale(stack: torch.nn.Module, *, pattern: str = "A L", call: object = None) -> set[float]:
    """By what factors the gradients of the trunk and of the adapters differ from those of an untouched stack."""
    call = stack if call is None else call
    stack.zero_grad()
    call(inputs(STEPS, F64), route_ids=ROUTES)[0].square().sum().backward()  # type: ignore[operator]
    found = {n: p.grad for n, p in stack.named_parameters()}
    fresh = compiled(pattern)
    fresh.load_state_dict(stack.state_dict())
    fresh(inputs(STEPS, F64), route_ids=ROUTES)[0].square().sum().backward()
    factors = set()
    for n, p in fresh.named_parameters():
        largest = p.grad.abs().max()  # type: ignore[union-attr]
        if largest < 1e-6:
            continue
        factor = (found[n].abs().max() / largest).item()  # type: ignore[union-attr]
        assert_close(found[n], factor * p.grad, F64, n)  # type: ignore[arg-type, operator]
        if n in adapted(fresh):
            assert factor == pytest.approx(1.0), n
        else:
            factors.add(round(factor, 6))
    return factors


def test_set_trunk_lr_mult() -> None:
    """A3: gradients of everything but the adapters are scaled from then on; copies and moves keep it."""
    stack = compiled("A L")
    cortexc.set_trunk_lr_mult_(stack, 0.25)
    assert trunk_scale(stack) == {0.25}
    assert trunk_scale(copy.deepcopy(stack)) == {0.25}
    assert trunk_scale(pickle.loads(pickle.dumps(stack))) == {0.25}
    buffer = io.BytesIO()
    torch.save(stack, buffer)
    buffer.seek(0)
    assert trunk_scale(torch.load(buffer, weights_only=False)) == {0.25}
    stack.float().double()
    assert trunk_scale(stack) == {0.25}
    stack.load_state_dict(stack.state_dict())
    assert trunk_scale(stack) == {0.25}
    stack.load_state_dict({k: v.clone() for k, v in stack.state_dict().items()}, assign=True)
    assert trunk_scale(stack) == {0.25}
    parent = torch.nn.Sequential(stack)
    torch.nn.Module.requires_grad_(parent, False).requires_grad_(True)
    assert trunk_scale(stack) == {0.25}
    cortexc.set_trunk_lr_mult_(stack, 0)
    assert trunk_scale(stack) == {0.0}
    cortexc.set_trunk_lr_mult_(stack, 2.0)
    cortexc.set_trunk_lr_mult_(stack, 1)
    assert trunk_scale(stack) == {1.0}
    assert trunk_scale(compiled("A L", " adapter_trunk_lr_mult=0.5")) == {0.5}


def test_a_frozen_trunk_stays_frozen_where_a_gradient_overflows() -> None:
    stack = compiled("A L")
    cortexc.set_trunk_lr_mult_(stack, 0)
    (stack(inputs(STEPS, F64), route_ids=ROUTES)[0].sum() * float("inf")).backward()
    assert not any(p.grad.any() for n, p in stack.named_parameters() if n not in adapted(stack) and p.grad is not None)


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), True, "0.5", None])
def test_bad_multipliers(value: object) -> None:
    with pytest.raises(CortexInputError, match="the multiplier of the trunk is"):
        cortexc.set_trunk_lr_mult_(compiled("A"), value)  # type: ignore[arg-type]


def test_a_multiplier_for_what_is_no_stack() -> None:
    with pytest.raises(TypeError, match="takes a compiled stack, not a Linear"):
        cortexc.set_trunk_lr_mult_(torch.nn.Linear(2, 2), 0.5)


def test_the_multiplier_works_without_adapters() -> None:
    """Then everything is the trunk."""
    stack = cortexc.compile("A", d_hidden=WIDTH, backend="eager", dtype=F64, device=DEVICE)
    grads = []
    for value in (1.0, 0.5):
        cortexc.set_trunk_lr_mult_(stack, value)
        stack.zero_grad()
        stack(inputs(STEPS, F64))[0].sum().backward()
        grads.append([p.grad.clone() for p in stack.parameters()])  # type: ignore[union-attr]
    assert all(torch.allclose(0.5 * a, b) for a, b in zip(*grads, strict=True))


def test_compiled_as_one_graph() -> None:
    """A4: nothing is switched off; torch.compile sees one graph, and the trunk's multiplier holds there too."""
    torch._dynamo.reset()
    stack = pair("L(num_layers=2)", "eager", F64)[0]
    call = torch.compile(stack, fullgraph=True, backend="aot_eager")
    x, m = inputs(STEPS, F64), mask("random", STEPS)
    y, state = call(x, resets=m, route_ids=ROUTES)
    expected, expected_state = stack(x, resets=m, route_ids=ROUTES)
    assert_close(y, expected, F64)
    for path, leaf in leaves(state).items():
        assert_close(leaf, leaves(expected_state)[path], leaf.dtype, path)
    cortexc.set_trunk_lr_mult_(call, 0.25)  # type: ignore[arg-type]
    assert trunk_scale(stack, pattern="L(num_layers=2)", call=call) == {0.25}
    cortexc.set_trunk_lr_mult_(stack, 1.0)
    torch._dynamo.reset()


def test_report() -> None:
    """The adapters' parameters are counted, and a line says so."""
    stack = compiled("AS x2", " adapter_trunk_lr_mult=0.5")
    report, own = stack.summary(), adapted(stack)
    assert report.total_params == sum(p.numel() for p in stack.parameters())
    (note,) = report.notes
    held = sum(p.numel() for p in own.values())
    assert note.text.startswith(f"4 slots of rank 2 on {len(own) // 2} linear maps hold {held:,} of the parameters")
    assert note.text.endswith("gradients are scaled by 0.5")
    plain = cortexc.compile("AS x2", d_hidden=WIDTH, backend="eager").summary()
    assert not plain.notes and plain.total_params == report.total_params - held
    assert plain.total_flops_per_token < report.total_flops_per_token


def test_text_and_packages_keep_them(tmp_path: object) -> None:
    spec = parse("A" + OPTIONS + OPTIONAL, d_hidden=WIDTH)
    assert parse(format_spec(spec), d_hidden=WIDTH) == spec
    stack = pair("A", "eager", F64)[0]
    again = cortexc.load(stack.folder, dtype=F64, device=DEVICE)
    again.load_state_dict(stack.state_dict())
    x = inputs(STEPS, F64)
    assert torch.equal(again(x, route_ids=ROUTES)[0], stack(x, route_ids=ROUTES)[0])


def test_the_example_of_the_documents() -> None:
    """A1, A2 as V3 shows them."""
    stack = build_cortex_auto_stack(
        d_hidden=256,
        layers=[[AxonCellConfig(), XLCellConfig()]],
        routed_adapter=RoutedAdapterConfig(num_slots=64, rank=8, dropout=0.0),
        device=DEVICE,
        backend="eager",
    )
    x = torch.randn(4, 16, 256, device=DEVICE)
    route_ids = torch.tensor([0, 5, 12, 7], dtype=torch.long, device=DEVICE)
    out, _ = stack(x, route_ids=route_ids)
    assert out.shape == x.shape


def test_the_page_runs() -> None:
    """Every block of docs/adapters.md, one after the other."""
    page = (Path(__file__).parents[2] / "docs" / "adapters.md").read_text(encoding="utf-8")
    space: dict[str, object] = {}
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    for block in blocks:
        exec(block, space)
    assert len(blocks) == 3 and space["out"].shape == (4, 16, 64)  # type: ignore[attr-defined]
