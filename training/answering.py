"""`python -m training.answering`: models that stay in memory and answer what they are asked, a line at a time.

A line of stdin is a question in JSON. Lines of stdout are its answer: the texts as they grow, and last what came of it,
with `done`. The process ends with its stdin.
"""

import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, TypeVar, cast

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import torch
import transformers

from models.backbone import LanguageModel, ModelError
from models.generation import Filters, sample_responses
from models.reward import RewardModel
from models.stop_strings import stopped_text
from models.tokenization import PromptError, TokenizerError, decode_response
from training.config import ConfigError, GenerateConfig, InputError
from training.config.by_model import chosen, settled
from training.config.reading import config_from
from training.data.encoding import encode_prompts
from training.data.opening import facts_of, open_language_model, open_reward_model
from training.records import Conversation, Message, PromptRecord, RecordError
from training.reward.scoring import batched_scores
from training.runtime.device import use_device
from training.runtime.replicas import use_threads
from training.stages.memory import require_room

MOST_MODELS = 4
TELL_SECONDS = 0.15

Answer = dict[str, Any]
Tell = Callable[[Answer], None]
ModelT = TypeVar("ModelT", LanguageModel, RewardModel)


class Shelf:
    """The models that were asked last, in memory."""

    def __init__(self) -> None:
        self._held: dict[str, LanguageModel | RewardModel] = {}

    def take(self, key: str, open_it: Callable[[], ModelT]) -> ModelT:
        """The model of this key, opened if it isn't there; the one that was asked longest ago makes room."""
        found = self._held.pop(key, None)
        if found is None:
            while len(self._held) >= MOST_MODELS:
                self._held.pop(next(iter(self._held)))
            found = open_it()
        self._held[key] = found
        return cast(ModelT, found)

    def clear(self) -> None:
        self._held.clear()


def write(shelf: Shelf, question: Mapping[str, Any], tell: Tell) -> Answer:
    """Responses of a policy to one prompt. Raises what is wrong with either."""
    config = config_from(question["config"], GenerateConfig, Path.cwd())

    def opened() -> LanguageModel:
        try:
            require_room("generate", config, threads=torch.get_num_threads())
        except InputError:
            shelf.clear()
            require_room("generate", config, threads=torch.get_num_threads())
        return open_language_model(config.policy, config)

    # Held in other numbers, or reading by another template, it is another policy.
    settings = config.weights, config.chat_template_kwargs, config.system_turns
    policy = shelf.take(json.dumps([config.policy, *settings]), opened)
    config = settled(config, chosen(vars(config), facts_of(policy.model)))
    record = PromptRecord("0", _conversation(question["prompt"]))
    ((prompt, *_), _) = encode_prompts(policy, [record], max_new_tokens=config.max_new_tokens)
    told_at = 0.0

    def text_of(token_ids: Any) -> str:
        return stopped_text(decode_response(policy.tokenizer, token_ids), config.stop)

    def heard(drafts: Any) -> None:
        nonlocal told_at
        if time.monotonic() - told_at >= TELL_SECONDS:
            told_at = time.monotonic()
            tell({"texts": [text_of(tuple(draft)) for draft in drafts]})

    responses = sample_responses(
        policy,
        [prompt.token_ids] * config.samples_per_prompt,
        max_new_tokens=config.max_new_tokens,
        temperature=config.temperature,
        seed=config.seed,
        batch_size=config.batch_size,
        filters=Filters(config.top_k, config.top_p, config.min_p),
        stop=config.stop,
        heard=heard,
    )
    return {
        "responses": [
            {
                "text": text_of(response.token_ids),
                "token_count": len(response.token_ids),
                "ended_with_eos": response.ended_with_eos,
            }
            for response in responses
        ]
    }


def score(shelf: Shelf, question: Mapping[str, Any], _tell: Tell) -> Answer:
    """What a reward or cost model makes of pairs of prompt and response: raw, and normalised by its own statistics."""
    location, kind = str(question["model"]), question.get("kind", "reward")
    model = shelf.take(json.dumps([location, kind]), lambda: open_reward_model(location, kind=kind))
    pairs = question["pairs"]
    encoded = model.encode_samples(
        (_conversation(pair["prompt"]) for pair in pairs),
        [str(pair["response"]) for pair in pairs],
        [bool(pair.get("ended", True)) for pair in pairs],
    )
    sequences = [prompt + response for prompt, response in encoded]
    if longest := max((len(sequence) for sequence in sequences if len(sequence) > model.max_positions), default=0):
        raise InputError(f"a pair has {longest} tokens, and the model reads {model.max_positions}")
    raw = batched_scores(model, sequences).tolist()
    return {"scores": [{"raw": one, "score": (one - model.score_mean) / model.score_std} for one in raw]}


def wake(_shelf: Shelf, _question: Mapping[str, Any], _tell: Tell) -> Answer:
    """Nothing: by then all that takes long to load is there."""
    return {}


WAYS: Mapping[str, Callable[[Shelf, Mapping[str, Any], Tell], Answer]] = {"wake": wake, "write": write, "score": score}


def serve(questions: Iterator[str], answers: IO[str]) -> None:
    """Answer until there are no more questions. What is wrong with one is its answer."""
    shelf = Shelf()

    def tell(answer: Answer) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    for line in questions:
        question = json.loads(line)
        try:
            answer = WAYS[question["do"]](shelf, question, tell)
        except (ConfigError, InputError, ModelError, PromptError, RecordError, TokenizerError) as error:
            answer = {"problem": str(error)}
        except Exception as error:  # noqa: BLE001  the process's edge: the next question may be a better one
            traceback.print_exc()
            shelf.clear()
            answer = {"problem": f"{type(error).__name__}: the worker's log says more"}
        tell({**answer, "done": True})


def main() -> int:
    """Whatever libraries print goes to stderr: stdout is for answers."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    use_device(os.environ.get("PLUMBLINE_DEVICE") or "auto")
    use_threads(int(os.environ.get("OMP_NUM_THREADS") or torch.get_num_threads()))
    serve(sys.stdin, answers)
    return 0


def _conversation(turns: Any) -> Conversation:
    return tuple(Message.from_json(turn) for turn in turns)


if __name__ == "__main__":
    sys.exit(main())
