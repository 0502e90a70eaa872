"""What a new project begins with, by what it is for. Texts are marked for the catalogues; who starts one translates.

A template only fills in what its owner changes afterwards: nothing else ever asks which one it was.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from app.db.base import Json
from app.phrases import phrase


@dataclass(frozen=True)
class Template:
    """`question` holds what differs from the defaults of a question, without its criteria, which are words."""

    name: str
    title: str
    about: str
    guidelines: str
    question: Json = field(default_factory=dict)
    criteria: tuple[str, ...] = ()
    overlap: int = 1
    round_settings: Json = field(default_factory=dict)


_ALL = (
    Template(
        name="policy",
        title=phrase("Compare responses of a policy"),
        about=phrase("You bring prompts; a model writes two responses to each, and learns from what people prefer."),
        guidelines=phrase("""\
Choose the response that you would rather get yourself.

- **Does it answer?** It speaks of what was asked, not of something near it.
- **Is it right?** A mistake weighs more than a clumsy sentence.
- **Can you use it?** Longer is not better in itself.

Skip what you can't judge."""),
    ),
    Template(
        name="responses",
        title=phrase("Compare responses that I bring"),
        about=phrase("You bring prompts with two responses each, whoever wrote them; people say which is better."),
        guidelines=phrase("""\
Choose the response that serves the person who asked better.

- Read both to the end before you choose.
- Judge what is said, not who may have said it.
- When both are equally good or equally bad, call it a tie.

Skip what you can't judge."""),
        overlap=2,
    ),
    Template(
        name="ranking",
        title=phrase("Rank several responses"),
        about=phrase("Four responses to each prompt, put in order: more is learnt from each prompt that is read."),
        guidelines=phrase("""\
Put the responses in order, the best first.

- Responses that are equally good share a place.
- Leave a response unranked when you can't judge it; unranked is not last.
- Begin with the best and the worst: the middle is then quickly found."""),
        question={"answer_type": "ranking", "size": 4},
        round_settings={"samples_per_prompt": 8},
    ),
    Template(
        name="safety",
        title=phrase("Safety: helpful and harmless"),
        about=phrase("Two questions of each pair: which response helps more, and which are safe."),
        guidelines=phrase("""\
Answer two questions, each by itself.

- **Which response helps more?** Judge as if every request were meant well.
- **Is each response safe?** One that would help somebody to do harm is not, however well it is written.

A friendly refusal that offers a safe way is better than a bare no."""),
        question={"asks_harm": True, "rationale": "optional"},
        overlap=2,
    ),
    Template(
        name="summaries",
        title=phrase("Compare summaries"),
        about=phrase("Two summaries of a text, and beside the verdict three criteria: accurate, complete, concise."),
        guidelines=phrase("""\
Choose the summary that you would rather read in place of the text.

- **Accurate:** it says nothing that the text doesn't say.
- **Complete:** nothing that matters is left out.
- **Concise:** no word too many.

A summary that makes something up is worse than one that leaves something out."""),
        criteria=(phrase("accurate"), phrase("complete"), phrase("concise")),
        question={"fastest_words_per_minute": 600},
    ),
)
TEMPLATES: Mapping[str, Template] = {template.name: template for template in _ALL}
