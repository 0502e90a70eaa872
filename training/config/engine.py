"""Who may sample."""

from typing import Literal

EngineName = Literal["own", "vllm"]
