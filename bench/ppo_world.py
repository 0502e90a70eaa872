"""The same work for two PPO programs: a policy, a reward model, prompts in order, and settings that both understand.

Weights are random, but for one direction. Words belong to two classes by turns; the reward model sees which share of a
text is of the first, and the policy's last layer can tell the classes apart. So there is something to learn, and a
known best: words of the first class alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
import transformers
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel
from torch import Tensor
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification, PreTrainedTokenizerFast

from training.data.batches import draw
from training.records import PromptRecord, conversation, write_records

SPECIALS = ("[PAD]", "<eos>", "[UNK]")
PROMPTS = 256
PROMPT_TOKENS = (16, 32)
TEMPERATURE = 0.7
KL_COEFFICIENT = 0.05
CLASS_WEIGHT = 0.1
"""Along the classes' direction; the rest of a word's row has norm 0.02 sqrt(D), 0.23 of the small model."""
BEST_SCORE = 3.0
"""Of a text of which the reward model sees the first class alone."""


@dataclass(frozen=True, slots=True)
class Way:
    """How a program learns on the work. Rates and epochs other than TRL's defaults were chosen on seeds 100 and 101,
    which no figure is of."""

    epochs: int = 4
    learning_rate: float = 5e-4
    has_critic: bool = True
    responses_each: int = 1
    """To a prompt."""
    ours: Mapping[str, object] = field(default_factory=dict)


SAME = Way()
FASTEST = Way(ours={"precision": "fastest"})
BETTER_RATE = Way(epochs=2, learning_rate=1e-3, ours={"precision": "fastest"})
RLOO = Way(
    has_critic=False,
    responses_each=4,
    ours={
        "algorithm": "rloo",
        "samples_per_prompt": 4,
        "precision": "fastest",
        "critic_learning_rate": 1e-3,
        "critic_warmup_iterations": 3,
    },
)
"""With the default of what it has no use for."""


@dataclass(frozen=True, slots=True)
class Size:
    """Of a model and its work."""

    name: str
    hidden_size: int
    layers: int
    vocabulary: int
    response_tokens: int
    batch_size: int
    goal: float

    def config(self, **more: Any) -> LlamaConfig:
        return LlamaConfig(
            vocab_size=self.vocabulary,
            hidden_size=self.hidden_size,
            intermediate_size=4 * self.hidden_size,
            num_hidden_layers=self.layers,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=512,
            pad_token_id=0,
            eos_token_id=1,
            bos_token_id=None,
            **more,
        )

    def ideal_flops(self, prompt_tokens: Sequence[int], response_tokens: float, way: "Way") -> float:
        """Of one update on real tokens: sampling; reward, reference and critic looking; and the epochs of policy and
        critic.

        A forward pass costs two operations for each weight of the trunk and token, and 2 L D T^2 in causal attention;
        the vocabulary is met at response tokens alone. Forward and back is three of those.
        """
        trunk = self.layers * (4 + 3 * 4) * self.hidden_size**2
        passes = 0.0
        for prompt in prompt_tokens:
            length = prompt + response_tokens / len(prompt_tokens)
            passes += 2 * trunk * length + 2 * self.layers * self.hidden_size * length**2
        head = 2 * self.vocabulary * self.hidden_size * response_tokens
        learners = 2 if way.has_critic else 1
        trunk_passes = 1 + 1 + learners + way.epochs * 3 * learners
        head_passes = 1 + 1 + way.epochs * 3  # sampled; reference; policy
        return trunk_passes * passes + head_passes * head


SIZES = {
    "1.6M": Size("1.6M", hidden_size=128, layers=4, vocabulary=2048, response_tokens=32, batch_size=16, goal=2.0),
    "10M": Size("10M", hidden_size=256, layers=6, vocabulary=8192, response_tokens=64, batch_size=16, goal=1.4),
}


@dataclass(frozen=True, slots=True)
class World:
    """Folders and files of one seed."""

    size: Size
    policy: Path
    reward: Path
    prompts: Path
    token_ids: Sequence[Sequence[int]]
    """Of the prompts, in the order in which the updates meet them."""

    def of_update(self, update: int, way: Way) -> Sequence[Sequence[int]]:
        """One for each response."""
        count = self.size.batch_size // way.responses_each
        return [ids for ids in self.token_ids[update * count :][:count] for _ in range(way.responses_each)]


def write_world(folder: Path, size: Size, *, seed: int, updates: int) -> World:
    transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    torch.manual_seed(seed)
    tokenizer = _tokenizer(size.vocabulary)
    policy, reward = folder / "policy", folder / "reward"
    for path, model in ((policy, _policy(size)), (reward, _reward_model(size))):
        model.save_pretrained(path)
        tokenizer.save_pretrained(path)
    lengths = torch.randint(PROMPT_TOKENS[0], PROMPT_TOKENS[1] + 1, (PROMPTS,)).tolist()
    ids = [torch.randint(len(SPECIALS), size.vocabulary, (length,)).tolist() for length in lengths]
    prompts = folder / "prompts.jsonl"
    texts = (" ".join(f"w{number}" for number in row) for row in ids)
    write_records(prompts, (PromptRecord(f"{row}", conversation(("user", text))) for row, text in enumerate(texts)))
    drawn = draw(ids, start=0, count=updates * size.batch_size, seed=seed, purpose="prompts")
    return World(size, policy, reward, prompts, drawn)


def our_settings(world: World, way: Way, *, seed: int, updates: int) -> dict[str, object]:
    """What TRL 1.12 does, in our words: its defaults, no clipping of gradients, no end but the last update."""
    return {
        "seed": seed,
        "policy": str(world.policy),
        "reference": str(world.policy),
        "reward": str(world.reward),
        "prompts": str(world.prompts),
        "iterations": updates,
        "batch_size": world.size.batch_size,
        "minibatch_size": world.size.batch_size,
        "epochs": way.epochs,
        "max_new_tokens": world.size.response_tokens,
        "temperature": TEMPERATURE,
        "actor_learning_rate": way.learning_rate,
        "critic_learning_rate": way.learning_rate,
        "adam_epsilon": 1e-8,
        "gradient_clip": 1e9,
        "critic_warmup_iterations": 0,
        "kl_coefficient": KL_COEFFICIENT,
        "kl_controller": "fixed",
        "max_update_kl": None,
        "max_kl": None,
        "missing_eos_penalty": None,
        "sample_texts": 0,
        "detector_responses": 0,
        "checkpoint_steps": updates + 1,
        **way.ours,
    }


def their_settings(world: World, way: Way, *, seed: int, updates: int) -> dict[str, object]:
    """For `PPOConfig`, with the models' folders and the prompts beside it."""
    size = world.size
    arguments = {
        "seed": seed,
        "total_episodes": updates * size.batch_size,
        "per_device_train_batch_size": size.batch_size,
        "gradient_accumulation_steps": 1,
        "local_rollout_forward_batch_size": size.batch_size,
        "num_mini_batches": 1,
        "num_ppo_epochs": way.epochs,
        "response_length": size.response_tokens,
        "stop_token": "eos",
        "temperature": TEMPERATURE,
        "learning_rate": way.learning_rate,
        "kl_coef": KL_COEFFICIENT,
        "missing_eos_penalty": None,
    }
    return {
        "policy": str(world.policy),
        "reward": str(world.reward),
        "prompts": world.token_ids,
        "arguments": arguments,
    }


def _tokenizer(vocabulary: int) -> PreTrainedTokenizerFast:
    words = {name: number for number, name in enumerate(SPECIALS)}
    words |= {f"w{number}": number for number in range(len(SPECIALS), vocabulary)}
    plain = Tokenizer(WordLevel(words, unk_token="[UNK]"))  # noqa: S106  not a secret
    plain.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    pad, eos, unknown = SPECIALS
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=plain, pad_token=pad, eos_token=eos, unk_token=unknown, padding_side="left"
    )
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    return tokenizer


def _policy(size: Size) -> LlamaForCausalLM:
    model = LlamaForCausalLM(size.config())
    _add_classes(cast(Tensor, model.lm_head.weight), _direction(size))
    return model


def _reward_model(size: Size) -> LlamaForSequenceClassification:
    """Its first layer attends to all words alike and hands on what they are; the head reads the classes' direction."""
    model = LlamaForSequenceClassification(size.config(num_labels=1))  # type: ignore[no-untyped-call]
    direction = _direction(size)
    _add_classes(cast(Tensor, model.model.embed_tokens.weight), direction)
    attention = model.model.layers[0].self_attn
    with torch.no_grad():
        attention.q_proj.weight.zero_()
        attention.v_proj.weight.copy_(torch.eye(size.hidden_size))
        attention.o_proj.weight.copy_(torch.eye(size.hidden_size))
        model.score.weight.copy_(BEST_SCORE * direction / size.hidden_size**0.5)
    return model


def _direction(size: Size) -> Tensor:
    """Of the hidden states, of length one."""
    direction = torch.randn(size.hidden_size)
    return functional.normalize(direction, dim=0)


@torch.no_grad()
def _add_classes(weight: Tensor, direction: Tensor) -> None:
    weight[len(SPECIALS) :: 2] += CLASS_WEIGHT * direction
    weight[len(SPECIALS) + 1 :: 2] -= CLASS_WEIGHT * direction
