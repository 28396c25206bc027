"""What the compiler tells the user: one row an expert, identical layers folded, totals that equal the real module's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass

import sympy

from ..cortex_dsl import CortexStackConfig, RecurrenceCoreConfig, token_of
from .ir import Graph, Node, Program, T
from .ir.types import B, Type, numel
from .library.recurrences import EQUATIONS
from .library.registry import class_name, where_of
from .library.stack import width_of
from .ops import OPS
from .recurrence import analyse

SCHEMA = 1
BYTES = {"float32": 4, "float64": 8, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True)
class Row:
    """One expert of a layer, or what joins the experts. Figures are per layer; ``count`` layers look the same."""

    layer: str
    token: str
    core: str
    scaffold: str
    width: int
    params: int
    state_bytes: int
    flops_per_token: int
    kernel: str
    why: str
    count: int


@dataclass(frozen=True)
class Note:
    code: str
    text: str


@dataclass(frozen=True)
class Report:
    pattern: str
    hash: str
    backend: str
    dtype: str
    d_hidden: int
    rows: tuple[Row, ...]
    total_layers: int
    total_experts: int
    total_params: int
    total_state_bytes: int
    total_flops_per_token: int
    nodes_before: int
    nodes_after: int
    notes: tuple[Note, ...] = ()

    def to_json(self) -> dict[str, object]:
        return {"schema": SCHEMA, **asdict(self)}


def make_report(
    spec: CortexStackConfig, pattern: str, digest: str, backend: str, dtype: str, written: Program, planned: Program
) -> Report:
    """Count everything on the graphs: parameters, state and work on the graph as written, where every node still stands
    in its part; kernels are those that the planned one calls."""
    rows: list[Row] = []
    calls = list(planned.calls())
    index = 0
    while index < len(calls):
        name = str(calls[index][0].attr("graph"))
        count = 1
        while index + count < len(calls) and str(calls[index + count][0].attr("graph")) == name:
            count += 1
        label = str(index) if count == 1 else f"{index}-{index + count - 1} x{count}"
        layer = spec.scaffolds[index]
        rows += _layer_rows(layer, label, count, width_of(spec), written.layers[name], planned.layers[name], dtype)
        index += count
    if not calls:  # one part by itself
        rows += _layer_rows(spec.scaffolds[0], "0", 1, width_of(spec), written.entry, planned.entry, dtype)
    norm = sum(int(numel(p.type.shape)) for p in written.entry.params) if calls else 0
    if norm:
        flops = _flops(written.entry.nodes, written.entry)
        rows.append(Row("", "", "", "final norm", width_of(spec), norm, 0, flops, "torch", "layer norm", 1))
    return Report(
        pattern=pattern,
        hash=digest,
        backend=backend,
        dtype=dtype,
        d_hidden=width_of(spec),
        rows=tuple(rows),
        total_layers=len(calls),
        total_experts=sum(len(getattr(s, "experts", (s,))) for s in spec.scaffolds),
        total_params=sum(r.params * r.count for r in rows),
        total_state_bytes=sum(r.state_bytes * r.count for r in rows),
        total_flops_per_token=sum(r.flops_per_token * r.count for r in rows),
        nodes_before=sum(len(g.nodes) for _, g in written.calls()),
        nodes_after=sum(len(g.nodes) for _, g in planned.calls()),
        notes=tuple(_adapters(spec, written)),
    )


def _adapters(spec: CortexStackConfig, written: Program) -> Iterator[Note]:
    """What routed adapters add: they are among the parameters and operations of the rows."""
    adapter = spec.routed_adapter
    sizes = [int(numel(p.type.shape)) for p in written.all_params() if p.adapter]
    if adapter is None or not sizes:
        return
    trunk = ""
    if adapter.freeze_base:
        trunk = "; the trunk is frozen"
    elif adapter.trunk_lr_mult != 1:
        trunk = f"; the trunk's gradients are scaled by {adapter.trunk_lr_mult:g}"
    yield Note(
        "adapters",
        f"{adapter.num_slots} slots of rank {adapter.rank} on {len(sizes) // 2} linear maps hold {sum(sizes):,} of the "
        f"parameters; a call uses one slot a row{trunk}",
    )


def _layer_rows(
    layer: object, label: str, count: int, width: int, graph: Graph, planned: Graph, dtype: str
) -> list[Row]:
    experts = getattr(layer, "experts", None) or (layer,)
    owned = [_owner(p.path, len(experts)) for p in graph.params]
    places = [where_of(expert, e) for e, expert in enumerate(experts)]
    rows = []
    for e, expert in enumerate(experts):
        mine = [p for p, o in zip(graph.params, owned, strict=True) if o == e or len(experts) == 1]
        prefix = f"expert_{class_name(expert)}_{e}"
        states = [s for s in graph.states if len(experts) == 1 or s.path[0] == prefix]
        nodes, plan = ([n for n in g.nodes if len(experts) == 1 or _stands_in(n, places[e])] for g in (graph, planned))
        core = getattr(expert, "core", None)
        kernel, why = _kernel(plan)
        rows.append(
            Row(
                layer=label if e == 0 else "",
                token=token_of(expert),
                core=_core_name(core) if core is not None else class_name(expert).lower(),
                scaffold=expert.kind,  # type: ignore[attr-defined]
                width=getattr(core, "hidden_size", None) or width,
                params=sum(int(numel(p.type.shape)) for p in mine if p.trainable),
                state_bytes=sum(_bytes(s.type, dtype) for s in states),
                flops_per_token=_flops(nodes, graph),
                kernel=kernel,
                why=why,
                count=count,
            )
        )
    if len(experts) > 1:
        rest = [p for p, o in zip(graph.params, owned, strict=True) if o is None]
        nodes = [n for n in graph.nodes if not any(_stands_in(n, place) for place in places)]
        params = sum(int(numel(p.type.shape)) for p in rest if p.trainable)
        shared = [s for s in graph.states if len(s.path) == 1]  # what the adapters of the layer count
        rows.append(
            Row(
                "",
                "",
                "",
                "router+mixer+head",
                width,
                params,
                sum(_bytes(s.type, dtype) for s in shared),
                _flops(nodes, graph),
                "torch",
                "small products",
                count,
            )
        )
    return rows


def _core_name(core: object) -> str:
    """``axon``; a recurrence by its own name."""
    return core.cell if isinstance(core, RecurrenceCoreConfig) else class_name(core).removesuffix("Core").lower()


def _owner(path: str, experts: int) -> int | None:
    parts = path.split(".")
    return int(parts[1]) if experts > 1 and parts[0] == "experts" else None


def _stands_in(node: Node, place: str) -> bool:
    """Whether a node comes from the part at a place, or from a part inside that one."""
    return node.where == place or node.where.startswith(f"{place} > ")


def _bytes(t: Type, dtype: str) -> int:
    """Bytes of one row. Accumulators keep float32 under narrower models, counters are int64."""
    size = {"i64": 8, "episode": 8, "bool": 1, "acc": max(4, BYTES[dtype]), "f": BYTES[dtype]}[t.dtype]
    return size * int(sympy.sympify(numel(t.shape)).subs(B, 1))


def _flops(nodes: Iterable[Node], graph: Graph) -> int:
    """Operations per token in the limit of a long sequence: what does not grow with T costs nothing per token."""
    types = graph.types()
    total: object = 0
    for node in nodes:
        if node.op == "call":
            continue
        ins = tuple(types.get(i) for i in node.inputs)
        total = total + OPS[node.op].flops(ins, tuple(v.type for v in node.outputs), dict(node.attrs))  # type: ignore[operator]
    return int(sympy.Poly(sympy.sympify(total).subs(B, 1), T).coeff_monomial(T))


_KERNELS: Mapping[str, tuple[str, str]] = {
    "foreign": ("your module", "registered by you: called as it is"),
    "mlstm": ("triton chunks", "matrix memory: parallel inside chunks; torch where there is no GPU"),
    "lstm_projected": ("torch loop", "the projection is inside the loop"),
    "xl_attention": ("triton windows", "one window for every mode, blocked over T; torch where there is no GPU"),
}


def _kernel(nodes: list[Node]) -> tuple[str, str]:
    """The kernel of the node that carries state through time, and why it is that one."""
    # Axon layers inside a core run diagonal recurrences of their own, which do not name it.
    for node in sorted(nodes, key=lambda n: n.op == "recurrence" and not n.attr("head_width")):
        if node.op in ("recurrence", "agalite"):
            return _recurrence_kernel(node)
        if node.op in _KERNELS:
            if node.attr("impl") == "reference":
                return "reference loop", "asked for: the equation as it stands"
            return _KERNELS[node.op]
    return "torch", "nothing here runs through time"


def _recurrence_kernel(node: Node) -> tuple[str, str]:
    facts = analyse(EQUATIONS[str(node.attr("name"))])
    shape = "scan" if facts.scan else "loop"
    proof = "a matrix in the recurrence: step by step"
    if facts.diagonal:
        proof = "diagonal and affine: parallel over T" if facts.scan else "diagonal, not affine: step by step"
    impl = node.attr("impl")
    if impl == "reference":
        return "reference loop", "asked for: the equation as it stands"
    if node.attr("own_matrix"):
        proof = "adapters: each row has its own recurrent matrix, step by step"
    return (f"triton {shape}", f"{proof}; torch where there is no GPU") if impl == "auto" else (f"torch {shape}", proof)


def report_from_json(data: Mapping[str, object]) -> Report:
    """The inverse of :meth:`Report.to_json`."""
    fields = {k: v for k, v in data.items() if k != "schema"}
    rows = tuple(Row(**r) for r in fields.pop("rows"))  # type: ignore[attr-defined]
    notes = tuple(Note(**n) for n in fields.pop("notes"))  # type: ignore[attr-defined]
    return Report(rows=rows, notes=notes, **fields)  # type: ignore[arg-type]
