"""Data out: dataset versions, cut and exported."""

from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncSession

from app.cli import THINGS, app
from app.cli.database import in_transaction
from app.cli.output import say
from app.db.tables import DatasetVersion, Project
from app.db.tables.lineage import DatasetKind
from app.errors import Conflict, Invalid
from app.services.data import datasets
from app.services.data.exports import registry, writing
from app.services.data.exports.asked import Asked
from app.services.data.exports.formats import FORMATS, Format
from app.services.data.exports.schema import Votes
from app.services.loop.asking import annotators
from app.services.loop.chores import exporting
from app.services.loop.settings.round_settings import settings_of
from app.services.projects import projects
from app.settings import settings

SCHEMAS = registry.choice("preferences", "demonstrations")

ProjectName = Annotated[str, typer.Option("--project", "-p", help="The project's short name, as in its address.")]

dataset_commands = typer.Typer(help="Dataset versions: cut, listed, exported.", no_args_is_help=True)
app.add_typer(dataset_commands, name="dataset", rich_help_panel=THINGS)


@app.command(hidden=True)  # as it was called once
@dataset_commands.command()
def export(
    project: ProjectName,
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write; with --by-split the folder.")],
    dataset: Annotated[int | None, typer.Option(min=1, help="Number of the version; unset: the newest.")] = None,
    kind: Annotated[DatasetKind, typer.Option(help="preferences or demonstrations.")] = "preferences",
    file_format: Annotated[Format, typer.Option("--format", help=f"{', '.join(FORMATS)}.")] = "jsonl",
    schema: Annotated[str | None, typer.Option(help=SCHEMAS)] = None,
    raw: Annotated[bool, typer.Option("--raw", help="The same as --schema raw.", hidden=True)] = False,
    votes: Annotated[
        Votes,
        typer.Option(
            help="Several votes on a pair: each a row, or one by the majority, their share, or the annotator model."
        ),
    ] = "each",
    by_split: Annotated[
        bool, typer.Option("--by-split", help="A file for each split, as load_dataset takes them.")
    ] = False,
    split: Annotated[str | None, typer.Option(help="train or validation.")] = None,
    round_number: Annotated[int | None, typer.Option("--round", help="Of this round.")] = None,
    people: Annotated[str | None, typer.Option(help="Pseudonyms, names or e-mail addresses, with commas.")] = None,
    agreement: Annotated[str | None, typer.Option(help="agreed or divided.")] = None,
    least_agreement: Annotated[float | None, typer.Option(help="From 0 to 1.")] = None,
    tag: Annotated[str | None, typer.Option(help="Of the prompt.")] = None,
    topic: Annotated[str | None, typer.Option(help="Of the prompt.")] = None,
    flag: Annotated[str | None, typer.Option(help="Said of a response.")] = None,
    flagged: Annotated[str | None, typer.Option(help="yes or no.")] = None,
    since: Annotated[str | None, typer.Option(help="Judged from this day on, as 2026-01-31.")] = None,
    until: Annotated[str | None, typer.Option(help="Judged up to and with this day.")] = None,
) -> None:
    """Write a dataset version in a schema that other tools load; without one, TRL's conversational preferences."""
    given = {
        "schema": schema or ("raw" if raw else None), "format": file_format, "votes": votes, "split": split,
        "round": round_number, "people": people, "agreement": agreement, "least_agreement": least_agreement,
        "tag": tag, "topic": topic, "flag": flag, "flagged": flagged, "since": since, "until": until,
    }  # fmt: skip
    try:
        asked = Asked.model_validate(given)
    except ValidationError as error:
        raise Invalid("; ".join(f"{problem['loc'][-1]}: {problem['msg']}" for problem in error.errors())) from None

    async def write(db: AsyncSession) -> tuple[int, DatasetVersion]:
        version = await _version(db, await projects.named(db, project), dataset, kind)
        await exporting.note(db, version, asked)
        if by_split:
            written = await writing.write_splits(db, version, settings().home, asked, out)
            return written.count, version
        made = await writing.write(db, version, settings().home, asked, out)
        return sum(made.rows.values()), version

    rows, version = in_transaction(write)
    words = f"Wrote {rows:,} rows of dataset {version.number} of {project} to {out}."
    say(words, {"file": str(out), "rows": rows, "number": version.number})


@dataset_commands.command()
def cut(
    project: ProjectName,
    kind: Annotated[DatasetKind, typer.Option(help="preferences or demonstrations.")] = "preferences",
    verdicts: Annotated[
        bool | None,
        typer.Option(
            "--verdicts/--no-verdicts",
            help="Where a reviewer has decided, the verdict alone counts, or none does; unset: as the project has it.",
        ),
    ] = None,
    machines: Annotated[
        bool | None,
        typer.Option(
            "--machines/--no-machines",
            help="Take in what calibrated judges that are models said, or nothing of it; unset: as the project has it.",
        ),
    ] = None,
) -> None:
    """Cut a version with all current judgements of a project, or demonstrations; it can't be changed from then on."""

    async def cut_now(db: AsyncSession) -> DatasetVersion:
        found = await projects.named(db, project)
        home = settings().home
        if kind == "demonstrations":
            return await datasets.cut_demonstrations(db, found, home=home)
        beliefs = await annotators.beliefs(db, found, home, settings_of(found).people.weigh)
        return await datasets.cut_preferences(
            db, found, home=home, prefers_verdicts=verdicts, takes_machines=machines, beliefs=beliefs
        )

    version = in_transaction(cut_now)
    counts = ", ".join(f"{count:,} {what}" for what, count in version.counts.items())
    rows = "demonstrations" if kind == "demonstrations" else f"judgements ({counts})"
    words = f"Dataset {version.number} of {project} holds {version.row_count:,} {rows}: {version.path}"
    say(words, {"number": version.number, "row_count": version.row_count, "counts": version.counts})


async def _version(db: AsyncSession, project: Project, number: int | None, kind: DatasetKind) -> DatasetVersion:
    if number is not None:
        return await datasets.get_version(db, project, number, kind)
    newest = await datasets.newest(db, project.id, kind)
    if newest is None:
        raise Conflict(f"The project {project.slug} has no dataset version yet: cut one first.")
    return newest
