"""The tissue: many small cells on a lattice, alone or as one layer of a stack."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator

from .base import FrozenDict, Node
from .cores import NonNegative, Positive, Real

NAME = re.compile(r"(?!x[0-9])[A-Za-z_](?:(?!x[0-9])[A-Za-z0-9_^])*")
Frozen = AfterValidator(FrozenDict)


class TissueFamilyConfig(Node):
    """One kind of cell in a tissue. `family_type` is open: a registry may add more."""

    family: ClassVar[str] = "tissue_family"

    kind: Literal["tissue_family"] = "tissue_family"
    family_type: str = "slstm"


class TissueConfig(Node):
    """The lattice, its cells and their neighbourhoods."""

    family: ClassVar[str] = "tissue"

    kind: Literal["tissue"] = "tissue"
    width: Positive
    height: Positive
    depth: Positive | None = None
    hidden_size: Positive = 16
    families: Annotated[dict[str, TissueFamilyConfig], Frozen] = Field(default_factory=dict)
    cell_mix: Annotated[dict[str, Annotated[Real, Field(ge=0.0)]], Frozen] = Field(default_factory=dict)
    default_k: Positive = 1
    radius: Positive = 1
    patch_edges: NonNegative = 0
    input_width: Positive = 1
    output_width: Positive = 1
    seed: NonNegative = 0

    @model_validator(mode="before")
    @classmethod
    def _fill_families(cls, data: Any) -> Any:
        # A mix alone names its families: `{slstm: 0.7, axon: 0.3}` needs no second table.
        if isinstance(data, dict):
            mix, families = data.get("cell_mix") or {}, data.get("families") or {}
            if not mix and not families:
                mix = {"slstm": 1.0}
            if not families:
                families = {name: TissueFamilyConfig(family_type=family_type(name)) for name in mix}
            if not mix:
                mix = {name: 1.0 / len(families) for name in families}
            # Every family has a share, if only 0: two ways to say the same would not compare equal.
            mix = {**mix, **{name: 0.0 for name in families if name not in mix}}
            data = {**data, "cell_mix": mix, "families": families}
        return data

    @model_validator(mode="after")
    def _mix_names_families(self) -> TissueConfig:
        for name in self.cell_mix:
            if not NAME.fullmatch(name):
                raise ValueError(f"`{name}` is no family name: letters, digits and `_`, no `x` before a digit")
            if name not in self.families:
                raise ValueError(f"cell_mix names `{name}`, which is not in families ({', '.join(self.families)})")
        if not sum(self.cell_mix.values()) > 0:
            raise ValueError("cell_mix must have at least one share above 0")
        return self


class TissueScaffoldConfig(Node):
    """A tissue as one layer of a stack, with projections from and to `d_hidden`."""

    family: ClassVar[str] = "scaffold"

    kind: Literal["tissue_layer"] = "tissue_layer"
    tissue: TissueConfig
    mode: Literal["stream", "diffusion"] = "stream"


def family_type(name: str) -> str:
    """The family that a name in a mix stands for."""
    return {"axon": "axoncell"}.get(name, name)
