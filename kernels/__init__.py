"""What generated code calls: one folder an op, each with its reference. Imports torch, and nothing of ours outside."""

from .adapter import per_row, routed_adapter, routed_adapter_reference, routed_weight
from .agalite import agalite, agalite_reference, agalite_step
from .conv import causal_conv, causal_conv_reference, causal_conv_step
from .dropout import (
    dropout,
    dropout_factors,
    dropout_factors_reference,
    dropout_keys,
    dropout_keys_reference,
    dropout_keys_step,
    dropout_reference,
)
from .foreign import foreign
from .gelu import gelu_step
from .head_linear import head_linear
from .lanes import enter_lane, lanes, leave_lanes
from .linear import linear_step
from .lstm import lstm_projected, lstm_projected_step
from .mixing import column_mix, contract, mask_experts, prior, softmax
from .mlstm import mlstm, mlstm_reference, mlstm_step
from .norm import head_norm, rms_norm
from .overwrite import overwriting
from .pack import lay_out, pack
from .rtu import rtu_attach, rtu_attach_step, rtu_traces, rtu_traces_reference, rtu_traces_step
from .segments import segment_ids
from .srht import srht, srht_reference
from .xl import (
    relative_positions,
    xl_attention,
    xl_attention_reference,
    xl_attention_step,
    xl_context,
    xl_memory,
    xl_memory_step,
    xl_step,
)

__all__ = [
    "agalite",
    "agalite_reference",
    "agalite_step",
    "causal_conv",
    "causal_conv_reference",
    "causal_conv_step",
    "column_mix",
    "contract",
    "dropout",
    "dropout_factors",
    "dropout_factors_reference",
    "dropout_keys",
    "dropout_keys_reference",
    "dropout_keys_step",
    "dropout_reference",
    "enter_lane",
    "foreign",
    "gelu_step",
    "head_linear",
    "head_norm",
    "lanes",
    "lay_out",
    "leave_lanes",
    "linear_step",
    "lstm_projected",
    "lstm_projected_step",
    "mask_experts",
    "mlstm",
    "mlstm_reference",
    "mlstm_step",
    "overwriting",
    "pack",
    "per_row",
    "prior",
    "relative_positions",
    "rms_norm",
    "routed_adapter",
    "routed_adapter_reference",
    "routed_weight",
    "rtu_attach",
    "rtu_attach_step",
    "rtu_traces",
    "rtu_traces_reference",
    "rtu_traces_step",
    "segment_ids",
    "softmax",
    "srht",
    "srht_reference",
    "xl_attention",
    "xl_attention_reference",
    "xl_attention_step",
    "xl_context",
    "xl_memory",
    "xl_memory_step",
    "xl_step",
]
