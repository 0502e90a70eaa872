"""The card of a dataset: README.md with what the Hub reads at its head, in YAML, and below it what people want to know.

It is in English, as all that is for programs and the Hub.
"""

import json
import re
from collections.abc import Iterator, Sequence

from app.db.base import Json
from app.services.data.hub.card import Biases, Card, People, Share
from app.services.data.hub.rows import Column, SplitFile
from app.services.projects.projects import UNSPECIFIED

# What the Hub knows by name; everything else is `other` there, by its own name.
HUB_LICENCES = frozenset(
    {
        "apache-2.0", "mit", "bsd", "bsd-3-clause", "cc", "cc0-1.0", "cc-by-2.0", "cc-by-3.0", "cc-by-4.0",
        "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nd-4.0",
        "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cdla-permissive-1.0",
        "cdla-permissive-2.0", "cdla-sharing-1.0", "gpl-3.0", "odbl", "odc-by", "openrail", "pddl", "unlicense",
    }
)  # fmt: skip
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
LARGE = "1M<n<10M"

ABOUT = {
    "preferences": "Pairs of responses to the same prompt, and which of them people preferred, in TRL's conversational"
    " preference schema: `prompt`, `chosen`, `rejected`, each a list of `role` and `content`. Ties have no better side"
    " and are left out.",
    "demonstrations": "Prompts with a response that a person wrote, mended or vouched for, in TRL's conversational"
    " prompt–completion schema.",
}
KINDS = {
    "human": "people on this site",
    "simulated": "simulated people on this site",
    "imported": "people or machines of imported files",
    "machine": "judges that are models",
    "unpaired": "people of imported files, of single responses",
}
MEANT = {
    "chosen": "the response that was preferred",
    "rejected": "the other one",
    "prompt": "the conversation up to the response",
    "completion": "the response",
    "judgement_id": "which judgement a row comes from; rows of one ranking share it",
    "strength": "levels of the scale towards the chosen response, 0 where nobody said",
    "annotator": "a pseudonym, the same person's in all rows",
    "chosen_safe": "`yes`, `no`, or empty where nobody was asked",
    "rejected_safe": "likewise",
    "less_harmful": "`chosen`, `rejected`, `tie`, or empty where nobody was asked",
    "split": "`train` or `validation`",
}


def name_of(card: Card) -> str:
    """What the dataset is called by programs."""
    return f"{card.project.slug}-{card.version.kind}-{card.version.number}"


def readme(card: Card, files: Sequence[SplitFile]) -> str:
    """The whole file."""
    return f"---\n{_yaml(_head(card, files))}---\n\n" + "\n\n".join(_parts(card, files)) + "\n"


def licence(card: Card) -> Json:
    """The licence as the Hub has it."""
    chosen = card.project.licence.lower()
    if chosen == UNSPECIFIED:
        return {"license": "unknown"}
    return {"license": chosen} if chosen in HUB_LICENCES else {"license": "other", "license_name": chosen}


def biases(card: Card) -> list[str]:
    """What somebody who learns from it has to know, a sentence each."""
    if card.biases is None or card.people is None:
        return ["Whoever wrote the responses chose what is in it; nobody else has compared them."]
    return [*_habits(card.biases), *_by_whom(card.people), *_of_the_cut(card)]


def _head(card: Card, files: Sequence[SplitFile]) -> Json:
    rows = sum(file.rows for file in files)
    return {
        "pretty_name": f"{card.project.name}: {card.version.kind} {card.version.number}",
        **licence(card),
        "size_categories": [next((size for most, size in SIZES if rows < most), LARGE)],
        "task_categories": ["text-generation"],
        "tags": ["rlhf", "preference" if card.version.kind == "preferences" else "demonstrations", "trl", "plumbline"],
        "configs": [
            {
                "config_name": "default",
                "data_files": [{"split": file.split, "path": file.path} for file in files],
                "default": True,
            }
        ],
        "dataset_info": {
            "splits": [{"name": file.split, "num_bytes": file.size_bytes, "num_examples": file.rows} for file in files],
            "download_size": sum(file.size_bytes for file in files),
        },
    }


def _yaml(head: Json) -> str:
    """JSON is YAML; a key a line is what people can read."""
    return "".join(f"{key}: {json.dumps(value, ensure_ascii=False)}\n" for key, value in head.items())


def _parts(card: Card, files: Sequence[SplitFile]) -> Iterator[str]:
    version = card.version
    yield f"# {_line(card.project.name)}: {version.kind} {version.number}"
    if card.project.description:
        yield _quoted(card.project.description)
    yield ABOUT[version.kind]
    yield f'```python\nfrom datasets import load_dataset\n\ndataset = load_dataset("path/to/{name_of(card)}")\n```'
    yield "## What is in it"
    yield _table(("split", "rows", "file"), [(file.split, f"{file.rows:,}", f"`{file.path}`") for file in files])
    yield (
        f"Dataset version {version.number}, cut {version.created_at:%Y-%m-%d}: {version.row_count:,} records"
        f"{_counted(card)}."
    )
    yield _table(("column", "type", "what"), [_described(column) for column in files[0].columns])
    if card.agreement is not None:
        yield "## Agreement"
        yield _agreed(card)
    yield "## Known biases"
    yield "\n".join(f"- {sentence}" for sentence in biases(card))
    yield "## What people were told"
    yield _quoted(card.guidelines) if card.guidelines.strip() else "There were no guidelines."
    yield "## Licence"
    yield _licensed(card)
    yield "## Where it comes from"
    yield (
        "`manifest.json` says which judgements are in it, up to where, how they count, and by what code it was cut; the"
        f" version's own file has the SHA-256 `{version.sha256}`. `croissant.json` describes the files for programs."
    )


def _counted(card: Card) -> str:
    counts = [(name.replace("_", " "), count) for name, count in card.version.counts.items() if isinstance(count, int)]
    return "".join(f", {count:,} {name}" for name, count in counts if count)


def _agreed(card: Card) -> str:
    agreement = card.agreement
    assert agreement is not None
    if agreement.said_the_same is None:
        return "No pair was judged by two people, so nothing is known of how far people agree."
    return (
        f"Of {agreement.pairs:,} pairs two people or more said something. Any two of them said the same of a pair (one"
        f" side, the other, or a tie) in {agreement.said_the_same:.0%} of the cases."
    )


def _habits(found: Biases) -> Iterator[str]:
    yield _share(
        found.first_shown,
        "The response that was shown first was chosen in {share} of {of} judgements that preferred one of two. Sides"
        " are drawn and balanced for each person, so that a habit of side is noise and no advantage of a response.",
        "Which response was shown first is not known of any judgement.",
    )
    yield _share(
        found.longer,
        "The longer response was chosen in {share} of {of} judgements of pairs that differ in length.",
        "No two responses that were judged differ in length.",
    )


def _share(share: Share, said: str, nothing: str) -> str:
    if share.value is None or share.bounds is None:
        return nothing
    low, high = share.bounds
    return said.format(share=f"{share.value:.1%} (95 %: {low:.1%} to {high:.1%})", of=f"{share.of:,}")


def _by_whom(people: People) -> Iterator[str]:
    given = ", ".join(f"{number:,} by {KINDS.get(kind, kind)}" for kind, number in people.judgements.items())
    yield f"Judgements: {given or 'none'}."
    if people.people:
        local = sum(people.judgements.get(kind, 0) for kind in ("human", "simulated"))
        yield (
            f"{people.people:,} of this site judged; the busiest of them gave {people.most_by_one / local:.0%} of"
            " their judgements. Nothing is known of who they are or whom they stand for."
        )


def _of_the_cut(card: Card) -> Iterator[str]:
    if card.version.prefers_verdicts:
        yield "Where a reviewer had decided, the verdict alone counts, so that what divides people is not in it there."
    if card.version.believed is not None:
        yield "People are not believed alike: a model of their habits weighed what they said (see `manifest.json`)."
    for machine in card.version.machines:
        yield f"The judge {_line(machine['name'])} is a model; one of its judgements weighs {machine['weight']}."
    yield "What is compared was chosen by rounds that look for pairs to learn from: it is no sample of what users ask."


def _licensed(card: Card) -> str:
    if card.project.licence == UNSPECIFIED:
        return "Nobody said under which licence it may be used: ask whoever gave it to you."
    return f"`{card.project.licence}`, as its project says."


def _described(column: Column) -> tuple[str, str, str]:
    return f"`{column.name}`", _typed(column), MEANT.get(column.name, "")


def _typed(column: Column) -> str:
    plain = f"{{{', '.join(part.name for part in column.parts)}}}" if column.parts else column.type
    return f"list of {plain}" if column.is_several else plain


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = (head, ["---"] * len(head), *rows)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _line(text: str) -> str:
    """In one line, and without what Markdown would take for something else."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(text.split()))


def _quoted(text: str) -> str:
    """Markdown of people, set apart: its headings are not the card's."""
    return "\n".join(f"> {line}".rstrip() for line in text.strip().splitlines())
