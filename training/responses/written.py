"""What a policy wrote, with its text."""

from collections.abc import Sequence
from dataclasses import dataclass

from models.backbone import LanguageModel
from models.generation import Response
from models.tokenization import decode_response


@dataclass(frozen=True, slots=True)
class WrittenResponse:
    """A sampled response with its text."""

    sampled: Response
    text: str


def written(policy: LanguageModel, sampled: Sequence[Response]) -> list[WrittenResponse]:
    """Sampled responses with their texts."""
    return [WrittenResponse(response, decode_response(policy.tokenizer, response.token_ids)) for response in sampled]
