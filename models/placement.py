"""Where values of the host go: to the device that a model is on."""

import torch
from torch import Tensor

HOST = torch.device("cpu")


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on the device, itself where it is there already.

    To CUDA it goes from pinned memory: such a copy is queued behind what the device still computes, and nothing waits.
    """
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
