"""`set Type.option = value`: checked, then applied to the whole spec."""

from __future__ import annotations

from . import ast
from .diagnostics import Fix
from .options import Complaints, bad_value, settable, type_named, type_names, value_problem
from .sets import apply_set, nodes_of
from .spec.stack import CortexStackConfig
from .suggest import closest, listed


def apply_statement(spec: CortexStackConfig, tree: ast.Set, complaints: Complaints) -> CortexStackConfig:
    """`set XLCore.mem_len = 64` on the whole spec."""
    type_name, name = tree.path[0], ".".join(tree.path[1:])
    kind = type_named(type_name)
    if kind is None:
        near = closest(type_name, type_names())
        fix = Fix(tree.path_span, f"{near}.{name}") if near and name else None
        help_ = f"did you mean `{near}`?" if near else None
        complaints.add(
            "E308",
            f"unknown type `{type_name}`",
            tree.path_span,
            "no config has this name",
            notes=(f"types: {listed(type_names())}",),
            help=help_,
            fix=fix,
        )
        return spec
    opt = ast.Opt(name=name, value=tree.value, name_span=tree.path_span, value_span=tree.value_span, span=tree.span)
    if name == "hidden_size" and kind.family == "core":
        complaints.add(
            "E306",
            "`hidden_size` is always inferred from `d_hidden`",
            tree.path_span,
            "cannot be set",
            help="set `d_hidden` of the stack",
        )
        return spec
    allowed = [n for n in settable(kind) if n not in ("d_hidden", "cuts")]
    if name not in allowed:
        near = closest(name, allowed)
        fix = Fix(tree.path_span, f"{type_name}.{near}") if near else None
        help_ = f"did you mean `{type_name}.{near}`?" if near else None
        complaints.add(
            "E301",
            f"`{type_name}` has no option `{name}`",
            tree.path_span,
            "unknown option",
            notes=(f"options: {listed(allowed)}",),
            help=help_,
            fix=fix,
        )
        return spec
    found = [n for n in nodes_of(spec) if type(n) is kind]
    probe = found[0] if found else None
    if probe is not None and (problem := value_problem(probe, name, tree.value)) is not None:
        bad_value(kind, opt, problem, complaints)
        return spec
    spec, matched = apply_set(spec, kind, name, tree.value, f"set at {tree.span}")
    if not matched:
        complaints.add(
            "W703",
            f"no `{type_name}` is in this stack",
            tree.span,
            "changes nothing",
            help="remove the line, or check the name",
        )
    return spec
