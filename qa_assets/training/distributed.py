"""Communication of the processes of a data-parallel training."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Processes:
    """This process, which evaluates and writes if its rank is 0, and the number of all.

    Of several processes a process group of PyTorch must exist.
    """

    rank: int = 0
    world_size: int = 1

    def agree(self, value: float, device: "torch.device") -> float:
        """The value of rank 0."""
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
