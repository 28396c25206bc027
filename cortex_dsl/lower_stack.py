"""The options of a stack: `with d_hidden=256 post_norm=false adapter_rank=8`."""

from __future__ import annotations

from typing import Any

from . import ast
from .diagnostics import Fix
from .limits import MAX_LAYERS
from .options import Complaints, settable, unique, with_options
from .spans import Span
from .spec.base import updated
from .spec.stack import CortexStackConfig, RoutedAdapterConfig
from .suggest import closest, listed

# The options of routed adapters, beside those of the stack itself.
ADAPTER = "adapter_"


def stack_options(
    spec: CortexStackConfig, opts: list[ast.Opt], num_layers: int | None, complaints: Complaints, *, single: bool
) -> CortexStackConfig:
    """The stack with its options; `single` is a lone column, which `num_layers` repeats."""
    opts = unique(opts, complaints)
    known = (*settable(CortexStackConfig), "num_layers", *(ADAPTER + n for n in settable(RoutedAdapterConfig)))
    for opt in [o for o in opts if o.name not in known]:
        near = closest(opt.name, known)
        fix = Fix(opt.name_span, near) if near else None
        help_ = f"did you mean `{near}`?" if near else None
        notes = (f"options: {listed(known)}",)
        complaints.add(
            "E301",
            f"a stack has no option `{opt.name}`",
            opt.name_span,
            "unknown option of `with`",
            notes=notes,
            help=help_,
            fix=fix,
        )
        opts.remove(opt)
    own = [o for o in opts if not o.name.startswith(ADAPTER) and o.name != "num_layers"]
    asked = next((o for o in opts if o.name == "num_layers"), None)
    depth: Any = num_layers if asked is None else asked.value
    if isinstance(depth, bool) or (depth is not None and (not isinstance(depth, int) or not 1 <= depth <= MAX_LAYERS)):
        complaints.add(
            "E302",
            f"bad value for `num_layers`: expected an int from 1 to {MAX_LAYERS}",
            asked.value_span if asked else None,
            "not a depth",
        )
    elif depth is not None and depth != len(spec.scaffolds):
        if single:
            spec = updated(spec, scaffolds=spec.scaffolds * depth)
        else:
            got = len(spec.scaffolds)
            fix = Fix(asked.value_span, str(got)) if asked else None
            complaints.add(
                "E307",
                f"num_layers={depth}, but the pattern has {got} layers",
                asked.span if asked else None,
                f"the pattern has {got}",
                help="leave `num_layers` out: the pattern says the depth",
                fix=fix,
            )
    adapter = [_renamed(o, o.name.removeprefix(ADAPTER)) for o in opts if o.name.startswith(ADAPTER)]
    if adapter:
        made = with_options(RoutedAdapterConfig(), adapter, ADAPTER + "...", complaints)
        spec = updated(spec, routed_adapter=made)
    return with_options(spec, own, "with", complaints)


def _renamed(opt: ast.Opt, name: str) -> ast.Opt:
    at = opt.name_span
    inner = Span(at.source, at.start + len(opt.name) - len(name), at.end)
    return ast.Opt(name=name, value=opt.value, name_span=inner, value_span=opt.value_span, span=opt.span)
