"""A model's card: what it is, what it was made from, how it was measured, and what it is not for.

In English and without a text of anybody's: it leaves with the model.
"""

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import Json
from app.db.tables import DatasetVersion, Gate, ModelVersion, Project, Round, Run
from app.services.loop.models import artifacts
from app.services.loop.models.archive import CARD, Archive, open_archive
from app.services.loop.stages.figures import SHARED
from training.memory.shape import HUB_ID, folder_of, licence_of

ADAPTER_CONFIG = "adapter_config.json"
# Nothing is made from more than so many models in a row.
MOST_STEPS = 200

_NAMES = {"policy": "policy", "reward": "reward model", "cost": "cost model"}
_ABOUT = {
    "policy": "A policy: a language model that answers the last turn of a conversation.",
    "reward": "A reward model: the higher its score, the more a response is expected to be preferred.",
    "cost": "A cost model: the higher its score, the more harm is expected of a response.",
}
_NOT_FOR = {
    "policy": (
        "It learnt what the people of one project prefer, not what is true. It may say what is false, and say it well.",
        "Nobody measured it on prompts of another kind, in another language or in longer conversations than this "
        "project's.",
        "Figures that a reward model gave are that model's opinion. Only those that name judgements are people's.",
        "It is no advice on health, law or money, and decides nothing about people.",
    ),
    "reward": (
        "Its score compares responses to one prompt. Between prompts, and by itself, a score means little.",
        "It says what the people of one project would prefer, not what is true, safe or fair.",
        "What optimises against it finds what it is wrong about. Hold what you train near its reference, and have "
        "people look at the result.",
        "It is no classifier of people or of what they write.",
    ),
    "cost": (
        "It knows the harm that the people of one project called so. Other harm it doesn't see.",
        "It is no filter to stand alone before people: it was made to guide training.",
        "It is no classifier of people or of what they write.",
    ),
}


@dataclass(frozen=True)
class Root:
    """Where a model's weights began: its name where others know it, and its licence where that is known."""

    name: str | None = None
    licence: str | None = None


@dataclass(frozen=True)
class Made:
    """A version with what it was made from."""

    project: Project
    version: ModelVersion
    run: Run | None
    round: Round | None
    dataset: DatasetVersion | None
    parents: Mapping[str, ModelVersion]
    gates: Sequence[Gate]
    root: Root
    base: ModelVersion | None
    """The version beside which an adapter of this site stands."""


@dataclass(frozen=True)
class Directory:
    """What a model's directory says of itself."""

    files: frozenset[str]
    lineage: Json
    adapter_base: str | None
    own_card: str


def name_of(project: Project, version: ModelVersion) -> str:
    """What a version is called outside of the project."""
    return f"{project.slug}-{version.kind}-{version.number}"


async def archive_of(db: AsyncSession, project: Project, version: ModelVersion, home: Path) -> Archive:
    """The version with its card as one file. Raises ArtifactBroken, Away, NoRoom."""
    card = await write(db, project, version, home)
    return await asyncio.to_thread(
        open_archive,
        await asyncio.to_thread(artifacts.at_hand, home, version.folder, version.manifest_sha256),
        version.manifest_sha256,
        name=name_of(project, version),
        made_at=version.created_at,
        card=card,
        in_use=lambda: artifacts.in_use(home, version.folder, version.manifest_sha256),
    )


async def write(db: AsyncSession, project: Project, version: ModelVersion, home: Path) -> str:
    """The card as Markdown, beginning with what the hub reads. Raises ArtifactBroken."""
    folder = await asyncio.to_thread(artifacts.at_hand, home, version.folder, version.manifest_sha256)
    directory = await asyncio.to_thread(_directory, folder, version.manifest_sha256)
    made = await _made(db, project, version, directory)
    return "\n".join(_lines(made, directory)) + "\n"


def body_of(card: str) -> str:
    """A card without its front matter."""
    return card.split("\n---\n", 1)[1].lstrip()


def _directory(folder: Path, manifest_sha256: str) -> Directory:
    files = artifacts.files_of(folder, manifest_sha256)
    manifest = json.loads((folder / artifacts.MANIFEST).read_bytes())
    try:
        own_card = (folder / CARD).read_text(encoding="utf-8") if CARD in files else ""
        told = json.loads((folder / ADAPTER_CONFIG).read_bytes()) if ADAPTER_CONFIG in files else {}
        base = told.get("base_model_name_or_path")
    except (OSError, ValueError, AttributeError) as error:
        raise artifacts.ArtifactBroken(
            "%(model)s has no readable manifest: its files are gone or were changed.", model=folder.name
        ) from error
    return Directory(frozenset(files), manifest.get("lineage") or {}, base, own_card)


async def _made(db: AsyncSession, project: Project, version: ModelVersion, directory: Directory) -> Made:
    run = await db.get(Run, version.run_id) if version.run_id is not None else None
    ids = {
        "from": version.parent_id,
        "guided by": version.reward_id,
        "held to a limit by": version.cost_id,
        "held near": version.reference_id,
    }
    return Made(
        project=project,
        version=version,
        run=run,
        round=await db.get(Round, run.round_id) if run is not None and run.round_id is not None else None,
        dataset=await db.get(DatasetVersion, version.dataset_version_id)
        if version.dataset_version_id is not None
        else None,
        parents={how: await db.get_one(ModelVersion, id_) for how, id_ in ids.items() if id_ is not None},
        gates=list(
            await db.scalars(select(Gate).where(Gate.model_version_id == version.id).order_by(Gate.id).limit(50))
        ),
        root=await _root(db, version),
        base=await _adapter_base(db, version, directory),
    )


async def _root(db: AsyncSession, version: ModelVersion) -> Root:
    """A directory of this machine stays unnamed: only its owner knows it."""
    for _ in range(MOST_STEPS):
        before = version.reference_id or version.parent_id
        if before is None:
            break
        version = await db.get_one(ModelVersion, before)
    run = await db.get(Run, version.run_id) if version.run_id is not None else None
    location = run.settings.get("model") if run is not None else None
    if run is None or not isinstance(location, str):
        return Root()
    licence = run.settings.get("licence") or await asyncio.to_thread(_licence, location)
    return Root(location if HUB_ID.fullmatch(location) else None, licence)


def _licence(location: str) -> str | None:
    folder = folder_of(location) if HUB_ID.fullmatch(location) else Path(location)
    return None if folder is None else licence_of(folder)


async def _adapter_base(db: AsyncSession, version: ModelVersion, directory: Directory) -> ModelVersion | None:
    named = directory.adapter_base
    if named is None or not named.startswith(".."):
        return None
    folder = PurePosixPath(version.folder)
    for part in PurePosixPath(named).parts:
        folder = folder.parent if part == ".." else folder / part
    return await db.scalar(
        select(ModelVersion).where(
            ModelVersion.project_id == version.project_id, ModelVersion.folder == folder.as_posix()
        )
    )


def _lines(made: Made, directory: Directory) -> Iterator[str]:
    version = made.version
    yield from _front_matter(made, directory)
    yield f"# {_plain(made.project.name)}: {_NAMES[version.kind]} {version.number}"
    yield ""
    yield _ABOUT[version.kind]
    yield from _section("How to load it", _loading(made, directory))
    yield from _section("What it was made from", _origin(made, directory))
    yield from _section("How it was measured", _figures(version.figures))
    yield from _section("What its gates decided", _decisions(made.gates))
    yield from _section("What it is not for", [f"- {line}" for line in _NOT_FOR[version.kind]])
    yield from _section("Settings", _settings(directory.lineage))


def _section(title: str, lines: Iterator[str] | Sequence[str]) -> Iterator[str]:
    yield from ("", f"## {title}", "", *lines)


def _front_matter(made: Made, directory: Directory) -> Iterator[str]:
    is_policy = made.version.kind == "policy"
    yield "---"
    if made.root.licence:
        yield f"license: {json.dumps(made.root.licence)}"
    if made.root.name:
        yield f"base_model: {json.dumps(made.root.name)}"
    yield f"library_name: {'transformers' if directory.adapter_base is None else 'peft'}"
    yield f"pipeline_tag: {'text-generation' if is_policy else 'text-classification'}"
    yield "tags:"
    yield from (f"- {tag}" for tag in ("plumbline", "preference-learning", _NAMES[made.version.kind].replace(" ", "-")))
    yield "---"


def _loading(made: Made, directory: Directory) -> Iterator[str]:
    name = name_of(made.project, made.version)
    is_policy = made.version.kind == "policy"
    loader = "AutoModelForCausalLM" if is_policy else "AutoModelForSequenceClassification"
    settings = "" if is_policy else ", num_labels=1"
    yield "```python"
    if directory.adapter_base is None:
        yield f"from transformers import AutoTokenizer, {loader}"
        yield ""
        yield f'tokenizer = AutoTokenizer.from_pretrained("{name}")'
        yield f'model = {loader}.from_pretrained("{name}")'
    else:
        base = name_of(made.project, made.base) if made.base is not None else made.root.name or "BASE"
        yield "from peft import PeftModel"
        yield f"from transformers import AutoTokenizer, {loader}"
        yield ""
        yield f'tokenizer = AutoTokenizer.from_pretrained("{name}")'
        yield f'base = {loader}.from_pretrained("{base}"{settings})'
        yield f'model = PeftModel.from_pretrained(base, "{name}")'
    yield "```"
    if directory.adapter_base is not None:
        yield ""
        yield "These are adapters: they stand beside the weights of their base, which is a download of its own."
    if not is_policy:
        yield ""
        yield (
            "The score is `model(**inputs).logits[0, 0]` of the prompt by the tokenizer's chat template, the response "
            "and the token that ends it; `config.json` has `score_mean` and `score_std`, by which it is "
            "normalised."
        )
    if made.version.figures.get("other_tools_read"):
        yield ""
        yield (
            "**It has several heads.** What `transformers` reads is their mean, which isn't the score that was "
            "measured. " + " ".join(directory.own_card.split())
        )


def _origin(made: Made, directory: Directory) -> Iterator[str]:
    version, run = made.version, made.run
    how = "Brought in from outside" if run is None else f"Made by `{run.stage}` (run {run.id})"
    if run is not None and run.stage == "adopt":
        how = f"Nothing was learnt: taken as it was brought (run {run.id})"
    turn = f" in round {made.round.number}" if made.round is not None else ""
    yield f"- {how}{turn} on {version.created_at:%Y-%m-%d}."
    for said, parent in made.parents.items():
        yield f"- {said.capitalize()} {_NAMES[parent.kind]} {parent.number} (`{parent.manifest_sha256[:16]}`)."
    if made.dataset is not None:
        counts = ", ".join(f"{count:,} {kind}" for kind, count in sorted(made.dataset.counts.items()) if count)
        yield (
            f"- Learnt from {made.dataset.kind} {made.dataset.number}: {made.dataset.row_count:,} rows"
            f"{f' ({counts})' if counts else ''}, SHA-256 `{made.dataset.sha256}`."
        )
        for machine in made.dataset.machines:
            yield f"- Some of it was said by a model, {_plain(str(machine['name']))}, with weight {machine['weight']}."
    root = f"[{made.root.name}](https://huggingface.co/{made.root.name})" if made.root.name else "not named here"
    yield f"- Base model: {root}. Licence: {made.root.licence or 'not known; ask who brought the base model'}."
    if code := directory.lineage.get("code_version"):
        yield f"- Code that trained it: `{code}`."
    yield f"- Manifest: `{version.manifest_sha256}`; `manifest.json` has the digest of every file."


def _figures(figures: Json) -> Iterator[str]:
    known = {name: words.title for name, words in SHARED.items()}
    told = [name for name in (*known, *sorted(figures.keys() - known.keys())) if _is_told(name, figures)]
    if not told:
        yield "It wasn't."
        return
    yield "| figure | value | 95 % interval |"
    yield "|---|---|---|"
    for name in told:
        low, high = figures.get(f"{name}_low"), figures.get(f"{name}_high")
        interval = f"{_number(low)} to {_number(high)}" if low is not None and high is not None else ""
        yield f"| {known.get(name, f'`{name}`')} | {_number(figures[name])} | {interval} |"
    yield ""
    yield "Shares are of 1. What has no interval was measured without one."


def _is_told(name: str, figures: Json) -> bool:
    value = figures.get(name)
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and not name.endswith(("_low", "_high", "_id"))
    )


def _decisions(gates: Sequence[Gate]) -> Iterator[str]:
    if not gates:
        yield "It went through none."
    for gate in gates:
        yield f"- **{'Passed' if gate.passed else 'Refused'}** on {gate.created_at:%Y-%m-%d}."
        yield from (f"  - {'✓' if rule['passed'] else '✗'} {_plain(rule['sentence'])}" for rule in gate.rules)


def _settings(lineage: Json) -> Iterator[str]:
    chosen = {**(lineage.get("config") or {}), **(lineage.get("chosen_by_model") or {})}
    if not chosen:
        yield "None are known."
        return
    yield "| setting | value |"
    yield "|---|---|"
    for name, value in sorted(chosen.items()):
        yield f"| `{name}` | `{_plain(json.dumps(value, ensure_ascii=False))}` |"


def _number(value: Any) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else "–"


def _plain(text: str) -> str:
    """In one line, in a cell of a table too."""
    return " ".join(text.split()).replace("|", "\\|").replace("`", "'")
