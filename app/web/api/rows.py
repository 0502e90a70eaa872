"""One prompt with all that was made of it, one task with all that was said of it; and new prompts."""

from datetime import datetime
from typing import Annotated, Self

from fastapi import APIRouter, status
from pydantic import BaseModel, Field, model_validator

from app.db.tables.content import Split
from app.services import prompts
from app.services.browse import details
from app.services.browse.details import PromptDetail, ResponseOf, TaskDetail
from app.services.prompts import NewPrompt
from app.web.api.access import Id, ManagedProject, OwnedProject
from app.web.api.browse import JudgementListed
from app.web.api.schemas import NO_NUL, In, MessageOut, Out
from app.web.serving.deps import Db

router = APIRouter(prefix="/projects/{slug}", tags=["browse"])

MOST_PROMPTS = 100
"""That are sent at once; more come by an import, which a worker reads."""

Content = Annotated[str, Field(min_length=1, max_length=100_000, pattern=NO_NUL)]


class ResponseOut(BaseModel):
    id: int
    text: str
    source: str
    policy: int | None = Field(description="Number of the policy that wrote it.")
    served_model_id: int | None
    source_model: str | None = Field(description="Who wrote it by the account of the file that brought it.")
    created_at: datetime
    erased_at: datetime | None

    @classmethod
    def of(cls, written: ResponseOf) -> Self:
        response = written.completion
        fields = {name: getattr(response, name) for name in cls.model_fields if name != "policy"}
        return cls(policy=written.policy, **fields)


class DemonstrationOut(Out):
    id: int
    text: str
    source: str
    created_at: datetime
    erased_at: datetime | None


class PromptOut(Out):
    id: int
    messages: list[MessageOut]
    split: Split
    topic: str | None
    tags: list[str]
    source: str
    excluded: bool
    created_at: datetime
    erased_at: datetime | None


class PromptDetailOut(PromptOut):
    """At most 200 of each, the newest."""

    responses: list[ResponseOut]
    tasks: list[int] = Field(description="Ids.")
    demonstrations: list[DemonstrationOut]

    @classmethod
    def of_detail(cls, detail: PromptDetail) -> Self:
        return cls(
            **PromptOut.model_validate(detail.prompt).model_dump(),
            responses=[ResponseOut.of(one) for one in detail.responses],
            tasks=[task.id for task in detail.tasks],
            demonstrations=[DemonstrationOut.model_validate(one) for one in detail.demonstrations],
        )


class TaskJudgementOut(BaseModel):
    judgement: JudgementListed
    held_by: list[int] = Field(description="Numbers of the dataset versions that hold it.")


class TaskDetailOut(Out):
    id: int
    prompt: PromptOut
    responses: list[ResponseOut] = Field(description="By position, as stored.")
    state: str
    purpose: str
    copy_of: int | None
    judged: int
    quota: int
    skipped: int
    division: float | None
    priority: float
    round: int | None
    given_to: int | None = Field(description="Id of the person that it is kept for.")
    judgements: list[TaskJudgementOut]
    created_at: datetime
    erased_at: datetime | None

    @classmethod
    def of_detail(cls, detail: TaskDetail) -> Self:
        task = detail.task
        plain = (
            *("id", "state", "purpose", "copy_of", "judged", "quota", "skipped"),
            *("division", "priority", "created_at", "erased_at"),
        )
        return cls(
            prompt=PromptOut.model_validate(detail.prompt),
            responses=[ResponseOut.of(one) for one in detail.responses],
            round=detail.round,
            given_to=detail.given_to.id if detail.given_to else None,
            judgements=[
                TaskJudgementOut(
                    judgement=JudgementListed(
                        annotator=name,
                        **{
                            field: getattr(said, field)
                            for field in JudgementListed.model_fields
                            if field != "annotator"
                        },
                    ),
                    held_by=list(detail.held_by.get(said.id, ())),
                )
                for said, name in detail.judgements
            ],
            **{name: getattr(task, name) for name in plain},
        )


class MessageIn(In):
    role: Annotated[str, Field(pattern="^(system|developer|user|assistant|tool)$")]
    content: Content


class PromptIn(In):
    messages: Annotated[list[MessageIn], Field(min_length=1, max_length=200, description="The last one is answered.")]
    topic: Annotated[str | None, Field(max_length=200, pattern=NO_NUL)] = None
    split: Split | None = Field(None, description="Null: drawn from the text, the same in every project.")

    @model_validator(mode="after")
    def _asks(self) -> Self:
        if self.messages[-1].role == "assistant":
            raise ValueError("the last message must be one that the assistant answers")
        return self

    def new(self) -> NewPrompt:
        """What the service takes."""
        messages = tuple((message.role, message.content) for message in self.messages)
        return NewPrompt(messages, source="api", topic=self.topic, split=self.split)


class PromptsIn(In):
    prompts: Annotated[list[PromptIn], Field(min_length=1, max_length=MOST_PROMPTS)]


class PromptsOut(BaseModel):
    ids: list[int] = Field(description="In the order of what was sent; those of prompts that were there already, too.")


@router.post("/prompts", status_code=status.HTTP_201_CREATED, summary="Add prompts")
async def add_prompts(project: OwnedProject, body: PromptsIn, db: Db) -> PromptsOut:
    """Up to 100 at once; one that the project has already stays as it is. More come by an import. Tags, split and
    whether they are kept out of datasets are changed by `POST …/changes`.
    """
    new = [prompt.new() for prompt in body.prompts]
    known = await prompts.put(db, project, new)
    return PromptsOut(ids=[known[prompt.digest] for prompt in new])


@router.get("/prompts/{prompt_id}", summary="Read a prompt")
async def read_prompt(project: ManagedProject, prompt_id: Id, db: Db) -> PromptDetailOut:
    """With its responses, tasks and demonstrations; 403 for annotators."""
    return PromptDetailOut.of_detail(await details.prompt_of(db, project, prompt_id))


@router.get("/tasks/{task_id}", summary="Read a task")
async def read_task(project: ManagedProject, task_id: Id, db: Db) -> TaskDetailOut:
    """With everything that was said of it, in the stored order of its responses; 403 for annotators."""
    return TaskDetailOut.of_detail(await details.task_of(db, project, task_id))
