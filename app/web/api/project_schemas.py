"""What programs send of a project as a whole."""

from typing import Annotated, Any

from pydantic import Field

from app.db.tables import Project
from app.services.projects import question as questions
from app.services.projects.question import Question, question_of
from app.services.projects.templates import TEMPLATES
from app.web.api.schemas import NO_NUL, In, Out, ProjectOut, RunOut

Slug = Annotated[str, Field(max_length=80, description="The short name in addresses; empty: made from the name.")]
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=NO_NUL)]
Description = Annotated[str, Field(max_length=10_000, pattern=NO_NUL)]
TemplateName = Annotated[str, Field(description=f"What it begins with: {', '.join(TEMPLATES)}.")]


class ProjectIn(In):
    name: Name
    template: TemplateName = next(iter(TEMPLATES))
    slug: Slug = ""
    description: Description = ""


class CopyIn(In):
    name: Name
    slug: Slug = ""
    with_prompts: bool = False


class ExportIn(In):
    with_models: bool = Field(False, description="With the files of its models.")
    with_people: bool = Field(True, description="With names and e-mail addresses; else people are numbered.")


class ProjectFileIn(In):
    name: Annotated[str, Field(max_length=200, pattern=NO_NUL, description="Empty: as in the file.")] = ""
    slug: Slug = ""


class ProjectFileOut(Out):
    id: int
    file_name: str
    size_bytes: int
    name: str
    slug: str
    version: str = Field(description="Of the Plumbline that wrote it; empty for an old one.")
    with_models: bool
    with_people: bool
    takes_model: bool = Field(description="Whether policies can start here from the model that they started from.")
    rows: dict[str, int] = Field(description="How many, by table.")


class MadeProjectOut(Out):
    project: ProjectOut
    run: RunOut = Field(description="Fills the project; read it from there until it is over.")


class ProjectChange(In):
    name: Name | None = None
    description: Description | None = None
    licence: Annotated[
        str | None, Field(max_length=60, description="Of its datasets, as the Hub calls it: `cc-by-4.0`.")
    ] = None
    question: dict[str, Any] | None = Field(
        None, description="`answer_type`, `size`, `criteria`, `flags` and what else differs from the defaults."
    )
    guidelines: Annotated[str | None, Field(max_length=100_000, pattern=NO_NUL)] = None
    overlap: Annotated[int | None, Field(ge=1, le=100, description="People who judge each new task.")] = None
    lease_seconds: Annotated[int | None, Field(ge=60, le=604_800)] = None

    policy_source: Annotated[
        str | None,
        Field(
            max_length=4096,
            description="A directory, or owner/name of the hub; null: policies are trained from nothing.",
        ),
    ] = None

    @property
    def asks_anything(self) -> bool:
        """Whether something is given that annotators would notice."""
        return bool({"question", "guidelines", "overlap", "lease_seconds"} & self.model_fields_set)

    def question_of(self, project: Project) -> Question:
        """What the project is to ask. Raises Invalid."""
        return question_of(project) if self.question is None else questions.checked(self.question)
