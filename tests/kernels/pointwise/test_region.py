"""A fused region on Triton against its torch text: results and every gradient, however the operands lie in memory."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from cortexc.compiler.regions import make_region
from cortexc.kernels.pointwise.region import Region, rows_of, runs_on_triton

from ...tolerances import assert_close
from .conftest import BODIES

DEVICE = "cuda" if os.environ.get("CORTEXC_TEST_GPU") else "cpu"
SHAPES = [(3, 5, 16), (3, 16), (1, 1, 1), (7, 20), (2, 9, 33), (2, 3, 300)]


def operands(region: Region, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    sizes = {"full": tuple(shape), "row": tuple(shape[-1:]), "scalar": ()}
    return [torch.randn(sizes[r], generator=generator).to(DEVICE, dtype).requires_grad_() for r in region.roles]


def outcome(run: object, given: Sequence[Tensor]) -> list[Tensor]:
    """Results, then the gradients of all operands under a fixed random loss."""
    outs = run(*given)  # type: ignore[operator]
    outs = outs if isinstance(outs, tuple) else (outs,)
    generator = torch.Generator().manual_seed(2)
    seeds = [torch.randn(o.shape, generator=generator).to(o) for o in outs]
    return [*(o.detach() for o in outs), *torch.autograd.grad(outs, given, seeds)]


def agree(region: Region, given: Sequence[Tensor], dtype: torch.dtype = torch.float32) -> None:
    assert runs_on_triton(given[region.lead])
    found, expected = outcome(region, given), outcome(region.plain, given)
    exact = outcome(region.plain, [t.detach().double().requires_grad_() for t in given])
    for index, (a, b, c) in enumerate(zip(found, expected, exact, strict=True)):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        assert_close(a, c, dtype, f"{region.name} {index}")


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_full_row_and_scalar_operands(name: str, shape: tuple[int, ...], bodies: dict[str, Region]) -> None:
    agree(bodies[name], operands(bodies[name], shape))


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_narrow_dtypes(name: str, dtype: torch.dtype, bodies: dict[str, Region]) -> None:
    """Computed in float32 and rounded once, so at least as near to the exact numbers as torch is."""
    agree(bodies[name], operands(bodies[name], (3, 5, 16), dtype), dtype)


def test_regions_of_a_pattern(of_pattern: object) -> None:
    found = [r for r in vars(of_pattern).values() if isinstance(r, Region)]
    assert len(found) >= 5 and {role for r in found for role in r.roles} == {"full", "row", "scalar"}
    for region in found:
        agree(region, operands(region, (2, 3, 16)))


@pytest.mark.parametrize("lead", [(3, 5), (4,), (1, 6)], ids=str)
def test_pieces_of_a_split_are_read_where_they_lie(lead: tuple[int, ...], bodies: dict[str, Region]) -> None:
    region = bodies["lerp"]
    whole = torch.randn(*lead, 48, generator=torch.Generator().manual_seed(1)).to(DEVICE)
    pieces = torch.split(whole, 16, -1)
    assert all(
        rows_of(p, p.shape[-1])[0].data_ptr() == p.data_ptr() and rows_of(p, p.shape[-1])[1] == 48
        for p in pieces
        if lead != (1, 6)
    )
    agree(region, [p.detach().requires_grad_() for p in pieces])


LAYOUTS = {
    "time sliced": lambda x: x[:, 1::2],
    "one step": lambda x: x[:, 2:3],
    "transposed": lambda x: x.transpose(0, 1),
    "width reversed in memory": lambda x: x.transpose(1, 2).contiguous().transpose(1, 2),
    "expanded": lambda x: x[:1, :1].expand(4, 6, 16),
    "every second column": lambda x: torch.cat([x, x], -1)[..., ::2],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_memory_layout(layout: str, bodies: dict[str, Region]) -> None:
    region = bodies["lerp"]
    generator = torch.Generator().manual_seed(1)
    given = [LAYOUTS[layout](torch.randn(4, 6, 16, generator=generator).to(DEVICE)) for _ in range(3)]
    given[1] = given[1].contiguous()
    agree(region, [t.detach().requires_grad_() for t in given])


@pytest.mark.parametrize("frozen", range(4))
def test_only_gradients_that_are_wanted(frozen: int, bodies: dict[str, Region]) -> None:
    region = bodies["gate"]
    given = operands(region, (3, 5, 16))
    expected = outcome(region.plain, given)[2:]
    del expected[frozen]
    given[frozen].requires_grad_(False)
    outs = region(*given)
    generator = torch.Generator().manual_seed(2)
    seeds = [torch.randn(o.shape, generator=generator).to(o) for o in outs]
    wanted = [t for t in given if t.requires_grad]
    for a, b in zip(torch.autograd.grad(outs, wanted, seeds), expected, strict=True):
        assert_close(a, b)


def test_a_result_that_no_loss_reads(bodies: dict[str, Region]) -> None:
    region = bodies["gate"]
    given = operands(region, (3, 5, 16))
    for index in range(region.results):
        found = torch.autograd.grad(region(*given)[index].sum(), given, allow_unused=True)
        expected = torch.autograd.grad(region.plain(*given)[index].sum(), given, allow_unused=True)
        for a, b in zip(found, expected, strict=True):
            assert_close(torch.zeros_like(a) if b is None else b, a)


def test_several_axes_of_a_row_count_as_one(loaded: object) -> None:
    """The bias `[4, H]` of four gates over `[B, T, 4, H]`."""
    region = loaded(make_region((("add", "a0", "a1"), ("tanh", "t0")), ("t1",), ["full", "row"]))  # type: ignore[operator]
    generator = torch.Generator().manual_seed(1)
    for lead in ((2, 3), (3,)):
        full = torch.randn(*lead, 4, 8, generator=generator).to(DEVICE).requires_grad_()
        agree(region, [full, torch.randn(4, 8, generator=generator).to(DEVICE).requires_grad_()])


def test_differentiating_twice_is_an_error(bodies: dict[str, Region]) -> None:
    given = operands(bodies["lerp"], (2, 4))
    (g,) = torch.autograd.grad(bodies["lerp"](*given).sum(), given[:1], create_graph=True)
    with pytest.raises(RuntimeError, match=r"once_differentiable|does not require grad"):
        torch.autograd.grad(g.sum(), given[1])


def test_operands_are_not_written_and_the_answer_is_the_same_again(bodies: dict[str, Region]) -> None:
    region = bodies["all kinds"]
    given = operands(region, (2, 3, 20))
    before = [t.detach().clone() for t in given]
    first, second = outcome(region, given), outcome(region, given)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(before, given, strict=True))


@pytest.mark.parametrize("why", ["float64", "switch", "empty"])
def test_torch_runs_where_kernels_do_not(why: str, bodies: dict[str, Region], monkeypatch: pytest.MonkeyPatch) -> None:
    region = bodies["gate"]
    given = operands(region, (0, 5, 16) if why == "empty" else (2, 3, 16), torch.float32)
    if why == "float64":
        given = [t.detach().double().requires_grad_() for t in given]
    if why == "switch":
        monkeypatch.setenv("CORTEXC_DISABLE_TRITON", "1")
    assert not runs_on_triton(given[region.lead])
    found, expected = outcome(region, given), outcome(region.plain, given)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_under_torch_compile_it_is_the_torch_text(bodies: dict[str, Region]) -> None:
    torch._dynamo.reset()
    region = bodies["gate"]
    given = operands(region, (2, 3, 16))
    compiled = torch.compile(lambda *a: region(*a), fullgraph=True, backend="aot_eager")
    for a, b in zip(outcome(compiled, given), outcome(region.plain, given), strict=True):
        assert_close(a, b)


def test_not_a_number_stays_in_its_place(bodies: dict[str, Region]) -> None:
    region = bodies["lerp"]
    given = [t.detach() for t in operands(region, (3, 16))]
    given[0][1, 2] = float("nan")
    bad = torch.isnan(region(*given))
    assert bad[1, 2] and bad.sum() == 1
