"""A barrier between programs of one launch, for schedules that spread one recurrence over several."""

from __future__ import annotations

from .._triton import tl, triton


@triton.jit
def meet(arrived_ptr: tl.tensor, target: tl.tensor) -> None:
    """Wait until `target` arrivals were counted at `arrived_ptr` (int32, 0 at launch). What every program stored before
    is then visible to loads that go past its own cache. All programs must be resident: launch cooperatively."""
    tl.debug_barrier()  # all threads of this program have stored
    tl.atomic_add(arrived_ptr, 1, sem="release", scope="gpu")
    while tl.atomic_add(arrived_ptr, 0, sem="acquire", scope="gpu") < target:
        pass
    tl.debug_barrier()
