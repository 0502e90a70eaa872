"""What a model that was brought is, told once it has been opened: for whoever decides what to do with it."""

from dataclasses import asdict, dataclass
from typing import cast

from models.backbone import LanguageModel
from models.tokenization import PLAIN_TEMPLATE
from training.memory.shape import folder_of, licence_of, read_header, weight_files
from training.records import conversation
from training.runtime.throughput import matrix_product_limit

PROMPT, RESPONSE = conversation(("user", "Is water wet?")), "It makes things wet."
PROBED_TOKENS = 1024


@dataclass(frozen=True, slots=True)
class Report:
    """A model as it was brought; `licence` is None where its README names none.

    `rendered` is a short conversation with its response as training sees it, `end_of_turn` the token that ends the
    response, `ends` all that sampling stops at.
    """

    family: str
    parameters: int
    dtypes: tuple[str, ...]
    licence: str | None
    context: int
    has_template: bool
    rendered: str
    end_of_turn: str
    ends: tuple[str, ...]
    flop_rate: float
    """FLOP that this machine does a second in products of the model's own shapes, at best."""

    def to_json(self) -> dict[str, object]:
        return asdict(self)


def introduced(policy: LanguageModel, location: str) -> Report:
    """The report of a policy that was opened from `location`."""
    tokenizer, folder = policy.tokenizer, folder_of(location)
    (prompt,), (response,) = policy.encode_prompts([PROMPT]), policy.encode_responses([RESPONSE])
    headers = [read_header(path) for path in weight_files(folder)] if folder is not None else []
    return Report(
        family=str(policy.model.config.model_type),
        parameters=sum(weight.numel() for weight in policy.model.parameters()),
        dtypes=tuple(sorted({str(tensor["dtype"]) for header in headers for tensor in header.values()})),
        licence=licence_of(folder) if folder is not None else None,
        context=policy.max_positions,
        has_template=tokenizer.chat_template != PLAIN_TEMPLATE,
        rendered=cast(str, tokenizer.decode([*prompt, *response], skip_special_tokens=False)),
        end_of_turn=cast(str, tokenizer.decode([response[-1]], skip_special_tokens=False)),
        ends=tuple(cast(str, tokenizer.decode([end], skip_special_tokens=False)) for end in policy.eos_ids),
        flop_rate=matrix_product_limit(policy.model, rows=PROBED_TOKENS),
    )
