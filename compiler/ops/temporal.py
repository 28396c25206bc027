"""Ops that carry state through time. Each has a sequence form (operands ``[B, T, …]``) and a step form (``[B, …]``);
which one a node means follows from the rank of its first operand, so a part is written once for both modes.

``resets`` is the caller's mask, ``segments`` the running count of resets that sequence forms use instead.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..ir.types import Dim, T, Type, numel
from .table import Attrs, Op, Types, first, need


def _is_step(types: Types, lead_of: int = 0) -> bool:
    t = types[lead_of]
    assert t is not None
    return T not in t.shape


def _suffixed(function: str, args: Sequence[str], attrs: Attrs) -> str:
    """``conv_step(…)``, ``conv_reference(…)``: the variant that the plan chose, by name."""
    suffix = "_step" if attrs["mode"] == "step" else ""
    plain = "_reference" if attrs.get("impl") == "reference" else ""  # chosen only where there is one
    hidden = ("mode", "impl", "chunk_size") if plain else ("mode", "impl")  # a reference loop has no chunks
    extra = "".join(f", {k}={v!r}" for k, v in attrs.items() if k not in hidden)
    return f"{function}{suffix}{plain}({', '.join(args)}{extra})"


def _name(function: str) -> object:
    return lambda attrs: (_suffixed(function, (), attrs).partition("(")[0],)


def _temporal(function: str, family: str, infer: object, flops: object) -> Op:
    return Op(
        function,
        family,
        infer,  # type: ignore[arg-type]
        lambda args, attrs: _suffixed(function, args, attrs),
        flops,  # type: ignore[arg-type]
        imports=_name(function),  # type: ignore[arg-type]
    )


def _segments(types: Types, attrs: Attrs) -> tuple[Type, ...]:
    return (Type("i64", first(types).shape, optional=True),)


def _conv(types: Types, attrs: Attrs) -> tuple[Type, ...]:
    """x, buffer, weight, bias, segments|resets -> y, buffer'"""
    x, buffer, weight = types[:3]
    assert x is not None and buffer is not None and weight is not None
    need("causal_conv", buffer.shape[-2:] == (weight.shape[-1], x.width), f"buffer {buffer}, weight {weight}, x {x}")
    return (x, buffer)


def _conv_flops(types: Types, outs: tuple[Type, ...], attrs: Attrs) -> Dim:
    w = types[2]
    assert w is not None
    return 2 * numel(outs[0].shape) * int(w.shape[1]) * int(w.shape[2])


def _mlstm(types: Types, attrs: Attrs) -> tuple[Type, ...]:
    """q, k, v, i, f, c, n, m, segments|resets -> h, c', n', m'"""
    q, c, n, m = types[0], types[5], types[6], types[7]
    assert q is not None and c is not None and n is not None and m is not None
    need("mlstm", c.shape[-2:] == (q.width, q.width), f"matrix memory {c} for heads of width {q.width}")
    return (q, c, n, m)


def _mlstm_flops(types: Types, outs: tuple[Type, ...], attrs: Attrs) -> Dim:
    q = first(types)
    heads, width = int(q.shape[-2]), q.width
    tokens = numel(q.lead)
    if attrs["mode"] == "step":
        return tokens * heads * 6 * width * width
    chunk = int(attrs["chunk_size"])  # type: ignore[arg-type]
    return tokens * heads * (4 * width * width + 4 * chunk * width)


def _xl_attention(types: Types, attrs: Attrs) -> tuple[Type, ...]:
    """q, k, v, rel (with adapters one for each row), u, v_bias, fill, segments, dropout factors if any -> out"""
    return (first(types),)


def _xl_attention_flops(types: Types, outs: tuple[Type, ...], attrs: Attrs) -> Dim:
    rel = types[3]
    assert rel is not None
    return 6 * numel(outs[0].shape) * int(rel.shape[-3])


def _xl_step(types: Types, attrs: Attrs) -> tuple[Type, ...]:
    """x, q, mem, fill, wk, bk, wv, bv, wr, positions, u, v_bias, resets, dropout factors if any -> out"""
    q = types[1]
    assert q is not None
    return (q,)


def _xl_step_flops(types: Types, outs: tuple[Type, ...], attrs: Attrs) -> Dim:
    mem = types[2]
    assert mem is not None
    heads, window, width = int(outs[0].shape[-2]), int(mem.shape[1]) + 1, mem.width
    return numel(outs[0].lead) * (6 * width * width + 6 * heads * window * width)


def _xl_memory(types: Types, attrs: Attrs) -> tuple[Type, ...]:
    """x, mem, fill, segments|resets -> mem', fill'"""
    mem, fill = types[1], types[2]
    assert mem is not None and fill is not None
    return (mem, fill)


def _xl_context(types: Types, attrs: Attrs) -> tuple[Type, ...]:
    """x, mem, segments -> the remembered inputs followed by the new ones; no gradient goes into the memory"""
    x, mem = types[:2]
    assert mem is not None and x is not None
    return (Type("f", (x.shape[0], x.shape[1] + mem.shape[1], x.shape[2])),)


def _positions(types: Types, attrs: Attrs) -> tuple[Type, ...]:
    """x (for its device and dtype) -> R(0 … mem_len)"""
    return (Type("f", (int(attrs["mem_len"]) + 1, first(types).width)),)  # type: ignore[arg-type, operator]


def _recurrence(types: Types, attrs: Attrs) -> tuple[Type, ...]:
    """x, params…, weight, state…, traces…, resets -> outputs…, state'…, traces'…"""
    x = first(types)
    params, states, traces = int(attrs["params"]), int(attrs["states"]), int(attrs["traces"])  # type: ignore[arg-type]
    carried = types[2 + params : 2 + params + states + traces]
    y = Type("f", (*x.shape[:-2], x.width))
    return (*([y] * int(attrs["outputs"])), *(t for t in carried if t is not None))  # type: ignore[arg-type]


def _recurrence_parts(items: Sequence[str], attrs: Attrs, sizes: tuple[str, ...]) -> list[str]:
    """Nested tuples as text: the generated op takes and returns its operands in groups."""
    texts, at = [], 0
    for key in sizes:
        n = int(attrs[key])  # type: ignore[arg-type]
        group = items[at : at + n]
        texts.append(f"({', '.join(group)}{',' if n == 1 else ''})")
        at += n
    return texts


def _emit_recurrence(args: Sequence[str], attrs: Attrs) -> str:
    n = int(attrs["params"])  # type: ignore[arg-type]
    (params,) = _recurrence_parts(args[1 : 1 + n], attrs, ("params",))
    states, traces = _recurrence_parts(args[2 + n : -1], attrs, ("states", "traces"))
    form = "step" if attrs["mode"] == "step" else "sequence"
    operands = f"{args[0]}, {params}, {args[1 + n]}, {states}, {traces}, {args[-1]}"
    return f"{attrs['name']}.{form}({operands}, impl={attrs['impl']!r})"


def recurrence_targets(names: Sequence[str], attrs: Attrs) -> str:
    """The left-hand side that takes what :func:`_emit_recurrence` returns."""
    return ", ".join(_recurrence_parts(names, attrs, ("outputs", "states", "traces")))


def _recurrence_flops(types: Types, outs: tuple[Type, ...], attrs: Attrs) -> Dim:
    x = first(types)
    width, pointwise = int(attrs["head_width"]), int(attrs["pointwise_flops"])  # type: ignore[arg-type]
    per_channel: Dim = 2 * width * int(x.shape[-2]) + pointwise if width else pointwise
    return numel(outs[0].shape) * per_channel


def equations_of(op: str, attrs: Attrs) -> str | None:
    """The recurrence whose generated module a node runs, if it runs one."""
    if op == "recurrence" or (op == "agalite" and attrs.get("impl") != "reference"):
        return str(attrs["name"])
    return None


def _agalite(types: Types, attrs: Attrs) -> tuple[Type, ...]:
    """inputs [.., N, 5, D], features [.., N, 3, E], tilde_k, tilde_v, s, tick, resets -> y and the next four states"""
    x, p, keys = types[:3]
    assert x is not None and p is not None and keys is not None
    need("agalite", keys.width == x.width * p.width, f"memory {keys} for {p.width} features of width {x.width}")
    return (Type("f", (*x.shape[:-2], x.width)), *(t for t in types[2:6] if t is not None))


def _emit_agalite(args: Sequence[str], attrs: Attrs) -> str:
    if attrs["impl"] == "reference":
        return f"agalite_reference({', '.join(args)}, eps={attrs['eps']!r})"
    function = "agalite_step" if attrs["mode"] == "step" else "agalite"
    return f"{function}({', '.join([str(attrs['name']), *args])}, impl={attrs['impl']!r})"


def _name_of_agalite(attrs: Attrs) -> tuple[str, ...]:
    return (_emit_agalite((), attrs).partition("(")[0],)


def _agalite_flops(types: Types, outs: tuple[Type, ...], attrs: Attrs) -> Dim:
    return numel(first(types).shape[:-3]) * int(attrs["flops"])  # type: ignore[arg-type, operator]


def _lstm_projected(types: Types, attrs: Attrs) -> tuple[Type, ...]:
    """gates, h, c, weight_hh, weight_hr (with adapters one for each row), segments|resets -> y, h', c'"""
    gates, h, c, recurrent, out = types[:5]
    assert gates is not None and h is not None and c is not None and recurrent is not None and out is not None
    fits = recurrent.shape[-2:] == (gates.width, h.width) and out.shape[-2:] == (h.width, c.width)
    need("lstm_projected", fits, f"weights {recurrent}, {out} for a state of {h.width} and {c.width}")
    return (gates.with_width(h.width), h, c)


def _lstm_projected_flops(types: Types, outs: tuple[Type, ...], attrs: Attrs) -> Dim:
    recurrent, out = types[3], types[4]
    assert recurrent is not None and out is not None
    return numel(outs[0].lead) * (2 * numel(recurrent.shape[-2:]) + 2 * numel(out.shape[-2:]) + 13 * out.width)


def _rtu_attach(types: Types, attrs: Attrs) -> tuple[Type, ...]:
    """hc1, hc2, nu, theta, Wc1, Wc2, the eight traces, segments|resets -> hc1, hc2"""
    c1, c2 = types[:2]
    assert c1 is not None and c2 is not None
    return (c1, c2)


def _rtu_traces(types: Types, attrs: Attrs) -> tuple[Type, ...]:
    """u, nu, theta, E_w1_c1, E_w1_c2, E_w2_c1, E_w2_c2, segments|resets -> the four traces"""
    return tuple(t for t in types[3:7] if t is not None)


def _rtu_traces_flops(types: Types, outs: tuple[Type, ...], attrs: Attrs) -> Dim:
    u = first(types)
    return 4 * numel(u.shape) * u.width


def _foreign(types: Types, attrs: Attrs) -> tuple[Type, ...]:
    """x, state…, resets -> y, state'…"""
    return tuple(t for t in types[:-1] if t is not None)


def _emit_foreign(args: Sequence[str], attrs: Attrs) -> str:
    """``foreign(p.experts[2].core, x, (h_in,), resets, keys=('h',))``: a tuple, so without state its first alone."""
    path = "".join(f"[{s}]" if s.isdigit() else f".{s}" for s in str(attrs["path"]).split(".") if s)
    leaves = f"({', '.join(args[1:-1])}{',' if len(args) == 3 else ''})"
    alone = "" if attrs["keys"] else "[0]"
    return f"foreign(p{path}, {args[0]}, {leaves}, {args[-1]}, keys={attrs['keys']!r}){alone}"


def _foreign_flops(types: Types, outs: tuple[Type, ...], attrs: Attrs) -> Dim:
    return numel(first(types).lead) * int(attrs["flops"])  # type: ignore[arg-type, operator]


OPS = [
    Op("segments", "shape", _segments, lambda a, k: f"segment_ids({a[0]})", imports=lambda k: ("segment_ids",)),
    _temporal("causal_conv", "recurrence", _conv, _conv_flops),
    _temporal("mlstm", "chunkwise", _mlstm, _mlstm_flops),
    _temporal("xl_attention", "attention", _xl_attention, _xl_attention_flops),
    _temporal("xl", "attention", _xl_step, _xl_step_flops),
    Op("agalite", "recurrence", _agalite, _emit_agalite, _agalite_flops, imports=_name_of_agalite),
    _temporal("lstm_projected", "recurrence", _lstm_projected, _lstm_projected_flops),
    _temporal("rtu_attach", "shape", _rtu_attach, lambda i, o, k: 0),
    _temporal("rtu_traces", "recurrence", _rtu_traces, _rtu_traces_flops),
    _temporal("xl_memory", "shape", _xl_memory, lambda i, o, k: 0),
    Op(
        "xl_context",
        "shape",
        _xl_context,
        lambda a, k: f"xl_context({', '.join(a)})",
        imports=lambda k: ("xl_context",),
    ),
    Op(
        "relative_positions",
        "shape",
        _positions,
        lambda a, k: f"relative_positions({k['mem_len']}, {k['width']}, {a[0]}.dtype, {a[0]}.device)",
        imports=lambda k: ("relative_positions",),
    ),
    Op("recurrence", "recurrence", _recurrence, _emit_recurrence, _recurrence_flops),
    Op("foreign", "opaque", _foreign, _emit_foreign, _foreign_flops, imports=lambda k: ("foreign",)),
    Op("call", "opaque", lambda t, k: (first(t),), lambda a, k: f"{k['graph']}({', '.join(a)})"),
]
