"""Options onto configs: `name=value` checked one by one, so that each mistake has its place."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, get_args

from pydantic import ValidationError
from pydantic_core import PydanticUndefined

from . import ast
from .diagnostics import Diagnostic, Fix
from .spec.base import Node, Option, kinds, marked, option_names, updated
from .spec.tissue import NAME
from .suggest import closest, listed

N = TypeVar("N", bound=Node)

# Fields that hold other parts: they are written with syntax of their own, not as `name=value`.
STRUCTURE = frozenset({"core", "scaffold", "experts", "router", "scaffolds", "routed_adapter", "tissue"})


@dataclass
class Complaints:
    """What was found so far."""

    found: list[Diagnostic] = field(default_factory=list)

    def add(self, code: str, message: str, span: Any, label: str = "", **more: Any) -> None:
        """Note a complaint."""
        self.found.append(Diagnostic(code, message, span, label, **more))


def settable(cls: type[Node]) -> tuple[str, ...]:
    """The options of a config that text can set, without `hidden_size`, which is inferred."""
    hidden = {"hidden_size"} if cls.family == "core" else set()
    return tuple(n for n in option_names(cls) if n not in STRUCTURE | hidden)


def unique(opts: Sequence[ast.Opt], complaints: Complaints) -> list[ast.Opt]:
    """The options without repeats of a name; a repeat is a complaint."""
    seen: dict[str, ast.Opt] = {}
    for opt in opts:
        if opt.name in seen:
            note = (f"first given at {seen[opt.name].span}",)
            complaints.add("E303", f"`{opt.name}` is given twice", opt.span, "given again", notes=note, help="keep one")
        else:
            seen[opt.name] = opt
    return list(seen.values())


def with_options(node: N, opts: Sequence[ast.Opt], owner: str, complaints: Complaints, elsewhere: str = "") -> N:
    """`node` with options set; `owner` is the text they were attached to, for the messages."""
    opts, known = unique(opts, complaints), option_names(type(node))
    if opts and all(o.name in known and o.name not in STRUCTURE and o.name != "hidden_size" for o in opts):
        # The usual case in one check; what fails is looked at option by option below.
        try:
            return _set(node, opts)
        except ValidationError:
            pass
    good: list[ast.Opt] = []
    for opt in opts:
        if opt.name not in known or opt.name in STRUCTURE:
            unknown_option(type(node), opt, owner, complaints, elsewhere)
        elif (problem := value_problem(node, opt.name, opt.value)) is not None:
            bad_value(type(node), opt, problem, complaints)
        else:
            if opt.name == "hidden_size" and node.family == "core":
                message = "`hidden_size` is always inferred; this value is ignored"
                fix_help = "leave it out, and give `d_hidden` to the stack"
                complaints.add("W704", message, opt.span, "ignored", help=fix_help)
            good.append(opt)
    return _set(node, good) if good else node


def _set(node: N, opts: Sequence[ast.Opt]) -> N:
    origin = {o.name: Option(o.name_span, o.value_span) for o in opts}
    return marked(updated(node, **{o.name: o.value for o in opts}), origin=origin)


def value_problem(node: Node, name: str, value: Any) -> str | None:
    """Why `value` does not fit field `name`, or None."""
    try:
        updated(node, **{name: value})
    except ValidationError as error:
        return "; ".join(e["msg"].removeprefix("Value error, ") for e in error.errors())
    return None


def unknown_option(cls: type[Node], opt: ast.Opt, owner: str, complaints: Complaints, elsewhere: str = "") -> None:
    """Complain about an option that `cls` does not have, with the nearest one that it has."""
    known = settable(cls)
    near = closest(opt.name, known)
    help_ = f"did you mean `{near}`?" if near else elsewhere or None
    fix = Fix(opt.name_span, near) if near else None
    kind = cls.model_fields["kind"].default
    note = (f"options: {listed(known)}",) if known else (f"`{kind}` has no options",)
    message = f"`{kind}` has no option `{opt.name}`"
    complaints.add("E301", message, opt.name_span, f"unknown option of `{owner}`", notes=note, help=help_, fix=fix)


def bad_value(cls: type[Node], opt: ast.Opt, problem: str, complaints: Complaints) -> None:
    """Complain about a value, with the default as a fix that always works."""
    default = cls.model_fields[opt.name].default
    fix, help_ = None, None
    choices = [c for c in get_args(cls.model_fields[opt.name].annotation) if isinstance(c, str)]
    if isinstance(opt.value, str) and (near := closest(opt.value, choices)):
        fix, help_ = Fix(opt.value_span, near), f"did you mean `{near}`?"
    elif default is not PydanticUndefined:
        fix, help_ = Fix(opt.value_span, show_value(default)), f"the default is `{show_value(default)}`"
    problem = problem[:1].lower() + problem[1:]
    message = f"bad value for `{opt.name}`: {problem}"
    complaints.add("E302", message, opt.value_span, f"got `{show_value(opt.value)}`", help=help_, fix=fix)


def show_value(value: Any) -> str:
    """A value as the language writes it."""
    if value is None or isinstance(value, bool):
        return {None: "none", True: "true", False: "false"}[value]
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(map(show_value, value))}]"
    if isinstance(value, str):
        return quoted(value)
    return repr(value)


def quoted(value: str) -> str:
    """A string as a bare word where that reads back as the same string, else in quotes."""
    if NAME.fullmatch(value) and value not in ("true", "false", "none"):
        return value
    return json.dumps(value, ensure_ascii=False)


def type_named(name: str) -> type[Node] | None:
    """The config class for `XLCore`, `XLCoreConfig` or `xl`."""
    for cls in all_types():
        if name in (cls.__name__, cls.__name__.removesuffix("Config"), cls.model_fields["kind"].default):
            return cls
    return None


def all_types() -> list[type[Node]]:
    """Every config class that overrides may name."""
    families = ("core", "scaffold", "router", "stack", "routed_adapter", "tissue", "tissue_family")
    return [cls for family in families for cls in kinds(family).values()]


def type_names() -> list[str]:
    """The names for `set`, as a user would write them."""
    return [cls.__name__.removesuffix("Config") for cls in all_types()]
