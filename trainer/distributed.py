"""Training by several processes, on one host or on many: who takes which rows, who tells what.

`torchrun` starts them and tells each its number in the environment. Every process holds the whole
model and takes its rows of every batch; `DistributedDataParallel` averages their gradients, so all
of them take the same step. The first process alone evaluates, saves and reports. One process alone
is a team too, which talks to nobody.
"""

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

PATIENCE = timedelta(minutes=10)
"""How long a process waits for another before it gives up: longer than any evaluation takes."""


class TeamError(RuntimeError):
    """The processes that should train together cannot."""


@dataclass(frozen=True, kw_only=True)
class Team:
    """The processes that train one model, as one of them sees it."""

    rank: int = 0
    """The number of this process; 0 is the first."""
    size: int = 1
    """How many there are."""
    device: str = "cpu"
    """Where this process computes, and where what it tells the others must lie."""

    @property
    def leads(self) -> bool:
        """Whether this is the process that evaluates, saves and reports."""
        return self.rank == 0

    def share(self, rows: int) -> tuple[slice, float]:
        """Which of a batch's rows are this process's, and what part of all of them.

        Where there are fewer rows than processes, some get the first row once more, for nothing:
        every process must take part in every step.
        """
        first, after = (rank * rows // self.size for rank in (self.rank, self.rank + 1))
        return (slice(first, after) if after > first else slice(1)), (after - first) / rows

    def wrap(self, objective: nn.Module) -> nn.Module:
        """The same module with the first process's weights, its gradients averaged over the team.

        Buckets stay as they are first laid out: laid out anew by the first step, as is usual, they
        would add up in another order after a resume than without one.

        Let go of it before the team parts (`joined`).
        """
        if self.size == 1:
            return objective
        return DistributedDataParallel(objective, find_unused_parameters=True)

    def sum(self, value: Tensor) -> Tensor:
        """The sum of everybody's `value`."""
        return value if self.size == 1 else self.gather(value).sum(0).to(value.device)

    def gather(self, value: Tensor) -> Tensor:
        """Everybody's `value` in the order of their numbers, to everybody, (W, ...) on the CPU."""
        if self.size == 1:
            return value.detach().cpu()[None]
        mine = value.detach().to(self.device).contiguous()
        theirs = [torch.empty_like(mine) for _ in range(self.size)]
        dist.all_gather(theirs, mine)
        return torch.stack(theirs).cpu()

    def hear(self, say: Callable[[], bytes]) -> bytes:
        """What the first process says, which alone calls `say`; the others wait for it."""
        if self.size == 1:
            return say()
        said = bytearray(say()) if self.leads else bytearray()
        length = torch.tensor(len(said), device=self.device)
        dist.broadcast(length, 0)
        if not length:
            return b""
        data = torch.empty(int(length), dtype=torch.uint8, device=self.device)
        if self.leads:
            data.copy_(torch.frombuffer(said, dtype=torch.uint8))
        dist.broadcast(data, 0)
        return data.cpu().numpy().tobytes()


ALONE = Team()
"""One process, as without `torchrun`."""


@contextmanager
def joined(kind: str, *, patience: timedelta = PATIENCE) -> Iterator[Team]:
    """Be one of the processes that `torchrun` started; without it, be alone.

    Args:
        kind: `cpu` (they talk by gloo) or `cuda` (by NCCL; each takes the GPU of its number on
            its host).
        patience: after how long another process counts as dead. One that was killed is noticed
            at once, by its connection.

    Raises:
        TeamError: there are more processes on this host than GPUs.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Team(device=kind)
        return
    device, backend = kind, "gloo"
    if kind == "cuda":
        device, backend = f"cuda:{_own_gpu()}", "nccl"
        torch.cuda.set_device(device)
    dist.init_process_group(backend, timeout=patience)
    yield Team(rank=dist.get_rank(), size=size, device=device)
    # What was wrapped holds on to the group, in a cycle; a group that outlives this aborts the
    # process when it ends, as often as not.
    gc.collect()
    # Not after an error: a good-bye to a dead process would wait for it.
    dist.destroy_process_group()


def _own_gpu() -> int:
    number, there = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if number >= there:
        raise TeamError(
            f"process {number} of this host has no GPU, there are {there}: "
            f"start «--nproc-per-node {there}»"
        )
    return number
