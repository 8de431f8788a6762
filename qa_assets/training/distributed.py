"""What the processes of one data-parallel training agree on, by PyTorch's process group."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Processes:
    """The processes of a training, as one of them sees them.

    Attributes:
        rank: of this process; 0 evaluates and writes.
        world_size: number of processes; above 1 a process group of PyTorch must exist.
    """

    rank: int = 0
    world_size: int = 1

    def agree(self, value: float, device: "torch.device") -> float:
        """The value that rank 0 has."""
        import torch

        if self.world_size == 1:
            return value
        tensor = torch.tensor([value], device=device, dtype=torch.float64)
        torch.distributed.broadcast(tensor, 0)
        return float(tensor.item())

    def mean(self, value: "torch.Tensor") -> "torch.Tensor":
        """The mean over all processes; changes the tensor."""
        import torch

        if self.world_size > 1:
            torch.distributed.all_reduce(value)
            value /= self.world_size
        return value
