"""Where a stack and the cortexcore stack that its weights come from differ on purpose.

cortexcore contradicts itself there: a sequence and its steps, a call and its pieces, a fresh row and a reset one, or a
CPU and a GPU give two answers. Each row is shown by a test against that library (``tests/peers``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..cortex_dsl.sets import nodes_of
from .module import CompiledStack


def _caret(node: Any) -> bool:
    return getattr(node, "use_axon_layer", False) or getattr(node, "use_axon_qkv", False)


def _srht(node: Any) -> bool:
    width = getattr(node, "hidden_size", None) or 0
    return getattr(node, "use_srht", False) or (_caret(node) and width & (width - 1) == 0)


def _is(*kinds: str) -> Callable[[Any], bool]:
    return lambda node: node.kind in kinds


# What it is about, which nodes of a spec it concerns, and what the two libraries do.
DIFFERENCES: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    (
        "Axon",
        lambda node: node.kind == "axon" or _caret(node),
        "a reset clears every trace and its gradient stops there; cortexcore kept traces, and cut one step early",
    ),
    (
        "SRHT",
        _srht,
        "it is a Walsh-Hadamard transform, as on cortexcore's CUDA path; its CPU path computes another map, so weights "
        "trained on a CPU give other numbers here",
    ),
    (
        "X",
        _is("xl"),
        "empty places of the memory are not attended; cortexcore gave them most of the first tokens' attention "
        "unless a mask reset the row",
    ),
    (
        "X",
        _is("xl"),
        "a query sees mem_len positions before its own in every mode; in cortexcore's sequences, all of the call too",
    ),
    (
        "M, S, C",
        _is("mlstm", "slstm", "conv"),
        "the convolution's window is carried into every call; cortexcore forgot it in a sequence without a mask",
    ),
    (
        "M, C",
        _is("mlstm", "conv"),
        "a mask counts on a sequence of one step too; cortexcore's convolution ignored it",
    ),
    (
        "M",
        _is("mlstm"),
        "a reset inside a sequence is exact at any length; cortexcore leaked across it beyond chunk_size steps",
    ),
    (
        "S",
        lambda node: node.kind == "slstm" and node.conv1d_kernel_size == 0,
        "without a convolution the gates i and f still see SiLU(x); cortexcore gave them x",
    ),
    ("Ag", _is("agalite"), "the tick starts again at a reset; cortexcore let it run on (seen for r >= 4)"),
    (
        "PassThrough",
        _is("passthrough"),
        "cortexcore has no residual here, so the import sets residual=false where the pattern is silent",
    ),
    (
        "top_k",
        lambda node: getattr(node, "top_k", None) is not None,
        "experts outside it are out of the mixer too; cortexcore still mixed them in",
    ),
    (
        "adapters",
        lambda node: node.kind == "routed_adapter" and node.enabled,
        "a routed adapter acts in every mode and on every map; in cortexcore's sequences those of ffn, in_proj and "
        "out_proj, and in X always that of the positions, did nothing",
    ),
)


def cortexcore_differences(stack: CompiledStack) -> list[str]:
    """Where this stack differs on purpose from the cortexcore stack that its weights come from."""
    nodes = nodes_of(stack.spec)
    return [f"{what}: {text}" for what, concerned, text in DIFFERENCES if any(map(concerned, nodes))]
