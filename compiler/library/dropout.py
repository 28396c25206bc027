"""How parts drop: one counter of episodes for each part that does, and a site for each place in it.

A part without dropout has no counter, and its graph is as if there were none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .builder import Builder, Ref


def drop(b: Builder, x: Ref, p: float, site: str) -> Ref:
    """x ``[…, C]`` with each channel dropped with probability p, for the row's whole episode."""
    if not p:
        return x
    hint = f"{x.name[1:].partition('.')[0]}_dropped"
    return b.op("dropout", x, episode_keys(b), p=p, site=site, path=b.scope.rstrip("."), hint=hint)


def drop_factors(
    b: Builder, like: Ref, sizes: Sequence[int], p: float, site: str, *, first: bool = False
) -> Ref | None:
    """What an op multiplies by that drops by itself, ``[B, (T,) *sizes]``; with ``first`` of the first step alone."""
    if not p:
        return None
    path = b.scope.rstrip(".")
    keys = episode_keys(b)
    return b.op("dropout_factors", keys, like, sizes=tuple(sizes), p=p, site=site, path=path, first=first, hint="drop")


def episode_keys(b: Builder) -> Ref:
    """What the masks of this part are drawn from; declares its counter, ``dropout [B]``, where it is asked first."""
    known = b.tape.episode_keys
    if b.state_scope not in known:
        counter = b.state("dropout", (), dtype="episode")
        known[b.state_scope], after = b.temporal("dropout_keys", counter, hints=("episode", "dropout"))
        b.carry(counter, after)
    return known[b.state_scope]
