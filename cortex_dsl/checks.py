"""What a core or tissue needs of its sizes. Each check yields what was got and what would work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .diagnostics import CortexSpecError, Diagnostic
from .equations import known_recurrences
from .spec.base import Node, span_of
from .spec.cores import AxonCoreConfig, CoreConfig, LSTMCoreConfig, RecurrenceCoreConfig, XLCoreConfig
from .spec.tissue import TissueConfig
from .suggest import closest, listed


@dataclass(frozen=True)
class Problem:
    """A failed check; `works` tells which widths would pass, `option` which field is wrong, `right` what fits there."""

    code: str
    text: str
    label: str = ""
    works: Callable[[int], bool] | None = None
    option: str = ""
    right: str | None = None
    help: str | None = None


def check_core(core: CoreConfig, width: int) -> Iterator[Problem]:
    """All that is wrong with `core` at `width`."""
    heads_field = type(core).heads_field
    explicit_head = isinstance(core, XLCoreConfig) and core.head_dim is not None
    if heads_field is not None and not explicit_head:
        heads = getattr(core, heads_field)
        if heads is not None and width % heads:
            near = nearest_widths(width, lambda w: w % heads == 0)
            text = f"width {width} is not divisible by {heads_field} {heads}; nearest: {', '.join(map(str, near))}"
            label = f"{width} is not divisible by {heads}"
            yield Problem("E502", text, label, lambda w: w > 0 and w % heads == 0)
    if isinstance(core, AxonCoreConfig):
        if core.out_dim is not None and core.out_dim != width:
            yield Problem("E506", f"out_dim {core.out_dim} must equal the width {width} inside a scaffold")
        if core.r_min >= core.r_max:
            yield Problem("E507", f"r_min {core.r_min} must be less than r_max {core.r_max}")
    if isinstance(core, LSTMCoreConfig) and core.proj_size >= width:
        yield Problem("E510", f"proj_size {core.proj_size} must be less than the width {width}")
    if isinstance(core, RecurrenceCoreConfig):
        yield from _check_recurrence(core)


def _check_recurrence(core: RecurrenceCoreConfig) -> Iterator[Problem]:
    known = known_recurrences()
    if core.cell not in known:
        near = closest(core.cell, known)
        text = f"unknown recurrence `{core.cell}`" + (f"; did you mean `{near}`?" if near else "")
        yield Problem(
            "E514",
            f"{text} (known: {listed(known)})",
            "no recurrence has this name",
            option="cell",
            right=near,
            help="a recurrence of your own is known once `cortexc.register_recurrence(...)` has run in this process",
        )
    elif core.num_heads is not None and not known[core.cell]:
        text = f"`{core.cell}` has no recurrent matrix, so it has no heads: num_heads={core.num_heads} means nothing"
        yield Problem("E515", text, "no heads here", option="num_heads", help="leave `num_heads` out")


def check_tissue(tissue: TissueConfig) -> Iterator[tuple[str, str]]:
    """All that is wrong with a lattice."""
    if tissue.input_width + tissue.output_width > tissue.width:
        yield (
            "E511",
            f"ports of width {tissue.input_width} and {tissue.output_width} do not fit a tissue {tissue.width} wide",
        )
    cells = tissue.width * tissue.height * (tissue.depth or 1)
    if tissue.patch_edges >= cells:
        yield "E511", f"patch_edges {tissue.patch_edges} must be less than the {cells} cells"


def not_yet(config: Node, *options: str) -> None:
    """Refuse options that this version cannot compile and would have to ignore. Raises `CortexSpecError`."""
    asked = [f"{name}={getattr(config, name)!r}" for name in options if getattr(config, name)]
    if asked:
        what = f"{type(config).__name__} with {', '.join(asked)} does not compile in this version"
        help_ = f"leave out {', '.join(options)}: it would be ignored"
        raise CortexSpecError([Diagnostic("E513", what, span_of(config), "not yet", help=help_)])


def nearest_widths(width: int, works: Callable[[int], bool], reach: int = 4096) -> list[int]:
    """The nearest width below and the nearest above that work."""
    below = next((w for w in range(width - 1, max(0, width - reach), -1) if works(w)), None)
    above = next((w for w in range(width + 1, width + reach) if works(w)), None)
    return [w for w in (below, above) if w is not None]
