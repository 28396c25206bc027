"""Cells: a scaffold and a core put together. They lower to the scaffold with the core inside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from pydantic import Field

from .base import Node, one_of, updated
from .cores import (
    AGaLiTeCoreConfig,
    AxonCoreConfig,
    CausalConv1dCoreConfig,
    LSTMCoreConfig,
    XLCoreConfig,
    mLSTMCoreConfig,
    sLSTMCoreConfig,
)
from .scaffolds import (
    CoreLike,
    PassThroughScaffoldConfig,
    PostUpGatedScaffoldConfig,
    PreUpGatedScaffoldConfig,
)

if TYPE_CHECKING:
    ScaffoldSlot: TypeAlias = Any
else:
    ScaffoldSlot = one_of("scaffold")


class CellConfig(Node):
    """Any scaffold with any core."""

    family: ClassVar[str] = "cell"

    kind: str = ""
    scaffold: ScaffoldSlot
    core: CoreLike

    def to_scaffold(self) -> Node:
        """The scaffold with the core inside; through adapters down to the scaffold that holds it."""
        return with_core(self.scaffold, self.core)


class AxonCellConfig(CellConfig):
    """Token `A`."""

    scaffold: ScaffoldSlot = Field(default_factory=PostUpGatedScaffoldConfig)
    core: CoreLike = Field(default_factory=AxonCoreConfig)
    kind: Literal["axon_cell"] = "axon_cell"


class XLCellConfig(CellConfig):
    """Token `X`."""

    scaffold: ScaffoldSlot = Field(default_factory=PostUpGatedScaffoldConfig)
    core: CoreLike = Field(default_factory=XLCoreConfig)
    kind: Literal["xl_cell"] = "xl_cell"


class mLSTMCellConfig(CellConfig):
    """Token `M`."""

    scaffold: ScaffoldSlot = Field(default_factory=PreUpGatedScaffoldConfig)
    core: CoreLike = Field(default_factory=mLSTMCoreConfig)
    kind: Literal["mlstm_cell"] = "mlstm_cell"


class sLSTMCellConfig(CellConfig):
    """Token `S`."""

    scaffold: ScaffoldSlot = Field(default_factory=PostUpGatedScaffoldConfig)
    core: CoreLike = Field(default_factory=sLSTMCoreConfig)
    kind: Literal["slstm_cell"] = "slstm_cell"


class LSTMCellConfig(CellConfig):
    """Token `L`."""

    scaffold: ScaffoldSlot = Field(default_factory=PassThroughScaffoldConfig)
    core: CoreLike = Field(default_factory=LSTMCoreConfig)
    kind: Literal["lstm_cell"] = "lstm_cell"


class CausalConv1dCellConfig(CellConfig):
    """Token `C`."""

    scaffold: ScaffoldSlot = Field(default_factory=PassThroughScaffoldConfig)
    core: CoreLike = Field(default_factory=CausalConv1dCoreConfig)
    kind: Literal["conv_cell"] = "conv_cell"


class AGaLiTeCellConfig(CellConfig):
    """Token `Ag`."""

    scaffold: ScaffoldSlot = Field(default_factory=PostUpGatedScaffoldConfig)
    core: CoreLike = Field(default_factory=AGaLiTeCoreConfig)
    kind: Literal["agalite_cell"] = "agalite_cell"


def default_cells() -> list[CellConfig]:
    """The four experts of `AXMS`, in that order."""
    return [AxonCellConfig(), XLCellConfig(), mLSTMCellConfig(), sLSTMCellConfig()]


def inner_scaffold(scaffold: Node) -> Node:
    """The scaffold that holds the core, below any adapters."""
    while "scaffold" in type(scaffold).model_fields:
        scaffold = scaffold.scaffold  # type: ignore[attr-defined]
    return scaffold


def with_inner(scaffold: Node, change: Any) -> Node:
    """`scaffold` with `change` applied to the scaffold that holds the core."""
    if "scaffold" in type(scaffold).model_fields:
        return updated(scaffold, scaffold=with_inner(scaffold.scaffold, change))  # type: ignore[attr-defined]
    return change(scaffold)


def with_core(scaffold: Node, core: Node) -> Node:
    """`scaffold` with its core replaced."""
    return with_inner(scaffold, lambda inner: updated(inner, core=core))
