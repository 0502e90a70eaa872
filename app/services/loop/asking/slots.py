"""Slots: the pairs that are wanted, in the order in which people see them. A coin says of each who fills it.

The random ones are drawn first, from the whole pool and before anything is scored: a sample of what the policy writes,
whatever is asked beside it, and all that is claimed about quality is measured on it. A rule fills the others, batch by
batch, so that it knows what people have said meanwhile.
"""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import Json
from app.db.tables import Project, Prompt, Round, Task
from app.phrases import phrase
from app.services.loop.asking import features as embedded
from app.services.loop.asking import said, selection
from app.services.loop.asking.features import Features
from app.services.loop.asking.selection import Candidate, Draft, FreeTexts
from app.services.loop.asking.selection_settings import SelectionSettings
from app.services.loop.comparisons.writers import Writer
from app.services.projects.question import question_of
from app.services.selection import batch
from app.services.selection.arrays import Whole
from app.services.selection.batch import Batch
from app.services.selection.pool import Pool, numbered, pool_of
from app.services.selection.posterior import Judged
from app.services.selection.rules import RULES, Pick

NO_FEATURES = phrase("The responses to choose from have not been read by a model yet.")
BATCHES_AHEAD = 2


@dataclass(frozen=True)
class Filled:
    """What was made: `total` slots in all, those of the pool's that are wanted; `why` not by the rule that was."""

    total: int
    made: int
    random: int
    model_version_ids: tuple[int, ...]
    why: str | None


@dataclass(frozen=True)
class Slots:
    """Pairs of a round, or of nobody's; `seed` is that of all that is drawn for them."""

    db: AsyncSession
    project: Project
    home: Path
    settings: SelectionSettings
    round_: Round | None
    seed: int

    @property
    def pairs_of_a_batch(self) -> int:
        return -(-self.settings.batch // self.project.overlap)

    async def open(self, wanted: int) -> Filled:
        """Toss the coins, draw the random pairs, and fill the first slots; all of them where nothing is learnt."""
        rng = random.Random(self.seed)
        free = await selection.free_texts(self.db, self.project.id)
        layers = selection.layers_of(free, question_of(self.project).size, rng)
        total = min(wanted, sum(map(len, layers)))
        drawn_slots = [slot for slot in range(total) if rng.random() < self.settings.random_share]
        drawn = selection.draw(layers, len(drawn_slots), rng)
        rng.shuffle(drawn)  # else the first would be those of the first layer
        drafts = [
            self._draft(one.candidate, slot, total, rng, rule="uniform", slice_="random", propensity=one.propensity)
            for one, slot in zip(drawn, drawn_slots, strict=True)
        ]
        left = sorted(set(range(total)) - set(drawn_slots))
        if RULES[self.settings.rule].learns and self.round_ is not None:
            self.round_.slots = total
            ahead = BATCHES_AHEAD * self.pairs_of_a_batch
            left = [slot for slot in left if slot < ahead]
        return await self._fill(free, drafts, left, total, rng)

    async def go_on(self) -> Filled:
        """Fill the next batch of the round's slots that are empty; those that the pool has nothing for are given up."""
        assert self.round_ is not None
        assert self.round_.slots is not None
        rng = random.Random(self.seed)
        total = self.round_.slots
        slot = Task.selection["slot"].as_integer()
        filled = await self.db.scalars(select(slot).where(Task.round_id == self.round_.id, slot.is_not(None)))
        empty = sorted(set(range(total)) - set(filled))
        free = await selection.free_texts(self.db, self.project.id)
        done = await self._fill(free, [], empty[: self.pairs_of_a_batch], total, rng)
        if done.made < min(len(empty), self.pairs_of_a_batch):
            self.round_.slots = total - len(empty) + done.made
        return done

    async def _fill(
        self, free: FreeTexts, drafts: list[Draft], slots: Sequence[int], total: int, rng: random.Random
    ) -> Filled:
        """Drafts of what was drawn, and of what a rule chooses for `slots` beside them, become tasks."""
        _leave_out(free, [draft.candidate for draft in drafts])
        chosen, rule, why = await self._chosen(free, len(slots), rng) if slots else ([], self.settings.rule, None)
        _leave_out(free, chosen)
        # What the rule left over: texts that say the same as others, and older policies'.
        layers = selection.layers_of(free, question_of(self.project).size, rng)
        rest = selection.draw(layers, len(slots) - len(chosen), rng)
        by_rule = [(candidate, rule) for candidate in chosen] + [(one.candidate, "uniform") for one in rest]
        drafts = drafts + [
            self._draft(candidate, slot, total, rng, rule=by, slice_="chosen", propensity=None, why=why)
            for (candidate, by), slot in zip(by_rule, slots, strict=False)
        ]
        random_ = sum(draft.reason["slice"] == "random" for draft in drafts)
        drafts.sort(key=lambda draft: draft.priority)
        await selection.insert(self.db, self.project, drafts, round_id=None if self.round_ is None else self.round_.id)
        versions = selection.policies_of(draft.candidate for draft in drafts)
        return Filled(total, len(drafts), random_, versions, why)

    def _draft(
        self,
        candidate: Candidate,
        slot: int,
        total: int,
        rng: random.Random,
        *,
        rule: str,
        slice_: str,
        propensity: float | None,
        why: str | None = None,
    ) -> Draft:
        """People see the newest round's pairs before what earlier rounds left over, and of a round the first slots."""
        number = 0 if self.round_ is None else self.round_.number
        policy = next((writer.id for writer in candidate.writers if writer.kind == "policy"), None)
        reason: Json = {
            "rule": rule,
            "propensity": propensity,
            "slice": slice_,
            "policy": policy,
            "round": None if self.round_ is None else number,
            "slot": slot,
        }
        if why is not None:
            reason |= {"wanted": self.settings.rule, "why": why}
        return Draft(candidate, number + (total - slot - rng.random()) / (total + 1), reason)

    async def _chosen(self, free: FreeTexts, count: int, rng: random.Random) -> tuple[list[Candidate], str, str | None]:
        """By the rule, of what the newest policy wrote; by which rule, and why not by the one that was wanted."""
        writer = next(iter(free), None)
        if writer is None:
            return [], batch.FALLBACK, None
        prompt_ids = list(free[writer])
        topics = await self._topics(prompt_ids)
        folder = await embedded.folder_of_latest(self.db, self.project.id)
        found = None if folder is None else await asyncio.to_thread(embedded.read_features, self.home / folder)
        size = question_of(self.project).size
        chooser = _Chooser(free[writer], topics, await self._asked(topics), size, count, rng.getrandbits(32))
        readable = found is not None and chooser.can_read(found)
        if RULES[self.settings.rule].learns and found is not None and readable:
            judged = await said.judged_pairs(self.db, self.project.id, found)
            done = await asyncio.to_thread(chooser.choose, self.settings.rule, found, judged)
        else:
            done = await asyncio.to_thread(chooser.choose, batch.FALLBACK)
        why = done.why
        if RULES[self.settings.rule].learns and not readable:
            why = NO_FEATURES
        return [chooser.candidate(pick, writer) for pick in done.picks], done.rule, why

    async def _topics(self, prompt_ids: Sequence[int]) -> dict[int, str | int]:
        """Of a prompt without one, itself."""
        rows = await self.db.execute(select(Prompt.id, Prompt.topic).where(Prompt.project_id == self.project.id))
        topics = {prompt_id: prompt_id if topic is None else topic for prompt_id, topic in rows}
        return {prompt_id: topics[prompt_id] for prompt_id in prompt_ids}

    async def _asked(self, topics: dict[int, str | int]) -> dict[str | int, int]:
        """How often each topic was asked about."""
        rows = await self.db.execute(
            select(Task.prompt_id, func.count())
            .where(Task.project_id == self.project.id, Task.purpose == "label", Task.prompt_id.in_(topics))
            .group_by(Task.prompt_id)
        )
        asked: dict[str | int, int] = {}
        for prompt_id, count in rows:
            asked[topics[prompt_id]] = asked.get(topics[prompt_id], 0) + count
        return asked


class _Chooser:
    """One choice among what a policy wrote; it computes, and asks no database."""

    def __init__(
        self,
        texts: dict[int, dict[str, int]],
        topics: dict[int, str | int],
        asked: dict[str | int, int],
        size: int,
        count: int,
        seed: int,
    ) -> None:
        self._texts, self._topics, self._size, self._count = texts, topics, size, count
        self._rng = np.random.default_rng(seed)
        self._prompt_ids: list[int] = []
        self._completion_ids: list[int] = []
        self._asked = asked

    def can_read(self, features: Features) -> bool:
        """Whether there are features of what could be asked about."""
        return any(
            sum(completion_id in features.row_of for completion_id in texts.values()) >= self._size
            for texts in self._texts.values()
        )

    def candidate(self, pick: Pick, writer: Writer) -> Candidate:
        """What was picked, by its ids, in random order: whose place is first says nothing."""
        completion_ids = [self._completion_ids[row] for row in self._rng.permutation(pick.rows)]
        return Candidate(self._prompt_ids[pick.prompt], tuple(completion_ids), (writer,))

    def choose(self, rule: str, features: Features | None = None, judged: Judged | None = None) -> Batch:
        """Raises nothing that a person could mend: where the rule has nothing to go by, chance chooses."""
        pool, asked_T = self._pool(features)  # noqa: N806 - its shape
        if judged is None:
            nothing = np.zeros(0)
            judged = Judged(np.zeros((0, 0)), nothing, nothing, nothing.astype(np.int64), nothing.astype(bool))
        return batch.choose(rule, pool, judged, size=self._size, count=self._count, asked_T=asked_T, rng=self._rng)

    def _pool(self, features: Features | None) -> tuple[Pool, Whole]:
        rows: list[list[int]] = []
        texts: list[str] = []
        for prompt_id, written in self._texts.items():
            of_prompt = []
            for text, completion_id in written.items():
                if features is None or completion_id in features.row_of:
                    of_prompt.append(len(self._completion_ids))
                    self._completion_ids.append(completion_id)
                    texts.append(text)
            if len(of_prompt) >= self._size:
                rows.append(of_prompt)
                self._prompt_ids.append(prompt_id)
        feature_NF = (  # noqa: N806 - its shape
            np.zeros((len(texts), 0)) if features is None else features.of(self._completion_ids)
        )
        topics = [self._topics[prompt_id] for prompt_id in self._prompt_ids]
        codes = numbered(topics)
        asked_T = np.zeros(len(topics), dtype=np.int64)  # noqa: N806 - its shape
        for topic, code in zip(topics, codes, strict=True):
            asked_T[code] = self._asked.get(topic, 0)
        return pool_of(feature_NF, rows, topics, texts), asked_T


def _leave_out(free: FreeTexts, candidates: Sequence[Candidate]) -> None:
    """Take what is in these out of the pool."""
    taken = {completion_id for candidate in candidates for completion_id in candidate.completion_ids}
    for prompts in free.values():
        for prompt_id, texts in prompts.items():
            prompts[prompt_id] = {text: key for text, key in texts.items() if key not in taken}
