"""Memory is used again when nobody holds it, and never before."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import threading

import pytest
import torch
from torch import Tensor

from cortexc.kernels.recycle import LARGE, Pool, cat, empty, recycling

LIKE = torch.empty(0)
SHAPE = (2, LARGE // 4)  # float32: twice as large as needs be


def test_dead_memory_is_used_again() -> None:
    with recycling(Pool()):
        first = empty(SHAPE, LIKE).fill_(1.0)
        view, at = first[1], first.data_ptr()
        second = empty(SHAPE, LIKE).fill_(2.0)
        assert second.data_ptr() != at
        del first
        third = empty(SHAPE, LIKE).fill_(3.0)  # the view still holds it
        assert third.data_ptr() not in (at, second.data_ptr()) and torch.all(view == 1.0)
        del view
        assert empty(SHAPE, LIKE).data_ptr() == at


def test_another_size_drops_what_is_free() -> None:
    pool = Pool()
    with recycling(pool):
        del (held := [empty(SHAPE, LIKE), empty(SHAPE, LIKE)])[:]
        assert held == [] and [len(buffers) for buffers in pool._free.values()] == [2]
        kept = empty((3, LARGE), LIKE)
        assert pool._free == {} and len(pool._lent) == 1
        del kept
        assert pool._lent == {}


def test_no_more_is_kept_than_a_call_takes() -> None:
    pool, held = Pool(), []
    for _ in range(5):  # calls whose results pile up
        with recycling(pool):
            held += [empty(SHAPE, LIKE), empty(SHAPE, LIKE)]
    assert len({t.data_ptr() for t in held}) == len(pool._lent) == 10
    held.clear()
    assert [len(buffers) for buffers in pool._free.values()] == [2] and pool._lent == {}


def test_what_is_not_recycled() -> None:
    """Small tensors, other devices, and everything outside."""
    pool = Pool()
    assert empty(SHAPE, LIKE).shape == SHAPE
    with recycling(pool):
        assert empty((LARGE // 4 - 1,), LIKE).shape == (LARGE // 4 - 1,)
        assert empty(SHAPE, torch.empty(0, device="meta")).device.type == "meta"
        with recycling(None):
            assert empty(SHAPE, LIKE).shape == SHAPE
        assert pool._lent == {}
        wide = empty(SHAPE, LIKE.double())
        assert wide.dtype == torch.float64 and len(pool._lent) == 1


def test_tensors_outlive_their_pool() -> None:
    pool = Pool()
    with recycling(pool):
        x = empty(SHAPE, LIKE).fill_(5.0)
    del pool
    gc.collect()
    assert torch.all(x == 5.0)
    for twin in (copy.deepcopy(x), pickle.loads(pickle.dumps(x)), x.clone().share_memory_()):
        assert torch.equal(twin, x)
    assert torch.equal(x.share_memory_(), twin)


def test_cat() -> None:
    a, b = torch.randn(3, LARGE // 8), torch.randn(5, LARGE // 8)
    with recycling(pool := Pool()):
        assert torch.equal(cat([a, b], 0), torch.cat([a, b]))
        assert len(pool._free) == 1
        assert torch.equal(cat([a[:, :2], b[:3, :2]], 1), torch.cat([a[:, :2], b[:3, :2]], 1))


@pytest.mark.filterwarnings("ignore:This process")  # threads of other tests do not run in the child
def test_a_fork_has_memory_of_its_own() -> None:
    with recycling(Pool()):
        x = empty(SHAPE, LIKE).fill_(1.0)
    child = os.fork()
    if not child:
        x[0, 0] = 7.0
        os._exit(0 if x[0, 0] == 7.0 else 1)
    assert os.waitpid(child, 0)[1] == 0 and x[0, 0] == 1.0


def test_threads_get_different_memory() -> None:
    """One pool, many takers: no two live tensors share memory, whatever the order in which they die."""
    pool, wrong = Pool(), []

    def work(mark: float) -> None:
        with recycling(pool):
            held: list[Tensor] = []
            for i in range(30):
                held.append(empty(SHAPE, LIKE)[:, :64].fill_(mark + i))
                held = held[-2:]
                wrong.extend(t for at, t in enumerate(reversed(held)) if not torch.all(t == mark + i - at))

    threads = [threading.Thread(target=work, args=(100.0 * n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == [] and pool._lent == {}
