"""Every kernel of the mLSTM compiles to machine code for NVIDIA and AMD on a machine without either."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..ahead import TARGETS, compile_ahead

# What `ahead` reads of a generated module, for kernels that were written by hand.
MODULE = """
from types import SimpleNamespace

from cortexc.kernels.mlstm import adjoints, backward, forward, fused_step
from cortexc.kernels.mlstm.tiles import step_tile, tiles

HALF = {half}
IN_BYTES = {{"bad": "i8", "bad_state": "i8", "taints": "i8", "ids": "i64", "resets": "i1"}}
INPUTS = ("q", "k", "v", "i", "f", "h", "d_h", "d_q", "d_k", "d_v")
MATRICES = ("states", "d_states")


def entry(function, blocks):
    constants = dict(
        N=4, D=128, L=64, PARTS=2, EPS=1e-6, PRECISION="ieee", HAS_RESETS=True, HAS_FINAL=True, NEED_STATE=True,
        **{{k: v for k, v in blocks.items() if k.startswith("BLOCK")}},
    )
    signature = {{}}
    for name in function.arg_names:
        operand = name.removesuffix("_ptr")
        if name in constants:
            continue
        if operand == name:
            signature[name] = "fp32" if name == "scale" else "i32"
        elif HALF and operand in (*INPUTS, *MATRICES):
            signature[name] = "*bf16"
        else:
            signature[name] = "*" + IN_BYTES.get(operand, "fp32")
    constants = {{k: v for k, v in constants.items() if k in function.arg_names}}
    return SimpleNamespace(function=function, signature=signature, constants=constants)


cut = tiles(256, 128, HALF)
KERNELS = {{
    "gates": entry(forward.gates_kernel, cut.gates),
    "states": entry(forward.states_kernel, cut.states),
    "outputs": entry(forward.outputs_kernel, cut.outputs),
    "queries": entry(backward.queries_kernel, cut.queries),
    "adjoints": entry(adjoints.adjoints_kernel, cut.adjoints),
    "keys": entry(backward.keys_kernel, cut.keys),
    "step": entry(fused_step.step_kernel, step_tile(128)),
}}
"""


@pytest.mark.long
@pytest.mark.parametrize("half", [True, False], ids=["bfloat16", "float32"])
@pytest.mark.parametrize("target", TARGETS)
def test_compiles(half: bool, target: str, tmp_path: Path) -> None:
    path = tmp_path / "kernels.py"
    path.write_text(MODULE.format(half=half))
    compile_ahead(str(path), target, 7)
