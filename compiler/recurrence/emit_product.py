"""The recurrent product in a loop over time: R y forward, and the adjoint through R backward, for each schedule.

Where a head is spread over programs they exchange what all need through `turn_ptr`, which has two places: one is read
while the other is written. A program's product is small and deep: 16 rows, a few columns, and as many terms as the
head has units. Warps that share its columns would each wait for one long chain of additions, so the terms can be cut
into SLICES that groups of warps add up side by side.
"""

from __future__ import annotations

from .names import Names
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
            f"column = tl.arange(0, BLOCK_U * {gates})[None, None, :]",
            f"unit, gate = part * BLOCK_U + column // {gates}, column % {gates}",
            f"real = (unit < D) & (gate < {len(n.gates)})",
            f"at_weight = head.to(tl.int64) * ({len(n.gates)} * D * D) + gate * D * D + unit * D",
            "slice = tl.arange(0, SLICES)[:, None, None] * (BLOCK_K // SLICES)",
            "down = slice + tl.arange(0, BLOCK_K // SLICES)[None, :, None]",
            "along = slice + tl.arange(0, BLOCK_K // SLICES)[None, None, :]",
            "if BLOCK_K >= D:",
            "    R = tl.load(weight_ptr + at_weight + down, mask=real & (down < D), other=0.0)",
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
            "y = tl.load(turn_ptr + at_y, mask=(row < B)[None, :, :] & ({k} < D), other=0.0, cache_modifier='.cg')",
            "if HAS_RESETS:",
            f"    y = tl.where(reset[None, :, :], {n.initial[n.recurrent]}, y).to(y.dtype)",
        ]
        columns = f"BLOCK_U * {_padded(len(n.gates))}"
        return [
            "at_turn = (row * H + head * D)[None, :, :]",
            f"r = tl.zeros((SLICES, BLOCK_B, {columns}), tl.float32)",
            "if BLOCK_K >= D:",
            *(f"    {line.format(k='along')}" for line in y),
            "    r = sliced_dot(y, R, r, PRECISION)",
            "else:  # the matrices are read again at every step, from cache",
            "    for k in range(0, D, BLOCK_K):",
            *(f"        {line.format(k='(k + along)')}" for line in y),
            "        R_k = tl.load(weight_ptr + at_weight + (k + down), mask=real & (k + down < D), other=0.0)",
            "        r = sliced_dot(y, R_k, r, PRECISION)",
            "r = tl.sum(r, 0)",
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
            "# the gates are multiplied side by side, each in slices",
            f"slice = tl.arange(0, {_padded(len(n.gates))} * SLICES)[:, None, None]",
            "gate, outer = slice // SLICES, slice % SLICES * (BLOCK_K // SLICES)",
            "down = outer + tl.arange(0, BLOCK_K // SLICES)[None, :, None]",
            "along = outer + tl.arange(0, BLOCK_K // SLICES)[None, None, :]",
            f"real = (gate < {len(n.gates)}) & (lane < D)[None, :, :]",
            f"at_weight = (head.to(tl.int64) * {len(n.gates)} + gate) * D * D + down * D + lane[None, :, :]",
            "if BLOCK_K >= D:",
            "    R = tl.load(weight_ptr + at_weight, mask=real & (down < D), other=0.0)",
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
        given = [
            "at_g = at_turn[None, :, :] + gate * H + head * D + {k}",
            f"given = (row < B)[None, :, :] & (gate < {len(n.gates)}) & ({{k}} < D)",
            "d_g = tl.load(turn_ptr + at_g, mask=given, other=0.0, cache_modifier='.cg')",
        ]
        lines = [
            f"total = tl.zeros(({_padded(len(n.gates))} * SLICES, BLOCK_B, BLOCK_U), tl.float32)",
            "if BLOCK_K >= D:",
            *(f"    {line.format(k='along')}" for line in given),
            "    total = sliced_dot(d_g, R, total, PRECISION)",
            "else:  # the matrices are read again at every step, from cache",
            "    for k in range(0, D, BLOCK_K):",
            *(f"        {line.format(k='(k + along)')}" for line in given),
            "        R_k = tl.load(weight_ptr + at_weight + k * D, mask=real & (k + down < D), other=0.0)",
            "        total = sliced_dot(d_g, R_k, total, PRECISION)",
            f"d_{n.recurrent} += tl.sum(total, 0)",
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
