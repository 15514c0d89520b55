"""Several processes that train one model: each takes batches of its own, and their gradients are averaged.

Two processes of one thread each do more than one of two: most of a small model's operators are too small to
share. ``torchrun``, or the launcher behind it, starts them; a process started otherwise is a team of one, for
which nothing here costs anything.
"""

import os
import sys
from collections.abc import Iterable, Sequence

import torch
from torch import distributed


class Team:
    """The processes of a run, as one of them sees them.

    Attributes:
        rank: number of this process; the first one (0) writes logs and files.
        size: how many there are.
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size

    @classmethod
    def join(cls, device: str = "cpu") -> "Team":
        """Meet the processes that ``torchrun`` started with this one; a team of one where it did not."""
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return cls()
        if device == "cuda":
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        distributed.init_process_group("nccl" if device == "cuda" else "gloo")
        return cls(distributed.get_rank(), distributed.get_world_size())

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def average(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Replace every gradient by its mean over the team."""
        if self.size == 1:
            return
        gradients = [one.grad for one in parameters if one.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(flat)
        parts = flat.div_(self.size).split([gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def agree(self, value: float) -> float:
        """Return what the first process has for ``value``."""
        if self.size == 1:
            return value
        device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
        said = torch.tensor([value], dtype=torch.float64, device=device)
        distributed.broadcast(said, 0)
        return float(said)

    def wait(self) -> None:
        """Wait until every process of the team is here."""
        if self.size > 1:
            distributed.barrier()

    def part(self) -> None:
        """Leave, at the end."""
        if self.size > 1:
            distributed.destroy_process_group()


def started(processes: int, module: str, argv: Sequence[str] | None) -> bool:
    """Run ``module`` in so many processes, unless this is one of them or they are one; return whether it ran.

    Raises:
        torch.distributed.elastic.multiprocessing.errors.ChildFailedError: one of them failed.
    """
    if processes < 2 or "WORLD_SIZE" in os.environ:
        return False
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    words = sys.argv[1:] if argv is None else argv
    here = {"rdzv_backend": "c10d", "rdzv_endpoint": "localhost:0", "run_id": "zoo"}
    config = LaunchConfig(1, 1, processes, max_restarts=0, **here)
    elastic_launch(config, sys.executable)("-m", module, *words)
    return True
