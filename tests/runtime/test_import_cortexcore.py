"""Bringing weights over from cortexcore: every name of that library has a place, and what has none is listed.

The names and shapes are those of the published package (``tests/data``), the numbers are random. That the outputs are
equal too is for ``tests/peers``, which needs the package itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor

import cortexc
from cortexc.runtime import CortexCheckpointError, cortexcore_differences, import_checkpoint
from cortexc.runtime.import_cortexcore_notes import DIFFERENCES

WIDTH = 64
NAMES: dict[str, dict[str, list[int]]] = json.loads(
    (Path(__file__).parents[1] / "data" / "cortexcore-0.1.6.json").read_text(encoding="utf-8")
)


def weights(pattern: str, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    """Random numbers, no two alike, under the names of that library; buffers as it makes them."""
    generator = torch.Generator().manual_seed(4)
    found = {}
    for name, shape in NAMES[pattern].items():
        found[name] = torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
        if name.endswith("srht_signs"):
            found[name] = found[name].sign()
        elif name.endswith("srht_perm"):
            found[name] = torch.randperm(shape[0], generator=generator) if shape[0] else torch.empty(0).long()
        elif name.endswith("omegas"):
            found[name] = torch.linspace(-torch.pi, torch.pi, *shape, dtype=dtype)
    for name in [n for n in found if ".wrapped_block.cell." in n]:  # one module under two names
        found[name.replace(".wrapped_block.cell.", ".cell.")] = found[name]
    return found


SCAFFOLDS = """
layer(preup(lstm)@adapter(bottleneck=8)) / layer(postup(axon(use_srht=true))) / layer(preup_gated(slstm))
layer(postup_gated(conv)) / layer(passthrough(xl(use_bias=false))) / layer(preup(mlstm)) with post_norm=false
"""


def pattern_of(name: str) -> str:
    return SCAFFOLDS if name == "scaffolds" else name


def numbers(tensors: dict[str, Tensor]) -> Tensor:
    return torch.cat([t.double().flatten() for t in tensors.values()]).sort().values


# -- the mapping -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_every_tensor_has_a_place(name: str) -> None:
    """Nothing is missing, nothing is left over, and no number is lost, made up or used twice."""
    old = weights(name)
    stack = import_checkpoint(old, pattern_of(name), d_hidden=WIDTH, backend="eager")
    assert stack.dtype == torch.float64
    state = stack.state_dict()
    used = {k: v for k, v in old.items() if v.numel() and not k.endswith("omegas")}
    twice = {k.replace(".wrapped_block.cell.", ".cell.") for k in old if ".wrapped_block.cell." in k}
    used = {k: v for k, v in used.items() if k not in twice}
    assert torch.equal(numbers(state), numbers(used))


def test_names_of_the_tree() -> None:
    """Spot checks of the table, with the numbers."""
    old = weights("AXMS")
    new = import_checkpoint(old, "AXMS", backend="eager").state_dict()
    pairs = {
        "layers.0.experts.0.core.nu_log": "blocks.0.experts.0.cell.nu_log",
        "layers.0.experts.1.core.u": "blocks.0.experts.1.cell.u",
        "layers.0.experts.2.core.igate.weight": "blocks.0.experts.2.cell.igate.weight",
        "layers.0.experts.2.core.conv1d.weight": "blocks.0.experts.2.cell.conv1d_cell.conv.weight",
        "layers.0.router.keys": "blocks.0.router.keys",
        "layers.0.alpha_col": "blocks.0.alpha_col",
        "norm.bias": "norm.bias",
    }
    assert all(torch.equal(new[n], old[o]) for n, o in pairs.items())


def test_layouts_of_the_slstm() -> None:
    """Gates were [head, in, out] in `x @ W`; recurrent matrices [head, gate × out, in]; biases [head, gate, unit]."""
    old = weights("S")
    core = import_checkpoint(old, "S", backend="eager").layers[0].experts[0].core
    at, heads, width = "blocks.0.experts.0.cell.", 4, 16
    x = torch.randn(heads, width, dtype=torch.float64)
    for gate in "ifzo":
        expected = torch.einsum("nd,ndf->nf", x, old[f"{at}{gate}gate.weight"])
        assert torch.allclose(torch.einsum("nod,nd->no", getattr(core, f"{gate}gate"), x), expected)
    recurrent = torch.stack([(old[f"{at}recurrent_kernel"][n] @ x[n]).view(4, width) for n in range(heads)])
    assert torch.allclose(torch.einsum("ngod,nd->ngo", core.recurrent_kernel, x), recurrent)
    for gate in range(4):
        assert torch.equal(core.bias[gate], torch.cat([old[f"{at}bias"][n, gate] for n in range(heads)]))


def test_narrow_keys_of_a_router() -> None:
    """There, keys are d_key wide; here as wide as x. Padded with zeros, the prior is the same."""
    old = weights("AXMS")
    at = "blocks.0."
    for name, shape in {"router.keys": (4, 8), "router.Wk.weight": (8, 8), "router.Wq.weight": (8, WIDTH)}.items():
        old[at + name] = torch.randn(shape, dtype=torch.float64)
    old |= {f"{at}e_mixer.{n}": torch.randn(s).double() for n, s in {"q_bias": (4, 8)}.items()}
    old |= {f"{at}e_mixer.{n}.weight": torch.randn(8, WIDTH).double() for n in ("Wq", "Wk")}
    old |= {
        f"{at}refiner.k_loc": torch.randn(4, 8).double(),
        f"{at}refiner.Wq_tok.weight": torch.randn(8, WIDTH).double(),
    }
    router = import_checkpoint(old, "AXMS{d_key=8}", backend="eager").layers[0].router
    prior = (old[at + "router.keys"] @ old[at + "router.Wk.weight"].T) @ (
        old[at + "router.Wq.weight"] @ old[at + "router.context"]
    )
    found = (router.keys @ router.Wk.weight.T) @ (router.Wq.weight @ router.context)
    assert torch.allclose(found, prior)


def test_full_rank_maps_are_turned() -> None:
    old = weights("A")
    at = "blocks.0.experts.0.cell."
    for name in ("w1", "w2", "input_proj.weight"):
        del old[at + name]
    old |= {f"{at}Wc{i}": torch.randn(WIDTH, WIDTH, dtype=torch.float64) for i in (1, 2)}
    pattern = "A(use_fullrank_rtu=true, use_untraced_linear=false)"
    core = import_checkpoint(old, pattern, backend="eager").layers[0].experts[0].core
    assert torch.equal(core.Wc1, old[at + "Wc1"].T) and torch.equal(core.Wc2, old[at + "Wc2"].T)


def test_routed_adapters() -> None:
    """Of every nn.Linear and of the sLSTM's gates; those that that library does not have start without effect."""
    old = weights("S")
    for name in [n for n in old if n.endswith(".weight")]:
        shape, at = list(old[name].shape), name.removesuffix("weight")
        if len(shape) == 2 or "gate.weight" in name:
            *heads, out, inner = shape
            old[f"{at}adapter_A"] = torch.randn(3, *heads, 2, inner, dtype=torch.float64)
            old[f"{at}adapter_B"] = torch.randn(3, *heads, out, 2, dtype=torch.float64)
    stack = import_checkpoint(old, "S with adapter_num_slots=3 adapter_rank=2", backend="eager")
    expert = stack.layers[0].experts[0]
    assert torch.equal(expert.ffn_in.adapter.up, old["blocks.0.experts.0.ffn_in.adapter_B"])
    assert torch.equal(expert.core.ogate_adapter.down, old["blocks.0.experts.0.cell.ogate.adapter_A"])
    assert expert.core.recurrent_kernel_adapter.up.abs().max() == 0
    del old["blocks.0.experts.0.cell.ogate.adapter_A"]
    with pytest.raises(CortexCheckpointError, match=r"ogate_adapter\.down \[3, 4, 2, 16\] gets no tensor"):
        import_checkpoint(old, "S with adapter_num_slots=3 adapter_rank=2", backend="eager")


# -- what the weights and the pattern leave open -----------------------------------------------------------------------


def test_width_and_dtype_are_those_of_the_weights() -> None:
    stack = import_checkpoint(weights("A", torch.bfloat16), "A", backend="eager")
    assert (stack.d_hidden, stack.dtype) == (WIDTH, torch.bfloat16)
    assert import_checkpoint(weights("A"), "A", dtype="float32", backend="eager").dtype == torch.float32
    bare = {k: v for k, v in weights("L").items() if not k.startswith("norm")}
    with pytest.raises(CortexCheckpointError, match=r"do not say how wide x is .* pass d_hidden="):
        import_checkpoint(bare, "L with post_norm=false")


def test_pass_through_has_no_residual_unless_it_is_asked_for() -> None:
    old = weights("C")
    residuals = {
        pattern: import_checkpoint(old, pattern, backend="eager").spec.scaffolds[0].experts[0].residual
        for pattern in ("C", "C@passthrough(residual=false)", "C@passthrough(residual=true)")
    }
    assert list(residuals.values()) == [False, False, True]
    stack = import_checkpoint(old, "C", backend="eager")
    with torch.no_grad():
        stack.layers[0].experts[0].core.conv.weight.zero_()
        stack.layers[0].experts[0].core.conv.bias.zero_()
    y, _ = stack(torch.randn(1, 3, WIDTH, dtype=torch.float64))
    assert torch.equal(y, old["norm.bias"].expand(1, 3, WIDTH))


def test_what_differs_on_purpose_is_said() -> None:
    """A line for each difference that concerns the stack, and none that does not."""

    def said(pattern: str) -> set[str]:
        stack = cortexc.compile(pattern, d_hidden=8, backend="eager")
        return {line.partition(":")[0] for line in cortexcore_differences(stack)}

    assert said("L@postup") == set()
    assert said("AXMS") == {"Axon", "X", "M", "M, S, C", "M, C"}
    assert said("S^ C{top_k=1}") == {"Axon", "SRHT", "M, S, C", "M, C", "PassThrough", "top_k"}
    assert said("S(conv1d_kernel_size=0) Ag") == {"M, S, C", "S", "Ag"}
    assert said("L@postup with adapter_rank=2") == {"adapters"}
    stack = cortexc.compile("S^", d_hidden=12, backend="eager")
    assert not any(line.startswith("SRHT") for line in cortexcore_differences(stack))  # a learned map


def test_the_page_says_the_same() -> None:
    page = (Path(__file__).parents[2] / "docs" / "checkpoints.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| ") and not line.startswith("| part")]
    assert rows == [f"| {what} | {text} |" for what, _, text in DIFFERENCES]


# -- refusals ----------------------------------------------------------------------------------------------------------


def test_what_does_not_fit_is_listed_by_name() -> None:
    old = weights("A")
    old["blocks.0.experts.0.gate1.Wq.weight"] = torch.zeros(3)
    del old["blocks.0.experts.0.cell.w1"]
    old["norm.bias"] = torch.zeros(5)
    with pytest.raises(CortexCheckpointError) as caught:
        import_checkpoint(old, "A", backend="eager")
    assert str(caught.value).splitlines() == [
        "these weights are not those of this pattern: 1 without a place, 1 missing, 1 of another shape:",
        "  blocks.0.experts.0.gate1.Wq.weight [3] has no place; did you mean `layers.0.experts.0.gate1.Wz.weight`?",
        "  layers.0.experts.0.core.w1 [64] gets no tensor",
        "  norm.bias would get shape [5], it has [64]",
        "give the pattern, and the options, that the cortexcore stack was built with",
    ]


@pytest.mark.parametrize("pattern", ["AXM", "AXMSA", "AXM^S", "AXMS x2", "AXSM"])
def test_another_pattern(pattern: str) -> None:
    with pytest.raises(CortexCheckpointError, match="not those of this pattern"):
        import_checkpoint(weights("AXMS"), pattern, backend="eager")


def test_frequencies_that_were_changed_are_not_dropped() -> None:
    old = weights("Ag")
    old["blocks.0.experts.0.cell.omegas"] = torch.tensor([0.0, 1.0])
    with pytest.raises(CortexCheckpointError, match=r"omegas \[2\] has no place"):
        import_checkpoint(old, "Ag", backend="eager")


def test_a_second_name_with_other_numbers_is_not_dropped() -> None:
    old = weights("scaffolds")
    old["blocks.0.cell.net.bias_hh_l0"] = torch.zeros_like(old["blocks.0.cell.net.bias_hh_l0"])
    with pytest.raises(CortexCheckpointError, match=r"blocks\.0\.cell\.net\.bias_hh_l0 \[512\] has no place"):
        import_checkpoint(old, SCAFFOLDS, d_hidden=WIDTH, backend="eager")


# -- files -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_files(suffix: str, tmp_path: Path) -> None:
    old, path = weights("S"), tmp_path / f"old.{suffix}"
    save = torch.save if suffix == "pt" else safetensors.torch.save_file
    save({f"policy.stack.{k}": v for k, v in old.items()}, path)
    with pytest.raises(CortexCheckpointError, match=r"lies under 'policy\.stack\.': pass prefix="):
        import_checkpoint(path, "S")
    stack = import_checkpoint(path, "S", prefix="policy.stack.", backend="eager")
    assert torch.equal(stack.norm.weight, old["norm.weight"])


class Anything:
    """Something that a file could run code to make."""


@pytest.mark.parametrize(
    ("held", "message"),
    [
        (Anything(), "cannot be read as plain tensors .* save its weights where cortexcore is installed"),
        ({"model": {"norm.weight": torch.ones(2)}, "step": 3}, "which has tensors only; found 'model' .*, 'step'"),
        (torch.ones(2), "holds a Tensor; expected the state_dict of a stack"),
        ({}, r"no weights of a cortexcore stack .*\(found nothing"),
        ({"fc.weight": torch.ones(2)}, r"no weights of a cortexcore stack .*\(found fc\.weight"),
    ],
)
def test_files_that_hold_something_else(held: object, message: str, tmp_path: Path) -> None:
    torch.save(held, tmp_path / "old.pt")
    with pytest.raises(CortexCheckpointError, match=message):
        import_checkpoint(tmp_path / "old.pt", "A")


def test_damaged_files(tmp_path: Path) -> None:
    torch.save(weights("A"), tmp_path / "old.pt")
    data = (tmp_path / "old.pt").read_bytes()
    (tmp_path / "old.pt").write_bytes(data[: len(data) // 2])
    with pytest.raises(CortexCheckpointError, match="cannot be read as plain tensors"):
        import_checkpoint(tmp_path / "old.pt", "A")
    (tmp_path / "old.safetensors").write_bytes(b"nothing")
    with pytest.raises(CortexCheckpointError, match="not a whole safetensors file"):
        import_checkpoint(tmp_path / "old.safetensors", "A")
    with pytest.raises(FileNotFoundError):
        import_checkpoint(tmp_path / "nowhere.pt", "A")
