"""What generated code calls: one folder an op, each with its reference. Imports torch, and nothing of ours outside."""

from .agalite import agalite, agalite_reference, agalite_step
from .conv import causal_conv, causal_conv_reference, causal_conv_step
from .head_linear import head_linear
from .lstm import lstm_projected, lstm_projected_step
from .mixing import column_mix, mask_experts, prior, softmax
from .mlstm import mlstm, mlstm_reference, mlstm_step
from .norm import head_norm, rms_norm
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
    "head_linear",
    "head_norm",
    "lay_out",
    "lstm_projected",
    "lstm_projected_step",
    "mask_experts",
    "mlstm",
    "mlstm_reference",
    "mlstm_step",
    "pack",
    "prior",
    "relative_positions",
    "rms_norm",
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
