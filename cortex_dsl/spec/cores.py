"""The cores: the units that remember. Subclass `CoreConfig` to add one of your own."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from .base import Node

# Strict: `True` is no number and `"4"` is no int, so that a slip is an error and not a value.
Flag = Annotated[bool, Field(strict=True)]
Real = Annotated[float, Field(strict=True)]
Positive = Annotated[int, Field(strict=True, ge=1)]
NonNegative = Annotated[int, Field(strict=True, ge=0)]
Probability = Annotated[float, Field(strict=True, ge=0.0, lt=1.0)]


class CoreConfig(Node):
    """Base of all cores. `hidden_size` is always inferred from the scaffold around the core."""

    family: ClassVar[str] = "core"
    # The field that must divide the width, and the flags that the caret sets; empty where there is none.
    heads_field: ClassVar[str | None] = None
    axon_flags: ClassVar[tuple[str, ...]] = ()

    kind: str = ""
    hidden_size: Positive | None = None


class AxonCoreConfig(CoreConfig):
    """Real-time recurrent unit with eligibility traces (token `A`)."""

    kind: Literal["axon"] = "axon"
    activation: Literal["identity", "relu", "silu", "tanh", "gelu", "sigmoid"] = "identity"
    r_min: Real = Field(default=0.0, ge=0.0, lt=1.0)
    r_max: Real = Field(default=1.0, gt=0.0, le=1.0)
    max_phase: Real = Field(default=6.28, gt=0.0)
    use_srht: Flag = False
    srht_permute: Flag = True
    use_untraced_linear: Flag = True
    use_fullrank_rtu: Flag = False
    out_dim: Positive | None = None


class XLCoreConfig(CoreConfig):
    """Transformer-XL attention with a rolling memory (token `X`)."""

    heads_field: ClassVar[str | None] = "n_heads"
    axon_flags: ClassVar[tuple[str, ...]] = ("use_axon_qkv",)

    kind: Literal["xl"] = "xl"
    n_heads: Positive = 4
    head_dim: Positive | None = None
    mem_len: NonNegative = 128
    attn_dropout: Probability = 0.0
    out_dropout: Probability = 0.0
    use_bias: Flag = True
    use_axon_qkv: Flag = False


class mLSTMCoreConfig(CoreConfig):
    """Matrix LSTM (token `M`)."""

    heads_field: ClassVar[str | None] = "num_heads"
    axon_flags: ClassVar[tuple[str, ...]] = ("use_axon_layer", "use_axon_qkv")

    kind: Literal["mlstm"] = "mlstm"
    num_heads: Positive = 4
    chunk_size: Positive = 64
    conv1d_kernel_size: NonNegative = 4
    use_axon_layer: Flag = False
    use_axon_qkv: Flag = False


class sLSTMCoreConfig(CoreConfig):
    """Scalar LSTM with stabilised exponential gates (token `S`)."""

    heads_field: ClassVar[str | None] = "num_heads"
    axon_flags: ClassVar[tuple[str, ...]] = ("use_axon_layer",)

    kind: Literal["slstm"] = "slstm"
    num_heads: Positive = 4
    conv1d_kernel_size: NonNegative = 4
    dropout: Probability = 0.0
    use_axon_layer: Flag = False


class LSTMCoreConfig(CoreConfig):
    """`torch.nn.LSTM` (token `L`)."""

    kind: Literal["lstm"] = "lstm"
    num_layers: Positive = 1
    bias: Flag = True
    proj_size: NonNegative = 0
    dropout: Probability = 0.0


class CausalConv1dCoreConfig(CoreConfig):
    """Causal convolution with a ring of the last inputs (token `C`)."""

    kind: Literal["conv"] = "conv"
    kernel_size: NonNegative = 4
    causal_conv_bias: Flag = True
    channel_mixing: Flag = False


class AGaLiTeCoreConfig(CoreConfig):
    """Gated linear attention with a recurrent, discounted state (token `Ag`)."""

    heads_field: ClassVar[str | None] = "n_heads"

    kind: Literal["agalite"] = "agalite"
    n_heads: Positive = 8
    eta: Positive = 6
    r: Positive = 2
    eps: Real = Field(default=1e-5, gt=0.0)


class RecurrenceCoreConfig(CoreConfig):
    """Any recurrence that is written as equations: `gru`, `lru`, `mingru`, `minlstm`, or one that a user registered."""

    heads_field: ClassVar[str | None] = "num_heads"

    kind: Literal["recurrence"] = "recurrence"
    cell: Annotated[str, Field(strict=True, pattern=r"^[a-z][a-z0-9_]*$")] = "mingru"
    num_heads: Positive | None = None  # of a recurrent matrix; None is one matrix over all channels
    bias: Flag | None = None  # of the map that makes the inputs; None is what the equations ask for
    out_proj: Flag = False  # a map after the recurrence; one that gives out several variables always has it
    traces: Flag = True  # carry eligibility traces, where the equations have them


BUILT_IN_CORES: tuple[type[CoreConfig], ...] = (
    AxonCoreConfig,
    XLCoreConfig,
    mLSTMCoreConfig,
    sLSTMCoreConfig,
    LSTMCoreConfig,
    CausalConv1dCoreConfig,
    AGaLiTeCoreConfig,
    RecurrenceCoreConfig,
)
