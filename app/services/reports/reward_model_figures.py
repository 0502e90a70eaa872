"""The figures of reward models: what each table is called, what it means, and how it is drawn."""

from app.phrases import phrase
from app.services.reports.figure import Column, Drawing, Figure
from app.services.reports.reward_models import REWARD_MODELS

VERSION = Column("version", phrase("Reward model"), "count")
PAIRS = Column("pairs", phrase("Pairs"), "count")
LOW = Column("low", phrase("From"), "number")
HIGH = Column("high", phrase("To"), "number")

REWARD_MODEL_FIGURES = (
    Figure(
        report=REWARD_MODELS,
        name="reward-accuracy",
        title=phrase("Agreement with people, by kind of pair"),
        meaning=phrase(
            "How often it prefers what people preferred, on pairs of prompts that it was not trained on; ties left out."
            " The interval of 95 % is resampled by prompt. Loss is −log of the chance that it gave to what people said."
        ),
        columns=(
            VERSION,
            Column("kind", phrase("Kind of pairs"), "word"),
            Column("name", phrase("Which"), "word"),
            PAIRS,
            Column("accuracy", phrase("Agreement"), "share"),
            Column("low", phrase("From"), "share"),
            Column("high", phrase("To"), "share"),
            Column("loss", phrase("Loss per pair"), "number"),
        ),
        rows=lambda models: models.accuracy,
    ),
    Figure(
        report=REWARD_MODELS,
        name="reward-certainty",
        title=phrase("Whether it is as sure as it is right"),
        meaning=phrase(
            "Its chance that one response is better, against what people said, of every other prompt; after: with the"
            " temperature that suits the rest."
        ),
        columns=(
            VERSION,
            Column("measure", phrase("Measure"), "word"),
            Column("before", phrase("Before"), "number"),
            Column("after", phrase("After temperature scaling"), "number"),
            PAIRS,
        ),
        rows=lambda models: models.certainty,
    ),
    Figure(
        report=REWARD_MODELS,
        name="reward-changes",
        title=phrase("Against the model before it"),
        meaning=phrase("The difference to the model in use when it was made, on the same pairs, resampled by prompt."),
        columns=(
            VERSION,
            Column("name", phrase("Which"), "word"),
            PAIRS,
            Column("accuracy", phrase("Agreement"), "number"),
            Column("accuracy_low", phrase("From"), "number"),
            Column("accuracy_high", phrase("To"), "number"),
            Column("loss", phrase("Loss per pair"), "number"),
            Column("loss_low", phrase("From"), "number"),
            Column("loss_high", phrase("To"), "number"),
        ),
        rows=lambda models: models.changes,
    ),
    Figure(
        report=REWARD_MODELS,
        name="reward-probes",
        title=phrase("Tricks that it isn’t taken in by"),
        meaning=phrase(
            "An edit that makes no response better is made to responses of the policy: of how many it thinks no better"
            " with it."
        ),
        columns=(
            VERSION,
            Column("edit", phrase("Edit"), "word"),
            Column("share", phrase("Not taken in by"), "share"),
            Column("responses", phrase("Responses"), "count"),
        ),
        rows=lambda models: models.probes,
    ),
    Figure(
        report=REWARD_MODELS,
        name="reward-best-of-n",
        title=phrase("Best of n"),
        meaning=phrase(
            "Of n responses of the policy it picks the best: what that gains by its own score, and as a second model of"
            " half of the judgements reads it, in deviations. A policy that climbs the score goes the same way; where"
            " the reading turns down, it earns without deserving it. Distance is the root of the nats, log n − (n−1)/n."
        ),
        columns=(
            VERSION,
            Column("n", phrase("Of how many"), "count"),
            Column("distance", phrase("Distance"), "number"),
            Column("kl", phrase("Nats"), "number"),
            Column("score", phrase("By its own score"), "number"),
            Column("reading", phrase("By a second model"), "number"),
            LOW,
            HIGH,
            Column("highest", phrase("Highest so far"), "number"),
        ),
        rows=lambda models: models.best_of,
        drawing=Drawing("distance", ("score", "reading")),
    ),
    Figure(
        report=REWARD_MODELS,
        name="reward-disputed-pairs",
        title=phrase("Where it and people differ most"),
        meaning=phrase(
            "The pairs of which people said what it holds least likely, by its chance after temperature scaling. Either"
            " may be wrong: a reviewer decides."
        ),
        columns=(
            VERSION,
            Column("task_id", phrase("Task"), "task"),
            Column("preferred", phrase("Preferred, by place"), "count"),
            Column("other", phrase("Other, by place"), "count"),
            Column("chance", phrase("Its chance of that"), "share"),
        ),
        rows=lambda models: models.disputed,
    ),
)
