"""Data out: dataset versions, cut and exported."""

from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy.ext.asyncio import AsyncSession

from app.cli import THINGS, app
from app.cli.database import in_transaction
from app.cli.output import say
from app.db.tables import DatasetVersion, Project
from app.errors import Conflict
from app.services import audit
from app.services.data import datasets
from app.services.data.exports import registry as schemas
from app.services.data.exports.annotations import Annotation, annotations_of
from app.services.data.exports.formats import FORMATS, Format
from app.services.loop import annotators
from app.services.loop.round_settings import settings_of
from app.services.projects import projects
from app.settings import settings

SCHEMAS = schemas.choice("preferences")

ProjectName = Annotated[str, typer.Option("--project", "-p", help="The project's short name, as in its address.")]

dataset_commands = typer.Typer(help="Dataset versions: cut, listed, exported.", no_args_is_help=True)
app.add_typer(dataset_commands, name="dataset", rich_help_panel=THINGS)


@app.command(hidden=True)  # as it was called once
@dataset_commands.command()
def export(
    project: ProjectName,
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write.")],
    dataset: Annotated[int | None, typer.Option(min=1, help="Number of the version; unset: the newest.")] = None,
    file_format: Annotated[Format, typer.Option("--format", help=f"{' or '.join(FORMATS)}.")] = "jsonl",
    raw: Annotated[bool, typer.Option("--raw", help="Add judgement, strength and pseudonym to every row.")] = False,
    schema: Annotated[str | None, typer.Option(help=SCHEMAS, hidden=SCHEMAS is None)] = None,
) -> None:
    """Write a dataset version in TRL's conversational preference schema: prompt, chosen, rejected; ties left out."""

    async def find(db: AsyncSession) -> tuple[DatasetVersion, dict[int, Annotation] | None]:
        version = await _version(db, await projects.named(db, project), dataset)
        subject = f"{version.kind} {version.number}"
        await audit.note(db, "export", subject, {"raw": raw, "schema": schema}, project_id=version.project_id)
        return version, await annotations_of(db, version) if raw else None

    version, said = in_transaction(find)
    draft = out.with_name(f".{out.name}.part")
    try:
        opened = schemas.open_export(version, settings().home, schema=schema, annotations=said)
        rows = FORMATS[file_format].write(opened, draft)
        draft.replace(out)
    finally:
        draft.unlink(missing_ok=True)
    words = f"Wrote {rows:,} rows of dataset {version.number} of {project} to {out}."
    say(words, {"file": str(out), "rows": rows, "number": version.number})


@dataset_commands.command()
def cut(
    project: ProjectName,
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
    """Cut a version with all current judgements of a project; they can't be changed from then on."""

    async def cut_now(db: AsyncSession) -> DatasetVersion:
        found = await projects.named(db, project)
        home = settings().home
        beliefs = await annotators.beliefs(db, found, home, settings_of(found).people.weigh)
        return await datasets.cut_preferences(
            db, found, home=home, prefers_verdicts=verdicts, takes_machines=machines, beliefs=beliefs
        )

    version = in_transaction(cut_now)
    counts = ", ".join(f"{count:,} {what}" for what, count in version.counts.items())
    words = f"Dataset {version.number} of {project} holds {version.row_count:,} judgements ({counts}): {version.path}"
    say(words, {"number": version.number, "row_count": version.row_count, "counts": version.counts})


async def _version(db: AsyncSession, project: Project, number: int | None) -> DatasetVersion:
    if number is not None:
        return await datasets.get_version(db, project, number)
    newest = await datasets.newest(db, project.id)
    if newest is None:
        raise Conflict(f"The project {project.slug} has no dataset version yet: cut one first.")
    return newest
