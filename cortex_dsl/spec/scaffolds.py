"""The scaffolds: what stands around a core. Subclass `ScaffoldConfig` to add one of your own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import Field, field_validator

from .base import Node, one_of
from .cores import Flag, Positive, Probability, Real


def lowered(value: Any) -> Any:
    """Cells are accepted wherever scaffolds are: only scaffolds stand in a spec."""
    is_cell = isinstance(value, Node) and value.family == "cell"
    return value.to_scaffold() if is_cell else value


if TYPE_CHECKING:
    # To a type checker a part is open: users add classes with fields of their own.
    CoreLike: TypeAlias = Any
    ScaffoldLike: TypeAlias = Any
else:
    # A core may also be a whole stack, which is then used as one core.
    CoreLike = one_of("core", "stack")
    ScaffoldLike = one_of("scaffold", convert=lowered)

ProjFactor = Annotated[Real, Field(gt=0.0)]


class ScaffoldConfig(Node):
    """Base of all scaffolds. `core=None` is a scaffold still waiting for its core (as in `CellConfig`)."""

    family: ClassVar[str] = "scaffold"

    kind: str = ""
    core: CoreLike | None = None

    def core_width(self, d_hidden: int) -> int:
        """The width the nested core works at."""
        return d_hidden


class PassThroughScaffoldConfig(ScaffoldConfig):
    """The core at `d_hidden`, with a residual and no projections."""

    kind: Literal["passthrough"] = "passthrough"
    residual: Flag = True


class PreUpScaffoldConfig(ScaffoldConfig):
    """Project up, run the core there, gate, project back, add."""

    kind: Literal["preup"] = "preup"
    proj_factor: ProjFactor = 2.0
    activate_cell_input: Flag = True
    dropout: Probability = 0.0

    def core_width(self, d_hidden: int) -> int:
        return int(self.proj_factor * d_hidden)


class PreUpGatedScaffoldConfig(PreUpScaffoldConfig):
    """`PreUpScaffoldConfig` with a GRU-style gate for the sum."""

    kind: Literal["preup_gated"] = "preup_gated"  # type: ignore[assignment]
    gru_bias: Real = 2.0


class PostUpScaffoldConfig(ScaffoldConfig):
    """The core at `d_hidden`, then a feed-forward block."""

    kind: Literal["postup"] = "postup"
    proj_factor: ProjFactor = 1.5
    dropout: Probability = 0.0


class PostUpGatedScaffoldConfig(PostUpScaffoldConfig):
    """`PostUpScaffoldConfig` with GRU-style gates for both sums."""

    kind: Literal["postup_gated"] = "postup_gated"  # type: ignore[assignment]
    gru_bias: Real = 2.0


class AdapterScaffoldConfig(Node):
    """A trainable residual adapter around another scaffold; the exact identity at the start."""

    family: ClassVar[str] = "scaffold"

    kind: Literal["adapter"] = "adapter"
    scaffold: ScaffoldLike
    bottleneck: Positive = 64
    activation: Literal["gelu", "relu", "silu", "tanh", "identity", "sigmoid"] = "gelu"
    per_channel_gate: Flag = False
    dropout: Probability = 0.0


class RouterConfig(Node):
    """How a column weighs its experts."""

    family: ClassVar[str] = "router"

    kind: Literal["router"] = "router"
    d_key: Positive | None = None
    temperature: Real = Field(default=1.0, gt=0.0)
    top_k: Positive | None = None
    d_key_local: Positive | None = None
    local_temperature: Real = Field(default=1.0, gt=0.0)
    whisper_lambda: Real = 0.1
    center_refine: Flag = True
    restrict_to_topk: Flag = True
    use_sqrt_scale: Flag = True


# Frozen, so every column without options can share it.
_DEFAULT_ROUTER: list[RouterConfig] = []


def default_router() -> RouterConfig:
    """The router of a column that says nothing about it; made at the first use."""
    if not _DEFAULT_ROUTER:
        _DEFAULT_ROUTER.append(RouterConfig())
    return _DEFAULT_ROUTER[0]


class ColumnScaffoldConfig(Node):
    """Several experts in parallel, mixed by a router. An expert may be a column again."""

    family: ClassVar[str] = "scaffold"

    kind: Literal["column"] = "column"
    experts: tuple[ScaffoldLike, ...]
    router: RouterConfig = Field(default_factory=default_router)
    alpha_init: Real = 1.0

    @field_validator("router", mode="before")
    @classmethod
    def _default_router(cls, value: Any) -> Any:
        return default_router() if value is None else value


BUILT_IN_SCAFFOLDS: tuple[type[Node], ...] = (
    PassThroughScaffoldConfig,
    PreUpScaffoldConfig,
    PreUpGatedScaffoldConfig,
    PostUpScaffoldConfig,
    PostUpGatedScaffoldConfig,
    AdapterScaffoldConfig,
    ColumnScaffoldConfig,
)
