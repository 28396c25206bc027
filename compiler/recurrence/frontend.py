"""`@recurrence`: a Python function of symbols becomes a frozen `Recurrence`."""

from __future__ import annotations

import ast
import inspect
import keyword
import re
import sys
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import FrameType, MappingProxyType
from typing import Any

from .expr import Expr, leaf, leaves, lift, substitute
from .totals import collecting

Start = tuple[str, tuple[float, ...]]
# What a parameter may be given as its start: a number, a range of a uniform draw, or a rule with its numbers.
StartLike = float | tuple[float, float] | tuple[str, *tuple[float, ...]]
START_RULES = ("constant", "uniform", "normal", "linspace", "axon_nu", "axon_theta")


class State:
    """What an equation function returns: the new value of every state variable, by name."""

    def __init__(self, **values: Expr | float) -> None:
        self.values = values


class Outputs:
    """What an equation function returns beside the state: outputs that are no state, by name. They are computed from
    the new state, the inputs and the parameters, and are not carried."""

    def __init__(self, **values: Expr | float) -> None:
        self.values = values


Returned = State | tuple[State, Outputs]


class Symbols:
    """The leaves of one kind as attributes: `x.u`, `s.c`, `r.f`, `p.nu`."""

    def __init__(self, kind: str, names: tuple[str, ...], owner: str) -> None:
        self._kind, self._names, self._owner = kind, names, owner

    def __getattr__(self, name: str) -> Expr:
        if name.startswith("__") or name not in self._names:
            known = ", ".join(self._names) or "none"
            raise AttributeError(f"{self._owner}: no {self._kind}.{name}; declared: {known}")
        return leaf(self._kind, name)


@dataclass(frozen=True)
class Recurrence:
    """One recurrence: its declaration and the new state as expressions of x, r, s and p."""

    name: str
    inputs: tuple[str, ...]
    state: tuple[str, ...]
    params: tuple[str, ...]
    outputs: tuple[str, ...]  # what is given out at every step: state variables and read-outs
    recurrent: str | None  # the state variable that the recurrent matrices multiply
    gates: tuple[str, ...]  # the inputs that have a recurrent matrix
    initial: tuple[float, ...]  # state before the first step, and after a reset
    update: tuple[Expr, ...]  # the new state, in the order of `state`
    readouts: tuple[tuple[str, Expr], ...] = ()  # outputs that are no state, over x, p, the update and totals z
    totals: tuple[tuple[str, Expr], ...] = ()  # name and summand of every leaf z
    # What a variable has one number for: "d" a channel, "e" a feature of a head, "ed" both, "" a head.
    input_axes: tuple[str, ...] = ()
    state_axes: tuple[str, ...] = ()
    # As a core: how each parameter starts (a rule of `runtime/init.py` with its numbers; None is the default), and
    # whether the map that makes the inputs has a bias.
    start: tuple[Start | None, ...] = field(default=(), repr=False)
    bias: bool = field(default=True, repr=False)
    source: str = ""  # the equations as written
    doc: str = ""
    names: Mapping[Expr, str] = field(default_factory=dict, repr=False, compare=False)  # the author's variable names

    @property
    def headed(self) -> bool:
        """Whether channels belong to heads: something is shared by, or summed over, the channels of one."""
        return bool(self.totals) or any(a != "d" for a in (*self.input_axes, *self.state_axes))


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.replace(",", " ").split())


def _declared(title: str, kind: str, text: str, allowed: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names and axes: `v p[e] wave[] kt[ed]`; without brackets a variable has one number a channel, [d]."""
    names, axes = [], []
    for word in _words(text):
        name, bracket, rest = word.partition("[")
        inside = rest.removesuffix("]")
        if bracket and (inside not in allowed or inside == rest):
            forms = ", ".join(f"name[{a}]" for a in allowed)
            raise ValueError(f"{title}: {kind} are written name (one number a channel) or {forms}, not {word}")
        names.append(name)
        axes.append(inside if bracket else "d")
    return tuple(names), tuple(axes)


def recurrence(
    *,
    inputs: str,
    state: str,
    outputs: str,
    params: str = "",
    recurrent: str | None = None,
    gates: str | None = None,
    initial: Mapping[str, float] | None = None,
    start: Mapping[str, StartLike] | None = None,
    bias: bool = True,
    name: str | None = None,
) -> Callable[[Callable[..., Returned]], Recurrence]:
    """Trace the decorated function once into a Recurrence.

    The function's arguments are, by name and in any order: `x` inputs, `s` previous state, `r` recurrent terms
    (`r.f` is R_f times the previous `recurrent` state, per head), `p` parameters (one number per channel). It returns
    State(…), and where `outputs` names what is no state, State(…), Outputs(…).
    Inputs and state have one number a channel, or what brackets say: `p[e]` one for each feature of a head, shared by
    its channels; `wave[]` one for a head, data without a gradient; a state variable `kt[ed]` one for each feature and
    channel of a head.
    `gates` names the inputs that have a recurrent matrix (default: all, when `recurrent` is given).
    `initial` gives start values of the state other than 0, `start` those of parameters: a number, `(low, high)` of a
    uniform draw, or `(rule, *numbers)`; without it a parameter of H channels starts uniform in ±1/√H. `bias` says
    whether the map that makes the inputs of a core has a bias: no, where the equations have biases of their own.
    Raises TypeError, ValueError or AttributeError, naming the recurrence and what is wrong with it.
    """

    def decorate(function: Callable[..., Returned]) -> Recurrence:
        title = name or function.__name__
        x, x_axes = _declared(title, "inputs", inputs, ("d", "e", ""))
        s, s_axes = _declared(title, "state", state, ("d", "ed"))
        p = _words(params)
        g = (_words(gates) if gates is not None else x) if recurrent else ()
        out = _words(outputs)
        _check_names(title, x, s, p, g, out, recurrent, initial or {})
        if recurrent and (x_axes + s_axes).count("d") != len(x_axes + s_axes):
            raise ValueError(
                f"{title}: a recurrence with matrices has no features: its heads are a number of the config"
            )
        symbols = {
            "x": Symbols("x", x, title),
            "s": Symbols("s", s, title),
            "r": Symbols("r", g, title),
            "p": Symbols("p", p, title),
        }
        wanted = tuple(inspect.signature(function).parameters)
        if unknown := [w for w in wanted if w not in symbols]:
            raise TypeError(f"{title}: arguments are x, s, r and p, not {', '.join(unknown)}")
        with collecting() as summands:
            result, local = _call(function, {w: symbols[w] for w in wanted})
        new, given, totals = _results(title, result, s, out, summands, local)
        if recurrent and totals:
            raise ValueError(f"{title}: a recurrence with matrices has no totals")
        used = leaves((*new, *(e for _, e in (*given, *totals))))
        unused = [
            f"{kind}.{n}" for kind, names in (("x", x), ("p", p), ("r", g)) for n in names if leaf(kind, n) not in used
        ]
        if unused:
            raise ValueError(f"{title}: declared and never used: {', '.join(unused)}")
        return Recurrence(
            name=title,
            inputs=x,
            state=s,
            params=p,
            outputs=out,
            recurrent=recurrent,
            gates=tuple(n for n in x if n in g),
            initial=tuple(float((initial or {}).get(n, 0.0)) for n in s),
            update=new,
            readouts=given,
            totals=totals,
            input_axes=x_axes,
            state_axes=s_axes,
            start=_starts(title, p, start or {}),
            bias=bias,
            source=_source(function),
            doc=inspect.getdoc(function) or "",
            names=MappingProxyType({e: n for n, e in local.items() if isinstance(e, Expr) and e.args}),
        )

    return decorate


def _results(
    title: str,
    result: Any,
    state: tuple[str, ...],
    outputs: tuple[str, ...],
    summands: Mapping[Expr, Expr],
    local: Mapping[str, Any],
) -> tuple[tuple[Expr, ...], tuple[tuple[str, Expr], ...], tuple[tuple[str, Expr], ...]]:
    """The new state, the read-outs and the totals, which are called as the author did."""
    read = tuple(n for n in outputs if n not in state)
    made, given = result if isinstance(result, tuple) and len(result) == 2 else (result, Outputs())
    fits = isinstance(made, State) and set(made.values) == set(state)
    if not fits or not isinstance(given, Outputs) or set(given.values) != set(read):
        beside = f", Outputs({', '.join(f'{n}=…' for n in read)})" if read else ""
        raise TypeError(f"{title}: return State({', '.join(f'{n}=…' for n in state)}){beside}")
    new = tuple(lift(made.values[n]) for n in state)
    if any(e.kind == "z" for e in leaves(new)):
        raise ValueError(f"{title}: the new state has a total(…) in it, so channels would not run by themselves")
    called = {e: n for n, e in local.items() if isinstance(e, Expr) and e.kind == "z"}
    names = {z: called.get(z, z.name) for z in summands.values()}
    swap = {z: leaf("z", n) for z, n in names.items()}
    results = substitute((lift(given.values[n]) for n in read), swap)
    return new, tuple(zip(read, results, strict=True)), tuple((names[z], a) for a, z in summands.items())


def _check_names(
    title: str,
    x: tuple[str, ...],
    s: tuple[str, ...],
    p: tuple[str, ...],
    g: tuple[str, ...],
    out: tuple[str, ...],
    recurrent: str | None,
    initial: Mapping[str, float],
) -> None:
    for kind, names in (("inputs", x), ("state", s), ("params", p), ("outputs", out)):
        if bad := [n for n in names if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", n) or keyword.iskeyword(n)]:
            raise ValueError(f"{title}: {kind} are plain identifiers, not {', '.join(bad)}")
        if len(set(names)) != len(names):
            raise ValueError(f"{title}: {kind} repeat a name")
    if bad := [n for n in (*s, *out) if re.match(r"[hnrxz]_", n)]:  # adjoints are d_s, d_x_i, d_r_g, d_h_p, …
        raise ValueError(f"{title}: state variables and outputs do not begin with h_ n_ r_ x_ z_: {', '.join(bad)}")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", title):
        raise ValueError(f"a recurrence is named in lower case letters, digits and _, not {title!r}")
    if not x or not s or not out:
        raise ValueError(f"{title}: a recurrence has at least one input, one state variable and one output")
    if surplus := [n for n in (*initial, *([recurrent] if recurrent else [])) if n not in s]:
        raise ValueError(f"{title}: not state variables: {', '.join(surplus)}")
    if surplus := [n for n in g if n not in x]:
        raise ValueError(f"{title}: gates are inputs, not {', '.join(surplus)}")


def _starts(title: str, params: tuple[str, ...], given: Mapping[str, StartLike]) -> tuple[Start | None, ...]:
    """Each parameter's start as a rule, None for the default."""
    if surplus := [n for n in given if n not in params]:
        raise ValueError(f"{title}: start names {', '.join(surplus)}; parameters: {', '.join(params) or 'none'}")
    return tuple(_start(f"{title}: start of {n}", given[n]) if n in given else None for n in params)


def _start(what: str, given: StartLike) -> Start:
    match given:
        case int() | float():
            return "constant", (float(given),)
        case (int() | float() as low, int() | float() as high) if low < high:
            return "uniform", (float(low), float(high))
        case (str() as rule, *numbers) if rule in START_RULES and all(isinstance(v, (int, float)) for v in numbers):
            return rule, tuple(map(float, numbers))
    raise ValueError(
        f"{what} is a number, (low, high) or (rule, *numbers) with a rule of {', '.join(START_RULES)}; got {given!r}"
    )


def _call(function: Callable[..., Returned], arguments: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The result, and the function's local variables when it returned: generated code keeps the author's names."""
    local: dict[str, Any] = {}

    def spy(frame: FrameType, event: str, _: object) -> None:
        if event == "return" and frame.f_code is function.__code__:
            local.update(frame.f_locals)

    before = sys.getprofile()
    sys.setprofile(spy)
    try:
        result = function(**arguments)
    finally:
        sys.setprofile(before)
    return result, local


def _source(function: Callable[..., Returned]) -> str:
    """The body of the function as written, without decorator, signature and docstring; empty if not at hand."""
    try:
        text = textwrap.dedent(inspect.getsource(function))
        found = next(node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef))
    except (OSError, TypeError, SyntaxError, StopIteration):
        return ""  # typed at a prompt, or a lambda
    body = found.body[1:] if ast.get_docstring(found) is not None else found.body
    lines = text.splitlines()[body[0].lineno - 1 : body[-1].end_lineno]
    if body[0].lineno == found.lineno:  # on the line of the signature
        lines[0] = lines[0].encode()[body[0].col_offset :].decode()  # the offset counts bytes
    return textwrap.dedent("\n".join(lines)).strip()
