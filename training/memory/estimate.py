"""The most that a stage holds at once: its moments, each a sum of parts, of which the largest counts.

Held against the peaks of real runs within 25 % (`tests/training/memory`). What depends on texts takes their lengths as
`Texts`; what depends on nothing but the machine is a constant of `parts`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

from models.choices import QUANTISED, Holding
from training.config.learning import held_in
from training.memory import parts
from training.memory.shape import ModelShape

Settings = Mapping[str, Any]
"""A stage's settings by name, with their defaults."""

SAMPLED_AT_ONCE = 128
"""Responses of `training.reward.policy_samples`, PPO's rollouts and evaluations."""
TEACHER_TOKENS = 8_192
"""Of one pass of `training.reward.features`, on each of the halves."""
DECODING_BYTES = 1e10
"""Of weights that a second of decoding reads: memory and not arithmetic bounds it."""


@dataclass(frozen=True, slots=True)
class Texts:
    """Lengths of what a stage works on, in tokens, and how many rows there are."""

    prompt_tokens: float = 64
    response_tokens: float = 96
    rows: int = 1_000_000

    @property
    def row_tokens(self) -> float:
        return self.prompt_tokens + self.response_tokens


@dataclass(frozen=True, slots=True)
class Moment:
    """What a stage holds at once at some point; parts are in bytes."""

    name: str
    parts: Mapping[str, float]

    @property
    def bytes(self) -> float:
        return sum(self.parts.values())


@dataclass(frozen=True, slots=True)
class Estimate:
    """A stage's moments, and the arithmetic of one of its steps: of the optimiser, an iteration or a batch."""

    stage: str
    moments: tuple[Moment, ...]
    step_flop: float
    step_reads: float = 0.0
    """Bytes of weights that a step reads token by token."""

    @property
    def peak(self) -> Moment:
        return max(self.moments, key=lambda moment: moment.bytes)

    @property
    def bytes(self) -> int:
        return round(self.peak.bytes)

    def step_seconds(self, flop_rate: float) -> float:
        """Rough: as if half of what the machine multiplies at best were reached."""
        return self.step_flop / (0.5 * flop_rate) + self.step_reads / DECODING_BYTES


def estimate(stage: str, shape: ModelShape, settings: Settings, *, texts: Texts, threads: int) -> Estimate | None:
    """What a stage takes with a model; None for one that there is no formula for."""
    formula = _FORMULAE.get(stage)
    if formula is None:
        return None
    given = _Given(shape, settings, texts, threads)
    found = formula(given)
    return found if settings.get("engine", "own") == "own" else _with_engine(given, found)


@dataclass(frozen=True, slots=True)
class _Given:
    shape: ModelShape
    settings: Settings
    texts: Texts
    threads: int

    @property
    def in_parts(self) -> bool:
        return bool(self.settings.get("shard_weights", False))

    @property
    def processes(self) -> int:
        """Between which a model in parts is shared out: two, if nobody says."""
        return int(self.settings.get("processes") or 2)

    @property
    def rank(self) -> int:
        return int(self.settings.get("lora_rank", 0))

    @property
    def held(self) -> Holding | None:
        shape = self.shape
        weights = self.settings.get("weights", "float32")
        if self.in_parts:  # until it is shared out
            return "bfloat16" if shape.in_bfloat16 else None
        if "lora_rank" not in self.settings:  # nothing learns
            return "bfloat16" if shape.in_bfloat16 and weights == "bfloat16" else None
        return held_in(weights, self.rank, parameters=shape.parameters, in_bfloat16=shape.in_bfloat16)

    @property
    def weights(self) -> float:
        return parts.weights(self.shape, held=self.held)

    @property
    def learnt(self) -> int:
        """Parameters of the model that learn."""
        targets = self.settings.get("lora_targets", "all")
        return self.shape.adapters(self.rank, targets) if self.rank else self.shape.parameters

    def rows_at_once(self, rows: float, micro_tokens: float, row_tokens: float) -> float:
        """Of a step's rows, which are shared out between halves and cut by tokens."""
        halves, all_halves = (1, self.processes) if self.in_parts else (min(parts.HALVES, self.threads), parts.HALVES)
        return halves * min(ceil(min(rows, self.texts.rows) / all_halves), max(1.0, micro_tokens // row_tokens))


def _with_engine(given: _Given, found: Estimate) -> Estimate:
    """Another program's copy of the weights is there throughout."""
    length = given.texts.prompt_tokens + float(given.settings["max_new_tokens"])
    engine = parts.engine(given.shape, float(given.settings["batch_size"]), length)
    return replace(found, moments=tuple(Moment(one.name, {**one.parts, "engine": engine}) for one in found.moments))


def _moment(name: str, **found: float) -> Moment:
    return Moment(name, {"process": parts.PROCESS, **found})


def _loading(given: _Given, *, others: float = 0.0) -> Moment:
    return _moment("loading", weights=parts.opened(given.shape, held=given.held), others=others)


def _sampling(given: _Given, rows: float, *, others: float = 0.0) -> Moment:
    shape, texts = given.shape, given.texts
    length = texts.prompt_tokens + float(given.settings["max_new_tokens"])
    return _moment(
        "sampling",
        weights=given.weights,
        halves=parts.halved(shape, held=given.held),
        others=others,
        cache=parts.key_values(shape, rows, length),
        drawing=parts.drawing(shape, rows),
        activations=parts.forward(shape, rows * texts.prompt_tokens),
        heap=parts.kept_by_the_heap(parts.FLOAT * shape.vocabulary * rows, 0),
    )


def _learning(
    given: _Given, tokens: float, predicted: float, *, measured: float = 0.0, others: float = 0.0, trained: int = 0
) -> tuple[Moment, ...]:
    """Gradients of a step, and what follows it: a checkpoint, and passes forward over `measured` tokens of responses at
    once. `trained` are parameters of other models that learn, too."""
    if given.in_parts:
        return _learning_in_parts(given, tokens, predicted, measured)
    shape = given.shape
    whole = given.learnt >= shape.parameters
    learnt = given.learnt + trained
    halves = min(parts.HALVES, given.threads)
    block = min(parts.logit_block(shape, predicted / halves), parts.LOGIT_BYTES)
    heap = parts.kept_by_the_heap(block or parts.FLOAT * tokens / halves * shape.intermediate, given.threads)
    recomputed = bool(given.settings.get("gradient_checkpointing", False))
    activations = parts.activations(shape, tokens, adapters=not whole, recomputed=recomputed)
    logits = parts.logits(shape, predicted / halves, copies=parts.LEARNING_LOGITS, threads=halves)
    # What the way back needed is free after the step, and in blocks so small that the heap keeps most of it.
    left = min(activations + heap + (logits if block < parts.HEAP_BLOCK else 0.0), parts.LEFT_FREE)
    state = {"weights": given.weights, "others": others, "optimiser": parts.optimiser(learnt)}
    is_restored = given.held in QUANTISED and given.settings.get("publish_as") == "merged"
    return (
        *([_moment("publishing", **state, merged=parts.merged(shape), heap=left)] if is_restored else []),
        _moment(
            "learning",
            **state,
            gradients=parts.gradients(learnt) + (parts.embedding_gradient(shape) if whole else 0.0),
            activations=activations,
            logits=logits,
            heap=heap,
        ),
        _moment(
            "checkpoint",
            **state,
            copies=parts.checkpoint(shape, given.learnt) + 3 * parts.FLOAT * trained,
            heap=left,
        ),
        _moment("measuring", **state, logits=parts.logits(shape, measured, copies=parts.ASKED_LOGITS), heap=left),
    )


def _learning_in_parts(given: _Given, tokens: float, predicted: float, measured: float) -> tuple[Moment, ...]:
    """The same of each process where a model is shared out between them. The first has all of it once, to publish."""
    shape, part = given.shape, given.learnt / given.processes
    block = min(parts.logit_block(shape, predicted), parts.LOGIT_BYTES)
    heap = parts.kept_by_the_heap(block or parts.FLOAT * tokens * shape.intermediate, 1)
    recomputed = bool(given.settings.get("gradient_checkpointing", False))
    state = {"weights": parts.FLOAT * part, "optimiser": parts.optimiser(part)}
    return (
        _moment(
            "learning",
            **state,
            gradients=parts.FLOAT * part,
            whole=parts.whole_at_once(shape, learning=True),
            activations=parts.activations(shape, tokens, adapters=False, recomputed=recomputed),
            logits=parts.logits(shape, predicted, copies=parts.LEARNING_LOGITS),
            heap=heap,
        ),
        _moment("checkpoint", **state, copies=3 * parts.FLOAT * part, heap=heap),
        _moment(
            "measuring",
            **state,
            whole=parts.whole_at_once(shape, learning=False),
            logits=parts.logits(shape, measured, copies=parts.ASKED_LOGITS),
            heap=heap,
        ),
        _moment("publishing", **state, gathered=parts.published(shape), heap=heap),
    )


def _rehearsal(given: _Given, *, others: float = 0.0) -> Moment:
    """Before the first step the model is written and opened again, in its own format."""
    copy = parts.rehearsed(given.shape, held=given.held)
    return _moment("rehearsal", weights=given.weights, copy=copy, others=others)


def _step_flop(given: _Given, tokens: float, predicted: float) -> float:
    passes = 2 if given.rank else 3
    return passes * _forward_flop(given.shape, tokens, predicted)


def _forward_flop(shape: ModelShape, tokens: float, predicted: float) -> float:
    return 2 * shape.trunk * tokens + 2 * shape.embedding * predicted


def _adopt(given: _Given) -> Estimate:
    saved = _moment("saving", weights=parts.weights(given.shape), copy=parts.weights(given.shape))
    return Estimate("adopt", (_loading(given), saved), 0.0)


def _generate(given: _Given) -> Estimate:
    settings, texts = given.settings, given.texts
    rows = min(float(settings["batch_size"]), texts.rows * float(settings["samples_per_prompt"]))
    written = float(settings["max_new_tokens"])
    flop = _forward_flop(given.shape, rows * (texts.prompt_tokens + written), rows * written)
    return Estimate("generate", (_loading(given), _sampling(given, rows)), flop, written * parts.weights(given.shape))


def _sft(given: _Given) -> Estimate:
    settings, texts = given.settings, given.texts
    wanted = max(1.0, float(settings["batch_tokens"]) // texts.row_tokens)
    micro = float(settings["micro_batch_tokens"])
    rows = given.rows_at_once(wanted, micro, texts.row_tokens)
    tokens, predicted = rows * texts.row_tokens, rows * texts.response_tokens
    measured = float(settings["batch_tokens"]) * texts.response_tokens / texts.row_tokens
    learning = _learning(given, tokens, predicted, measured=min(measured, texts.rows * texts.response_tokens))
    moments = (_loading(given), _rehearsal(given), *learning)
    step = wanted * texts.row_tokens, wanted * texts.response_tokens
    return Estimate("sft", moments, _step_flop(given, *step))


def _reward(given: _Given) -> Estimate:
    """The policy is there beside the model that learns, which has no head over the vocabulary. A teacher is asked of
    every hidden state of the policy; the memory for its linear maps is small beside that."""
    shape, settings, texts = given.shape, given.settings, given.texts
    policy = 0.0 if given.rank else given.weights  # whose trunk the model that learns has beside adapters
    wanted = max(1.0, float(settings["batch_tokens"]) // texts.row_tokens)
    rows = given.rows_at_once(wanted, float(settings["micro_batch_tokens"]), texts.row_tokens)
    tokens = rows * texts.row_tokens
    moments = [
        _loading(given, others=policy),
        _rehearsal(given, others=policy),
        _sampling(given, min(SAMPLED_AT_ONCE, float(settings["reference_samples"])), others=policy),
        *_learning(given, tokens, 0.0, others=policy),
    ]
    if settings["method"] in ("auto", "distil", "distil_finetune", "cross_validated"):
        halves = min(parts.HALVES, given.threads)
        responses = 2 * texts.rows + float(settings["reference_samples"])
        asked = min(halves * TEACHER_TOKENS, responses * texts.row_tokens)
        moments.append(
            _moment(
                "teaching",
                weights=given.weights + policy,
                states=parts.every_state(shape, asked) + parts.forward(shape, asked),
                logits=parts.logits(shape, texts.response_tokens, copies=2, threads=halves),
                heap=parts.kept_by_the_heap(parts.FLOAT * shape.intermediate * asked / halves, given.threads),
            )
        )
    return Estimate("reward", tuple(moments), _step_flop(given, wanted * texts.row_tokens, 0.0))


def _direct(given: _Given, stage: str, wanted: float, *, row_tokens: float, predicted_tokens: float) -> Estimate:
    """Of rows of the policy alone: what the reference says is kept as numbers."""
    micro = float(given.settings["micro_batch_tokens"])
    rows = given.rows_at_once(wanted, micro, row_tokens)
    moments = (
        _loading(given),
        _rehearsal(given),
        *_learning(
            given,
            rows * row_tokens,
            rows * predicted_tokens,
            measured=min(float(given.texts.rows), max(1.0, micro // row_tokens)) * predicted_tokens,
        ),
    )
    flop = _step_flop(given, wanted * row_tokens, wanted * predicted_tokens)
    return Estimate(stage, moments, flop)


def _dpo(given: _Given) -> Estimate:
    """A step is cut as if each response had a prompt of its own; computed they have one together."""
    texts = given.texts
    wanted = max(1.0, float(given.settings["batch_tokens"]) // (2 * texts.row_tokens))
    predicted = 2 * texts.response_tokens
    return _direct(given, "dpo", wanted, row_tokens=texts.prompt_tokens + predicted, predicted_tokens=predicted)


def _kto(given: _Given) -> Estimate:
    """Batches are of even sizes."""
    texts = given.texts
    wanted = ceil(texts.rows / ceil(texts.rows / float(given.settings["batch_size"])))
    return _direct(given, "kto", wanted, row_tokens=texts.row_tokens, predicted_tokens=texts.response_tokens)


def _ppo(given: _Given) -> Estimate:
    """Policy and critic learn in turns; reference and reward model are asked. With adapters the reference is the policy
    without them."""
    shape, settings, texts = given.shape, given.settings, given.texts
    weights, trunk = given.weights, parts.FLOAT * (shape.parameters - (0 if shape.tied else shape.embedding))
    has_critic = settings["algorithm"] == "ppo"
    usual = "adapter" if given.rank else "separate"
    kind = (usual if settings["critic"] == "usual" else settings["critic"]) if has_critic else None
    separate = kind == "separate"
    reference = 0.0 if given.rank else weights
    critic = trunk if separate else 0.0
    snapshot = parts.FLOAT * given.learnt
    others = reference + parts.judge(shape) + critic + snapshot
    row = texts.prompt_tokens + float(settings["max_new_tokens"])
    written = float(settings["max_new_tokens"])
    minibatch = float(settings["minibatch_size"])
    rows = given.rows_at_once(minibatch, float(settings["micro_batch_tokens"]), row)
    trained = given.learnt if kind == "adapter" else round(critic / parts.FLOAT)
    batch = float(settings["batch_size"])
    scored = min(batch * row, float(settings["micro_batch_tokens"]))
    scoring = _moment(
        "scoring",
        weights=weights,
        others=others,
        optimiser=parts.optimiser(given.learnt + trained),
        logits=parts.logits(shape, scored * written / row, copies=3),
        activations=2 * parts.forward(shape, scored),
        heap=parts.kept_by_the_heap(parts.HEAP_BLOCK, given.threads),
    )
    answered = max(batch, float(settings["detector_responses"]))
    moments = (
        _loading(given, others=others),
        _rehearsal(given, others=others),
        _sampling(given, min(SAMPLED_AT_ONCE, answered), others=others + parts.optimiser(given.learnt + trained)),
        scoring,
        *_learning(given, rows * row, rows * written, others=others, trained=trained),
    )
    once = batch * row, batch * written
    asked = 3 * _forward_flop(shape, batch * row, batch * written / 3)
    passes = 3 if separate else 2 if kind == "adapter" else 0
    learnt = float(settings["epochs"]) * (_step_flop(given, *once) + passes * 2 * shape.trunk * once[0])
    return Estimate("ppo", moments, asked + learnt + _forward_flop(shape, *once), written * weights)


_FORMULAE: Mapping[str, Callable[[_Given], Estimate]] = {
    "adopt": _adopt,
    "generate": _generate,
    "sft": _sft,
    "reward": _reward,
    "cost": _reward,
    "ppo": _ppo,
    "dpo": _dpo,
    "kto": _kto,
}
