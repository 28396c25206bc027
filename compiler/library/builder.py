"""How a part of the language is written as a graph.

A part is one function ``(b: Builder, config, x: Ref) -> Ref``. It declares parameters with ``b.param``, carried state
with ``b.state`` / ``b.carry``, and computes with ``b.op`` and the shorthands below it. The same function is traced
twice, for sequences (``x: [B, T, H]``) and for steps (``x: [B, H]``); both traces must declare the same parameters and
state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ...cortex_dsl import RoutedAdapterConfig
from ..ir import B, Graph, Init, Node, Param, State, T, Type, Value
from ..ir.graph import ABSENT, Attr
from ..ir.types import Dim
from ..ops import OPS
from ..recurrence import Recurrence
from .adapters import beside, scale_of
from .cost import step_flops
from .dropout import drop, drop_factors


@dataclass(frozen=True, slots=True, eq=False)
class Ref:
    """A value while its graph is being written; arithmetic on it writes pointwise nodes."""

    name: str
    type: Type
    builder: Builder

    def __add__(self, other: Ref | float) -> Ref:
        return self.builder.arith("add", self, other)

    def __mul__(self, other: Ref | float) -> Ref:
        return self.builder.arith("mul", self, other)

    def __sub__(self, other: Ref | float) -> Ref:
        return self.builder.arith("sub", self, other)

    def __truediv__(self, other: Ref | float) -> Ref:
        return self.builder.arith("div", self, other)

    @property
    def width(self) -> int:
        return self.type.width


@dataclass(slots=True)
class _Tape:
    """What all builders of one graph write to."""

    nodes: list[Node] = field(default_factory=list)
    params: dict[str, Param] = field(default_factory=dict)
    states: dict[str, State] = field(default_factory=dict)
    following: dict[str, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    episode_keys: dict[tuple[str, ...], Ref] = field(default_factory=dict)  # by scope in the state: dropout.py


class Builder:
    """Writes one graph. ``mode`` is "sequence" or "step"; ``plain`` asks parts for the form nearest to their equations
    (the reference backend), where they otherwise may use an algebraically equal, cheaper one. With an ``adapter`` every
    linear map gets one, chosen by the row's entry of ``routes``: see :meth:`map`, :meth:`matrix`."""

    def __init__(
        self, mode: str, width: int, *, plain: bool = False, adapter: RoutedAdapterConfig | None = None
    ) -> None:
        self.mode, self.plain, self.adapter = mode, plain, adapter
        self.scope, self.where = "", ""
        self.state_scope: tuple[str, ...] = ()
        self.tape = _Tape()
        self.lead: tuple[Dim, ...] = (B, T) if mode == "sequence" else (B,)
        self.x = Ref("%x", Type("f", (*self.lead, width)), self)
        self.resets = Ref("%resets", Type("bool", self.lead, optional=True), self)
        self.routes = Ref("%routes", Type("i64", (B,), optional=True), self) if adapter else None

    @property
    def inputs(self) -> tuple[Ref, ...]:
        """What the graph takes beside its parameters and its state."""
        return (self.x, self.resets, *((self.routes,) if self.routes else ()))

    @property
    def step(self) -> bool:
        return self.mode == "step"

    def at(self, scope: str = "", *, state: str = "", where: str = "") -> Builder:
        """The same graph, one level down in the parameter tree and, with ``state``, in the state."""
        child = object.__new__(Builder)
        child.__dict__.update(self.__dict__)
        if scope:
            child.scope = f"{self.scope}{scope}."
        if state:
            child.state_scope = (*self.state_scope, state)
        if where:
            child.where = where
        return child

    # -- declarations ------------------------------------------------------------------------------------------------

    def param(
        self, name: str, shape: Sequence[int], rule: str, *args: float, trainable: bool = True, dtype: str = "f"
    ) -> Ref:
        """A parameter of the module tree, with its start rule (``runtime/init.py``)."""
        p = Param(self.scope + name, Type(dtype, tuple(shape)), Init(rule, tuple(map(float, args))), trainable)
        if p.path in self.tape.params:
            raise ValueError(f"parameter {p.path} is declared twice")
        self.tape.params[p.path] = p
        return Ref(p.name, p.type, self)

    def state(self, name: str, shape: Sequence[int], dtype: str = "acc", start: float = 0) -> Ref:
        """A leaf of the carried state, ``[B, *shape]``; give its next value with :meth:`carry`."""
        s = State((*self.state_scope, name), Type(dtype, (B, *shape)), start)
        if s.name in self.tape.states:
            raise ValueError(f"state {s.name} is declared twice")
        self.tape.states[s.name] = s
        return Ref(s.name, s.type, self)

    def carry(self, slot: Ref, value: Ref) -> None:
        self.tape.following[slot.name] = value.name

    # -- computation -------------------------------------------------------------------------------------------------

    def op(self, op: str, *inputs: Ref | None, hint: str = "", **attrs: Attr) -> Ref:
        (out,) = self.ops(op, *inputs, hints=(hint or op,), **attrs)
        return out

    def ops(self, op: str, *inputs: Ref | None, hints: Sequence[str] = (), **attrs: Attr) -> tuple[Ref, ...]:
        """Append one node; the shape rule of the op types its results."""
        types = tuple(None if i is None else i.type for i in inputs)
        outs = OPS[op].infer(types, attrs)
        names = [*hints, *[op] * (len(outs) - len(hints))]
        values = tuple(Value(self._fresh(n), t) for n, t in zip(names, outs, strict=True))
        args = tuple(ABSENT if i is None else i.name for i in inputs)
        self.tape.nodes.append(Node(op, args, values, tuple(attrs.items()), self.where))
        return tuple(Ref(v.name, v.type, self) for v in values)

    def _fresh(self, hint: str) -> str:
        n = self.tape.counts[hint] = self.tape.counts.get(hint, -1) + 1
        return f"%{hint}.{n}" if n else f"%{hint}"

    def arith(self, op: str, a: Ref, b: Ref | float) -> Ref:
        if isinstance(b, Ref):  # the innermost part that has a hand in it says where it comes from
            return max(a.builder, b.builder, key=lambda part: len(part.scope)).op(op, a, b)
        name, c = {
            "add": ("add_scalar", b),
            "sub": ("add_scalar", -b),
            "mul": ("mul_scalar", b),
            "div": ("div_scalar", b),
        }[op]
        return self.op(name, a, c=float(c))

    def linear(
        self,
        name: str,
        x: Ref,
        out: int,
        *,
        bias: bool = True,
        rule: str = "linear",
        args: Sequence[float] = (),
        bias_rule: str = "",
        bias_args: Sequence[float] = (),
        hint: str = "",
    ) -> Ref:
        """``y = x Wᵀ + b`` with ``{name}.weight [out, in]`` and ``{name}.bias [out]``, started as torch.nn.Linear does
        unless a rule is given."""
        bound = (x.width,)
        w = self.param(f"{name}.weight", (out, x.width), rule, *(args or (bound if rule == "linear" else ())))
        b = (
            self.param(f"{name}.bias", (out,), bias_rule or "linear", *(bias_args if bias_rule else bound))
            if bias
            else None
        )
        return self.map(x, w, b, hint=hint or name.rpartition(".")[2])

    # -- linear maps: the one way a part applies a weight, so that parts need not know of adapters -------------------

    def map(self, x: Ref, weight: Ref, bias: Ref | None = None, *, hint: str = "linear") -> Ref:
        """``y[…, O] = x[…, I] · weight[O, I]ᵀ + bias[O]``, and what the row's adapter adds."""
        y = self.op("linear", x, weight, *([bias] if bias else []), hint=hint)
        return self._adapted(y, x, weight)

    def head_map(self, x: Ref, *weights: Ref) -> Ref:
        """Maps of every head to itself, ``[N, D, D]`` each, side by side: ``[…, G, N·D]``."""
        if self.adapter is None:
            return self.op("head_linear", x, *weights)
        each = [self.op("flatten", self.op("head_linear", x, w), join=2, hint=_word(w)) for w in weights]
        return self.op("stack", *(self._adapted(y, x, w) for y, w in zip(each, weights, strict=True)))

    def matrix(self, weight: Ref, shape: Sequence[int] = (), *, hint: str = "matrix", dropped: bool = False) -> Ref:
        """A weight ``[…, O, I]`` for an op that applies it by itself, seen as ``shape``. With adapters it is one for
        each row, ``[B, *shape]`` (of length 1 where a call has no routes). ``dropped``: the same map is applied
        elsewhere by :meth:`map`, so what its adapter drops there (in the first step's episode) it drops here."""
        shape = tuple(shape)
        if self.adapter is None:
            return self.op("view", weight, shape=shape, hint=hint) if shape else weight
        pair = self._low_rank(weight)
        p, site = self.adapter.dropout if dropped else 0.0, _site(weight)
        factors = drop_factors(self._layer(), weight, (weight.width,), p, site, first=True)
        return self.op(
            "routed_weight",
            weight,
            *pair,
            self.routes,
            *([factors] if factors else []),
            hint=hint,
            scale=scale_of(self.adapter),
            shape=shape or None,
        )

    def _adapted(self, y: Ref, x: Ref, weight: Ref) -> Ref:
        """y + scale · B_s A_s dropout(x). What all rows share (positions, keys) becomes one for each, and is not
        dropped: it belongs to no episode."""
        if self.adapter is None:
            return y
        hint = y.name[1:].partition(".")[0]
        if B in x.type.shape:
            x = drop(self._layer(), x, self.adapter.dropout, _site(weight))
        else:
            y, x = (self.op("per_row", v, self.x, hint=f"{hint}_rows") for v in (y, x))
        pair = self._low_rank(weight)
        return self.op("routed_adapter", y, x, *pair, self.routes, hint=f"{hint}_routed", scale=scale_of(self.adapter))

    def _layer(self) -> Builder:
        """The layer that this is part of: its adapters share one counter of episodes."""
        layer = self.at()
        layer.scope, layer.state_scope = "", ()
        return layer

    def _low_rank(self, weight: Ref) -> tuple[Ref, Ref]:
        """The adapter of a weight, ``down`` and ``up``. A weight that is read twice has one."""
        assert self.adapter is not None
        pair = beside(weight.name[1:], weight.type, self.adapter)
        for p in pair:
            self.tape.params.setdefault(p.path, p)
        down, up = (Ref(p.name, p.type, self) for p in pair)
        return down, up

    def layer_norm(self, name: str, x: Ref, *, bias: bool = False) -> Ref:
        w = self.param(f"{name}.weight", (x.width,), "constant", 1)
        b = [self.param(f"{name}.bias", (x.width,), "constant", 0)] if bias else []
        return self.op("layer_norm", x, w, *b, hint=name, width=x.width)

    def temporal(self, op: str, *inputs: Ref | None, hints: Sequence[str] = (), **attrs: Attr) -> tuple[Ref, ...]:
        """An op with a sequence and a step form; the mask it needs is appended."""
        return self.ops(op, *inputs, self.mask(), hints=hints, mode=self.mode, **attrs)

    def recurrence(
        self,
        rec: Recurrence,
        x: Ref,
        *,
        params: Sequence[Ref] = (),
        weight: Ref | None = None,
        states: Sequence[Ref],
        traces: Sequence[Ref] = (),
    ) -> tuple[Ref, ...]:
        """A recurrence written as equations, driven by ``x [.., G, H]`` (``[.., H]`` if it has one input). Carries its
        states and traces; returns its outputs ``[.., H]``."""
        outs, after = self.advance(rec, x, params=params, weight=weight, states=states, traces=traces)
        for slot, value in zip((*states, *traces), after, strict=True):
            self.carry(slot, value)
        return outs

    def advance(
        self,
        rec: Recurrence,
        x: Ref,
        *,
        params: Sequence[Ref] = (),
        weight: Ref | None = None,
        states: Sequence[Ref],
        traces: Sequence[Ref] = (),
    ) -> tuple[tuple[Ref, ...], tuple[Ref, ...]]:
        """As :meth:`recurrence`, with states that may be any values: returns the outputs and what is to be carried."""
        if len(rec.inputs) == 1:
            x = self.op("unsqueeze", x)
        if weight is not None and weight.name.startswith("@"):
            weight = self.matrix(weight)
        outs = self.ops(
            "recurrence",
            x,
            *params,
            weight,
            *states,
            *traces,
            self.resets,
            hints=(*rec.outputs, *map(_last_word, states, rec.state), *(e.name.rpartition(".")[2] for e in traces)),
            name=rec.name,
            mode=self.mode,
            outputs=len(rec.outputs),
            params=len(params),
            states=len(states),
            traces=len(traces),
            head_width=int(weight.type.width) if weight else 0,
            pointwise_flops=step_flops(rec),
            impl="auto",
            **({"own_matrix": True} if weight is not None and B in weight.type.shape else {}),
        )
        return outs[: len(rec.outputs)], outs[len(rec.outputs) :]

    def mask(self) -> Ref:
        """``resets`` in step mode, the running count of resets in sequence mode."""
        return self.resets if self.step else self.op("segments", self.resets)

    def finish(self, name: str, y: Ref) -> Graph:
        inputs = tuple(Value(r.name, r.type) for r in self.inputs)
        states = tuple(self.tape.states.values())
        missing = [s.name for s in states if s.name not in self.tape.following]
        if missing:
            raise ValueError(f"{name}: no next value for state {', '.join(missing)}")
        following = tuple(self.tape.following[s.name] for s in states)
        params = tuple(self.tape.params.values())
        return Graph(name, inputs, params, states, tuple(self.tape.nodes), y.name, following)


def _last_word(state: Ref, name: str) -> str:
    """What the next value of a state is called: the slot's own word, or the name in the equations."""
    return _word(state) if state.name.startswith("$") else name


def _site(weight: Ref) -> str:
    """Where an adapter drops."""
    return f"adapter of {weight.name[1:]}"


def _word(of: Ref) -> str:
    """The last word of a path."""
    return of.name[1:].rpartition(".")[2]
