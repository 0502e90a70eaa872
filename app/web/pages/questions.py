"""What a project asks its annotators: the form of an answer, what else is asked, guidelines, overlap, skips."""

from typing import Annotated

from fastapi import APIRouter, Form, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from app.errors import Invalid
from app.services.loop import round_settings
from app.services.loop.round_settings import settings_of
from app.services.projects import projects
from app.services.projects import question as questions
from app.services.projects.question import INSTRUCTGPT_FLAGS, Question, question_of
from app.web.locales import translated
from app.web.pages.access import Managed, ManagedProject, OwnedProject
from app.web.rendering import render
from app.web.serving.deps import Db

USUAL_SIZE = 4  # of several responses, until somebody chooses

router = APIRouter(prefix="/projects/{slug}/question", include_in_schema=False)


class QuestionForm(BaseModel):
    """The question as it is typed: names one a line, a share as per cent. An unticked box is not sent."""

    answer_type: str = "seven"
    size: int = USUAL_SIZE
    criteria: str = ""
    asks_acceptable: bool = False
    flags: str = ""
    rationale: str = "off"
    rationale_percent: float = 10
    asks_edit: bool = False
    asks_harm: bool = False
    skip_policy: str = "requeue"
    retire_after: int = 3
    fastest_words_per_minute: int = 1000
    break_minutes: int = 50
    guidelines: Annotated[str, Field(max_length=100_000)] = ""
    overlap: int = 1
    lease_minutes: int = 30
    cost_limit: Annotated[float, Field(ge=-100, le=100, allow_inf_nan=False)] = 0

    @classmethod
    def of(cls, managed: Managed) -> "QuestionForm":
        project, question = managed.project, question_of(managed.project)
        return cls(
            **question.model_dump(exclude={"size", "criteria", "flags", "rationale_share"}),
            size=question.size if question.size > 2 else USUAL_SIZE,
            criteria="\n".join(question.criteria),
            flags="\n".join(question.flags),
            rationale_percent=round(question.rationale_share * 100, 1),
            guidelines=project.guidelines,
            overlap=project.overlap,
            lease_minutes=max(1, project.lease_seconds // 60),
            cost_limit=settings_of(project).cost_limit,
        )

    def question(self) -> Question:
        """Raises Invalid. Of a pair there are two responses, whatever the number beside it says."""
        is_pairwise = self.answer_type in questions.PAIRWISE
        return questions.checked(
            {
                **self.model_dump(include=set(Question.model_fields) - {"size", "criteria", "flags"}),
                "size": 2 if is_pairwise else self.size,
                "criteria": _lines(self.criteria) if is_pairwise else [],
                "flags": _lines(self.flags),
                "rationale_share": self.rationale_percent / 100,
            }
        )


@router.get("")
async def show_question(request: Request, managed: ManagedProject) -> Response:
    """Shows owners and reviewers what annotators are asked, in a form that only owners may send."""
    return _page(request, managed, QuestionForm.of(managed))


@router.post("")
async def change_question(
    request: Request, managed: ManagedProject, project: OwnedProject, form: Annotated[QuestionForm, Form()], db: Db
) -> Response:
    """What can't be asked is said on the form, with everything that was typed still in it."""
    try:
        question = form.question()
        projects.ask(project, question, form.guidelines, overlap=form.overlap, lease_seconds=form.lease_minutes * 60)
        round_settings.limit_cost(project, form.cost_limit)
    except Invalid as error:
        return _page(request, managed, form, problem=translated(error), status_code=error.status)
    await db.flush()
    return render.redirect(f"/projects/{project.slug}/question?saved=true")


def _page(
    request: Request, managed: Managed, form: QuestionForm, *, problem: str | None = None, status_code: int = 200
) -> Response:
    return render.page(
        request,
        "questions/show.html",
        status_code=status_code,
        managed=managed,
        form=form,
        problem=problem,
        saved=request.query_params.get("saved") == "true",
        suggested_flags="\n".join(INSTRUCTGPT_FLAGS),
    )


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]
