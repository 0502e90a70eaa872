"""Checkpoints of tensors that the processes of a run hold parts of: each writes its own, and any number reads them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.tensor import DTensor

from training.records import sync
from training.runtime.artifact import file_sha256
from training.runtime.checkpoint import TENSORS, Checkpoint, CheckpointStore
from training.runtime.ranks import answered, ranks


class ShardedCheckpointStore(CheckpointStore):
    """A `CheckpointStore` whose `save` all processes call at once. Parts lie in files of safetensors beside those of
    what every process has; torch's own format is one that is unpickled."""

    by_all = True

    def save(self, checkpoint: Checkpoint) -> None:
        """Write durably, each process its part, then drop all but the newest two."""
        shared_out = {name: tensor for name, tensor in checkpoint.tensors.items() if isinstance(tensor, DTensor)}
        if ranks().first:
            path = self._begun(checkpoint) / TENSORS
            save_file({name: checkpoint.tensors[name] for name in checkpoint.tensors.keys() - shared_out}, path)
            sync(path)
        ranks().wait()
        folder = self._temporary(checkpoint)
        if shared_out:
            with _told_to_all():
                writer = HuggingFaceStorageWriter(str(folder), save_distributed=True)
                save(shared_out, storage_writer=writer)
        names = ranks().told(lambda: sorted(path.name for path in folder.iterdir()))
        sums = ranks().each(lambda name: file_sha256(folder / name), names)
        if ranks().first:
            self._complete(checkpoint, dict(zip(names, sums, strict=True)))


def read_parts(folder: Path, places: dict[str, Tensor]) -> None:
    """Fill what each process holds parts of from a checkpoint's folder, whatever parts it was written in."""
    with _told_to_all():
        load(places, storage_reader=HuggingFaceStorageReader(str(folder)))


@contextmanager
def _told_to_all() -> Iterator[None]:
    """What one process meets all of them raise, as it was there."""
    try:
        with answered():
            yield
    except CheckpointException as error:
        (met, _), *_ = error.failures.values()
        raise met from error
