"""Dropout (spec §1, randomness): one mask per row and episode, so the contract holds in training mode too."""

from __future__ import annotations

import copy
import pickle
import re
import zlib
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import torch
from tensordict import TensorDict
from torch import Tensor, nn

import cortexc
from cortexc import CompiledStack, CortexInputError, set_dropout_seed_
from cortexc.cortex_dsl import (
    AdapterScaffoldConfig,
    CoreConfig,
    CortexStackConfig,
    LSTMCoreConfig,
    PassThroughScaffoldConfig,
    XLCoreConfig,
)
from cortexc.kernels.dropout.reference import keeps
from cortexc.runtime.custom import MemoryCore, register_core
from cortexc.runtime.recording import AFTER, Recording

from ..tolerances import assert_close
from .contract import DEVICE, MASKS, ROWS, WIDTH, check_gradients, inputs, leaves, make, mask, pieces, run
from .routed import ROUTES

STEPS = 13
SEED = 7
F32, F64 = torch.float32, torch.float64
ROUTED = " with adapter_num_slots=4 adapter_rank=2 adapter_dropout=0.4"

_INNER = PassThroughScaffoldConfig(core=LSTMCoreConfig())
PARTS: dict[str, Any] = {
    "X": "X(mem_len=5, attn_dropout=0.3, out_dropout=0.2)",
    "X^": "X^(mem_len=5, attn_dropout=0.3, out_dropout=0.2)",
    "S": "S(dropout=0.3)",
    "L": "L(num_layers=3, dropout=0.4)",
    "adapter scaffold": CortexStackConfig(
        d_hidden=WIDTH, scaffolds=(AdapterScaffoldConfig(scaffold=_INNER, bottleneck=8, dropout=0.4),)
    ),
    "preup": "L@preup(dropout=0.3)",
    "preup gated": "M(chunk_size=4)@preup_gated(dropout=0.3)",
    "postup": "L@postup(dropout=0.3)",
    "postup gated": "S(dropout=0.2)@postup_gated(dropout=0.3)",
    "layers of their own": "layer(L@postup(dropout=0.3)) / layer(L@preup(dropout=0.2))" + ROUTED,
    "routed": "A X(mem_len=5, attn_dropout=0.2) L(num_layers=2, dropout=0.3)" + ROUTED,
    "routed full rank": "A(use_fullrank_rtu=true) M(chunk_size=4)" + ROUTED,
}
BACKENDS = [("reference", F64), ("eager", F64)]


class Bound:
    """A stack whose calls have their routes, if it takes any, for functions that know of none."""

    def __init__(self, stack: CompiledStack) -> None:
        routes = {"route_ids": ROUTES} if stack.adapter else {}
        self._stack, self.step = stack, partial(stack.step, **routes)
        self._call = partial(stack, **routes)

    def __call__(self, *args: object, **kwargs: object) -> Any:
        return self._call(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stack, name)


@cache
def part(name: str, backend: str, dtype: torch.dtype) -> Any:
    stack = make(PARTS[name], backend, dtype)
    set_dropout_seed_(stack, SEED)
    return Bound(stack)


@cache
def oracle(name: str, kind: str) -> tuple[Tensor, TensorDict]:
    """The reference in float64, over the whole sequence at once."""
    with torch.no_grad():
        return run(part(name, "reference", F64), inputs(STEPS, F64), mask(kind, STEPS), [STEPS])


def agree(found: tuple[Tensor, TensorDict], expected: tuple[Tensor, TensorDict], dtype: torch.dtype = F64) -> None:
    assert_close(found[0], expected[0].to(dtype), dtype, "y")
    wanted = leaves(expected[1])
    assert leaves(found[1]).keys() == wanted.keys()
    for path, leaf in leaves(found[1]).items():
        assert_close(leaf, wanted[path].to(leaf.dtype), dtype if leaf.is_floating_point() else None, path)


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("backend", BACKENDS, ids=lambda b: b[0])
@pytest.mark.parametrize("cut", ["halves", "random", "steps"])
def test_one_function_however_cut(name: str, backend: tuple[str, torch.dtype], cut: str) -> None:
    """In training mode, with resets inside: outputs and states, the counters among them."""
    x, m, lengths = inputs(STEPS, F64), mask("random", STEPS), pieces(cut, STEPS)
    with torch.no_grad():
        found = run(part(name, *backend), x, m, lengths, by_step=cut == "steps")
    agree(found, oracle(name, "random"))


@pytest.mark.parametrize("name", PARTS)
def test_resets(name: str) -> None:
    """Every kind of mask gives what the reference gives."""
    for kind in MASKS:
        with torch.no_grad():
            found = run(part(name, "eager", F64), inputs(STEPS, F64), mask(kind, STEPS), [STEPS])
        agree(found, oracle(name, kind))


@pytest.mark.parametrize("name", PARTS)
def test_on_kernels(name: str) -> None:
    """The Triton backend draws the same masks."""
    with torch.no_grad():
        found = run(part(name, "triton", F32), inputs(STEPS, F32), mask("random", STEPS), [5, STEPS - 5])
    agree(found, oracle(name, "random"), F32)


def test_the_report_counts_the_counters() -> None:
    """Those of cores, and the one of a layer's adapters."""
    stack = part("routed", "eager", F64)
    held = sum(leaf.element_size() * leaf[0].numel() for leaf in leaves(stack.init_state(1)).values())
    assert stack.summary().total_state_bytes == held


@pytest.mark.parametrize("name", PARTS)
def test_nothing_survives_a_reset(name: str) -> None:
    """A NaN before a reset reaches neither outputs nor gradients after it, dropped or not."""
    stack, clean = part(name, "eager", F64), inputs(STEPS, F64)
    dirty = clean.clone()
    dirty[0, 4] = float("nan")
    m = torch.zeros(ROWS, STEPS, dtype=torch.bool, device=DEVICE)
    m[0, 6] = True
    dirty.requires_grad_()
    y, expected = stack(dirty, resets=m)[0], stack(clean, resets=m)[0]
    assert_close(y[0, 6:], expected[0, 6:])
    assert_close(y[1:], expected[1:])
    (g,) = torch.autograd.grad(y[0, 6:].sum(), dirty)
    assert torch.isfinite(g[0, 6:]).all()


@pytest.mark.parametrize("name", PARTS)
def test_gradients(name: str) -> None:
    """Gradients to x, every parameter and the incoming state equal the reference's."""
    check_gradients(part(name, "eager", F64), part(name, "reference", F64), STEPS, F64)


# The same stack without dropout.
WITHOUT = {
    "X": "X(mem_len=5)",
    "X^": "X^(mem_len=5)",
    "S": "S",
    "L": "L(num_layers=3)",
    "preup": "L@preup",
    "preup gated": "M(chunk_size=4)",
    "postup": "L@postup",
    "postup gated": "S",
}


@pytest.mark.parametrize("name", WITHOUT)
def test_eval_is_the_stack_without_dropout(name: str) -> None:
    """The identity, and episodes are counted all the same."""
    plain = make(WITHOUT[name], "eager", F64)
    stack = copy.deepcopy(part(name, "eager", F64)._stack)
    plain.load_state_dict(stack.state_dict())  # the same names
    x, m = inputs(STEPS, F64), mask("random", STEPS)
    trained, counted = stack(x, resets=m)
    y, state = stack.eval()(x, resets=m)
    expected, without = plain(x, resets=m)
    assert torch.equal(y, expected) and (trained - y).abs().max() > 1e-2
    counters = {k: v for k, v in leaves(state).items() if k.endswith("/dropout")}
    assert counters and leaves(state).keys() == leaves(without).keys() | counters.keys()
    assert all(torch.equal(v, leaves(counted)[k]) for k, v in counters.items())


def core(**options: object) -> CompiledStack:
    """Attention that drops its outputs: a zero of y is a dropped channel."""
    torch.manual_seed(0)
    config = XLCoreConfig(hidden_size=64, mem_len=2, **options)  # type: ignore[arg-type]
    return cortexc.compile(config, backend="eager", dtype=F64, device=DEVICE)


def test_one_mask_per_row_and_episode() -> None:
    """The same inside an episode, another in every other, within a call and across calls; kept units are scaled."""
    stack, rows, steps = core(out_dropout=0.25), 8, 6
    x = torch.randn(rows, steps, 64, dtype=F64, device=DEVICE)
    resets = torch.zeros(rows, steps, dtype=torch.bool, device=DEVICE)
    resets[:, 3] = True
    y, state = stack(x, resets=resets)
    later, _ = stack(x, state)
    dropped = torch.cat([y, later], 1) == 0
    first, second = dropped[:, :3], dropped[:, 3:]
    assert (first == first[:, :1]).all() and (second == second[:, :1]).all()
    masks = torch.cat([first[:, 0], second[:, 0]])
    assert len({tuple(m) for m in masks.tolist()}) == 2 * rows
    assert abs(masks.double().mean().item() - 0.25) < 5 * (0.25 * 0.75 / masks.numel()) ** 0.5
    expected, _ = stack.eval()(x, resets=resets)
    assert_close(y, torch.where(dropped[:, :steps], 0.0, expected / 0.75))


def test_lstm_drops_between_layers_as_torch() -> None:
    """Against two torch.nn.LSTM with the mask between them, drawn in Python's integers; not after the last."""
    torch.manual_seed(0)
    stack = cortexc.compile(LSTMCoreConfig(hidden_size=WIDTH, num_layers=2, dropout=0.4), backend="eager", dtype=F64)
    below, above = (nn.LSTM(WIDTH, WIDTH, batch_first=True, dtype=F64) for _ in range(2))
    for index, layer in enumerate((below, above)):
        layer.load_state_dict(
            {k.replace("l0", f"l{index}"): v for k, v in stack.named_parameters()}
            | {k: stack.get_parameter(k.replace("l0", f"l{index}")) for k in layer.state_dict()},
            strict=False,
        )
    x, state = inputs(STEPS, F64).cpu(), stack.init_state(ROWS)
    site = zlib.crc32(b"layer 0")
    kept = torch.tensor([[keeps(key, site, c, 0.4) for c in range(WIDTH)] for key in state["dropout"].tolist()])
    expected = above(below(x)[0] * kept[:, None] / 0.6)[0]
    assert_close(stack(x, state)[0], expected)
    assert 0 < kept.double().mean() < 1


def test_gradients_flow_through_kept_units_only() -> None:
    config = AdapterScaffoldConfig(scaffold=_INNER, bottleneck=32, dropout=0.5)
    stack = cortexc.compile(config, d_hidden=WIDTH, backend="eager", dtype=F64, device=DEVICE)
    state = stack.init_state(1)
    stack(inputs(STEPS, F64)[:1], state)[0].sum().backward()
    site, key = zlib.crc32(b"adapter"), state["dropout"].item()
    kept = torch.tensor([keeps(key, site, c, 0.5) for c in range(32)], device=DEVICE)
    assert torch.equal(stack.up.weight.grad.abs().amax(0) > 0, kept)


def test_reset_state_is_a_reset_in_forward() -> None:
    """Counters included: a fresh row stays as it was, a row that has stepped begins its next episode."""
    stack = part("X", "eager", F64)
    x, first = inputs(STEPS, F64), torch.tensor([True, False, True], device=DEVICE)
    fresh = stack.init_state(ROWS)
    for a, b in zip(leaves(fresh).values(), leaves(stack.reset_state(fresh, first)).values(), strict=True):
        assert torch.equal(a, b)
    assert torch.equal(stack(x, fresh, resets=first)[0], stack(x, fresh)[0])
    _, warm = stack(x)
    reset = stack.reset_state(warm, first)
    again = stack.reset_state(reset, first)
    counters = [next(v for k, v in leaves(s).items() if k.endswith("dropout")) for s in (fresh, warm, reset, again)]
    assert torch.equal(counters[1], counters[0] + 1)
    assert torch.equal(counters[2], counters[0] + torch.tensor([2, 1, 2], device=DEVICE))
    assert torch.equal(counters[3], counters[2])
    agree(stack(x, reset), stack(x, warm, resets=first))


def test_fresh_states_have_new_masks_unless_seeded() -> None:
    """torch.manual_seed repeats a run; a seed of the stack repeats every fresh state; None goes back."""
    stack, x = cortexc.compile(PARTS["S"], d_hidden=WIDTH, backend="eager", dtype=F64, device=DEVICE), inputs(3, F64)

    def call() -> Tensor:
        return stack(x)[0]

    torch.manual_seed(3)
    a, b = call(), call()
    assert not torch.equal(a, b)
    torch.manual_seed(3)
    assert torch.equal(call(), a)
    state = stack.init_state(ROWS)
    assert torch.equal(stack(x, state)[0], stack(x, state)[0])  # a call is a function of its state
    set_dropout_seed_(nn.Sequential(stack), 5)
    c = call()
    assert stack.dropout_seed == 5 and torch.equal(call(), c)
    assert_close(stack.step(x[:, 0])[0], c[:, 0])
    assert_close(stack(x[:2])[0], c[:2])
    set_dropout_seed_(stack, 6)
    assert not torch.equal(call(), c)
    set_dropout_seed_(stack, None)
    assert not torch.equal(call(), call())


def test_layers_have_masks_of_their_own() -> None:
    """Equal layers share their code, and not their masks, seeded or not; rows keep theirs wherever they go."""
    stack = make("S(dropout=0.3) x3", "eager", F64)
    for seed in (SEED, None):
        set_dropout_seed_(stack, seed)
        counters = [v for k, v in leaves(stack.init_state(ROWS)).items() if k.endswith("dropout")]
        assert torch.cat(counters).unique().numel() == 3 * ROWS
    x, order = inputs(STEPS, F64), torch.tensor([2, 0])
    _, state = stack(x[:, :6], stack.init_state(ROWS))
    assert_close(stack(x[order, 6:], state[order])[0], stack(x[:, 6:], state)[0][order])


def test_a_part_may_be_in_eval_by_itself() -> None:
    """The mode is that of the part's own module, and what a recorded call depends on."""
    stack = make("S(dropout=0.3) x2", "eager", F64)
    set_dropout_seed_(stack, SEED)
    x = inputs(3, F64)
    assert stack.modes() == (True, True, True)
    both, _ = stack(x)
    stack.layers[0].experts[0].core.eval()
    assert stack.modes() == (True, False, True)
    one, _ = stack(x)
    assert not torch.equal(one, both)
    assert stack.eval().modes() == (False, False, False) and not torch.equal(stack(x)[0], one)
    assert make("S", "eager", F64).modes() == (True,)


def test_copies_pickles_and_checkpoints(tmp_path: Path) -> None:
    """Copies and pickles keep the seed, no weight is added, and a saved state goes on with its masks."""
    stack = part("L", "eager", F64)._stack
    x = inputs(STEPS, F64)
    y, state = stack(x)
    for again in (copy.deepcopy(stack), pickle.loads(pickle.dumps(stack))):
        assert again.dropout_seed == SEED and torch.equal(again(x)[0], y)
    assert stack.state_dict().keys() == make("L(num_layers=3)", "eager", F64).state_dict().keys()
    cortexc.save_checkpoint(tmp_path / "s.cortexc", stack, state)
    loaded, kept = cortexc.load_checkpoint(tmp_path / "s.cortexc", backend="eager", device=DEVICE)
    assert torch.equal(loaded(x, kept)[0], stack(x, state)[0])


def test_stepper() -> None:
    """Steps in place are the sequence; it follows the mode of the stack."""
    stack = part("X", "eager", F64)._stack
    x, m = inputs(STEPS, F64), mask("random", STEPS)
    expected, state = stack(x, resets=m)
    stepper = stack.stepper(ROWS)
    y = torch.stack([stepper(x[:, t], resets=m[:, t]).clone() for t in range(STEPS)], 1)  # type: ignore[index]
    assert_close(y, expected)
    agree((y, stepper.state), (expected, state))
    other = copy.deepcopy(stack)
    stepper = other.stepper(ROWS)
    stepper.state = state
    other.eval()
    assert_close(stepper(x[:, 0]), other.step(x[:, 0], state)[0])


def test_torch_compile_sees_one_graph() -> None:
    """In both modes, which are no constants of the trace."""
    torch._dynamo.reset()
    stack = core(attn_dropout=0.3, out_dropout=0.25)
    set_dropout_seed_(stack, SEED)
    compiled = torch.compile(stack, backend="aot_eager", fullgraph=True)
    x, m = torch.randn(ROWS, 5, 64, dtype=F64, device=DEVICE), mask("random", 5)
    for training in (True, False):
        stack.train(training)
        assert_close(compiled(x, resets=m)[0], stack(x, resets=m)[0])


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["X", "S"])
def test_recorded_calls_draw_the_same_masks(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """New states are data of a recording; training and eval are two."""
    seen = []
    real = Recording.replay
    monkeypatch.setattr(Recording, "replay", lambda self, *args: (seen.append(1), real(self, *args))[1])

    def calls() -> list[Tensor]:
        stack = make(PARTS[name], "triton", F32)
        torch.manual_seed(2)  # only now: the first use of a GPU seeds its generator itself
        outs = []
        for training in (True, False, True):
            stack.train(training)
            for i in range(AFTER + 2):
                outs.append(stack(inputs(STEPS, F32, seed=i), resets=mask("random", STEPS, seed=i))[0].detach())
        return outs

    found = calls()
    replayed = len(seen)
    monkeypatch.setenv("CORTEXC_RECORD", "0")
    expected = calls()
    assert replayed > 6 and len(seen) == replayed
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_the_page_runs() -> None:
    """Every block of docs/dropout.md, one after the other."""
    page = (Path(__file__).parents[2] / "docs" / "dropout.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    space: dict[str, object] = {}
    for block in blocks:
        exec(block, space)
    assert len(blocks) == 2


class HoldingCoreConfig(CoreConfig):
    """A core of a user around a built-in one."""

    kind: str = "holding_dropout"


@register_core(HoldingCoreConfig)
class HoldingCore(MemoryCore):
    def __init__(self, cfg: HoldingCoreConfig) -> None:
        super().__init__(hidden_size=cfg.hidden_size)
        self.inner = cortexc.compile(
            LSTMCoreConfig(hidden_size=cfg.hidden_size, num_layers=2, dropout=0.4), backend="eager"
        )

    def init_state(self, batch: int, *, device: Any, dtype: torch.dtype) -> TensorDict:
        return self.inner.init_state(batch, device=device, dtype=dtype)

    def forward(self, x: Tensor, state: Any = None, *, resets: Tensor | None = None) -> Any:
        return self.inner(x, state, resets=resets)


def test_inside_a_part_of_a_user() -> None:
    """The counter of a built-in part is one in the state of what holds it too: births, resets, seed."""
    layer = PassThroughScaffoldConfig(core=HoldingCoreConfig())
    stack = cortexc.compile(CortexStackConfig(d_hidden=WIDTH, scaffolds=(layer, layer)), backend="eager", dtype=F64)
    set_dropout_seed_(stack, SEED)
    counters = [v for k, v in leaves(stack.init_state(ROWS)).items() if k.endswith("dropout")]
    assert torch.cat(counters).unique().numel() == 2 * ROWS
    x, m = inputs(STEPS, F64).cpu(), mask("random", STEPS)
    m = None if m is None else m.cpu()
    expected = run(stack, x, m, [STEPS])
    agree(run(stack, x, m, [1] * STEPS, by_step=True), expected)


@pytest.mark.parametrize("seed", [1.5, "7", True])
def test_a_bad_seed(seed: object) -> None:
    with pytest.raises(CortexInputError, match=r"the seed of dropout is .*; expected an int, or None"):
        set_dropout_seed_(part("S", "eager", F64)._stack, seed)  # type: ignore[arg-type]


def test_what_holds_no_stack_has_no_seed() -> None:
    with pytest.raises(TypeError, match="not a Linear without one"):
        set_dropout_seed_(nn.Linear(2, 2), 1)
    with pytest.raises(TypeError, match="not a int"):
        set_dropout_seed_(3, 1)  # type: ignore[arg-type]
