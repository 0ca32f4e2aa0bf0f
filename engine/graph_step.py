"""One step of all rows on a CUDA GPU: `engine.tensor_step`, recorded once for each batch.

A step launches dozens of small kernels, and launching one takes a CPU longer than the GPU needs to
run it. A CUDA graph replays them all with one call; it holds for one batch, so rows that nobody
uses fill the batch up. Where Triton is there, the small kernels are fused as well.
"""

from collections.abc import Callable
from typing import Any

import structlog
import torch
from torch.utils._triton import has_triton

from engine.rows import Rows
from engine.tensor_step import TensorStep

_WARM_UPS = 3
"""Steps before one is recorded: libraries allocate and choose in the first ones."""

_log = structlog.get_logger(__name__)


class GraphStep:
    """Writes one character of every row by replaying what was recorded."""

    def __init__(self, step: TensorStep, rows: Rows) -> None:
        """Record a step for every batch; the rows must be unused."""
        self._rows = rows
        pool = torch.cuda.graph_pool_handle()
        # The largest first: the smaller ones then find room in its memory.
        self._graphs = {
            batch: _record(_fused(step), batch, pool) for batch in reversed(rows.batches)
        }

    def __call__(self) -> None:
        """Write one character of every row in use."""
        self._graphs[self._rows.batch].replay()


def _fused(step: TensorStep) -> Callable[[int], None]:
    if not has_triton():
        _log.warning("! slow", action="engine.triton", why="no Triton: small kernels stay apart")
        return step.advance
    return torch.compile(step.advance, dynamic=False, fullgraph=True)


def _record(advance: Callable[[int], None], batch: int, pool: Any) -> torch.cuda.CUDAGraph:
    beside = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch forgot
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):
        for _ in range(_WARM_UPS):
            advance(batch)
    torch.cuda.current_stream().wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=pool):
        advance(batch)
    return graph
