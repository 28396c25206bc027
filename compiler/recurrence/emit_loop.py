"""Triton kernels that walk over time with the state in registers.

Who owns what is the schedule's matter; the loop is the same. Inputs of the next step are loaded before this step
computes, so that memory is never on the critical path.
"""

from __future__ import annotations

from . import emit_product, emit_read
from .frame import backward_arguments, call, forward_arguments, kernel, load_x, masked, store_d_x
from .names import Names
from .schedules import Schedule


def forward_constants(n: Names, how: Schedule) -> list[str]:
    return [*how.constants, *(f"KEEP_{s}" for s in (*n.kept, *n.totals))]


def emit_forward(n: Names, how: Schedule) -> str:
    """The forward kernel."""
    body = [*how.prologue(n), *emit_product.forward_weights(n, how)]
    body += [
        f"s_{s} = tl.load(start_{s}_ptr + {n.at('at_start', s)}, mask={n.within(s, 'inside')}, other=0.0)"
        for s in n.state
    ]
    body += load_x(n, "next", "0", _real(how, "inside", "0"))
    first = _real(how, "row < B", "0")
    body += ["if HAS_RESETS:", f"    next_reset = tl.load(resets_ptr + at_time, mask={first}, other=0)"]
    loop = [f"x_{x} = next_{x}.to(tl.float32)" for x in n.inputs]
    loop += ["more = inside & (t + 1 < count)", *load_x(n, "next", "(t + 1)", "more")]
    loop += ["if HAS_RESETS:", "    reset = next_reset != 0"]
    loop += ["    next_reset = tl.load(resets_ptr + at_time + (t + 1), mask=(row < B) & (t + 1 < count), other=0)"]
    loop += masked(n, n.state)[1:]
    loop += emit_product.recurrent_terms(n, how)
    live = "inside & (t < count)" if how.partial else "inside"
    if how.partial:
        loop += [f"live = {live}"]
        live = "live"
    for s in n.before:
        loop += [f"if KEEP_{s}:", f"    {_store(n, 'kept', s, 't', f's_{s}', live)}"]
    given = [
        *(f"x_{x}" for x in n.inputs),
        *(f"r_{g}" for g in n.gates),
        *(f"s_{s}" for s in n.state),
        *(f"h_{h}" for h in n.hoisted),
    ]
    new = "new" if how.partial else "s"
    loop += call([f"{new}_{s}" for s in n.state], "step_tile", given)
    if how.partial:
        loop += [f"s_{s} = tl.where({n.within(s, 'live')}, new_{s}, s_{s})" for s in n.state]
    loop += emit_read.forward_lines(n)
    loop += [_store(n, "out", s, "t", f"{'y' if s in n.readouts else 's'}_{s}", live) for s in n.outputs]
    for s in (*(s for s in n.kept if s not in n.before), *n.totals):
        value = f"{'z' if s in n.totals else 's'}_{s}"
        loop += [f"if KEEP_{s}:", f"    {_store(n, 'kept', s, 't', value, live)}"]
    loop += emit_product.hand_on(n, how)
    body += [f"for t in {how.over(n)}:", *(f"    {line}" for line in loop)]
    ends = "inside & (first + CHUNK >= T)" if how.partial else "inside"
    body += [f"tl.store(last_{s}_ptr + {n.at('at_row', s)}, s_{s}, mask={n.within(s, ends)})" for s in n.state]
    arguments = [*forward_arguments(n), *how.arguments]
    return kernel(f"{how.name}_forward_kernel", how.doc, arguments, forward_constants(n, how), body)


def emit_backward(n: Names, how: Schedule) -> str:
    """The backward kernel."""
    body = [*how.prologue(n), *emit_product.backward_weights(n, how)]
    if n.dots:
        body += [f"at_r = (head.to(tl.int64) * B * T + at_time) * ({len(n.gates)} * D) + lane"]
    body += [
        f"d_{s} = tl.load(d_last_{s}_ptr + {n.at('at_start', s)}, mask={n.within(s, 'inside')}, other=0.0)"
        for s in n.state
    ]
    if how.split:
        body += [f"total_{h} = tl.load(d_h_{h}_ptr + at_row, mask=inside, other=0.0)" for h in n.hoisted]
    else:
        like = "tl.zeros((1, BLOCK_D), tl.float32)" if n.headed else f"tl.zeros_like(d_{n.state[0]})"
        body += [f"total_{h} = {like}" for h in n.hoisted]
    body += ["t = steps - 1", *_fetch(n, _real(how, "inside", "t"), _real(how, "row < B", "t"))]
    loop = ["if HAS_RESETS:", "    reset = next_reset != 0"]
    step = [f"x_{x} = next_{x}.to(tl.float32)" for x in n.inputs]
    step += [f"r_{g} = next_r_{g}.to(tl.float32)" for g in n.gates]
    step += [f"s_{s} = next_s_{s}" for s in n.pointwise]
    step += [f"s_{s} = tl.zeros_like(x_{n.inputs[0]})  # not read" for s in n.state if s not in n.pointwise]
    step += [f"d_{s} += next_d_{s}.to(tl.float32)" for s in n.outputs if s not in n.readouts]
    step += [f"d_y_{s} = next_d_{s}.to(tl.float32)" for s in n.readouts]
    step += [f"z_{t} = next_z_{t}" for t in n.totals]
    step += masked(n, n.started)
    step += emit_read.cleaned(
        n, [*(f"x_{x}" for x in n.inputs), *(f"s_{s}" for s in n.pointwise), *(f"z_{t}" for t in n.totals)]
    )
    live = "inside"
    if how.partial:
        step += ["live = inside & (t < count)"]
        live = "live"
    step += [
        "t -= 1",
        *_fetch(n, _real(how, "inside & (t >= begin)", "t"), _real(how, "(row < B) & (t >= begin)", "t")),
    ]
    read = [
        *(f"x_{x}" for x in n.inputs),
        *(f"r_{g}" for g in n.gates),
        *(f"s_{s}" for s in n.state),
        *(f"h_{h}" for h in n.hoisted),
    ]
    if n.readouts:
        step += call([f"made_{s}" for s in n.state], "step_tile", read)
        step += emit_read.backward_lines(n, {s: f"made_{s}" for s in n.state})
    given = [*read, *(f"d_{s}" for s in n.state)]
    new = "new_d" if how.partial else "d"
    found = [
        *(f"d_x_{x}" for x in n.learned),
        *(f"d_r_{g}" for g in n.own),
        *(f"{new}_{s}" for s in n.state),
        *(f"d_h_{h}" for h in n.hoisted),
    ]
    if n.vjp_wide is not None:  # before `vjp_tile`, whose adjoints of the state may have the names of these
        step += call(emit_read.results(n, "wide"), "vjp_wide_tile", given)
    step += [*call(found, "vjp_tile", given), *emit_product.hand_back(n, how)]
    step += [f"{new}_{s} = wide_n_{s}" for s in (n.vjp_wide.state if n.vjp_wide else ())]
    step += [*emit_read.input_parts(n), *store_d_x(n, "(t + 1)", live)]
    if n.own:
        width = f"({len(n.own)} * H)"
        step += [
            f"tl.store(d_r_ptr + (at_time + (t + 1)) * {width} + channel + {i} * H, d_r_{g}, mask={live})"
            for i, g in enumerate(n.own)
        ]
    if how.partial:
        step += [f"total_{h} += tl.where({n.real('d', 'live')}, d_h_{h}, 0.0)" for h in n.hoisted]
    else:
        step += [f"total_{h} += d_h_{h}" for h in n.hoisted]
    loop += emit_product.turn_back(n, how)
    loop += ["if STEP:", *(f"    {line}" for line in step)] if how.split else step
    loop += emit_product.through(n, how)
    loop += ["if HAS_RESETS:  # what a reset step read does not reach the step before it"]
    loop += [f"    {new}_{s} = tl.where(reset, 0.0, {new}_{s})" for s in n.state]
    if how.partial:
        loop += [f"d_{s} = tl.where({n.within(s, 'live')}, new_d_{s}, d_{s})" for s in n.state]
    body += [f"for back in {how.over(n)}:", "    t = steps - 1 - back", *(f"    {line}" for line in loop)]
    opens = "inside & (first == 0)" if how.partial else "inside"
    body += [f"tl.store(d_start_{s}_ptr + {n.at('at_row', s)}, d_{s}, mask={n.within(s, opens)})" for s in n.state]
    body += [f"tl.store(d_h_{h}_ptr + at_start, total_{h}, mask={n.real('d', 'inside')})" for h in n.hoisted]
    arguments = [*backward_arguments(n), *how.arguments]
    return kernel(f"{how.name}_backward_kernel", f"{how.doc} Time runs backwards.", arguments, how.constants, body)


def _store(n: Names, tensor: str, name: str, time: str, value: str, mask: str) -> str:
    """A step's number to the tensor of a state variable, an output or a total."""
    return f"tl.store({tensor}_{name}_ptr + {n.at('at_seq', name, time)}, {value}, mask={n.within(name, mask)})"


def _load(n: Names, tensor: str, name: str, time: str, mask: str) -> str:
    return f"tl.load({tensor}_{name}_ptr + {n.at('at_seq', name, time)}, mask={n.within(name, mask)}, other=0.0)"


def _real(how: Schedule, mask: str, time: str) -> str:
    """`mask`, and the step is one: the last chunk may be short."""
    if not how.partial:
        return mask
    return f"{mask if '(' in mask or ' ' not in mask else f'({mask})'} & ({time} < count)"


def _fetch(n: Names, mask: str, rows: str) -> list[str]:
    """Load all that step t of the backward reads."""
    lines = load_x(n, "next", "t", mask)
    lines += [
        f"next_r_{x} = tl.load(r_ptr + at_r + t * one * ({len(n.gates)} * D) + {i} * D, mask={mask}, other=0.0)"
        for i, x in enumerate(n.gates)
    ]
    lines += [f"next_d_{s} = {_load(n, 'd_out', s, 't', mask)}" for s in n.outputs]
    lines += [f"next_z_{t} = {_load(n, 'kept', t, 't', mask)}" for t in n.totals]
    for s in n.pointwise:
        if s in n.before:
            lines += [f"next_s_{s} = {_load(n, 'kept', s, 't', mask)}"]
            continue
        # one load, of what entered the first step or of what the step before made
        places = f"start_{s}_ptr + {n.at('at_start', s)}, kept_{s}_ptr + {n.at('at_seq', s, '(t - 1)')}"
        lines += [f"next_s_{s} = tl.load(tl.where(t == begin, {places}), mask={n.within(s, mask)}, other=0.0)"]
    lines += ["if HAS_RESETS:", f"    next_reset = tl.load(resets_ptr + at_time + t, mask={rows}, other=0)"]
    return lines
