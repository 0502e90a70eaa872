"""Data in and out: files in, dataset versions cut and exported."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from sqlalchemy.ext.asyncio import AsyncSession

from app.cli import app
from app.cli.database import in_transaction
from app.db.tables import DatasetVersion, Project
from app.errors import Conflict, Invalid, NotFound
from app.services import audit
from app.services.data import datasets
from app.services.data.exports import registry as schemas
from app.services.data.exports.annotations import Annotation, annotations_of
from app.services.data.exports.formats import FORMATS, Format
from app.services.data.imports import registry as formats
from app.services.data.imports.importing import ImportReport
from app.services.data.imports.importing import import_file as read_file
from app.services.projects import projects
from app.settings import settings

BAD_ROWS_SHOWN = 20
SCHEMAS = schemas.choice("preferences")

ProjectName = Annotated[str, typer.Option("--project", "-p", help="The project's short name, as in its address.")]

dataset_commands = typer.Typer(help="Dataset versions: immutable snapshots of all judgements.", no_args_is_help=True)
app.add_typer(dataset_commands, name="dataset")


if TYPE_CHECKING:
    Kind = str
else:  # the rows of the table, as choices that typer lists and checks
    Kind = Literal[*(form.name for form in formats.FORMATS)]


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="One JSON object per line; gzip too.")],
    project: ProjectName,
    kind: Annotated[
        Kind,
        typer.Option(help=" ".join(f"{form.name}: {form.called}." for form in formats.FORMATS)),
    ] = formats.FORMATS[0].name,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Import the good rows of a file with bad ones.")] = False,
    create: Annotated[bool, typer.Option("--create", help="Create the project if there is none.")] = False,
    demonstrate: Annotated[
        bool,
        typer.Option("--demonstrate", help="Let SFT learn from the chosen responses, in a project without a policy."),
    ] = False,
) -> None:
    """Read comparisons or demonstrations into a project, all of the file or nothing. Rows that are there already are
    left alone."""
    form = formats.named(kind)

    async def read(db: AsyncSession) -> ImportReport:
        if demonstrate and form.maker.name == "demonstrations":
            raise Invalid("--demonstrate is for comparisons: a file of demonstrations has no chosen responses.")
        target = await _import_target(db, project, create=create)
        report = await read_file(db, target, file, form, skip_bad=skip_bad, demonstrate=demonstrate)
        _tell_bad_rows(report)
        if report.rows == 0:
            raise Invalid(f"{file} holds no row.")
        if report.bad and not skip_bad:
            raise Invalid(
                f"Nothing was imported: {len(report.bad):,} of {report.rows:,} rows can't be used. "
                "Use --skip-bad to import the others."
            )
        return report

    report = in_transaction(read)
    print(
        f"Imported {report.imported:,} of {report.rows:,} {form.maker.name} into {project}; "
        f"{report.already_there:,} were there already, {len(report.bad):,} can't be used."
    )


@app.command()
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
    print(f"Wrote {rows:,} rows of dataset {version.number} of {project} to {out}.")


@dataset_commands.command()
def cut(project: ProjectName) -> None:
    """Cut a version with all current judgements of a project; they can't be changed from then on."""

    async def cut_now(db: AsyncSession) -> DatasetVersion:
        return await datasets.cut_preferences(db, await projects.named(db, project), home=settings().home)

    version = in_transaction(cut_now)
    counts = ", ".join(f"{count:,} {what}" for what, count in version.counts.items())
    print(f"Dataset {version.number} of {project} holds {version.row_count:,} judgements ({counts}): {version.path}")


async def _import_target(db: AsyncSession, slug: str, *, create: bool) -> Project:
    try:
        return await projects.named(db, slug)
    except NotFound as missing:
        if not create:
            raise NotFound(f"{missing} Use --create to make it.") from None
        return await projects.create(db, slug=slug, name=slug.replace("-", " ").capitalize(), owner_id=None)


def _tell_bad_rows(report: ImportReport) -> None:
    for row in report.bad[:BAD_ROWS_SHOWN]:
        print(f"line {row.line} {row.reason}")
    if len(report.bad) > BAD_ROWS_SHOWN:
        print(f"… and {len(report.bad) - BAD_ROWS_SHOWN:,} more")


async def _version(db: AsyncSession, project: Project, number: int | None) -> DatasetVersion:
    if number is not None:
        return await datasets.get_version(db, project, number)
    versions = await datasets.list_versions(db, project.id)
    if not versions:
        raise Conflict(f"The project {project.slug} has no dataset version yet: cut one first.")
    return versions[0]
