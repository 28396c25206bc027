"""Every code of a complaint: what it means, a text that has it and one that does not."""

from __future__ import annotations

from dataclasses import dataclass

from .suggest import did_you_mean


@dataclass(frozen=True, slots=True)
class Code:
    """The explanation of a code. `bad` is empty where no text alone can show it."""

    code: str
    title: str
    text: str
    bad: str = ""
    good: str = ""


def explain(code: str) -> str:
    """The explanation of a code, for a reader."""
    found = CODES.get(code.strip().upper().strip("[]"))
    if found is None:
        raise KeyError(f"no code `{code}`{did_you_mean(code, CODES)} (codes: {', '.join(CODES)})")
    lines = [f"{found.code}: {found.title}", "", found.text]
    if found.bad:
        lines += ["", "Wrong:", *(f"    {line}" for line in found.bad.splitlines())]
    if found.good:
        lines += ["", "Right:", *(f"    {line}" for line in found.good.splitlines())]
    return "\n".join(lines)


_ALL = (
    Code("E100", "there are no layers", "A text needs at least one layer to be a stack.", "# only a comment", "AXMS"),
    Code(
        "E101",
        "unexpected character",
        "The language uses plain ASCII letters, digits and a few signs. Letters of other alphabets that look the same, "
        "and control characters, are refused: two patterns that look alike must be alike.",
        "A\u0425MS",
        "AXMS",
    ),
    Code(
        "E102",
        "unexpected text",
        "The grammar has no place for this. The note lists what could stand here.",
        "A = 3",
        "A(use_srht=true)",
    ),
    Code(
        "E103",
        "a repeat cannot be repeated",
        "`x4` belongs to the layer or group before it, once. Multiply, or group.",
        "AXMS x4 x2",
        "(AXMS x4) x2",
    ),
    Code("E104", "a bracket is not closed", "Each bracket needs its partner.", "(AXMS x2", "(AXMS) x2"),
    Code("E105", "a bracket closes nothing", "Each bracket needs its partner.", "AXMS) x2", "(AXMS) x2"),
    Code(
        "E106",
        "arguments must touch their name",
        "A space before `(` starts a group of layers. `M(num_heads=8)` is one expert; `M (AXMS)x2` is three layers.",
        "M (num_heads=8)",
        "M(num_heads=8)",
    ),
    Code(
        "E107",
        "a layer is missing",
        "`/` and `|` stand between two layers. A line that ends in one goes on in the next.",
        "AXMS / / M",
        "AXMS / M",
    ),
    Code("E108", "a repeat counts from 1", "`x0` would be no layer at all.", "AXMS x0", "AXMS x1"),
    Code("E109", "a string is not closed", "A string ends on its line.", '["AXMS, "M"]', '["AXMS", "M"]'),
    Code(
        "E201",
        "unknown expert token",
        "An expert is a token, a definition, a `custom_map` key or a registered core or scaffold. Glued tokens are cut "
        "by longest match.",
        "AXQS",
        "let Q = M(num_heads=8)\nAXQS",
    ),
    Code("E202", "unknown scaffold", "`@` takes the name of a scaffold.", "A@prup", "A@preup"),
    Code(
        "E203",
        "a space does not separate layers",
        "White space separates experts of one column. Two runs with a space between look like two layers, so it must "
        "be said: `/` for layers, `,` for experts.",
        "AXMS AM^S",
        "AXMS / AM^S",
    ),
    Code("E204", "copies count from 1", "`S*2` is two experts `S S`.", "AS*0", "AS*2"),
    Code(
        "E206",
        "a name cannot be defined",
        "A name must be free, must not be a word of the language, must hold no `x` before a digit, and must not let "
        "any run of tokens be read in two ways.",
        "let AX = M\nAX",
        "let Q = M\nAQ",
    ),
    Code(
        "E207",
        "a stack, tissue or layer is not an expert",
        "A named stack is used as layers of its own, or as a core inside a scaffold.",
        "stack trunk = A / X\nM trunk",
        "stack trunk = A / X\nM / trunk",
    ),
    Code(
        "E208",
        "a wrap does not fit here",
        "`@scaffold` replaces the scaffold around the core; adapters wrap what is before them. So scaffolds come "
        "first, and cores inside a constructor take none.",
        "M@adapter@postup",
        "M@postup@adapter",
    ),
    Code("E209", "a name is defined twice", "A name has one meaning.", "let Q = M\nlet Q = X\nQ", "let Q = M\nQ"),
    Code(
        "E210",
        "`let` names one expert",
        "For layers use `stack`, for several experts `column(...)`.",
        "let Q = AX\nQ",
        "stack Q = AX\nQ",
    ),
    Code(
        "E301",
        "unknown option",
        "The note lists the options of this part.",
        "X(mem_length=64)",
        "X(mem_len=64)",
    ),
    Code("E302", "bad value", "The value does not fit the option.", "X(mem_len=-1)", "X(mem_len=64)"),
    Code("E303", "given twice", "An option has one value.", "X(mem_len=1, mem_len=2)", "X(mem_len=1)"),
    Code(
        "E304",
        "a value needs its name",
        "Options are given by name. Only the first option of a scaffold may stand alone, as in `@postup(2.0)`.",
        "X(64)",
        "X(mem_len=64)",
    ),
    Code(
        "E305",
        "wrong parts in a constructor",
        "A scaffold takes one core, an adapter one expert, `tissue_layer` a tissue in quotes.",
        "preup()",
        "preup(mlstm)",
    ),
    Code(
        "E306",
        "`hidden_size` is inferred",
        "Every width follows from `d_hidden` and the scaffolds, so no `set` can change one.",
        "set XLCore.hidden_size = 64\nX",
        "X with d_hidden=64",
    ),
    Code(
        "E307",
        "`num_layers` disagrees",
        "The pattern says the depth. `num_layers` repeats a single plain layer; anywhere else it must agree.",
        "A / X with num_layers=3",
        "A / X",
    ),
    Code(
        "E308",
        "unknown type",
        "`set` takes the name of a config, with or without `Config`.",
        "set XLCor.mem_len = 64\nX",
        "set XLCore.mem_len = 64\nX",
    ),
    Code("E401", "a file cannot be read", "Paths are relative to the including file.", 'include "no.cortex"\nA', "A"),
    Code("E402", "a file includes itself", "Files may not include each other in a circle."),
    Code("E403", "an included file has layers", "An included file brings definitions; name its layers with `stack`."),
    Code(
        "E404",
        "`import` is not allowed",
        "`import` runs Python code, so whoever reads the text has to allow it: `--allow-import`, `allow_import=True`.",
        "import my_tokens\nA",
        "A",
    ),
    Code("E405", "an import failed", "The module could not be imported; the message is its own."),
    Code(
        "E406",
        "unknown recipe",
        "`recipe:NAME` stands for a named stack, as a whole text; `cortexc recipes` lists the names.",
        "recipe:xlstm_7_2",
        "recipe:xlstm_7_1",
    ),
    Code("E501", "no `d_hidden`", "Sizes are inferred from `d_hidden`: write it in the pattern or pass it."),
    Code(
        "E502",
        "a width is not divisible",
        "The width of the core must be a multiple of its heads. Under a pre-up scaffold the width is "
        "int(proj_factor * d_hidden).",
        "X with d_hidden=250",
        "X with d_hidden=256",
    ),
    Code(
        "E503",
        "a scaffold has no core",
        "A scaffold without a core can stand in a cell only.",
        "preup(none) with d_hidden=8",
        "preup(lstm) with d_hidden=8",
    ),
    Code(
        "E504",
        "nothing inside",
        "A stack needs a layer, a column an expert.",
        "layer(column()) with d_hidden=8",
        "A with d_hidden=8",
    ),
    Code(
        "E505",
        "`top_k` is too large",
        "There are fewer experts.",
        "AX{top_k=3} with d_hidden=8",
        "AX{top_k=2} with d_hidden=8",
    ),
    Code(
        "E506",
        "`out_dim` must be the width",
        "A scaffold adds the core's output to its input.",
        "A(out_dim=4) with d_hidden=8",
        "A with d_hidden=8",
    ),
    Code(
        "E507",
        "`r_min` must be less than `r_max`",
        "They bound the radii at the start.",
        "A(r_min=0.9, r_max=0.5) with d_hidden=8",
        "A(r_min=0.5, r_max=0.9) with d_hidden=8",
    ),
    Code("E508", "two values for `d_hidden`", "The pattern says one, the call another."),
    Code(
        "E509",
        "a width below 1",
        "int(proj_factor * d_hidden) must be at least 1.",
        "preup(lstm, proj_factor=0.1) with d_hidden=4",
        "preup(lstm) with d_hidden=4",
    ),
    Code(
        "E510",
        "`proj_size` is too large",
        "It must be less than the width.",
        "L(proj_size=8) with d_hidden=8",
        "L(proj_size=4) with d_hidden=8",
    ),
    Code(
        "E511",
        "the tissue is too small",
        "Its ports must fit side by side, and its long edges must find cells.",
        "tissue 1x4 {slstm: 1} with d_hidden=8",
        "tissue 4x4 {slstm: 1} with d_hidden=8",
    ),
    Code(
        "E512",
        "this spec cannot be written as text",
        "Configs of users with nested or unusual fields have no text form; JSON holds them.",
    ),
    Code(
        "E513",
        "an option that does not compile yet",
        "The language has it and the compiler of this version does not: an error, never silently ignored.",
    ),
    Code(
        "E514",
        "unknown recurrence",
        "`cell` names a recurrence that is written as equations: gru, lru, mingru, minlstm, or one that was registered "
        "with `cortexc.register_recurrence` in this process. A compiled package holds its kernels and loads without; "
        "compiling it again needs the equations.",
        "recurrence(cell=mingrue) with d_hidden=8",
        "recurrence(cell=mingru) with d_hidden=8",
    ),
    Code(
        "E515",
        "heads without a recurrent matrix",
        "`num_heads` cuts a recurrent matrix into one for each head. This recurrence has none: its channels run by "
        "themselves.",
        "recurrence(cell=lru, num_heads=2) with d_hidden=8",
        "recurrence(cell=gru, num_heads=2) with d_hidden=8",
    ),
    Code("E601", "the text is too long", "A text has a limit, so that no input can take unbounded time."),
    Code("E602", "nested too deeply", "Give inner parts a name.", "(" * 65 + "A" + ")" * 65, "A"),
    Code("E603", "a number or count is too large", "Layers and digits have limits.", "A x999999999", "A x100"),
    Code("E604", "too many experts", "A column has a limit.", "A*99999", "A*4"),
    Code(
        "W301",
        "the code of a package was changed",
        "The files of a compiled package are not what its manifest says. They are used as they stand; compile the "
        "pattern again to have them as they were.",
    ),
    Code(
        "W302",
        "a table of tuned kernels is ignored",
        "The file that `cortexc tune` wrote for this device is damaged, or was not written by cortexc. Kernels run "
        "with the choices that are built in: same numbers, perhaps slower. Tune again, or remove it with "
        "`cortexc cache clear --tuning`.",
    ),
    Code(
        "W401",
        "Triton is not installed",
        "The backend `triton` was asked for and the package is missing, so torch operators run. Same numbers, slower "
        "on a GPU. `pip install triton` (Linux) mends it.",
    ),
    Code(
        "W402",
        "Triton kernels need a GPU",
        "The backend `triton` was asked for on another device, so torch operators run. `auto` says the same without a "
        "warning.",
    ),
    Code(
        "W403",
        "no C++ compiler",
        "The backend `inductor` builds C++ on a CPU and found no compiler. Install g++ or clang++, or use `eager`.",
    ),
    Code(
        "W404",
        "a step could not be compiled for this CPU",
        "Without gradients, in float32 on a CPU, a step is compiled by the machine's C++ compiler at its first call. "
        "That failed, and the text says how: a compiler without its headers, a cache folder that cannot be written or "
        "forbids running what lies in it, a torch that shows no BLAS. Torch operators run, slower, with the same "
        "numbers. Name another compiler in `CXX`, another folder in `CORTEXC_CACHE_DIR`, or ask for none with "
        "`CORTEXC_NATIVE=0`.",
    ),
    Code(
        "W411",
        "a recurrent matrix needs more processors than there are",
        "A head's matrices that one program cannot hold are spread over several, which wait for each other at every "
        "step and so must all run at once. Here they are more than the device has processors, so a torch loop runs, "
        "which is much slower. Fewer or narrower heads fit.",
    ),
    Code(
        "W412",
        "the kernels do not compute in this dtype",
        "Triton kernels compute in float32 on float32, bfloat16 or float16 inputs; for float64 a torch loop runs.",
    ),
    Code(
        "W413",
        "each row has its own recurrent matrix, too large for one program",
        "Routed adapters change the recurrent matrices row by row. A program then holds those of one head and one row; "
        "where they are too large for that, a torch loop runs, which is much slower. More heads of smaller width, or "
        "bfloat16, make them fit.",
    ),
    Code("W701", "the caret does nothing", "`^` turns on Axon projections; this core has none.", "A^", "A"),
    Code(
        "W702",
        "this reads as one column",
        "A run and a token with a space between: one column, though it may look like two layers.",
        "AXMS M^",
        "AXMS / M^",
    ),
    Code(
        "W703",
        "`set` changes nothing",
        "No part of this type is in the stack.",
        "set LSTMCore.bias = false\nA",
        "set LSTMCore.bias = false\nL",
    ),
    Code("W704", "`hidden_size` is ignored", "Every width is inferred.", "X(hidden_size=8)", "X"),
)

CODES: dict[str, Code] = {code.code: code for code in _ALL}
