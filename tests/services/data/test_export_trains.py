"""What is exported trains with TRL as it is, in each format: a step of each trainer, with a model of two layers that is
made here. The lists in CSV are JSON."""

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets as hub
import pytest
import torch
from sqlalchemy.ext.asyncio import AsyncSession
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, GPT2Config

from app.services.data.exports import registry, writing
from app.services.data.exports.asked import Asked
from app.services.data.exports.formats import FORMATS
from tests.models.directories import bare_tokenizer
from tests.services.data.exports import judged_version, shown_version

pytestmark = pytest.mark.slow  # TRL takes ten seconds to load

TRAINED = (
    *(("Reward", name) for name in ("preference", "preference-text", "preference-margin")),
    *(("Reward", name) for name in ("openrlhf", "criteria", "harmlessness")),
    ("DPO", "preference"),
    ("DPO", "preference-text"),
    ("KTO", "unpaired"),
    ("SFT", "prompt-completion"),
    ("SFT", "messages"),
)
CHAT = (
    "{% for message in messages %}{{ '\n' + message['role'] + ':' + message['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '\nassistant:' }}{% endif %}"
)


@pytest.fixture
def trl() -> Iterator[Any]:
    # What TRL and all that it loads say of what others have deprecated is not ours to mend.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import trl

        yield trl


def model_and_tokenizer(trainer: str, folder: Path) -> tuple[Any, Any]:
    """From a folder, in which DPO and KTO look for the reference."""
    tokenizer = bare_tokenizer(pad="<pad>")
    tokenizer.chat_template = CHAT
    config = GPT2Config(
        n_embd=16, n_layer=2, n_head=2, n_positions=512, vocab_size=len(tokenizer), eos_token_id=0, bos_token_id=0,
        pad_token_id=tokenizer.pad_token_id, num_labels=1,
    )  # fmt: skip
    torch.manual_seed(1)
    kind = AutoModelForSequenceClassification if trainer == "Reward" else AutoModelForCausalLM
    kind.from_config(config).save_pretrained(folder)
    return kind.from_pretrained(folder), tokenizer


def rows_in(folder: Path, cache: Path, schema: str, form: str) -> Any:
    rows = hub.load_dataset(str(folder), split="train", cache_dir=str(cache))
    (columns,) = {one.columns for one in registry.SCHEMAS if one.name == schema}
    lists = [column.name for column in columns if column.type == "messages"]
    return rows if form != "csv" else rows.map(lambda row: {name: json.loads(row[name]) for name in lists})


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(("trainer", "schema"), TRAINED, ids=lambda value: str(value))
async def test_a_step_of_trl_learns_from_what_was_exported(
    db: AsyncSession, tmp_path: Path, trl: Any, trainer: str, schema: str, form: str
) -> None:
    version = await (shown_version if trainer == "SFT" else judged_version)(db, tmp_path)
    asked = Asked.model_validate({"schema": schema, "format": form})
    await writing.write_splits(db, version, tmp_path, asked, tmp_path / "folder")
    await db.commit()  # the server ends transactions that are silent for a minute
    rows = rows_in(tmp_path / "folder", tmp_path / "cache", schema, form)
    model, tokenizer = model_and_tokenizer(trainer, tmp_path / "model")
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    arguments = getattr(trl, f"{trainer}Config")(
        output_dir=str(tmp_path / "out"), max_steps=1, per_device_train_batch_size=2, learning_rate=0.1, report_to=[],
        use_cpu=True, save_strategy="no", disable_tqdm=True, bf16=False, max_length=128, gradient_checkpointing=False,
    )  # fmt: skip
    learning = getattr(trl, f"{trainer}Trainer")(
        model=model, args=arguments, train_dataset=rows, processing_class=tokenizer
    )
    done = learning.train()
    assert done.global_step == 1
    assert done.training_loss == done.training_loss, "a number"
    assert any(not torch.equal(before[name], weight) for name, weight in model.named_parameters())
