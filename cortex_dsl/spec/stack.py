"""The stack: layers in depth."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from .base import Node
from .cores import Flag, Positive, Probability, Real
from .scaffolds import ScaffoldLike


class RoutedAdapterConfig(Node):
    """Low-rank adapters in every linear map, chosen per row by `route_ids`."""

    family: ClassVar[str] = "routed_adapter"

    kind: Literal["routed_adapter"] = "routed_adapter"
    num_slots: Positive = 64
    rank: Positive = 4
    dropout: Probability = 0.0
    alpha: Annotated[Real, Field(gt=0.0)] | None = None
    enabled: Flag = True
    freeze_base: Flag = False
    trunk_lr_mult: Real = Field(default=1.0, ge=0.0)
    require_route_ids: Flag = True


class CortexStackConfig(Node):
    """A whole stack. `d_hidden=None` is a pattern whose width is still to be given."""

    family: ClassVar[str] = "stack"

    kind: Literal["stack"] = "stack"
    d_hidden: Positive | None = None
    scaffolds: tuple[ScaffoldLike, ...] = ()
    post_norm: Flag = True
    routed_adapter: RoutedAdapterConfig | None = None
    # Whether backend `inductor` compiles each layer; off, it is `eager`. Other backends have their own code for layers.
    compile_scaffolds: Flag = True
    # Pipeline cuts: a cut `i` stands before layer `i`.
    cuts: tuple[Positive, ...] = ()

    @model_validator(mode="after")
    def _cuts_between_layers(self) -> CortexStackConfig:
        if any(b <= a for a, b in zip(self.cuts, self.cuts[1:], strict=False)):
            raise ValueError(f"cuts must rise, got {self.cuts}")
        if self.cuts and self.cuts[-1] >= len(self.scaffolds):
            raise ValueError(f"cut {self.cuts[-1]} is not between two of the {len(self.scaffolds)} layers")
        return self
