"""Triton kernels that walk over time: one program keeps a tile of the state in registers for the whole sequence.

With recurrent matrices a program is one head and a tile of rows, and the head's matrices stay on chip. Without, it is
a run of channels. Only the first lines and the dots differ. Inputs of the next step are loaded before this step
computes, so that memory is never on the critical path.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .analysis import Facts
from .frontend import Recurrence


@dataclass(frozen=True)
class Names:
    """What both kernels enumerate."""

    inputs: tuple[str, ...]
    gates: tuple[str, ...]
    own: tuple[str, ...]  # gates whose d r is not d x
    state: tuple[str, ...]
    pointwise: tuple[str, ...]  # state variables whose previous value the equations read
    kept: tuple[str, ...]  # what the forward stores for the backward, at every step
    before: tuple[str, ...]  # of these: stored as the step read it; the others as the step made it, like an output
    outputs: tuple[str, ...]
    hoisted: tuple[str, ...]
    recurrent: str | None
    initial: dict[str, float]

    @property
    def started(self) -> tuple[str, ...]:
        """The state variables whose start the backward reads too."""
        return tuple(s for s in self.pointwise if s not in self.before)

    @property
    def dots(self) -> bool:
        return self.recurrent is not None


def names_of(rec: Recurrence, facts: Facts) -> Names:
    pointwise = tuple(n for n, read in zip(rec.state, facts.pointwise, strict=True) if read)
    kept = tuple(n for n in rec.state if n in pointwise or n == rec.recurrent)
    return Names(
        inputs=rec.inputs,
        gates=rec.gates,
        own=tuple(g for g, shared in zip(rec.gates, facts.shared, strict=True) if not shared),
        state=rec.state,
        pointwise=pointwise,
        kept=kept,
        before=tuple(n for n in kept if rec.recurrent and not (n in pointwise and n in rec.outputs)),
        outputs=rec.outputs,
        hoisted=tuple(n for n, _ in facts.hoisted),
        recurrent=rec.recurrent,
        initial=dict(zip(rec.state, rec.initial, strict=True)),
    )


def signature(name: str, doc: str, arguments: Iterable[tuple[str, str]], constants: Iterable[str]) -> list[str]:
    """The head of a kernel; `arguments` are (name, comment)."""
    lines = ['@triton.jit(do_not_specialize=["B", "T"])', f"def {name}("]
    lines += [f"    {a},  # {comment}" if comment else f"    {a}," for a, comment in arguments]
    lines += [f"    {c}: tl.constexpr," for c in constants]
    return [*lines, "):", f'    """{doc}"""']


def forward_arguments(n: Names) -> list[tuple[str, str]]:
    """Pointers and sizes of the forward kernel, in order; the launcher follows it."""
    return [
        ("x_ptr", f"[B, T, {len(n.inputs)}, H]: {', '.join(n.inputs)}"),
        ("resets_ptr", "[B, T] 0 or 1"),
        *([("weight_ptr", "[N, gates, D, D] (out, in)")] if n.dots else []),
        *((f"h_{h}_ptr", "[H]") for h in n.hoisted),
        *((f"start_{s}_ptr", "[B, H]") for s in n.state),
        *((f"out_{s}_ptr", "[B, T, H]") for s in n.outputs),
        *((f"kept_{s}_ptr", "[B, T, H], for the backward") for s in n.kept),
        *((f"last_{s}_ptr", "[B, H]") for s in n.state),
        ("B", ""),
        ("T", ""),
    ]


def backward_arguments(n: Names) -> list[tuple[str, str]]:
    return [
        ("x_ptr", f"[B, T, {len(n.inputs)}, H]: {', '.join(n.inputs)}"),
        ("resets_ptr", "[B, T] 0 or 1"),
        *([("r_ptr", "[N, B·T, gates, D] R y of every step")] if n.dots else []),
        *([("weight_ptr", "[N, gates, D, D] (out, in)")] if n.dots else []),
        *((f"h_{h}_ptr", "[H]") for h in n.hoisted),
        *((f"start_{s}_ptr", "[B, H]") for s in n.started),
        *((f"kept_{s}_ptr", "[B, T, H]") for s in n.pointwise),
        *((f"d_out_{s}_ptr", "[B, T, H]") for s in n.outputs),
        *((f"d_last_{s}_ptr", "[B, H]") for s in n.state),
        ("d_x_ptr", f"[B, T, {len(n.inputs)}, H]"),
        *([("d_r_ptr", f"[B, T, {len(n.own)}, H]: {', '.join(n.own)}")] if n.own else []),
        *((f"d_start_{s}_ptr", "[B, H]") for s in n.state),
        *((f"d_h_{h}_ptr", "[B, H]") for h in n.hoisted),
        ("B", ""),
        ("T", ""),
    ]


def constants(n: Names, *extra: str) -> list[str]:
    tile = ["D", "BLOCK_B", "BLOCK_D", "PRECISION"] if n.dots else ["BLOCK"]
    return ["H", *tile, "HAS_RESETS", *extra]


def prologue(n: Names) -> list[str]:
    """Which rows and channels this program owns."""
    if n.dots:
        lines = [
            "head = tl.program_id(0)",
            "row = (tl.program_id(1) * BLOCK_B + tl.arange(0, BLOCK_B))[:, None].to(tl.int64)",
            "lane = tl.arange(0, BLOCK_D)[None, :]",
            "channel = head * D + lane",
            "inside = (row < B) & (lane < D)",
        ]
    else:
        lines = [
            "at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)",
            "row, channel = at // H, at % H",
            "inside = row < B",
        ]
    own_channel = "lane < D" if n.dots else "inside"
    return [
        *lines,
        "one = tl.full((), 1, tl.int64)  # steps times sizes may pass 2**31",
        "begin, end = row * 0, row * 0 + T  # as tiles, like the masks they are compared into",
        "at_row = row * H + channel  # of [B, H]",
        "at_seq = row * T * H + channel  # of [B, T, H] at t = 0",
        f"at_x = row * T * ({len(n.inputs)} * H) + channel  # of [B, T, {len(n.inputs)}, H] at t = 0",
        *(f"h_{h} = tl.load(h_{h}_ptr + channel, mask={own_channel}, other=0.0)" for h in n.hoisted),
    ]


def weights(n: Names, transposed: bool) -> list[str]:
    """The head's matrices, loaded once: (in, out) forward, (out, in) backward."""
    if not n.dots:
        return []
    entry = "inner * D + outer" if transposed else "outer * D + inner"
    return [
        "inner, outer = tl.arange(0, BLOCK_D)[:, None], tl.arange(0, BLOCK_D)[None, :]",
        f"at_weight = head.to(tl.int64) * ({len(n.gates)} * D * D) + {entry}",
        "within = (inner < D) & (outer < D)",
        *(
            f"R_{g} = tl.load(weight_ptr + at_weight + {i} * D * D, mask=within, other=0.0)"
            for i, g in enumerate(n.gates)
        ),
    ]


def masked(n: Names, state: Iterable[str], value: str = "s_{0}", indent: str = "") -> list[str]:
    """A reset selects the initial state; what was there before is not read, NaN included."""
    lines = [f"s_{s} = tl.where(reset, {n.initial[s]}, {value.format(s)})" for s in state]
    return [f"{indent}{line}" for line in lines]


def emit_forward(n: Names, doc: str) -> str:
    """The forward kernel."""
    keep = [f"KEEP_{s}" for s in n.kept]
    head = signature("forward_kernel", doc, forward_arguments(n), constants(n, *keep))
    body = [*prologue(n), *weights(n, transposed=False)]
    body += [f"s_{s} = tl.load(start_{s}_ptr + at_row, mask=inside, other=0.0)" for s in n.state]
    body += [f"next_{x} = tl.load(x_ptr + at_x + {i} * H, mask=inside, other=0.0)" for i, x in enumerate(n.inputs)]
    body += ["if HAS_RESETS:", "    next_reset = tl.load(resets_ptr + row * T, mask=row < B, other=0)"]
    body += ["for t in range(T):"]
    loop = [f"x_{x} = next_{x}.to(tl.float32)" for x in n.inputs]
    loop += ["more = inside & (t + 1 < end)"]
    loop += [
        f"next_{x} = tl.load(x_ptr + at_x + (t + 1) * one * ({len(n.inputs)} * H) + {i} * H, mask=more, other=0.0)"
        for i, x in enumerate(n.inputs)
    ]
    loop += ["if HAS_RESETS:", "    reset = next_reset != 0"]
    loop += ["    next_reset = tl.load(resets_ptr + row * T + (t + 1), mask=(row < B) & (t + 1 < end), other=0)"]
    loop += masked(n, n.state, indent="    ")
    if n.dots:
        loop += [f"y = s_{n.recurrent}.to(R_{n.gates[0]}.dtype)"]
        loop += [f"r_{g} = tl.dot(y, R_{g}, input_precision=PRECISION)" for g in n.gates]
    for s in n.before:
        loop += [f"if KEEP_{s}:", f"    tl.store(kept_{s}_ptr + at_seq + t * one * H, s_{s}, mask=inside)"]
    given = [
        *(f"x_{x}" for x in n.inputs),
        *(f"r_{g}" for g in n.gates),
        *(f"s_{s}" for s in n.state),
        *(f"h_{h}" for h in n.hoisted),
    ]
    loop += call([f"s_{s}" for s in n.state], "step_tile", given)
    loop += [f"tl.store(out_{s}_ptr + at_seq + t * one * H, s_{s}, mask=inside)" for s in n.outputs]
    for s in (s for s in n.kept if s not in n.before):
        loop += [f"if KEEP_{s}:", f"    tl.store(kept_{s}_ptr + at_seq + t * one * H, s_{s}, mask=inside)"]
    body += [f"    {line}" for line in loop]
    body += [f"tl.store(last_{s}_ptr + at_row, s_{s}, mask=inside)" for s in n.state]
    return "\n".join([*head, *(f"    {line}" for line in body)])


def emit_backward(n: Names, doc: str) -> str:
    """The backward kernel."""
    head = signature("backward_kernel", doc, backward_arguments(n), constants(n))
    body = [*prologue(n), *weights(n, transposed=True)]
    if n.dots:
        body += [f"at_r = head.to(tl.int64) * B * T * ({len(n.gates)} * D) + row * T * ({len(n.gates)} * D) + lane"]
    body += [f"d_{s} = tl.load(d_last_{s}_ptr + at_row, mask=inside, other=0.0)" for s in n.state]
    body += [f"total_{h} = tl.zeros_like(d_{n.state[0]})" for h in n.hoisted]
    body += ["t = T - 1", *_fetch(n, "inside")]
    body += ["for back in range(T):", "    t = T - 1 - back"]
    loop = [f"x_{x} = next_{x}.to(tl.float32)" for x in n.inputs]
    loop += [f"r_{g} = next_r_{g}.to(tl.float32)" for g in n.gates]
    loop += [f"s_{s} = next_s_{s}" for s in n.pointwise]
    loop += [f"s_{s} = tl.zeros_like(x_{n.inputs[0]})  # not read" for s in n.state if s not in n.pointwise]
    loop += [f"d_{s} += next_d_{s}.to(tl.float32)" for s in n.outputs]
    loop += ["if HAS_RESETS:", "    reset = next_reset != 0", *masked(n, n.started, indent="    ")]
    loop += ["t -= 1", "more = inside & (t >= begin)", *_fetch(n, "more")]
    given = [
        *(f"x_{x}" for x in n.inputs),
        *(f"r_{g}" for g in n.gates),
        *(f"s_{s}" for s in n.state),
        *(f"h_{h}" for h in n.hoisted),
        *(f"d_{s}" for s in n.state),
    ]
    found = [
        *(f"d_x_{x}" for x in n.inputs),
        *(f"d_r_{g}" for g in n.own),
        *(f"d_{s}" for s in n.state),
        *(f"d_h_{h}" for h in n.hoisted),
    ]
    loop += call(found, "vjp_tile", given)
    if n.dots:
        parts = [f"d_r_{g}" if g in n.own else f"d_x_{g}" for g in n.gates]
        loop += [f"through = d_{n.recurrent}"]
        loop += [
            f"through = tl.dot({d}.to(R_{g}.dtype), R_{g}, through, input_precision=PRECISION)"
            for g, d in zip(n.gates, parts, strict=True)
        ]
        loop += [f"d_{n.recurrent} = through"]
    loop += [
        f"tl.store(d_x_ptr + at_x + (t + 1) * one * ({len(n.inputs)} * H) + {i} * H, d_x_{x}, mask=inside)"
        for i, x in enumerate(n.inputs)
    ]
    if n.own:
        width = f"({len(n.own)} * H)"
        loop += [
            f"tl.store(d_r_ptr + row * T * {width} + channel + (t + 1) * one * {width} + {i} * H, d_r_{g}, mask=inside)"
            for i, g in enumerate(n.own)
        ]
    loop += [f"total_{h} += d_h_{h}" for h in n.hoisted]
    loop += ["if HAS_RESETS:  # what a reset step read does not reach the step before it"]
    loop += [f"    d_{s} = tl.where(reset, 0.0, d_{s})" for s in n.state]
    body += [f"    {line}" for line in loop]
    body += [f"tl.store(d_start_{s}_ptr + at_row, d_{s}, mask=inside)" for s in n.state]
    body += [f"tl.store(d_h_{h}_ptr + at_row, total_{h}, mask=inside)" for h in n.hoisted]
    return "\n".join([*head, *(f"    {line}" for line in body)])


def _fetch(n: Names, mask: str) -> list[str]:
    """Load all that step t of the backward reads."""
    g = f"({len(n.inputs)} * H)"
    lines = [
        f"next_{x} = tl.load(x_ptr + at_x + t * one * {g} + {i} * H, mask={mask}, other=0.0)"
        for i, x in enumerate(n.inputs)
    ]
    lines += [
        f"next_r_{x} = tl.load(r_ptr + at_r + t * one * ({len(n.gates)} * D) + {i} * D, mask={mask}, other=0.0)"
        for i, x in enumerate(n.gates)
    ]
    lines += [f"next_d_{s} = tl.load(d_out_{s}_ptr + at_seq + t * one * H, mask={mask}, other=0.0)" for s in n.outputs]
    for s in n.pointwise:
        if s in n.before:
            lines += [f"next_s_{s} = tl.load(kept_{s}_ptr + at_seq + t * one * H, mask={mask}, other=0.0)"]
            continue
        lines += [
            f"next_s_{s} = tl.load(kept_{s}_ptr + at_seq + (t - 1) * one * H, mask={mask} & (t > begin), other=0.0)",
            f"next_s_{s} += tl.load(start_{s}_ptr + at_row, mask={mask} & (t == begin), other=0.0)",
        ]
    lines += ["if HAS_RESETS:"]
    lines += ["    next_reset = tl.load(resets_ptr + row * T + t, mask=(row < B) & (t >= begin), other=0)"]
    return lines


def call(results: list[str], function: str, given: list[str]) -> list[str]:
    """`results = function(given)`; a function of one result returns a tuple too."""
    left = ", ".join(results) if len(results) > 1 else f"({results[0]},)"
    return [f"{left} = {function}({', '.join(given)})"]
