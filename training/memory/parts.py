"""The terms of what a stage holds at once, in bytes: each is a function of its own, so that a change of how models
learn is a change of one term.

Tokens are those of prompts and responses with padding; predicted ones are those of responses, each of which meets the
whole vocabulary.
"""

from collections.abc import Mapping

from models.choices import QUANTISED, Holding
from training.memory.shape import ModelShape

FLOAT = 4
HALF = 2
HELD: Mapping[Holding, float] = {"bfloat16": HALF, "int8": 1.0, "nf4": 0.5 + FLOAT / 64}
"""Of a weight of the trunk. In int8 each output has a scale, in nf4 each 64 weights have."""
FEWEST_HALVED = 1 << 25
"""Weights of a model that is sampled from in float16."""
QUANTISER = 50e6
"""The package that quantises, once it is loaded."""
QUANTISING = 90e6
"""What it takes to quantise a million weights at once: 16 differences of each, and their places."""
PROCESS = 370e6
"""Python, torch and its libraries with two threads at work: `adopt` of a model of 50,000 parameters."""
ENGINE = 700e6
"""vLLM's libraries and what they set up."""
ENGINE_KEY_VALUES = 4 << 30
HALVES = 2
"""Replicas of a model that learns: `training.runtime.replicas`."""
HEAP_BLOCK = 32 << 20
"""From there on the C library gives a block back to the system as soon as it is free; smaller ones it keeps."""
LEFT_FREE = 512 << 20
"""The most that lies free in the heaps between two batches: `training.runtime.heap`."""
SCATTERED = 1.0
"""Beside adapters the heap keeps as much again as the way back needs: small blocks lie among large ones, and the next
large one doesn't fit in between; those of `HEAP_BLOCK` and more aren't there. In eight layers of 135M's width 0.34 GB
were resident where 0.15 were needed."""
SCATTERED_AGAIN = 0.6
"""The same where layers are computed again, as a share of what the way back would have needed."""
ROW_NUMBERS = 24
"""Of each row and token of the vocabulary while one more token is drawn: logits, probabilities, and sums in float64."""
LOGIT_BYTES = 64 << 20
"""Logits of more are made in chunks of so many bytes: `models.backbone`."""
LEARNING_LOGITS = 3
"""Of each predicted token: log-probabilities, their gradient and that of the logits."""

ASKED_LOGITS = 2
"""The same without learning: log-probabilities, and what they are made of."""


def weights(shape: ModelShape, *, held: Holding | None = None) -> float:
    """In float32; or held as they are mapped from a file in bfloat16, or quantised, with what is outside of the trunk
    in float32 beside it. Each half of a batch widens one quantised layer at a time."""
    outside = FLOAT * (shape.parameters - shape.trunk)
    if held is None:
        return FLOAT * shape.parameters
    if held not in QUANTISED:
        return HELD[held] * shape.parameters + outside
    return HELD[held] * shape.trunk + outside + QUANTISER + HALVES * FLOAT * shape.hidden * shape.intermediate


def judge(shape: ModelShape) -> float:
    """A reward or cost model that is asked alone: a trunk of the policy's shape in its format, held as its file is."""
    headless = shape.parameters if shape.tied else shape.parameters - shape.embedding
    return HALF * headless + FLOAT * shape.embedding if shape.in_bfloat16 else FLOAT * headless


def opened(shape: ModelShape, *, held: Holding | None = None) -> float:
    """While a model is read: its file is mapped, and read into weights of the stage's own format unless it has that.
    What is quantised layer by layer is read from the mapped file, which the system takes back when it likes, unless
    that is in float16."""
    has_own_format = shape.in_bfloat16 or shape.file_bytes >= FLOAT * shape.parameters
    if held in QUANTISED:
        return weights(shape, held=held) + QUANTISING + (0.0 if has_own_format else FLOAT * shape.trunk)
    if held is not None:
        return weights(shape, held=held)
    return weights(shape) + (shape.file_bytes if shape.file_bytes < weights(shape) else 0)


def rehearsed(shape: ModelShape, *, held: Holding | None) -> float:
    """Beside a model while it is written and opened again: a copy in its file's format, unless it is held in that or
    near it, and of what was opened again the part in float32. What is mapped of that file the system takes back when it
    likes."""
    if not shape.in_bfloat16:
        return 0.0
    return FLOAT * (shape.parameters - shape.trunk) if held else HALF * shape.parameters


def merged(shape: ModelShape) -> float:
    """What is published of a model that was quantised: its file's weights, in their format, with the products added,
    beside what the way back still holds."""
    return (HALF if shape.in_bfloat16 else FLOAT) * shape.trunk + FLOAT * (shape.parameters - shape.trunk)


def whole_at_once(shape: ModelShape, *, learning: bool) -> float:
    """What each process has whole of a model in parts: what no layer has and one layer, as they are gathered and as
    they are used; where it learns their gradients too, as they are made and as they are sent."""
    outside = shape.parameters - shape.trunk
    return FLOAT * (outside + shape.trunk / max(1, shape.layers)) * (4 if learning else 2)


def published(shape: ModelShape) -> float:
    """All of a model in its file's format."""
    return (HALF if shape.in_bfloat16 else FLOAT) * shape.parameters


def gradients(learnt: int) -> float:
    """Each replica has its own."""
    return FLOAT * learnt * HALVES


def optimiser(learnt: float) -> float:
    """Two averages of AdamW."""
    return 2 * FLOAT * learnt


def embedding_gradient(shape: ModelShape) -> float:
    """That of the head and that of the embedding are made one after the other and added up, in each replica."""
    return FLOAT * shape.embedding * HALVES if shape.tied else 0.0


def checkpoint(shape: ModelShape, learnt: int) -> float:
    """Copies of what learns and of the optimiser's state; of a tied embedding there are two."""
    tied = shape.embedding if shape.tied and learnt >= shape.parameters else 0
    return FLOAT * (3 * learnt + tied)


def activations(shape: ModelShape, tokens: float, *, adapters: bool, recomputed: bool) -> float:
    """What the way back needs of every layer: inputs of norms, of the linear layers and of the attention. Where layers
    are computed again there, their inputs, and all of that of one layer."""
    norms = 4 if adapters else 6
    feed_forward = (4 if shape.gated else 2) * shape.intermediate
    numbers = norms * shape.hidden + 2 * shape.attention + 2 * shape.key_value + feed_forward
    layer = FLOAT * tokens * numbers
    small = layer
    if FLOAT * tokens / HALVES * shape.intermediate >= HEAP_BLOCK:
        small -= FLOAT * tokens * feed_forward
    scattered = small * shape.layers if adapters else 0.0
    if not recomputed:
        return layer * shape.layers + SCATTERED * scattered
    return layer + FLOAT * tokens * shape.hidden * shape.layers + SCATTERED_AGAIN * scattered


def forward(shape: ModelShape, tokens: float) -> float:
    """What a pass forward holds of one layer, with nothing kept for a way back."""
    feed_forward = (3 if shape.gated else 2) * shape.intermediate
    return FLOAT * (3 * shape.hidden + feed_forward) * tokens


def every_state(shape: ModelShape, tokens: float) -> float:
    """Hidden states after all layers, where a pass forward is asked for those."""
    return FLOAT * shape.hidden * (shape.layers + 1) * tokens


def logits(shape: ModelShape, predicted: float, *, copies: float, threads: int = 1) -> float:
    """Logits of so many tokens on each of the threads, in chunks where they are many."""
    return threads * copies * min(logit_block(shape, predicted), LOGIT_BYTES)


def logit_block(shape: ModelShape, predicted: float) -> float:
    return FLOAT * shape.vocabulary * predicted


def key_values(shape: ModelShape, rows: float, length: float) -> float:
    """The cache of keys and values, and its copy while it grows or loses rows."""
    return 2 * FLOAT * 2 * shape.key_value * shape.layers * rows * length


def halved(shape: ModelShape, *, held: Holding | None) -> float:
    """Weights that float16 holds exactly, beside their own while tokens are sampled: `models.half_weights`."""
    weights = shape.trunk + shape.embedding
    is_halved = shape.in_bfloat16 and shape.gated and held not in QUANTISED and weights >= FEWEST_HALVED
    return HALF * weights if is_halved else 0.0


def engine(shape: ModelShape, rows: float, length: float) -> float:
    """vLLM beside a stage, with weights in float32, and keys and values of all rows as far as there is room for them:
    `training.engines.vllm`."""
    return ENGINE + FLOAT * shape.parameters + min(key_values(shape, rows, length) / 2, ENGINE_KEY_VALUES)


def drawing(shape: ModelShape, rows: float) -> float:
    return ROW_NUMBERS * shape.vocabulary * rows


def kept_by_the_heap(largest_block: float, threads: int) -> float:
    """Memory that is free and isn't given back: each thread has a heap, the main one too, and keeps up to twice the
    largest block that it has freed."""
    return (min(threads, HALVES) + 1) * 2 * min(largest_block, HEAP_BLOCK)
