"""Who trains: one process, or the ranks that torchrun started."""

import os
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist


@dataclass(frozen=True, slots=True)
class Ranks:
    """`rank` of `world` processes; `local` numbers those of this machine."""

    rank: int
    world: int
    local: int
    here: int  # processes on this machine
    device: torch.device

    @classmethod
    def join(cls) -> "Ranks":
        """Reads torchrun's environment and opens the process group: NCCL on GPUs, Gloo elsewhere."""
        rank, world, local, here = (
            int(os.environ.get(name, default))
            for name, default in (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0), ("LOCAL_WORLD_SIZE", 1))
        )
        gpu = torch.cuda.is_available()
        device = torch.device("cuda", local) if gpu else torch.device("cpu")
        if gpu:
            torch.cuda.set_device(device)
        if world > 1:
            dist.init_process_group("nccl" if gpu else "gloo")
        return cls(rank, world, local, here, device)

    def leave(self) -> None:
        """Closes the process group."""
        if self.world > 1:
            dist.destroy_process_group()

    def wait(self) -> None:
        """Until all ranks are here."""
        if self.world > 1:
            dist.barrier()

    def total(self, *numbers: float) -> list[float]:
        """Each number summed over the ranks."""
        if self.world == 1:
            return list(numbers)
        summed = torch.tensor(numbers, dtype=torch.float64, device=self.device)
        dist.all_reduce(summed)
        return summed.tolist()

    def spread(self, model: Any) -> Any:
        """The model whose gradients are averaged over the ranks."""
        if self.world == 1:
            return model
        places = [self.local] if self.device.type == "cuda" else None
        return torch.nn.parallel.DistributedDataParallel(model, device_ids=places)
