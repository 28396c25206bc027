"""Tissues in text."""

from __future__ import annotations

from . import ast
from .diagnostics import Fix
from .options import Complaints, with_options
from .parser import Reading
from .spec.base import Node, marked
from .spec.tissue import TissueConfig, TissueFamilyConfig, TissueScaffoldConfig, family_type

_SHORT = {"r": "radius", "h": "hidden_size", "k": "default_k"}
_LAYER_OPTIONS = ("mode", "family_types")


def tissue_form(cell: ast.Cell, complaints: Complaints) -> Node | None:
    """`tissue_layer("32x32 {slstm: 1}")`: a tissue where the grammar has room for an expert only."""
    args = cell.args or ()
    if len(args) != 1 or not isinstance(args[0], ast.Literal) or not isinstance(args[0].value, str):
        help_ = 'write `tissue_layer("32x32 {slstm: 1}")`'
        fix = Fix(cell.span, help_[7:-1])
        complaints.add(
            "E305", "`tissue_layer` takes a tissue in quotes", cell.span, "expected a string", help=help_, fix=fix
        )
        return None
    reading = Reading(cell.span.source)
    raw = args[0].span
    inner = args[0].value if "\\" not in raw.text else None
    tree = reading.part("tissue", raw.start + 1, inner if inner is not None else raw.text[1:-1])
    complaints.found += reading.diagnostics
    return None if tree is None else tissue_layer(tree, complaints)


def tissue_layer(tree: ast.Tissue, complaints: Complaints) -> Node | None:
    """`32x32 {slstm: 0.7, axon: 0.3} r=1` as a layer."""
    opts = [_renamed_short(o) for o in tree.options]
    mix: dict[str, float] = {}
    for share in tree.mix:
        if share.name in mix:
            complaints.add("E303", f"family `{share.name}` is given twice", share.span, "given again", help="keep one")
        mix[share.name] = share.share
    names = {o.name: o for o in opts}
    types = names["family_types"].value if "family_types" in names else tuple(map(family_type, mix))
    if not isinstance(types, tuple) or len(types) != len(mix) or not all(isinstance(t, str) for t in types):
        complaints.add(
            "E302",
            "bad value for `family_types`: one family for each share",
            names["family_types"].value_span,
            f"expected {len(mix)}",
        )
        return None
    here = f"tissue at {tree.span}"
    families = {
        n: marked(TissueFamilyConfig(family_type=str(t)), origin={"family_type": here})
        for n, t in zip(mix, types, strict=True)
    }
    dims = dict(zip(("width", "height", "depth"), tree.dims, strict=False))
    try:
        config = TissueConfig(**dims, families=families, cell_mix=mix)  # type: ignore[arg-type]
    except ValueError as error:
        reason = "; ".join(e["msg"].removeprefix("Value error, ") for e in error.errors())  # type: ignore[attr-defined]
        complaints.add(
            "E302",
            f"bad tissue: {reason}",
            tree.span,
            "not a tissue",
            help="sizes count from 1, shares from 0 with at least one above 0",
        )
        return None
    config = marked(config, origin=dict.fromkeys(config.model_fields_set, here))
    own = [o for o in opts if o.name not in _LAYER_OPTIONS]
    config = with_options(config, own, "tissue", complaints)
    layer = TissueScaffoldConfig(tissue=marked(config, span=tree.span))
    layer = with_options(layer, [o for o in opts if o.name == "mode"], "tissue", complaints)
    return marked(layer, span=tree.span)


def _renamed_short(opt: ast.Opt) -> ast.Opt:
    name = _SHORT.get(opt.name, opt.name)
    return ast.Opt(name=name, value=opt.value, name_span=opt.name_span, value_span=opt.value_span, span=opt.span)
