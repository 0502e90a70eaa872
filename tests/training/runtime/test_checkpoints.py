"""Checkpoints: what was saved comes back, or what was saved before it; never anything else."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.optim import AdamW

from tests.training.runtime.killing import kills
from training.runtime.checkpoint import Checkpoint, CheckpointStore, load_optimizer, optimizer_tensors, pack, unpack

FILES = ("tensors.safetensors", "state.json", "manifest.json")


def checkpoint(step: int, phase: str = "learn") -> Checkpoint:
    return Checkpoint(step, phase, {"weight": torch.full((3,), float(step))}, {"seen": [step, "é"], "rate": 0.1 * step})


def store(folder: Path, identity: str = "run") -> CheckpointStore:
    return CheckpointStore(folder / "checkpoints", identity)


def loaded_step(folder: Path, identity: str = "run") -> int | None:
    """Of the newest that can be read, after a look at whether it is what was saved."""
    found = store(folder, identity).load()
    if found is None:
        return None
    expected = checkpoint(found.step)
    assert (found.phase, found.values) == (expected.phase, expected.values)
    assert torch.equal(found.tensors["weight"], expected.tensors["weight"])
    return found.step


def newest(folder: Path) -> Path:
    return max((folder / "checkpoints").iterdir())


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kept", [0.0, 0.3, 0.9, None])
def test_a_file_that_is_cut_off_or_gone_sends_the_loader_to_the_one_before(
    name: str, kept: float | None, tmp_path: Path
) -> None:
    for step in (1, 2):
        store(tmp_path).save(checkpoint(step))
    path = newest(tmp_path) / name
    content = path.read_bytes()
    path.unlink() if kept is None else path.write_bytes(content[: int(kept * len(content))])
    assert loaded_step(tmp_path) == 1


@pytest.mark.parametrize("name", FILES)
def test_a_bit_that_turned_anywhere_is_found(name: str, tmp_path: Path) -> None:
    for step in (1, 2):
        store(tmp_path).save(checkpoint(step))
    path = newest(tmp_path) / name
    whole = path.read_bytes()
    for place in range(0, len(whole), 3):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        assert loaded_step(tmp_path) == 1
    path.write_bytes(whole)
    assert loaded_step(tmp_path) == 2


@pytest.mark.parametrize("name", FILES[:2])
def test_files_of_two_checkpoints_make_none(name: str, tmp_path: Path) -> None:
    for step in (1, 2):
        store(tmp_path).save(checkpoint(step))
    before = tmp_path / "checkpoints" / "00000001"
    (newest(tmp_path) / name).write_bytes((before / name).read_bytes())
    assert loaded_step(tmp_path) == 1


def test_where_both_are_damaged_there_is_none(tmp_path: Path) -> None:
    for step in (1, 2):
        store(tmp_path).save(checkpoint(step))
    for folder in (tmp_path / "checkpoints").iterdir():
        (folder / "state.json").write_text("{")
    assert loaded_step(tmp_path) is None


def test_a_run_finds_its_own_checkpoint_behind_that_of_another(tmp_path: Path) -> None:
    store(tmp_path, "one").save(checkpoint(1))
    store(tmp_path, "other").save(checkpoint(2))
    assert loaded_step(tmp_path, "one") == 1
    assert loaded_step(tmp_path, "other") == 2
    assert loaded_step(tmp_path, "third") is None


def test_the_highest_step_is_the_newest_whenever_it_was_written(tmp_path: Path) -> None:
    for step in (9, 11, 10):
        store(tmp_path).save(checkpoint(step))
    assert loaded_step(tmp_path) == 11
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["00000010", "00000011"]


def test_a_step_that_is_saved_again_takes_its_own_place(tmp_path: Path) -> None:
    saved = store(tmp_path)
    saved.save(checkpoint(1))
    saved.save(Checkpoint(2, "learn", {"weight": torch.zeros(5)}, {}))
    saved.save(checkpoint(2))
    assert loaded_step(tmp_path) == 2
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["00000001", "00000002"]


def test_a_kill_while_saving_leaves_the_one_before_or_the_whole_new_one(tmp_path: Path) -> None:
    store(tmp_path).save(checkpoint(1))
    seen = set()
    for survived in kills(lambda: store(tmp_path).save(checkpoint(2))):
        seen.add(loaded_step(tmp_path))
        assert survived < 20
    assert seen == {1, 2}
    assert loaded_step(tmp_path) == 2
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["00000001", "00000002"]


def test_a_kill_while_saving_a_step_again_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    for step in (1, 2):
        store(tmp_path).save(checkpoint(step))
    for _ in kills(lambda: store(tmp_path).save(checkpoint(2))):
        assert loaded_step(tmp_path) in (1, 2)


def test_what_a_kill_left_half_done_is_cleared_away_with_the_rest(tmp_path: Path) -> None:
    next(kills(lambda: store(tmp_path).save(checkpoint(1))))
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == [".00000001.part"]
    store(tmp_path).clear()
    assert list((tmp_path / "checkpoints").iterdir()) == []
    assert loaded_step(tmp_path) is None


@pytest.mark.parametrize(
    "tensor",
    [
        torch.arange(12.0).reshape(3, 4).T,
        torch.arange(10)[::2],
        torch.tensor(2.5),
        torch.zeros(0, 7),
        torch.tensor([True, False]),
        torch.tensor([1.0, -0.0, torch.inf, torch.nan]).double(),
        torch.tensor([0.1, 1e-30], dtype=torch.bfloat16),
        torch.tensor([2**62 + 1]),
    ],
    ids=lambda tensor: f"{tensor.dtype} {tuple(tensor.shape)}",
)
def test_a_tensor_of_any_kind_comes_back_bit_for_bit(tensor: torch.Tensor, tmp_path: Path) -> None:
    store(tmp_path).save(Checkpoint(1, "learn", {"one": tensor}, {}))
    found = store(tmp_path).load()
    assert found is not None
    assert found.tensors["one"].dtype == tensor.dtype
    torch.testing.assert_close(found.tensors["one"], tensor, rtol=0, atol=0, equal_nan=True)


def test_numbers_come_back_to_the_last_bit(tmp_path: Path) -> None:
    values = {"rates": [0.1 + 0.2, 1e-308, -0.0, 2**60], "nothing": None, "names": {"ü": True}}
    store(tmp_path).save(Checkpoint(1, "learn", {"one": torch.zeros(1)}, values))
    found = store(tmp_path).load()
    assert found is not None
    assert str(dict(found.values)) == str(values)


def test_tensors_that_share_memory_are_packed_apart(tmp_path: Path) -> None:
    """Tied embeddings, or two views of one gradient: the file's format has no word for that."""
    whole = torch.arange(6.0)
    packed = pack("model", {"whole": whole, "part": whole[2:4]})
    store(tmp_path).save(Checkpoint(1, "learn", packed, {}))
    whole.zero_()
    found = store(tmp_path).load()
    assert found is not None
    unpacked = unpack("model", found.tensors)
    assert unpacked["whole"].tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert unpacked["part"].tolist() == [2.0, 3.0]


def test_a_prefix_is_that_of_whole_words() -> None:
    """“critic” is not “critic_optimizer”, and “good” holds “good.policy”."""
    tensors = {
        **pack("critic", {"head.weight": torch.tensor(1.0)}),
        **pack("critic_optimizer", {"0.step": torch.tensor(2.0)}),
        **pack("good", {"policy.weight": torch.tensor(3.0)}),
    }
    assert {name: float(one) for name, one in unpack("critic", tensors).items()} == {"head.weight": 1.0}
    assert {name: float(one) for name, one in unpack("critic_optimizer", tensors).items()} == {"0.step": 2.0}
    assert {name: float(one) for name, one in unpack("good.policy", tensors).items()} == {"weight": 3.0}
    assert unpack("nothing", tensors) == {}


def test_an_optimiser_is_restored_into_one_that_has_not_stepped_yet() -> None:
    def stepped(times: int) -> tuple[nn.Linear, AdamW]:
        torch.manual_seed(0)
        layer = nn.Linear(2, 2)
        optimizer = AdamW(layer.parameters(), lr=0.1)
        for number in range(times):
            layer(torch.tensor([[1.0, number]])).sum().backward()
            optimizer.step()
        return layer, optimizer

    _, moved = stepped(3)
    _, fresh = stepped(0)
    tensors = optimizer_tensors(moved)
    load_optimizer(fresh, tensors)
    assert all(torch.equal(one, tensors[name]) for name, one in optimizer_tensors(fresh).items())
    moved.state_dict()["state"][0]["exp_avg"].zero_()
    assert optimizer_tensors(fresh)["0.exp_avg"].any(), "it has copies of its own"


def test_the_state_of_an_optimiser_that_has_not_stepped_is_nothing() -> None:
    optimizer = AdamW(nn.Linear(2, 2).parameters())
    assert optimizer_tensors(optimizer) == {}
    load_optimizer(optimizer, {})
    assert optimizer.state_dict()["state"] == {}
