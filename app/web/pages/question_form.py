"""What a project asks, as it is typed into a form: on the question's own page and when a project is set up."""

from typing import Annotated

from pydantic import Field

from app.db.tables import Project
from app.services.loop.settings import round_settings
from app.services.projects import projects
from app.services.projects import question as questions
from app.services.projects.question import Question, question_of
from app.web.pages.seen import SeenForm

USUAL_SIZE = 4  # of several responses, until somebody chooses


class QuestionForm(SeenForm):
    """The question as it is typed: names one a line, a share as per cent. An unticked box is not sent.

    `preview` is sent by a button that shows what annotators would see, and changes nothing.
    """

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
    preview: bool = False

    @classmethod
    def of(cls, project: Project) -> "QuestionForm":
        question = question_of(project)
        return cls(
            **question.model_dump(exclude={"size", "criteria", "flags", "rationale_share"}),
            size=question.size if question.size > 2 else USUAL_SIZE,
            criteria="\n".join(question.criteria),
            flags="\n".join(question.flags),
            rationale_percent=_percent(question.rationale_share),
            guidelines=project.guidelines,
            overlap=project.overlap,
            lease_minutes=_minutes(project.lease_seconds),
            cost_limit=round_settings.settings_of(project).cost_limit,
        ).as_shown()

    def question(self, project: Project) -> Question:
        """Raises Invalid. Of a pair there are two responses, whatever the number beside it says."""
        share = question_of(project).rationale_share
        is_pairwise = self.answer_type in questions.PAIRWISE
        return questions.checked(
            {
                **self.model_dump(include=set(Question.model_fields) - {"size", "criteria", "flags"}),
                "size": 2 if is_pairwise else self.size,
                "criteria": _lines(self.criteria),
                "flags": _lines(self.flags),
                # What a form shows rounded stays as it is until somebody types something else.
                "rationale_share": share if self.rationale_percent == _percent(share) else self.rationale_percent / 100,
            }
        )

    def apply(self, project: Project) -> None:
        """Let the project ask this from here on. Raises Invalid."""
        kept = self.lease_minutes == _minutes(project.lease_seconds)
        lease_seconds = project.lease_seconds if kept else self.lease_minutes * 60
        projects.ask(
            project, self.question(project), self.guidelines, overlap=self.overlap, lease_seconds=lease_seconds
        )
        round_settings.limit_cost(project, self.cost_limit)


def _percent(share: float) -> float:
    return round(share * 100, 1)


def _minutes(seconds: int) -> int:
    return max(1, seconds // 60)


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]
