"""What an oracle's run leaves for the tests.

Needs torch alone, so that the oracle's environment can read it too.
"""

import json
from pathlib import Path
from typing import Any

from torch import nn


def write(record: Path, content: dict[str, Any]) -> None:
    record.write_text(json.dumps(rounded(content), separators=(",", ":")) + "\n", encoding="utf-8")


def rounded(value: Any) -> Any:
    """To six decimals, a hundredth of what the test asks for: rows come in another order each time."""
    if isinstance(value, dict):
        return {name: rounded(one) for name, one in value.items()}
    if isinstance(value, list):
        return [rounded(one) for one in value]
    return round(value, 6) if isinstance(value, float) else value


def norms(module: nn.Module) -> dict[str, float]:
    """Of the gradients of all weights that have one."""
    return {name: float(weight.grad.norm()) for name, weight in module.named_parameters() if weight.grad is not None}
