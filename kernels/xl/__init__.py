"""Transformer-XL attention with one window for step, chunk and sequence (spec: core `X`)."""

from __future__ import annotations

from .memory import relative_positions as relative_positions
from .memory import xl_context as xl_context
from .memory import xl_memory as xl_memory
from .reference import xl_attention_reference as xl_attention_reference
from .sequence import xl_attention as xl_attention
from .step import xl_attention_step as xl_attention_step
from .step import xl_memory_step as xl_memory_step
from .step import xl_step as xl_step
