"""Who computes what in a loop over time: the four ways to spread a recurrence over programs.

`channels`  nothing is recurrent across channels: a program is a run of channels of rows and chunks of time.
`heads`     the same where channels share something with their head: a program is one head of one row and chunk.
`head`      a program is one head and a tile of rows; the head's matrices stay in its registers for all of T.
`split`     a head's matrices are more than one program holds: its output units are spread over programs, which hand
            each other the new state at every step and wait for one another.

All define, for the loops in ``emit_loop``: `steps`, the length of the loop; `begin` and `count`, where its real steps
start and end; `channel`, `inside`, `at_row` [B, H], `at_start` [B, C, H], `at_seq` [B, T, H] and `at_x` at the first
step, and `at_time` [B, T]. What each does about the recurrent matrices is in ``emit_product``.
"""

from __future__ import annotations

from dataclasses import dataclass

from .frame import Arguments, load_hoisted, places_of_inputs
from .names import Names

UNROLL, UNROLLED_STATES = 4, 4  # steps at once; state variables at most, that registers suffice


@dataclass(frozen=True)
class Schedule:
    """`name` prefixes the kernels; `arguments` and `constants` follow those of the loop."""

    name: str
    doc: str
    arguments: Arguments
    constants: tuple[str, ...]
    partial: bool = False  # a run may hold fewer than `steps` steps, or lanes that are not real

    @property
    def split(self) -> bool:
        return self.name == "split"

    def over(self, n: Names) -> str:
        """What the loop over time runs through. Where a step is short, several are on their way at once: they wait for
        memory, not for each other."""
        if self.name == "channels" and len(n.state) <= UNROLLED_STATES:
            return f"tl.range(0, steps, loop_unroll_factor={UNROLL})"
        return "range(steps)"

    def prologue(self, n: Names) -> list[str]:
        """Which rows, channels and steps this program owns."""
        own = "inside" if self.name == "channels" else "lane < D"
        return [
            *_OWN[self.name],
            "one = tl.full((), 1, tl.int64)  # steps times sizes may pass 2**31",
            "at_row = row * H + channel",
            "at_seq = at_time * H + channel",
            *(_of_heads(n) if n.headed else [f"at_x = at_time * ({len(n.inputs)} * H) + channel"]),
            *load_hoisted(n.hoisted, own),
        ]


CHANNELS = Schedule(
    "channels",
    "One program: BLOCK channels of (row, chunk of time).",
    [("CHUNK", "steps of a chunk")],
    ("H", "BLOCK", "HAS_RESETS"),
    partial=True,
)
HEADS = Schedule(
    "heads",
    "One program: one head of one row, one chunk of time.",
    [("CHUNK", "steps of a chunk")],
    ("H", "D", "E", "BLOCK_D", "BLOCK_E", "HAS_RESETS"),
    partial=True,
)
HEAD = Schedule(
    "head",
    "One program: one head, ROWS rows, all of T.",
    [],
    # OWN: every row has its own matrices, [B, N, gates, D, D], and ROWS is 1
    ("H", "D", "BLOCK_B", "ROWS", "OWN", "BLOCK_D", "PRECISION", "HAS_RESETS"),
)
SPLIT = Schedule(
    "split",
    "One program: BLOCK_U units of one head, BLOCK_B rows, all of T; the head's programs meet after every step.",
    [
        ("turn_ptr", "what the programs hand each other"),
        ("arrived_ptr", "[N, tiles] 0"),
        ("ROW", "the first row of this launch"),
        ("FIRST", "its first step"),
        ("LAST", "the step after its last"),
    ],
    # a launch does whole steps, STEP and THROUGH, and its programs meet in them; or one half of one step
    ("H", "D", "BLOCK_B", "BLOCK_U", "BLOCK_K", "SLICES", "PARTS", "STEP", "THROUGH", "PRECISION", "HAS_RESETS"),
)


def chunked(n: Names) -> Schedule:
    """The schedule of what may run in chunks of time."""
    return HEADS if n.headed else CHANNELS


def _of_heads(n: Names) -> list[str]:
    """Places of what has features, or one number a head; and of the inputs, a tensor for each kind."""
    wide = "head * (E * D) + feature * D + lane"
    places = {"row": "row", "start": "run", "seq": "at_time"}
    lines = [f"at_{p}_wide = {of} * (E * H) + {wide}" for p, of in places.items()] if "ed" in n.axes.values() else []
    lines += [f"at_{p}_head = {of} * (H // D) + head" for p, of in places.items()]
    return [*lines, *places_of_inputs(n)]


_TILE = [
    "head = tl.program_id(1)",
    "unit = tl.zeros((1, 1), tl.int64)  # what a program has one of is a tile too, like the masks that it goes into",
    "lane, feature = tl.arange(0, BLOCK_D)[None, :], tl.arange(0, BLOCK_E)[:, None]",
    "own, own_feature = lane < D, feature < E",
    "own_wide = own & own_feature",
    "channel = head * D + lane",
]
_OWN = {
    "heads": [
        *_TILE,
        "run, chunks = unit + tl.program_id(0), tl.cdiv(T, CHUNK)",
        "row, first = run // chunks, (run % chunks) * CHUNK",
        "inside = row < B",
        "steps = tl.minimum(T - (tl.program_id(0) % chunks) * CHUNK, CHUNK)",
        "begin, count = unit, unit + steps",
        "at_start = run * H + channel",
        "at_time = row * T + first",
    ],
    "channels": [
        "at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)",
        "run, channel = at // H, at % H",
        "chunks = tl.cdiv(T, CHUNK)",
        "row, first = run // chunks, (run % chunks) * CHUNK",
        "inside = row < B",
        "steps, begin, count = CHUNK, row * 0, tl.minimum(T - first, CHUNK)",
        "at_start = run * H + channel",
        "at_time = row * T + first",
    ],
    "head": [
        "head, tile = tl.program_id(0), tl.program_id(1)",
        "row = (tile * ROWS + tl.arange(0, BLOCK_B))[:, None].to(tl.int64)",
        "lane = tl.arange(0, BLOCK_D)[None, :]",
        "channel = head * D + lane",
        "inside = (row < B) & (row < (tile + 1) * ROWS) & (lane < D)",
        "steps, begin, count = T, row * 0, row * 0 + T  # tiles, like the masks they are compared into",
        "at_start = row * H + channel",
        "at_time = row * T",
    ],
    "split": [
        "head, part = tl.program_id(0), tl.program_id(1)",
        "row = (ROW + tl.program_id(2) * BLOCK_B + tl.arange(0, BLOCK_B))[:, None].to(tl.int64)",
        "lane = part * BLOCK_U + tl.arange(0, BLOCK_U)[None, :]",
        "channel = head * D + lane",
        "inside = (row < B) & (lane < D)",
        "steps, begin, count = LAST - FIRST, row * 0, row * 0 + (LAST - FIRST)",
        "at_start = row * H + channel",
        "at_time = row * T + FIRST",
        "arrived_ptr += head * tl.num_programs(2) + tl.program_id(2)",
    ],
}


@dataclass(frozen=True)
class Carried:
    """Who walks over the chunks of a row: `places` are those of its chunk in [B, C, H], `cut` that of its flag."""

    doc: str
    constants: tuple[str, ...]
    lines: tuple[str, ...]
    places: tuple[str, ...]
    cut: str

    def prologue(self, n: Names) -> list[str]:
        return list(self.lines)


def carried(n: Names) -> Carried:
    """One program a run of channels, or a head."""
    if not n.headed:
        return Carried(
            "One program: BLOCK channels of rows.",
            ("H", "BLOCK", "HAS_RESETS"),
            (
                "at_row = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)",
                "row, channel = at_row // H, at_row % H",
                "inside = row < B",
            ),
            ("place = (row * CHUNKS + chunk) * H + channel",),
            "place",
        )
    wide = "head * (E * D) + feature * D + lane"
    return Carried(
        "One program: one head of one row.",
        ("H", "D", "E", "BLOCK_D", "BLOCK_E", "HAS_RESETS"),
        (
            *_TILE,
            "row = unit + tl.program_id(0)",
            "inside = row < B",
            "at_row = row * H + channel",
            f"at_row_wide = row * (E * H) + {wide}",
        ),
        (
            "run = row * CHUNKS + chunk",
            "place = run * H + channel",
            f"place_wide = run * (E * H) + {wide}",
        ),
        "run * (H // D) + head",
    )
