"""What the Triton kernels of a recurrence share: their arguments, their heads, and how they load what they read."""

from __future__ import annotations

from collections.abc import Iterable

from .axes import Axes
from .names import Names

Arguments = list[tuple[str, str]]  # name and comment of each

# The tensors that hold the inputs of each kind: pointer, place of a head's first number, size of one input.
_TENSORS: dict[Axes, tuple[str, str]] = {"d": ("x", "D"), "e": ("f", "E"), "": ("w", "1")}
_SIZES: dict[Axes, str] = {"d": "H", "ed": "N, E, D", "": "N"}


def kernel(name: str, doc: str, arguments: Arguments, constants: Iterable[str], body: Iterable[str]) -> str:
    """The text of one kernel."""
    # Sizes change from call to call and would compile anew; a stride says how wide a load may be.
    sizes = ", ".join(f'"{a}"' for a, _ in arguments if not a.endswith(("_ptr", "_stride")))
    lines = [f"@triton.jit(do_not_specialize=[{sizes}])", f"def {name}("]
    lines += [f"    {a},  # {comment}" if comment else f"    {a}," for a, comment in arguments]
    lines += [f"    {c}: tl.constexpr," for c in constants]
    return "\n".join([*lines, "):", f'    """{doc}"""', *(f"    {line}" for line in body)])


def shape(n: Names, name: str, lead: str, note: str = "") -> str:
    """The comment of a pointer to `name`: `[B, T, H], for the backward`."""
    return f"[{lead}, {_SIZES[n.axes[name]]}]{note}"


def input_arguments(n: Names, prefix: str = "") -> Arguments:
    """Pointers to the inputs; to their gradients with `prefix` "d_", which are dense. With heads there is a tensor for
    each kind of input, its tokens evenly spaced."""
    if not n.headed:
        return [(f"{prefix}x_ptr", f"[B, T, {len(n.inputs)}, H]: {', '.join(n.inputs)}")]
    found: Arguments = []
    for axes, (name, size) in _TENSORS.items():
        if (own := n.of_axes(axes)) and (axes or not prefix):
            found += [(f"{prefix}{name}_ptr", f"[B, T, N, {len(own)}, {size}]: {', '.join(own)}")]
            found += [] if prefix else [(f"{name}_stride", "from token to token")]
    return found


def forward_arguments(n: Names) -> Arguments:
    """Pointers and sizes of a forward loop, in order; the launcher follows it. C: chunks of T, 1 unless said."""
    return [
        *input_arguments(n),
        ("resets_ptr", "[B, T] 0 or 1"),
        *([("weight_ptr", "[N, gates, D, D] (out, in)")] if n.dots else []),
        *((f"h_{h}_ptr", "[H]") for h in n.hoisted),
        *((f"start_{s}_ptr", shape(n, s, "B, C")) for s in n.state),
        *((f"out_{s}_ptr", shape(n, s, "B, T")) for s in n.outputs),
        *((f"kept_{s}_ptr", shape(n, s, "B, T", ", for the backward")) for s in (*n.kept, *n.totals)),
        *((f"last_{s}_ptr", shape(n, s, "B")) for s in n.state),
        ("B", ""),
        ("T", ""),
    ]


def backward_arguments(n: Names) -> Arguments:
    """Pointers and sizes of a backward loop, in order."""
    return [
        *input_arguments(n),
        ("resets_ptr", "[B, T] 0 or 1"),
        *([("r_ptr", "[N, B·T, gates, D] R y of every step")] if n.dots else []),
        *([("weight_ptr", "[N, gates, D, D] (out, in)")] if n.dots else []),
        *((f"h_{h}_ptr", "[H]") for h in n.hoisted),
        *((f"start_{s}_ptr", shape(n, s, "B, C")) for s in n.started),
        *((f"kept_{s}_ptr", shape(n, s, "B, T")) for s in (*n.pointwise, *n.totals)),
        *((f"d_out_{s}_ptr", shape(n, s, "B, T")) for s in n.outputs),
        *((f"d_last_{s}_ptr", shape(n, s, "B, C")) for s in n.state),
        *input_arguments(n, "d_"),
        *([("d_r_ptr", f"[B, T, {len(n.own)}, H]: {', '.join(n.own)}")] if n.own else []),
        *((f"d_start_{s}_ptr", shape(n, s, "B")) for s in n.state),
        *((f"d_h_{h}_ptr", "[B, C, H]") for h in n.hoisted),
        ("B", ""),
        ("T", ""),
    ]


def load_x(n: Names, prefix: str, time: str, mask: str) -> list[str]:
    """Every input at one time; at_x, and with heads at_f and at_w, are the places at time 0."""
    if not n.headed:
        at = f"at_x + {time} * one * ({len(n.inputs)} * H)"
        return [
            f"{prefix}_{x} = tl.load(x_ptr + {at} + {i} * H, mask={mask}, other=0.0)" for i, x in enumerate(n.inputs)
        ]
    lines = []
    for x in n.inputs:
        axes = n.input_axes[x]
        name, size = _TENSORS[axes]
        at = f"at_{name} + {time} * one * {name}_stride + {n.of_axes(axes).index(x)} * {size}"
        lines += [f"{prefix}_{x} = tl.load({name}_ptr + {at}, mask={n.real(axes, mask)}, other=0.0)"]
    return lines


def store_d_x(n: Names, time: str, mask: str) -> list[str]:
    """The gradients d_x_* of one step, given its place after the first."""
    if not n.headed:
        at = f"at_x + {time} * one * ({len(n.inputs)} * H)"
        return [f"tl.store(d_x_ptr + {at} + {i} * H, d_x_{x}, mask={mask})" for i, x in enumerate(n.inputs)]
    lines = []
    for x in n.learned:
        axes = n.input_axes[x]
        (name, size), own = _TENSORS[axes], n.of_axes(axes)
        token = f"(at_time + {time}) * ((H // D) * {len(own)} * {size})"
        at = f"{token} + (head * {len(own)} + {own.index(x)}) * {size} + {'lane' if axes == 'd' else 'feature'}"
        lines += [f"tl.store(d_{name}_ptr + {at}, d_x_{x}, mask={n.real(axes, mask)})"]
    return lines


def places_of_inputs(n: Names) -> list[str]:
    """at_x, at_f and at_w at the first step of a program that has a head."""
    where = {"d": " + lane", "e": " + feature", "": ""}
    return [
        f"at_{name} = at_time * {name}_stride + head * ({len(own)} * {size}){where[axes]}"
        for axes, (name, size) in _TENSORS.items()
        if (own := n.of_axes(axes))
    ]


def load_hoisted(hoisted: Iterable[str], mask: str) -> list[str]:
    return [f"h_{h} = tl.load(h_{h}_ptr + channel, mask={mask}, other=0.0)" for h in hoisted]


def masked(n: Names, state: Iterable[str], reset: str = "reset") -> list[str]:
    """A reset selects the initial state; what was there before is not read, NaN included."""
    lines = [f"    s_{s} = tl.where({reset}, {n.initial[s]}, s_{s})" for s in state]
    return ["if HAS_RESETS:", *lines] if lines else []


def call(results: list[str], function: str, given: list[str]) -> list[str]:
    """`results = function(given)`; a function of one result returns a tuple too."""
    left = ", ".join(results) if len(results) > 1 else f"({results[0]},)"
    return [f"{left} = {function}({', '.join(given)})"]
