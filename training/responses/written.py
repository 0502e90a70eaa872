"""What a policy wrote, with its text."""

from collections.abc import Sequence
from dataclasses import dataclass

from models.backbone import LanguageModel
from models.generation import Response
from models.stop_strings import stopped_text
from models.tokenization import decode_response


@dataclass(frozen=True, slots=True)
class WrittenResponse:
    """A sampled response with its text."""

    sampled: Response
    text: str


def written(policy: LanguageModel, sampled: Sequence[Response], stop: Sequence[str] = ()) -> list[WrittenResponse]:
    """Sampled responses with their texts, cut before the strings that they were to `stop` at."""
    texts = [decode_response(policy.tokenizer, response.token_ids) for response in sampled]
    return [WrittenResponse(response, stopped_text(text, stop)) for response, text in zip(sampled, texts, strict=True)]
