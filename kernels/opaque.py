"""Make a torch function with a loop in it one node for torch.compile.

torch.compile unrolls Python loops, so an op which loops over time would give a graph that grows with T. `opaque` wraps
such a function: eager calls run it directly, with ordinary autograd; while torch.compile or torch.export trace, the
call is a custom op with a fake and a backward. The backward is a second custom op which runs the function again and
differentiates it, so nothing but the inputs is kept between the two. It has no derivative of its own: differentiating
twice raises.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

NAMESPACE = "cortexc"

P = ParamSpec("P")
R = TypeVar("R")


def opaque(name: str, fake: Callable[..., Any]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator for a pure function of tensors, optional tensors and numbers, which returns one or more tensors.

    name: of the op in the namespace `cortexc`. fake: same arguments; returns empty contiguous tensors of the shapes,
    dtypes and devices of the result, without looping. All results must be floating point. The function must be
    annotated, as torch.library.infer_schema asks.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        schema = torch.library.infer_schema(function, mutates_args=())
        op = torch.library.custom_op(f"{NAMESPACE}::{name}", _owning(function), mutates_args=(), schema=schema)
        op.register_fake(fake)
        backward_op = _register_backward(name, schema, function)

        def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
            ctx.is_tensor = [isinstance(x, Tensor) for x in inputs]
            ctx.numbers = [None if isinstance(x, Tensor) else x for x in inputs]
            ctx.save_for_backward(*(x for x in inputs if isinstance(x, Tensor)))

        def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
            tensors = iter(ctx.saved_tensors)
            inputs = [next(tensors) if t else n for t, n in zip(ctx.is_tensor, ctx.numbers, strict=True)]
            needed = list(ctx.needs_input_grad)
            found = iter(backward_op(list(grads), needed, *inputs))
            return tuple(next(found) if need else None for need in needed)

        op.register_autograd(backward, setup_context=setup_context)

        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            return op(*args, **kwargs) if torch.compiler.is_compiling() else function(*args, **kwargs)

        call.op = op  # type: ignore[attr-defined]
        return call

    return decorate


def _register_backward(name: str, schema: str, function: Callable[..., Any]) -> Callable[..., list[Tensor]]:
    """The op (grads, needed, *inputs) -> gradients of the inputs that are needed."""
    inputs = schema[schema.index("(") + 1 : schema.rindex(") ->")]

    def run(grads: list[Tensor], needed: list[bool], *args: Any) -> list[Tensor]:
        return _own(gradients(function, args, needed, grads), [*grads, *(a for a in args if isinstance(a, Tensor))])

    def run_fake(grads: list[Tensor], needed: list[bool], *args: Any) -> list[Tensor]:
        wanted = [a for a, need in zip(args, needed, strict=True) if need]
        return [torch.empty(a.shape, dtype=a.dtype, device=a.device) for a in wanted]

    op = torch.library.custom_op(
        f"{NAMESPACE}::{name}_backward",
        run,
        mutates_args=(),
        schema=f"(Tensor[] grads, bool[] needed, {inputs}) -> Tensor[]",
    )
    op.register_fake(run_fake)
    return op


def gradients(
    function: Callable[..., Any], args: Sequence[Any], needed: Sequence[bool], grads: Sequence[Tensor]
) -> list[Tensor]:
    """Vector-Jacobian products of the function for the arguments that are needed.

    Inside a custom op the dispatcher skips autograd, and enable_grad does not bring it back. torch.func does: entering
    its transform puts the autograd keys back for the tensors which it wraps.
    """

    def of_needed(*wanted: Tensor) -> Any:
        values = iter(wanted)
        return function(*(next(values) if need else a for a, need in zip(args, needed, strict=True)))

    wanted = [a for a, need in zip(args, needed, strict=True) if need]
    if not wanted:
        return []
    output, pull = torch.func.vjp(of_needed, *wanted)  # type: ignore[misc]  # has_aux is False: two values
    cotangent = grads[0] if isinstance(output, Tensor) else tuple(grads)
    return list(pull(cotangent))


def _owning(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with results that share no memory with its arguments or each other, as custom ops promise."""

    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        given = [a for a in (*args, *kwargs.values()) if isinstance(a, Tensor)]
        output = function(*args, **kwargs)
        return _own([output], given)[0] if isinstance(output, Tensor) else tuple(_own(output, given))

    return run


def _own(results: Sequence[Tensor], given: Sequence[Tensor]) -> list[Tensor]:
    """The results, contiguous (as the fakes say), cloned where their memory belongs to another tensor."""
    taken = {t.untyped_storage().data_ptr() for t in given}
    owned = []
    for result in results:
        result = result.contiguous()
        if result.untyped_storage().data_ptr() in taken:
            result = result.clone()
        taken.add(result.untyped_storage().data_ptr())
        owned.append(result)
    return owned
