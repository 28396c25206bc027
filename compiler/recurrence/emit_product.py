"""The recurrent product in a loop over time: R y forward, and the adjoint through R backward, for each schedule.

Where a head is spread over programs they exchange what all need through `turn_ptr`, which has two places: one is read
while the other is written.
"""

from __future__ import annotations

from .frame import Names
from .schedules import Schedule


def forward_weights(n: Names, how: Schedule) -> list[str]:
    """The matrices, (in, out): loaded once where they stay on chip."""
    if how.name == "head":
        return [
            "inner, outer = tl.arange(0, BLOCK_D)[:, None], tl.arange(0, BLOCK_D)[None, :]",
            *_head_weights(n, "outer * D + inner"),
        ]
    if how.name == "split":
        gates = _padded(len(n.gates))
        return [
            f"# columns: of every unit its gates side by side, {gates} with padding",
            f"column = tl.arange(0, BLOCK_U * {gates})[None, :]",
            f"unit, gate = part * BLOCK_U + column // {gates}, column % {gates}",
            f"real = (unit < D) & (gate < {len(n.gates)})",
            f"at_weight = head.to(tl.int64) * ({len(n.gates)} * D * D) + gate * D * D + unit * D",
            "inner = tl.arange(0, BLOCK_K)",
            "if BLOCK_K >= D:",
            "    R = tl.load(weight_ptr + at_weight + inner[:, None], mask=real & (inner[:, None] < D), other=0.0)",
        ]
    return []


def recurrent_terms(n: Names, how: Schedule) -> list[str]:
    """r of every gate, from the state before."""
    if how.name == "head":
        return [
            f"y = s_{n.recurrent}.to(R_{n.gates[0]}.dtype)",
            *(f"r_{g} = tl.dot(y, R_{g}, input_precision=PRECISION)" for g in n.gates),
        ]
    if how.name == "split":
        assert n.recurrent is not None
        y = [
            "at_y = at_turn + ((FIRST + t) % 2) * (one * B * H) + {k}",
            "y = tl.load(turn_ptr + at_y, mask=(row < B) & ({k} < D), other=0.0, cache_modifier='.cg')",
            "if HAS_RESETS:",
            f"    y = tl.where(reset, {n.initial[n.recurrent]}, y).to(y.dtype)",
        ]
        return [
            "at_turn = row * H + head * D",
            "if BLOCK_K >= D:",
            *(f"    {line.format(k='inner[None, :]')}" for line in y),
            "    r = tl.dot(y, R, input_precision=PRECISION)",
            "else:  # the matrices are read again at every step, from cache",
            f"    r = tl.zeros((BLOCK_B, BLOCK_U * {_padded(len(n.gates))}), tl.float32)",
            "    for k in range(0, D, BLOCK_K):",
            *(f"        {line.format(k='(k + inner[None, :])')}" for line in y),
            "        within = real & (k + inner[:, None] < D)",
            "        R_k = tl.load(weight_ptr + at_weight + (k + inner[:, None]), mask=within, other=0.0)",
            "        r = tl.dot(y, R_k, r, input_precision=PRECISION)",
            *_unzip("r", [f"r_{g}" for g in n.gates], _padded(len(n.gates))),
        ]
    return []


def hand_on(n: Names, how: Schedule) -> list[str]:
    """After a step of the forward: give the others this program's part of the new state, and wait for theirs."""
    if not how.split:
        return []
    return [
        "at_y = ((FIRST + t + 1) % 2) * (one * B * H) + at_row",
        f"tl.store(turn_ptr + at_y, s_{n.recurrent}.to(turn_ptr.dtype.element_ty), mask=inside)",
        "if STEP and THROUGH:",
        "    meet(arrived_ptr, PARTS * (t + 1))",
    ]


def _unzip(name: str, results: list[str], size: int) -> list[str]:
    """Columns that lie side by side, apart: halves of even and odd places, again and again."""
    if size == 1:
        return [f"{results[0]} = {name}"] if results else []
    if not results:
        return []
    even, odd = (f"{name}_even", f"{name}_odd")
    split = f"{even}, {odd} = tl.split(tl.reshape({name}, (BLOCK_B, BLOCK_U{f', {size // 2}' if size > 2 else ''}, 2)))"
    return [split, *_unzip(even, results[0::2], size // 2), *_unzip(odd, results[1::2], size // 2)]


def _padded(gates: int) -> int:
    return 1 << (gates - 1).bit_length()


def _head_weights(n: Names, entry: str) -> list[str]:
    return [
        "matrices = head.to(tl.int64) + (tile * tl.num_programs(0) if OWN else 0)",
        f"at_weight = matrices * ({len(n.gates)} * D * D) + {entry}",
        "within = (inner < D) & (outer < D)",
        *(
            f"R_{g} = tl.load(weight_ptr + at_weight + {i} * D * D, mask=within, other=0.0)"
            for i, g in enumerate(n.gates)
        ),
    ]


def backward_weights(n: Names, how: Schedule) -> list[str]:
    """The matrices, (out, in)."""
    if how.name == "head":
        return [
            "inner, outer = tl.arange(0, BLOCK_D)[:, None], tl.arange(0, BLOCK_D)[None, :]",
            *_head_weights(n, "inner * D + outer"),
        ]
    if how.name == "split":
        return [
            "outer = tl.arange(0, BLOCK_K)",
            f"at_weight = head.to(tl.int64) * ({len(n.gates)} * D * D) + outer[:, None] * D + lane",
            "if BLOCK_K >= D:",
            *(
                f"    R_{g} = tl.load("
                f"weight_ptr + at_weight + {i} * D * D, mask=(outer[:, None] < D) & (lane < D), other=0.0)"
                for i, g in enumerate(n.gates)
            ),
        ]
    return []


def through(n: Names, how: Schedule) -> list[str]:
    """The adjoint of the recurrent state, through the matrices."""
    if how.name == "head":
        return [
            f"through = d_{n.recurrent}",
            *(
                f"through = tl.dot({_adjoint(n, g)}.to(R_{g}.dtype), R_{g}, through, input_precision=PRECISION)"
                for g in n.gates
            ),
            f"d_{n.recurrent} = through",
        ]
    if how.name == "split":
        load = (
            "tl.load(turn_ptr + at_turn + {i} * H + head * D + {k}, mask=(row < B) & ({k} < D), other=0.0, "
            "cache_modifier='.cg')"
        )
        whole = [
            line
            for i, g in enumerate(n.gates)
            for line in (
                f"    d_g = {load.format(i=i, k='outer[None, :]')}",
                f"    through_{g} = tl.dot(d_g, R_{g}, input_precision=PRECISION)",
            )
        ]
        pieces = [
            line
            for i, _ in enumerate(n.gates)
            for line in (
                f"        d_g = {load.format(i=i, k='(k + outer[None, :])')}",
                f"        R_k = tl.load(weight_ptr + at_weight + {i} * D * D + k * D, "
                "mask=(k + outer[:, None] < D) & (lane < D), other=0.0)",
                "        total = tl.dot(d_g, R_k, total, input_precision=PRECISION)",
            )
        ]
        lines = [
            "if BLOCK_K >= D:",
            *whole,
            f"    d_{n.recurrent} += {' + '.join(f'through_{g}' for g in n.gates)}",
            "else:  # the matrices are read again at every step, from cache",
            "    total = tl.zeros((BLOCK_B, BLOCK_U), tl.float32)",
            "    for k in range(0, D, BLOCK_K):",
            *pieces,
            f"    d_{n.recurrent} += total",
        ]
        return ["if STEP and THROUGH:", "    meet(arrived_ptr, PARTS * (back + 1))", "if THROUGH:", *_inside(lines)]
    return []


def hand_back(n: Names, how: Schedule) -> list[str]:
    """In a step of the backward: give the others this program's part of the adjoints of r."""
    if not how.split:
        return []
    return [
        f"tl.store(turn_ptr + at_turn + {i} * H + channel, {_adjoint(n, g)}.to(turn_ptr.dtype.element_ty), mask=inside)"
        for i, g in enumerate(n.gates)
    ]


def turn_back(n: Names, how: Schedule) -> list[str]:
    """Where this step's adjoints of r stand in the exchange."""
    gates = len(n.gates)
    return [f"at_turn = (back % 2) * (one * B * {gates} * H) + row * ({gates} * H)"] if how.split else []


def _adjoint(n: Names, gate: str) -> str:
    return f"d_r_{gate}" if gate in n.own else f"d_x_{gate}"


def _inside(lines: list[str]) -> list[str]:
    return [f"    {line}" for line in lines]
