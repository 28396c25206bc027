"""AGaLiTe: gated linear attention with an oscillating approximation of its memory (spec: core `Ag`)."""

from __future__ import annotations

from .op import agalite as agalite
from .op import agalite_step as agalite_step
from .reference import agalite_reference as agalite_reference
