"""What was measured as events for TensorBoard, beside `metrics.jsonl`."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from training.config import ConfigError

FOLDER = "tensorboard"


class Board:
    """Writes what `metrics.jsonl` holds. Raises `ConfigError` where the package `tensorboard` is not installed."""

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ConfigError(
                "tensorboard", "the package tensorboard is not installed (pip install 'plumbline[tensorboard]')"
            ) from error
        self._writer = SummaryWriter(str(folder))

    def write(
        self, step: int, phase: str, values: Mapping[str, tuple[float, float]], samples: Sequence[Mapping[str, object]]
    ) -> None:
        """Means, and texts under the names that samples have for them; on disk when this returns."""
        for name, (total, count) in values.items():
            if count:
                self._writer.add_scalar(f"{phase}/{name}", total / count, step)
        for number, sample in enumerate(samples):
            text = "\n\n".join(f"**{name}**\n\n{value}" for name, value in sample.items())
            self._writer.add_text(f"{phase}/sample {number}", text, step)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()
