"""Data in: files into projects, and out of them again as a whole."""

import csv
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy.ext.asyncio import AsyncSession

from app.cli import THINGS, app
from app.cli.data import ProjectName
from app.cli.database import in_transaction
from app.cli.output import Tell, bar, say
from app.db.base import Json
from app.db.tables import Import, Project
from app.errors import Invalid, NotFound
from app.services.data.imports.formats import registry as formats
from app.services.data.imports.formats.format import Format
from app.services.data.imports.sources.source import Source
from app.services.data.storing import imports, loads, undoing, uploads
from app.services.data.storing.loads import Counts, HasBadRows, Reading
from app.services.data.storing.options import BETTER
from app.services.projects import projects
from app.settings import settings

BAD_ROWS_SHOWN = 20
data_commands = typer.Typer(help="Files in, listed, taken back; texts erased.", no_args_is_help=True)
app.add_typer(data_commands, name="data", rich_help_panel=THINGS)

SCHEMAS = ", ".join(form.name for form in formats.FORMATS)


@app.command("import", hidden=True)
@data_commands.command("import")
def import_file(
    project: ProjectName,
    file: Annotated[Path | None, typer.Argument(help="A file, or - for standard input; packed or not.")] = None,
    schema: Annotated[str | None, typer.Option(help=f"What its rows are; unset: recognised. {SCHEMAS}.")] = None,
    mapping: Annotated[
        list[str] | None, typer.Option("--map", help="FIELD=COLUMN: where a field of the schema is read from.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would come in, and write nothing.")] = False,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Import the good rows of a file with bad ones.")] = False,
    create: Annotated[bool, typer.Option("--create", help="Create the project if there is none.")] = False,
    demonstrate: Annotated[
        bool,
        typer.Option("--demonstrate", help="Let SFT learn from the chosen responses, in a project without a policy."),
    ] = False,
    choice: Annotated[
        int, typer.Option(min=1, max=3, help="Of pairs, if the file doesn't say: 1 much better, 2 better, 3 slightly.")
    ] = BETTER,
    undo: Annotated[int | None, typer.Option(min=1, help="Take the import of this number back.")] = None,
) -> None:
    """Read a file into a project, all of it or nothing. Rows that are there already are left alone."""
    if undo is not None:
        _undo(project, undo)
        return
    if file is None:
        raise Invalid("Name a file, or - for standard input.")
    options = imports.options_of({"skip_bad": skip_bad, "choice": choice, "demonstrate": demonstrate})
    folder = uploads.new_folder()
    with Source.open(file) as source:
        form, columns = _read_as(source, schema, mapping or [])
        if demonstrate and form.kind != "judgements":
            raise Invalid(f"--demonstrate is for judgements: a file of {form.kind} has no chosen responses.")
        bad_rows = settings().home / folder / uploads.BAD_ROWS
        reading = Reading(source, form, columns, options, bad_rows)
        row = {"format": form.name, "columns": columns, "options": options.model_dump(), "folder": folder}

        async def read(db: AsyncSession, onlooker: Onlooker) -> tuple[Import, Counts]:
            target = await _target(db, project, create=create)
            import_ = Import(project_id=target.id, file_name=source.called[: uploads.LONGEST_NAME], **row)
            import_.size_bytes = source.size_bytes
            if dry_run:
                import_.id = 0  # which no import has
                return import_, await loads.check(db, target, import_, reading, onlooker)
            db.add(import_)
            await db.flush()
            return import_, await loads.load(db, target, import_, reading, onlooker)

        try:
            with bar(source.called) as tell:
                import_, counts = in_transaction(lambda db: read(db, Onlooker(tell)))
        except HasBadRows as refusal:
            _tell_bad_rows(bad_rows, refusal.counts)
            raise Invalid(f"{refusal.message} Use --skip-bad to import the others.") from None
    _tell_bad_rows(bad_rows, counts)
    told = (
        f"{counts.already_there:,} were there already, {counts.duplicates:,} came twice, {counts.bad:,} can't be used."
    )
    if dry_run:
        words = f"{counts.new:,} of {counts.rows:,} rows ({form.name}) would come into {project}; {told}"
    else:
        words = f"Imported {counts.new:,} of {counts.rows:,} rows ({form.name}) into {project} as {import_.id}; {told}"
    if counts.duplicates:
        words += (
            "\nRows that say the same of the same responses count once, unless a column `annotator` tells people apart."
        )
    if counts.near_held_out:
        words += f"\n{counts.near_held_out:,} have a prompt that is held out, but for case, blanks and punctuation."
    say(words, {"import_id": import_.id or None, "format": form.name, "counts": asdict(counts)})


class Onlooker:
    """Who waits at a terminal, by which a command is ended, too."""

    def __init__(self, tell: Tell) -> None:
        self.tell = tell

    def require_wanted(self) -> None:
        return


def _read_as(source: Source, schema: str | None, mapping: list[str]) -> tuple[Format, dict[str, str]]:
    """The schema that was named, or that the file is recognised as, and the columns of its fields."""
    recognition = formats.recognise(source.sample(imports.SAMPLE_ROWS))
    if not recognition.size:
        raise Invalid("%(name)s holds no row.", name=source.called)
    if schema is None and recognition.best is None:
        raise Invalid(
            "%(name)s is of no schema that is known. Name one by --schema, its columns by --map; it has %(columns)s.",
            name=source.called,
            columns=", ".join(recognition.columns),
        )
    form = imports.format_named(schema) if schema is not None else recognition.fits[0].form
    columns: dict[str, str] = dict(form.columns(recognition.columns) or {})
    for pair in mapping:
        field, equals, column = pair.partition("=")
        if not equals:
            raise Invalid("--map is FIELD=COLUMN, such as prompt=question.")
        columns[field] = column
    return form, dict(imports.columns_of(form, recognition.columns, columns))


def _undo(slug: str, import_id: int) -> None:
    async def take_back(db: AsyncSession) -> Json:
        project = await projects.named(db, slug)
        import_ = await imports.get(db, project, import_id, for_update=True)
        await imports.require_idle(db, import_)
        return await undoing.undo(db, project, import_, Onlooker(tell))

    with bar(f"Import {import_id}") as tell:
        removed = in_transaction(take_back)
    gone = ", ".join(f"{count:,} {name}" for name, count in removed.items() if name != "prompts_kept" and count)
    print(f"Import {import_id} of {slug} is undone: {gone or 'nothing'} removed.")
    if removed["prompts_kept"]:
        print(f"{removed['prompts_kept']:,} prompts stay: something else uses them.")


async def _target(db: AsyncSession, slug: str, *, create: bool) -> Project:
    try:
        return await projects.named(db, slug)
    except NotFound as missing:
        if not create:
            raise NotFound(f"{missing} Use --create to make it.") from None
        return await projects.create(db, slug=slug, name=slug.replace("-", " ").capitalize(), owner_id=None)


def _tell_bad_rows(table: Path, counts: Counts) -> None:
    if not counts.bad:
        return
    with table.open(encoding="utf-8", newline="") as file:
        for row in islice(csv.DictReader(file), BAD_ROWS_SHOWN):
            print(f"line {row['line']} {row['reason']}")
    if counts.bad > BAD_ROWS_SHOWN:
        print(f"… and {counts.bad - BAD_ROWS_SHOWN:,} more; all of them are in {table}")
