"""Every Triton kernel of Transformer-XL attention with the types of its arguments, for compiling ahead of time."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from cortexc.kernels.xl.backward import distance_kernel, key_kernel, query_kernel, sum_kernel
from cortexc.kernels.xl.forward import forward_kernel
from cortexc.kernels.xl.one_query import HEADS, one_query_kernel
from cortexc.kernels.xl.tiles import TILES, pitch_of
from cortexc.kernels.xl.window import window_kernel

HEAD = {"N": 4, "M": 33, "D": 24, "BLOCK_D": 32}
WINDOW = {"M": 33, "H": 40, "BLOCK_S": 32, "BLOCK_H": 64}
WIDE = ("fill_ptr", "ids_ptr", "filled_ptr")
FULL = ("lse_ptr", "d_bias_ptr", "parts_ptr", "total_ptr", "u_ptr", "v_bias_ptr")


def _listed(kernel: Any, dtype: str, **constants: object) -> SimpleNamespace:
    signature = {n: "i32" for n in kernel.arg_names if n not in constants}
    signature |= {n: f"*{dtype}" for n in signature if n.endswith("_ptr")}
    signature |= {n: "*i64" for n in signature if n in WIDE}
    signature |= {n: "*fp32" for n in signature if n in FULL}
    signature |= {n: "*i1" for n in signature if n == "resets_ptr"}
    signature |= {n: "fp32" for n in signature if n in ("factor", "scale")}
    return SimpleNamespace(function=kernel, signature=signature, constants=constants)


def _attention(dtype: str, arithmetic: str) -> dict[str, SimpleNamespace]:
    tile, keys, far = (TILES[role][arithmetic] for role in ("queries", "keys", "distances"))
    shared = {**HEAD, "PITCH": pitch_of(HEAD["M"], tile), "HAS_SEGMENTS": True, "PRECISION": "ieee"}
    drop = {"HAS_DROP": True, "DROP_T": 4 * 34}
    blocks = {"BLOCK_Q": tile.queries, "BLOCK_K": tile.keys}
    of_keys = {"BLOCK_Q": keys.queries, "BLOCK_K": keys.keys, "ROWS": tile.queries}
    return {
        f"forward_{dtype}": _listed(forward_kernel, dtype, **shared, **drop, **blocks),
        f"queries_{dtype}": _listed(query_kernel, dtype, **shared, **drop, **blocks),
        f"keys_{dtype}": _listed(key_kernel, dtype, **shared, **of_keys),
        f"distances_{dtype}": _listed(distance_kernel, dtype, **shared, BLOCK_Q=tile.queries, BLOCK_K=far.keys),
    }


def _step(dtype: str) -> SimpleNamespace:
    sizes = {"N": 4, "D": 24, "BLOCK_N": HEADS, "BLOCK_C": 128, **WINDOW}
    return _listed(one_query_kernel, dtype, **sizes, HAS_RESETS=True, PRECISION="ieee")


KERNELS = {
    **_attention("bf16", "half"),
    **_attention("fp32", "exact"),
    "sum": _listed(sum_kernel, "fp32", BLOCK=256),
    "step_bf16": _step("bf16"),
    "step_fp32": _step("fp32"),
    "memory": _listed(window_kernel, "bf16", **WINDOW, AFTER=True, HAS_SEGMENTS=True, BLOCK_T=128),
    "context": _listed(window_kernel, "fp32", **WINDOW, AFTER=False, HAS_SEGMENTS=True, BLOCK_T=128),
}
