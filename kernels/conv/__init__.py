"""Causal convolution over time with a carried window (spec: core `C`)."""

from __future__ import annotations

from .reference import causal_conv_reference as causal_conv_reference
from .sequence import causal_conv as causal_conv
from .sequence import causal_conv_step as causal_conv_step
