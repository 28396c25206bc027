"""Eligibility traces of the full-rank real-time recurrent unit (spec: Axon, `use_fullrank_rtu`)."""

from .attach import rtu_attach as rtu_attach
from .attach import rtu_attach_step as rtu_attach_step
from .reference import rtu_traces_reference as rtu_traces_reference
from .traces import rtu_traces as rtu_traces
from .traces import rtu_traces_step as rtu_traces_step
