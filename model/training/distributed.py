"""The process group of a training: one process, or the ranks that torchrun started."""

import os
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist


@dataclass(frozen=True, slots=True)
class ProcessGroup:
    """This process's place among all processes of the training, and its device. The names are torchrun's."""

    rank: int
    world_size: int
    local_rank: int  # the rank among the processes on this machine
    local_world_size: int  # how many processes run on this machine
    device: torch.device

    @classmethod
    def join(cls) -> "ProcessGroup":
        """Reads torchrun's environment and opens the process group: NCCL on GPUs, Gloo on CPUs.

        Without torchrun this is a group of one process, and nothing is opened.
        """
        rank, world_size, local_rank, local_world_size = (
            int(os.environ.get(name, default))
            for name, default in (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0), ("LOCAL_WORLD_SIZE", 1))
        )
        has_gpu = torch.cuda.is_available()
        device = torch.device("cuda", local_rank) if has_gpu else torch.device("cpu")
        if has_gpu:
            torch.cuda.set_device(device)
        if world_size > 1:
            dist.init_process_group("nccl" if has_gpu else "gloo")
        return cls(rank, world_size, local_rank, local_world_size, device)

    def leave(self) -> None:
        """Closes the process group."""
        if self.world_size > 1:
            dist.destroy_process_group()

    def barrier(self) -> None:
        """Waits until all ranks have called this."""
        if self.world_size > 1:
            dist.barrier()

    def sum(self, *numbers: float) -> list[float]:
        """Returns each number summed over all ranks. All ranks must call this."""
        if self.world_size == 1:
            return list(numbers)
        total = torch.tensor(numbers, dtype=torch.float64, device=self.device)
        dist.all_reduce(total)
        return total.tolist()

    def any(self, flag: bool) -> bool:
        """Returns whether the flag is set on one of the ranks. All ranks must call this."""
        return self.sum(float(flag))[0] > 0

    def wrap(self, model: Any) -> Any:
        """Returns the model wrapped so that backward passes average its gradients over all ranks."""
        if self.world_size == 1:
            return model
        device_ids = [self.local_rank] if self.device.type == "cuda" else None
        return torch.nn.parallel.DistributedDataParallel(model, device_ids=device_ids)
