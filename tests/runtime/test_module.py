"""The nn.Module: names, copies, casts, packed weights, totals of the report, and gradients to every parameter. Covers
B12."""

from __future__ import annotations

import copy
import io
import pickle
import sys

import pytest
import torch
from torch import Tensor, nn

import cortexc
from cortexc.config import ColumnScaffoldConfig
from cortexc.runtime import CompiledStack

from ..tolerances import assert_close
from .contract import PATTERNS, ROWS, WIDTH, leaves
from .parts import PARTS

F64 = torch.float64
ALL = "A X(mem_len=5) M(chunk_size=4) S x2"
BACKENDS = ("reference", "eager", "inductor", "triton", "auto")


def make(
    pattern: str = ALL, backend: str = "eager", dtype: torch.dtype = torch.float32, seed: int = 0
) -> CompiledStack:
    torch.manual_seed(seed)
    return cortexc.compile(pattern, d_hidden=WIDTH, backend=backend, dtype=dtype)


def x(steps: int = 6, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(ROWS, steps, WIDTH, generator=torch.Generator().manual_seed(2), dtype=F64).to(dtype)


def equal(one: nn.Module, two: nn.Module, dtype: torch.dtype = torch.float32) -> bool:
    (y, state), (z, other) = one(x(dtype=dtype)), two(x(dtype=dtype))
    return torch.equal(y, z) and all(
        torch.equal(a, b) for a, b in zip(leaves(state).values(), leaves(other).values(), strict=True)
    )


def packed(stack: CompiledStack) -> list[bool]:
    """For each group of weights that one product reads: do they lie side by side?"""
    params = dict(stack.named_parameters())
    found = []
    for group in stack._packs:
        first, *rest = (params[n] for n in group)
        end, together = first.storage_offset() + first.numel(), True
        for p in rest:
            same = p.untyped_storage().data_ptr() == first.untyped_storage().data_ptr()
            together = together and same and p.storage_offset() == end
            end += p.numel()
        found.append(together)
    return found


# -- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PATTERNS)
def test_names_and_shapes_do_not_depend_on_the_backend(name: str) -> None:
    found = [{k: (tuple(v.shape), v.dtype) for k, v in make(PATTERNS[name], b).state_dict().items()} for b in BACKENDS]
    assert all(list(f.items()) == list(found[0].items()) for f in found)
    assert len(found[0]) > 10


@pytest.mark.parametrize("name", PARTS)
def test_names_of_every_part(name: str) -> None:
    """As the graph is written and as it is fused; in training and evaluation, after sequences, steps and gradients."""
    stack, fused = (cortexc.compile(PARTS[name], d_hidden=WIDTH, backend=b) for b in ("reference", "auto"))
    names = {k: (tuple(v.shape), v.dtype) for k, v in fused.state_dict().items()}
    assert {k: (tuple(v.shape), v.dtype) for k, v in stack.state_dict().items()} == names
    assert list(stack.state_dict()) == list(names)
    y, state = stack.eval()(x())
    stack.step(x()[:, 0], state)
    stack.stepper(ROWS)
    if y.requires_grad:
        y.sum().backward()
    assert list(stack.train().state_dict()) == list(names)


@pytest.mark.parametrize("source", ["reference", "eager"])
def test_weights_move_between_backends(source: str) -> None:
    one = make(backend=source, dtype=F64)
    expected, _ = one(x(dtype=F64))
    for backend in ("reference", "eager"):
        two = make(backend=backend, dtype=F64, seed=5)
        assert not torch.allclose(two(x(dtype=F64))[0], expected)
        assert str(two.load_state_dict(one.state_dict())) == "<All keys matched successfully>"
        assert_close(two(x(dtype=F64))[0], expected)
        assert all(packed(two))


def test_the_tree_is_the_one_of_the_pattern() -> None:
    stack = make("AX / M")
    assert isinstance(stack.layers, nn.ModuleList) and len(stack.layers) == 2
    assert isinstance(stack.layers[0].experts[1].core.q_proj.weight, nn.Parameter)
    with pytest.raises(RuntimeError, match="a group of parameters is not callable; call the stack"):
        stack.layers[0](x())


def test_repr_names_pattern_width_and_backend() -> None:
    text = repr(make("A x2"))
    assert text.startswith("CompiledStack(\n  'A x2', d_hidden=16, backend='eager'\n")
    assert "(0-1): 2 x Group(" in text and "(input_proj): Group()" in text


# -- copies ----------------------------------------------------------------------------------------------------------

COPIES = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda s: pickle.loads(pickle.dumps(s)),
    "torch.save": lambda s: _saved(s),
    "a deepcopy of a deepcopy": lambda s: copy.deepcopy(copy.deepcopy(s)),
}


def _saved(stack: nn.Module) -> nn.Module:
    buffer = io.BytesIO()
    torch.save(stack, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_copies_keep_the_backend(how: str, backend: str) -> None:
    stack = make("A L", backend)
    other = COPIES[how](stack)
    assert (other.backend, other.folder, other.pattern) == (stack.backend, stack.folder, stack.pattern)
    assert all(torch.equal(a, b) for a, b in zip(other.parameters(), stack.parameters(), strict=True))


@pytest.mark.parametrize("how", COPIES)
def test_copies_are_equal_and_independent(how: str) -> None:
    stack = make()
    other = COPIES[how](stack)
    assert type(other) is CompiledStack and equal(stack, other)
    with torch.no_grad():
        for p in other.parameters():
            p.add_(0.1)
    assert not equal(stack, other)
    assert equal(stack, make())  # which was left as it started
    before = other(x())[0]
    optimizer = torch.optim.SGD(other.parameters(), lr=0.1)
    before.square().sum().backward()
    optimizer.step()
    assert not torch.equal(other(x())[0], before)


# -- casts -----------------------------------------------------------------------------------------------------------


def test_double_computes_in_double() -> None:
    stack = make().double()
    assert stack.dtype == F64 and all(packed(stack))
    y, state = stack(x(dtype=F64))
    assert y.dtype == F64
    assert all(v.dtype in (F64, torch.int64) for v in leaves(state).values())
    exact = make(backend="reference", dtype=F64)
    exact.load_state_dict(stack.state_dict())
    assert_close(y, exact(x(dtype=F64))[0])


def test_to_a_dtype_and_back() -> None:
    stack, twin = make(), make()
    stack.to(torch.float64).to(torch.float32)
    assert equal(stack, twin) and all(packed(stack))
    stack.to(torch.bfloat16)
    assert stack(x(dtype=torch.bfloat16))[0].dtype == torch.bfloat16
    stack.to(torch.float32)
    y, expected = stack(x())[0], twin(x())[0]
    assert 0 < ((y - expected).norm() / expected.norm()).item() < 0.1  # the weights were rounded on the way


def test_parameters_stay_the_same_objects() -> None:
    stack = make()
    before = list(stack.parameters())
    optimizer = torch.optim.AdamW(before, lr=0.1)
    stack.double().float()
    assert all(a is b for a, b in zip(before, stack.parameters(), strict=True))
    y, _ = stack(x())
    y.square().sum().backward()
    optimizer.step()
    assert not torch.equal(stack(x())[0], y)


def test_shared_memory_is_shared() -> None:
    """As several processes that train one model ask for; packed weights too."""
    stack = make()
    assert not any(p.is_shared() for p in stack.parameters())
    stack.share_memory()
    assert all(p.is_shared() for p in stack.parameters()) and all(packed(stack))


def test_tied_layers_can_be_moved() -> None:
    stack = make("A x2")
    stack.layers[1] = stack.layers[0]
    assert stack.double()(x(dtype=F64))[0].dtype == F64
    assert stack.layers[1] is stack.layers[0]
    assert len(list(stack.parameters())) == len(list(make("A").parameters()))


def test_a_parametrised_weight_can_be_moved() -> None:
    stack = make("A", dtype=F64)
    nn.utils.parametrizations.weight_norm(stack.layers[0].experts[0].gate1.Wr, "weight")
    y, _ = stack.double()(x(dtype=F64))
    assert_close(y, make("A", dtype=F64)(x(dtype=F64))[0])
    assert stack.float()(x())[0].dtype == torch.float32


def test_apply_reaches_every_parameter() -> None:
    stack, seen = make(), []

    def note(module: nn.Module) -> None:
        seen.extend(module.parameters(recurse=False))

    assert stack.apply(note) is stack
    assert {id(p) for p in seen} == {id(p) for p in stack.parameters()} and len(seen) == len(list(stack.parameters()))


def test_on_the_meta_device_nothing_is_computed() -> None:
    stack = cortexc.compile("AXMS", d_hidden=WIDTH, backend="eager", device="meta")
    assert stack.device.type == "meta" and all(p.is_meta for p in stack.parameters())
    materialised = stack.to_empty(device="cpu")
    materialised.load_state_dict(make("AXMS").state_dict())
    assert equal(materialised, make("AXMS")) and all(packed(materialised))


# -- packed weights --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW])
@pytest.mark.parametrize("form", [{"foreach": False}, {"foreach": True}, {"fused": True}], ids=str)
def test_optimizer_steps_reach_packed_weights(optimizer: type, form: dict[str, bool]) -> None:
    """Trained alike, a stack with packed weights and the reference, which packs nothing, stay equal."""
    one, two = make(dtype=F64), make(backend="reference", dtype=F64)
    two.load_state_dict(one.state_dict())
    assert len(packed(one)) > 10 and not packed(two)
    for stack in (one, two):
        steps = optimizer(stack.parameters(), lr=0.01, **form)
        for _ in range(3):
            steps.zero_grad()
            stack(x(dtype=F64))[0].square().sum().backward()
            steps.step()
    assert all(packed(one))
    for (name, p), q in zip(one.named_parameters(), two.parameters(), strict=True):
        assert (p - q).abs().max() < 1e-7, name  # Adam divides by the root of small gradients


def test_replacing_a_weight_is_seen() -> None:
    stack, twin = make("A"), make("A")
    gate, other = stack.layers[0].experts[0].gate1, twin.layers[0].experts[0].gate1
    new = torch.randn(WIDTH, WIDTH)
    gate.Wr.weight = nn.Parameter(new.clone())
    with torch.no_grad():
        other.Wr.weight.copy_(new)
    assert not all(packed(stack)) and equal(stack, twin)
    assert all(packed(stack.float()))
    assert equal(stack, twin)


def test_functional_call_and_vmap_over_weights() -> None:
    stack = make("A", dtype=F64)
    changed = {k: v.detach() * 1.5 for k, v in stack.named_parameters()}
    y, _ = torch.func.functional_call(stack, changed, (x(dtype=F64),))
    twin = make("A", dtype=F64)
    twin.load_state_dict(changed)
    assert_close(y, twin(x(dtype=F64))[0])
    assert not torch.allclose(y, stack(x(dtype=F64))[0])


# -- totals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pattern", [*PATTERNS.values(), "AX / MS", "X^ / S^", "L x2"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_the_report_counts_what_is_there(pattern: str, dtype: torch.dtype) -> None:
    stack = make(pattern, dtype=dtype)
    report = stack.summary()
    assert report.total_params == sum(p.numel() for p in stack.parameters())
    assert report.total_params == sum(p.numel() for _, p in stack.named_parameters())
    state = leaves(stack.init_state(7))
    assert 7 * report.total_state_bytes == sum(v.numel() * v.element_size() for v in state.values())
    assert (report.pattern, report.d_hidden, report.backend) == (pattern, WIDTH, "eager")


def test_a_nested_column_has_its_own_row() -> None:
    """What its experts compute is counted there, not with the router around it, nor with another expert 0."""
    inner = cortexc.parse("A X", d_hidden=WIDTH).scaffolds[0]
    stack = cortexc.compile(cortexc.CortexStackConfig(d_hidden=WIDTH, scaffolds=(_column("A", inner),)))
    alone = cortexc.compile(inner, d_hidden=WIDTH).summary()
    row = stack.summary().rows[1]
    assert (row.flops_per_token, row.params) == (alone.total_flops_per_token, alone.total_params)
    assert row.state_bytes == alone.total_state_bytes


def _column(token: str, inner: object) -> ColumnScaffoldConfig:
    return ColumnScaffoldConfig(experts=(*cortexc.parse(token).scaffolds[0].experts, inner))


# -- gradients -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PATTERNS)
@pytest.mark.parametrize("backend", ["reference", "eager"])
def test_gradients_reach_every_parameter(name: str, backend: str) -> None:
    """Off the starting point, where outputs that start at zero hide what is behind them."""
    stack = make(PATTERNS[name], backend, F64)
    with torch.no_grad():
        for p in stack.parameters():
            p.add_(0.1 * torch.randn_like(p))
    y, _ = stack(x(9, F64))
    (y * torch.randn(y.shape, generator=torch.Generator().manual_seed(3), dtype=F64)).sum().backward()
    none = [n for n, p in stack.named_parameters() if p.grad is None]
    assert none == []
    assert all(torch.isfinite(p.grad).all() for p in stack.parameters())
    zero = {n for n, p in stack.named_parameters() if p.grad.abs().max() < 1e-12}
    # A bias of all keys shifts every score of a softmax alike, so it has no gradient.
    expected = {n for n, _ in stack.named_parameters() if n.endswith("core.k_proj.bias")}
    assert zero <= expected, sorted(zero - expected)


def test_frozen_parameters_get_none() -> None:
    stack = make()
    stack.layers[0].requires_grad_(False)
    stack(x())[0].sum().backward()
    assert all((p.grad is None) == n.startswith("layers.0.") for n, p in stack.named_parameters())


def test_no_grad_keeps_no_graph() -> None:
    stack = make()
    with torch.no_grad():
        y, state = stack(x())
    assert not y.requires_grad and not any(v.requires_grad for v in leaves(state).values())


def test_inductor_compiles_the_layers_and_a_part_by_itself() -> None:
    """Also one core alone, which has no layer around it; and nothing that is only imported."""
    stack = make("A", "inductor")
    code = vars(sys.modules[stack._sequence.__module__])
    compiled = {n for n, f in code.items() if hasattr(f, "_torchdynamo_orig_callable")}
    assert compiled == {"column_a", "column_a_step"}
    core = cortexc.compile(cortexc.AxonCoreConfig(hidden_size=WIDTH), backend="inductor")
    assert hasattr(core._sequence, "_torchdynamo_orig_callable") and hasattr(core._step, "_torchdynamo_orig_callable")
