"""AGaLiTe: gated linear attention over outer products, with an oscillating memory of rank r. arXiv 2310.15719."""

from __future__ import annotations

import re
from functools import lru_cache

from ...recurrence import Outputs, Recurrence, State, Symbols, maximum, recurrence, sigmoid, total

EPS = 1e-5  # unless said otherwise


@lru_cache(maxsize=64)
def agalite(terms: int, eps: float) -> Recurrence:
    """The recurrence for `terms` frequencies. Those are spread evenly over [-π, π] and a cosine is even, so only half
    of them differ: each distinct one has sums of its own, `waves[i]` of them look alike."""
    counts = multiplicities(terms)
    which = [f"{i}" for i in range(len(counts))]

    @recurrence(
        name=_name(terms, eps),
        inputs=f"k q v beta gamma p1[e] p2[e] p3[e] {' '.join(f'wave{i}[]' for i in which)}",
        state=f"{' '.join(f'keys{i}[ed]' for i in which)} {' '.join(f'values{i}' for i in which)} s[ed]",
        outputs="y",
    )
    def equations(x: Symbols, s: Symbols) -> tuple[State, Outputs]:
        """wave is cos((tick + 1) ω). A head writes the outer product of p1 and k, reads with that of p2 and q."""
        gate, write = sigmoid(x.p3) * sigmoid(x.gamma), sigmoid(x.beta)
        key, value = gate * (maximum(x.p1, 0.0) * maximum(x.k, 0.0)), write * x.v
        query = maximum(x.p2, 0.0) * maximum(x.q, 0.0)
        sums = (1.0 - gate) * s.s + key
        norm = 2.0 * terms * total(sums * query) + eps
        after, y = {"s": sums}, None
        for i, count in zip(which, counts, strict=True):
            wave = getattr(x, f"wave{i}")
            keys = (1.0 - gate) * getattr(s, f"keys{i}") + wave * key
            values = (1.0 - write) * getattr(s, f"values{i}") + wave * value
            read = values * (count * total(keys * query) / norm)
            after |= {f"keys{i}": keys, f"values{i}": values}
            y = read if y is None else y + read
        assert y is not None
        return State(**after), Outputs(y=y)

    return equations


def multiplicities(terms: int) -> list[int]:
    """How often each distinct |ω| occurs, from π down."""
    return [2] * (terms // 2) + [1] * (terms % 2)


_SIGNS = (("-", "m"), ("+", "p"), (".", "_"))  # what a number has and a name has not


def _name(terms: int, eps: float) -> str:
    """A name of generated code; with eps, where that is not the usual one."""
    own = repr(float(eps))
    for sign, letter in _SIGNS:
        own = own.replace(sign, letter)
    return f"agalite_r{terms}" if eps == EPS else f"agalite_r{terms}_eps{own}"


def agalite_called(name: str) -> Recurrence | None:
    """The inverse: the member of this family that has a name."""
    found = re.fullmatch(r"agalite_r([1-9]\d*)(?:_eps(\d[\dmpe_]*))?", name)
    if found is None:
        return None
    own = found[2]
    for sign, letter in _SIGNS if own else ():
        own = own.replace(letter, sign)
    return agalite(int(found[1]), float(own) if own else EPS)
