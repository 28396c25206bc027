"""Named stacks: tested patterns that papers and earlier versions know by a name.

`recipe:NAME` stands wherever a whole pattern does.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from .diagnostics import CortexSyntaxError, Diagnostic, Fix
from .spans import Source, Span
from .suggest import closest

PREFIX = "recipe:"


@dataclass(frozen=True, slots=True)
class Recipe:
    """A pattern with a name. `pattern` leaves `d_hidden` open."""

    name: str
    pattern: str
    about: str


_ALL = (
    Recipe("axms", "AXMS", "one column of the four default experts: Axon, Transformer-XL, mLSTM, sLSTM"),
    Recipe("axms_x4", "AXMS x4", "the default stack of the builders: four columns of the four default experts"),
    Recipe("axms_axon", "AX^M^S^ x4", "`axms_x4` with Axon projections in every expert that has them"),
    Recipe("axms_top2", "AXMS{top_k=2, temperature=0.7} x4", "`axms_x4`, two experts for each token"),
    Recipe("mixed_columns", "AXMS / AM^S / XXS / M^", "a different column in each layer"),
    Recipe("slstm_postup", "S@postup", "evaluation template: one sLSTM in a plain post-up scaffold"),
    Recipe("mlstm_preup", "M@preup", "one mLSTM in a plain pre-up scaffold, the block of the xLSTM paper"),
    Recipe("axon_preup", "A@preup", "one Axon core in a plain pre-up scaffold"),
    Recipe(
        "cortex_auto",
        "A@preup / M@preup / S@postup",
        "evaluation template: Axon, mLSTM, sLSTM in depth, in the plain scaffolds of the first version",
    ),
    Recipe(
        "cortex_auto_axon",
        "A@preup / M^@preup / S^@postup",
        "`cortex_auto` with `use_axonlayers`: Axon projections in mLSTM and sLSTM",
    ),
    Recipe("xlstm_1_0", "M x24", "xLSTM[1:0]: mLSTM only, in gated scaffolds"),
    Recipe("xlstm_1_1", "(M / S) x12", "xLSTM[1:1]: mLSTM and sLSTM in turn"),
    Recipe("xlstm_7_1", "(M x7 / S) x6", "xLSTM[7:1]: seven mLSTM to one sLSTM, 48 layers, in gated scaffolds"),
    Recipe(
        "xlstm_7_1_plain",
        "(M@preup x7 / S@postup(1.3333)) x6",
        "xLSTM[7:1] with the paper's own blocks: pre-up 2 for mLSTM, post-up 4/3 for sLSTM",
    ),
    Recipe(
        "xlstm_7b",
        "M(num_heads=8, conv1d_kernel_size=0)@postup(2.6667) x32",
        "the layout of xLSTM 7B: mLSTM at model width, a feed-forward block after it, 32 layers (d_hidden 4096)",
    ),
    Recipe("transformer_xl", "X@postup(4.0) x12", "Transformer-XL: windowed attention with memory, feed-forward 4x"),
    Recipe(
        "gtrxl",
        "X(n_heads=8, mem_len=512)@postup_gated(4.0) x12",
        "GTrXL: Transformer-XL with GRU gates on both sums, memory 512, 12 layers",
    ),
    Recipe("agalite", "Ag x4", "AGaLiTe: gated linear attention with a recurrent, discounted state"),
    Recipe("rtu_local_2_1", "(A x2 / X) x6", "two diagonal recurrences to one local attention, as in Griffin's ratio"),
    Recipe("memory_attention_7_1", "(M x7 / X) x4", "seven recurrent layers to one attention, as in Jamba's ratio"),
    Recipe("memory_attention_1_1", "(M / X) x8", "matrix memory and local attention in turn, as in Samba's ratio"),
    Recipe("lstm", "L", "one plain LSTM with a residual: the baseline"),
    Recipe("lstm_postup", "L@postup x2", "two LSTM layers, each with a feed-forward block"),
    Recipe("conv_memory", "(C / M) x4", "a causal convolution before each matrix memory"),
    Recipe("pipeline_2", "AXMS x2 | AXMS x2", "`axms_x4` cut into two pipeline stages"),
    Recipe("adapted", "M@adapter(bottleneck=32) x4", "mLSTM with a trainable adapter that starts as the identity"),
)

RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in _ALL}


def recipes(pattern: str = "*") -> tuple[Recipe, ...]:
    """The recipes whose name fits a wildcard such as `xlstm*`, in either case; `*` is all of them."""
    return tuple(r for r in _ALL if fnmatchcase(r.name, pattern.casefold()))


def recipe_text(source: Source) -> Source:
    """The pattern behind `recipe:NAME`; any other text as it is. Raises `CortexSyntaxError` for an unknown name."""
    text = source.text.strip()
    if not text.startswith(PREFIX):
        return source
    name = text.removeprefix(PREFIX).strip()
    if found := RECIPES.get(name):
        return Source(f"{PREFIX}{name}", found.pattern)
    end = len(source.text.rstrip())
    at = Span(source, source.text.index(PREFIX) + len(PREFIX), end)
    near = closest(name, RECIPES)
    fix, help_ = (Fix(at, near), f"did you mean `{near}`?") if near else (None, "`cortexc recipes` lists them")
    note = f"recipes: {', '.join(RECIPES)}"
    raise CortexSyntaxError(
        [Diagnostic("E406", f"unknown recipe `{name[:60]}`", at, "no recipe has this name", (note,), help_, fix)]
    )
