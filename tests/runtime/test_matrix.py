"""The matrix of the contract (spec §1): every part × backend × dtype × cut × mask. Covers U3, U8, U15, C1-C7, S1-S7,
R7, W4."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import pytest
import torch
from torch import Tensor

from cortexc.runtime import CompiledStack

from ..tolerances import TOLERANCES, assert_close, distance
from .contract import CUTS, DEVICE, GPU, MASKS, PATTERNS, carried, inputs, leaves, mask, pieces, run
from .parts import EVERY, STEPS, agree, oracle, part

F32, F64, BF16 = torch.float32, torch.float64, torch.bfloat16
CELLS = list(product(CUTS, MASKS))

# In the interpreter kernels take minutes, and compiling takes half a minute for each shape.
SLOW = pytest.mark.long
BACKENDS = [
    pytest.param("reference", F64, id="reference-float64"),
    pytest.param("eager", F64, id="eager-float64"),
    pytest.param("eager", F32, id="eager-float32"),
    pytest.param("triton", F32, id="triton-float32", marks=[] if GPU else [SLOW]),
    pytest.param("inductor", F64, id="inductor-float64", marks=[SLOW]),
    pytest.param("inductor", F32, id="inductor-float32", marks=[SLOW]),
]


@pytest.fixture
def no_interpreter(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a GPU, torch forms are what is tested, unless the kernels are: other backends have some of them too."""
    if not GPU and request.getfixturevalue("backend") != "triton":
        monkeypatch.setenv("CORTEXC_DISABLE_TRITON", "1")


@pytest.fixture
def few_graphs() -> Iterator[None]:
    """torch.compile takes lengths as symbols from the first call on: a graph less to wait for."""
    with torch._dynamo.config.patch(assume_static_by_default=False):
        yield


@pytest.mark.usefixtures("no_interpreter", "few_graphs")
@pytest.mark.parametrize(("backend", "dtype"), BACKENDS)
@pytest.mark.parametrize("name", EVERY)
def test_one_function(name: str, backend: str, dtype: torch.dtype) -> None:
    """Outputs and final state depend neither on cuts nor on the backend, under every kind of mask."""
    stack = part(name, backend, dtype)
    for cut, kind in CELLS:
        with torch.no_grad():
            y, after = run(stack, inputs(STEPS, dtype), mask(kind, STEPS), pieces(cut, STEPS), by_step=cut == "steps")
        agree(y, after, oracle(name, kind), dtype, f"{cut}, resets {kind}")


@pytest.mark.parametrize(("cut", "kind"), [("random", "random"), ("whole", "last")])
@pytest.mark.parametrize("name", PATTERNS)
def test_one_function_on_kernels(name: str, cut: str, kind: str) -> None:
    """Two cells for the Triton kernels that need little time in the interpreter too."""
    with torch.no_grad():
        y, after = run(part(name, "triton", F32), inputs(STEPS, F32), mask(kind, STEPS), pieces(cut, STEPS))
    agree(y, after, oracle(name, kind), F32, f"{cut}, resets {kind}")


AUTOCAST = [
    *(pytest.param(name, "eager", id=f"eager-{name}") for name in EVERY),
    *(pytest.param(name, "inductor", id=f"inductor-{name}", marks=[SLOW]) for name in PATTERNS),
]


@pytest.mark.usefixtures("no_interpreter", "few_graphs")
@pytest.mark.parametrize(("name", "backend"), AUTOCAST)
def test_one_function_under_autocast(name: str, backend: str) -> None:
    """bfloat16 autocast: near float64's numbers, and one function however cut; what is carried keeps its dtypes."""
    stack, x = part(name, backend, F32), inputs(STEPS, F32)
    dtypes = {path: leaf.dtype for path, leaf in leaves(stack.init_state(1)).items()}
    assert set(dtypes.values()) <= {F32, torch.int64}
    for kind in MASKS:
        for cut in CUTS:
            with torch.no_grad(), torch.autocast(DEVICE, BF16):
                y, after = run(stack, x, mask(kind, STEPS), pieces(cut, STEPS), by_step=cut == "steps")
            if cut == "whole":
                whole = y
            assert distance(y, whole, BF16) <= TOLERANCES[BF16], (cut, kind)
            assert distance(y, oracle(name, kind)[0], BF16) <= 3 * TOLERANCES[BF16], (cut, kind)
            assert {path: leaf.dtype for path, leaf in leaves(after).items()} == dtypes, (cut, kind)


# AGaLiTe divides by what its features add up to, so that their gradients cancel: bfloat16 leaves an eighth of them.
TRAINED = [param for param in AUTOCAST if param.values[0] != "Ag"]


@pytest.mark.usefixtures("no_interpreter", "few_graphs")
@pytest.mark.parametrize(("name", "backend"), TRAINED)
def test_one_gradient_under_autocast(name: str, backend: str) -> None:
    """Training under bfloat16 autocast: all gradients together are near float64's; with resets inside."""
    expected = gradients(part(name, "reference", F64), "whole")
    found = gradients(part(name, backend, F32), "whole", F32, autocast=True)
    assert found.keys() == expected.keys()
    pairs = [(found[path].double().flatten(), expected[path].flatten()) for path in expected]
    whole, right = (torch.cat(side) for side in zip(*pairs, strict=True))
    assert distance(whole, right, BF16) <= 3 * TOLERANCES[BF16]


# What attention remembers is cut off between calls by contract.
ATTACHED = [name for name in EVERY if name not in ("X", "X narrow heads", "AXMS", "X^")]


@pytest.mark.parametrize("backend", ["reference", "eager"])
@pytest.mark.parametrize("name", ATTACHED)
def test_one_gradient_however_cut(name: str, backend: str) -> None:
    """Through attached states, the gradients of x and of every parameter are those of one call; with resets inside."""
    stack = part(name, backend, F64)
    expected = gradients(stack, "whole")
    for cut in ("halves", "random", "steps"):
        for path, g in gradients(stack, cut).items():
            assert_close(g, expected[path], what=f"{cut}: {path}")


def gradients(stack: CompiledStack, cut: str, dtype: torch.dtype = F64, *, autocast: bool = False) -> dict[str, Tensor]:
    """Of a weighted sum of outputs and final state."""
    x = inputs(STEPS, dtype).requires_grad_()
    with torch.autocast(DEVICE, BF16, enabled=autocast):
        y, after = run(stack, x, mask("random", STEPS), pieces(cut, STEPS), by_step=cut == "steps")
    draw = torch.Generator().manual_seed(11)
    loss = torch.zeros((), dtype=F64, device=DEVICE)
    for part_ in (y, *carried(after).values()):
        weights = torch.randn(part_.shape, generator=draw, dtype=F64).to(DEVICE)
        loss = loss + (part_ * weights).sum()
    given = {"x": x, **dict(stack.named_parameters())}
    found = torch.autograd.grad(loss, list(given.values()), allow_unused=True)
    return {n: torch.zeros_like(p) if g is None else g for (n, p), g in zip(given.items(), found, strict=True)}
