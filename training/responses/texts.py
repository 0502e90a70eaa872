"""A few texts for people to read beside the figures."""

from collections.abc import Mapping, Sequence
from itertools import islice

from models.backbone import LanguageModel
from models.generation import sample_responses
from models.tokenization import PromptError
from training.data.encoding import Prompted
from training.data.examples import Prompt
from training.responses.written import written

SHOWN = 4
MAX_NEW_TOKENS = 80
TEMPERATURE = 0.7
"""PPO's, for stages that have no settings of their own for sampling."""


def sample_texts(
    models: Mapping[str, LanguageModel],
    prompts: Sequence[Prompt],
    *,
    seed: int,
    max_new_tokens: int = MAX_NEW_TOKENS,
    temperature: float = TEMPERATURE,
) -> list[Mapping[str, object]]:
    """What each model, by its role, answers to the same prompts with the same random numbers."""
    if not prompts:
        return []
    texts: dict[str, list[str]] = {}
    for role, model in models.items():
        sampled = sample_responses(
            model,
            [prompt.token_ids for prompt in prompts],
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            seed=seed,
        )
        texts[role] = [response.text for response in written(model, sampled)]
    return [
        {
            "prompt_id": prompt.prompt_id,
            "prompt": prompt.conversation[-1].content,
            **{role: texts[role][index] for role in models},
        }
        for index, prompt in enumerate(prompts)
    ]


def first_prompts(policy: LanguageModel, records: Sequence[Prompted]) -> list[Prompt]:
    """The first few different prompts that leave room for a response."""
    conversations = {record.prompt: record.prompt_id for record in records}
    # One after the other: there may be many, of which the first few are wanted.
    tried = ((prompt_id, prompt, policy.try_prompts([prompt])[0]) for prompt, prompt_id in conversations.items())
    encoded = (Prompt(prompt_id, prompt, ids) for prompt_id, prompt, ids in tried if not isinstance(ids, PromptError))
    return list(islice((one for one in encoded if len(one.token_ids) + MAX_NEW_TOKENS <= policy.max_positions), SHOWN))
