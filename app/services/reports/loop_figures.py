"""The figures of the loop: what each table is called, what it means, and how it is drawn."""

from typing import Any

from app.phrases import phrase
from app.services.reports.figure import Column, Drawing, Figure
from app.services.reports.loop import LOOP

LOOP_FIGURES: tuple[Figure[Any], ...] = (
    Figure(
        report=LOOP,
        name="loop-labels",
        title=phrase("What judgements taught"),
        meaning=phrase(
            "Of held-out judgements on pairs that chance drew, the share that is got right with so many labels to learn"
            " from, ties left out. As asked: a head on the pairs as they were chosen. Random: what random pairs alone"
            " would have given, by the law that fits the random slice, with the interval in which it lies with a"
            " probability of 95 %. Reward models are measured on their own held-out judgements."
        ),
        columns=(
            Column("labels", phrase("Judgements"), "count"),
            Column("as_asked", phrase("As asked"), "share"),
            Column("random", phrase("Random alone"), "share"),
            Column("random_low", phrase("From"), "share"),
            Column("random_high", phrase("To"), "share"),
            Column("reward_model", phrase("Reward models"), "share"),
        ),
        rows=lambda loop: loop.learned,
        drawing=Drawing(
            "labels", ("as_asked", "random", "reward_model"), band=("random_low", "random_high"), lowest=0.4
        ),
    ),
    Figure(
        report=LOOP,
        name="loop-policies",
        title=phrase("What policies gained"),
        meaning=phrase(
            "How often each policy is preferred over the first one, by its distance from it in nats a response, beside"
            " the best of n responses of the first one (whose distance is ln n − (n − 1) / n). Policies and best of n"
            " are judged by a head of the judgements about other prompts; by its own reward model a policy wins more,"
            " because that is what it climbed."
        ),
        columns=(
            Column("kl", phrase("KL, nats"), "number"),
            Column("name", phrase("Policy, or best of"), "text"),
            Column("policy", phrase("Policies"), "share"),
            Column("best_of", phrase("Best of n"), "share"),
            Column("low", phrase("From"), "share"),
            Column("high", phrase("To"), "share"),
            Column("by_reward", phrase("By its own reward model"), "share"),
            Column("by_people", phrase("By people’s votes"), "share"),
            Column("votes", phrase("Votes"), "count"),
        ),
        rows=lambda loop: loop.gains,
        drawing=Drawing("kl", ("policy", "best_of", "by_reward"), lowest=0.4),
    ),
    Figure(
        report=LOOP,
        name="loop-topics",
        title=phrase("Where the next round will look"),
        meaning=phrase(
            "Topics of which the head is least sure: by how much the chance that it gives to one of two responses may"
            " be off, on average."
        ),
        columns=(
            Column("topic", phrase("Topic"), "text"),
            Column("prompts", phrase("Prompts"), "count"),
            Column("unsure", phrase("May be off by"), "share"),
        ),
        rows=lambda loop: loop.looks,
    ),
    Figure(
        report=LOOP,
        name="loop-rounds",
        title=phrase("Rounds"),
        meaning=phrase(
            "What started each round, what it asked and learnt, what its policy gained over the one that it is held"
            " near (by its own reward model), and what its gates said."
        ),
        columns=(
            Column("round", phrase("Round"), "count"),
            Column("status", phrase("State"), "word"),
            Column("trigger", phrase("Started by"), "word"),
            Column("trigger_figure", phrase("Figure"), "number"),
            Column("trigger_bound", phrase("Bound"), "number"),
            Column("rule", phrase("Rule"), "text"),
            Column("random_pairs", phrase("Random pairs"), "count"),
            Column("chosen_pairs", phrase("Chosen pairs"), "count"),
            Column("judgements", phrase("Judgements"), "count"),
            Column("accuracy", phrase("Agreement with held-out judgements"), "share"),
            Column("accuracy_low", phrase("From"), "share"),
            Column("accuracy_high", phrase("To"), "share"),
            Column("pairs", phrase("Held-out pairs"), "count"),
            Column("policy", phrase("Policy"), "count"),
            Column("win_rate", phrase("Preferred over the reference by the reward model"), "share"),
            Column("win_rate_low", phrase("From"), "share"),
            Column("win_rate_high", phrase("To"), "share"),
            Column("kl", phrase("KL, nats"), "number"),
            Column("reward_gate", phrase("Reward gate"), "word"),
            Column("policy_gate", phrase("Policy gate"), "word"),
            Column("vote_gate", phrase("Gate of votes"), "word"),
            Column("overridden_because", phrase("Gone on from a refusal because"), "text"),
        ),
        rows=lambda loop: loop.turns,
    ),
)
