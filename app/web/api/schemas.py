"""What the API takes and gives. Names are the columns' names; nothing here is a secret or a path on the server."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from app.db.tables import Judgement
from app.db.tables.judging import AnswerType
from app.db.tables.lineage import DatasetKind, ModelKind
from app.db.tables.runs import RoundTrigger
from app.services.data.exports.schema import ColumnType
from app.services.data.notes import LONGEST_NOTE, LONGEST_TAG, MOST_TAGS
from app.services.judging.answers import Answer
from app.services.judging.assignments import TaskView
from app.services.loop.stages.registry import Startable
from app.services.reports.counted import Counted
from app.web.serving.export_query import ExportQuery

# PostgreSQL's text holds every character but this one.
NO_NUL = r"^[^\x00]*$"
SIDES = {"A": 1, "tie": 0, "B": -1}
NAMES_OF_SIDES = {side: name for name, side in SIDES.items()}
Text = Annotated[str, Field(max_length=2000, pattern=NO_NUL)]


class Out(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class In(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Problem(BaseModel):
    """RFC 9457 problem details: the body of every error, as `application/problem+json`."""

    type: str
    title: str
    status: int
    detail: str
    request_id: str = Field(description="Quote it when you ask somebody about this error; it is in the server's log.")
    errors: list[dict[str, Any]] | None = Field(None, description="For 422: which field, and why.")


class ProjectOut(Out):
    slug: str
    name: str
    description: str
    licence: str = Field(description="Of its datasets.")
    created_at: datetime
    archived_at: datetime | None
    setup_step: str | None = Field(description="Where its owner goes on setting it up; null once that is done.")


class ProgressOut(Out):
    today: int = Field(description="Your judgements since midnight, UTC.")
    total: int
    open_for_me: int = Field(
        description="Tasks that you can still judge, at least; those leased to you are among them. 1001 for any number "
        "over a thousand."
    )


class CountsOut(Out):
    prompts_by_split: dict[str, int]
    demonstrations: int
    completions: int
    tasks_open: int
    tasks_closed: int
    judgements: int
    judgements_since_snapshot: int = Field(description="Current judgements that no dataset version holds yet.")
    annotators: int
    counted_at: datetime | None = Field(
        description="When a worker counted them, as it does in large projects; null where they hold now."
    )
    are_whole: bool = Field(
        description="False while a large project is counted for the first time: these are the least that there is."
    )

    @classmethod
    def of(cls, counted: Counted) -> Self:
        latest = counted.latest
        written_at = latest.written_at if latest else None
        return cls(**vars(counted.overview), counted_at=written_at, are_whole=latest is None or written_at is not None)


class ProjectDetail(ProjectOut):
    role: Literal["owner", "reviewer", "annotator"] = Field(description="What you are in it; admins are owners.")
    guidelines: str
    progress: ProgressOut
    counts: CountsOut | None = Field(description="Null for annotators.")


class MessageOut(Out):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str


class PaneOut(Out):
    label: str = Field(description="A, B, … in the order in which you are meant to read them.")
    text: str


class QuestionOut(Out):
    answer_type: AnswerType = Field(
        description="A choice on a scale of seven, six or eight segments from A to B, a ranking, or the best one."
    )
    criteria: list[str]
    flags: list[str]
    asks_acceptable: bool
    asks_edit: bool
    asks_harm: bool = Field(description="Whether an answer is refused that doesn't say `safe` and `less_harmful`.")
    asks_rationale: bool = Field(description="Whether an answer without a rationale is refused.")

    @classmethod
    def of(cls, task: TaskView) -> Self:
        question = task.question
        return cls(
            answer_type=task.answer_type,
            criteria=list(question.criteria_of(len(task.panes))),
            flags=list(question.flags),
            asks_acceptable=question.asks_acceptable,
            asks_edit=question.asks_edit,
            asks_harm=task.asks_harm,
            asks_rationale=task.asks_rationale,
        )


class QualificationOut(Out):
    number: int = Field(description="Of the attempt's tasks, the one that this is, from 1.")
    size: int
    needed: int = Field(description="So many answers have to be right.")


class TaskOut(Out):
    assignment_id: int
    project: str
    prompt: list[MessageOut]
    panes: list[PaneOut]
    question: QuestionOut
    qualification: QualificationOut | None = Field(
        description="Until you have passed the project's round, if it has one."
    )
    lease_expires_at: datetime

    @classmethod
    def of(cls, task: TaskView) -> Self:
        practice = task.practice
        return cls(
            assignment_id=task.assignment_id,
            project=task.project,
            prompt=[MessageOut.model_validate(message) for message in task.messages],
            panes=[PaneOut(label=label, text=text) for label, text in task.panes],
            question=QuestionOut.of(task),
            qualification=practice
            and QualificationOut(number=practice.answered + 1, size=practice.size, needed=practice.needed),
            lease_expires_at=task.lease_expires_at,
        )


class JudgementIn(In):
    """What is said of a task, in the order of its panes."""

    answer_type: AnswerType = "seven"
    choice: Annotated[
        int | None,
        Field(ge=1, le=8, description="The segment of the scale, from 1 = A much better to its last = B much better."),
    ] = None
    ranks: Annotated[
        list[Annotated[int, Field(ge=1, le=9)] | None] | None,
        Field(max_length=9, description="1 is best, equal ranks are ties, null is unranked, which is not last."),
    ] = None
    criteria: dict[str, Literal["A", "tie", "B"]] = {}
    acceptable: Annotated[list[bool | None] | None, Field(max_length=9)] = None
    flags: Annotated[list[list[Text]], Field(max_length=9, description="The flags of each pane.")] = []
    safe: Annotated[
        list[bool] | None, Field(min_length=2, max_length=2, description="Of A and of B, where the task asks.")
    ] = None
    less_harmful: Annotated[
        Literal["A", "tie", "B"] | None,
        Field(description="May be left out where one response is safe and the other isn't: then it is the safe one."),
    ] = None
    rationale: Annotated[str, Field(max_length=10_000, pattern=NO_NUL)] = ""
    response: Annotated[str, Field(max_length=100_000, pattern=NO_NUL, description="A better response.")] = ""
    response_of: Annotated[int | None, Field(ge=0, le=8, description="The pane that it was made of, from 0.")] = None

    replaces: Annotated[
        int | None,
        Field(
            ge=0, lt=2**63, description="The judgement that you mean to change, 0 for none: 409 if there is another."
        ),
    ] = None
    first_action_ms: Annotated[int | None, Field(ge=0, le=86_400_000)] = None
    active_ms: Annotated[int | None, Field(ge=0, le=86_400_000)] = None

    def answer(self) -> Answer:
        return Answer(
            choice=self.choice,
            answer_type=self.answer_type,
            ranks=None if self.ranks is None else tuple(self.ranks),
            criteria={name: SIDES[side] for name, side in self.criteria.items()},
            acceptable=None if self.acceptable is None else tuple(self.acceptable),
            flags=tuple(tuple(names) for names in self.flags),
            safe=None if self.safe is None else tuple(self.safe),
            less_harmful=None if self.less_harmful is None else SIDES[self.less_harmful],
            rationale=self.rationale,
            response=self.response,
            response_of=self.response_of,
        )


class VerdictOut(Out):
    is_right: bool
    better: str | None = Field(description="The label of the pane that the project says is better; null: neither is.")
    explanation: str = Field(description="Markdown.")


class JudgementOut(Out):
    id: int
    assignment_id: int
    answer_type: AnswerType
    choice: int | None
    ranks: list[int | None] | None = Field(description="In the order of the panes.")
    submitted_at: datetime
    verdict: VerdictOut | None = Field(
        description="What the project says of it: in its qualification round, and of gold tasks where people are told."
    )

    @classmethod
    def of(cls, judgement: Judgement, answered: TaskView | None) -> Self:
        """`answered`: the task as it is seen after the answer, where the project says something of that."""
        said = Answer.of(judgement)
        assert judgement.assignment_id is not None
        return cls(
            id=judgement.id,
            assignment_id=judgement.assignment_id,
            answer_type=said.answer_type,
            choice=said.choice,
            ranks=None if said.ranks is None else list(said.ranks),
            submitted_at=judgement.submitted_at,
            verdict=answered
            and answered.verdict
            and VerdictOut(
                is_right=answered.verdict.is_right,
                better=answered.better_pane,
                explanation=answered.verdict.explanation,
            ),
        )


class AnswerOut(BaseModel):
    """What was said, in the order of the panes, by the fields of what is sent."""

    answer_type: AnswerType
    choice: int | None
    ranks: list[int | None] | None
    criteria: dict[str, Literal["A", "tie", "B"]]
    acceptable: list[bool | None] | None
    flags: list[list[str]]
    safe: list[bool | None] | None
    less_harmful: Literal["A", "tie", "B"] | None
    rationale: str
    response: str
    response_of: int | None

    @classmethod
    def of(cls, said: Answer) -> Self:
        fields = {field: getattr(said, field) for field in cls.model_fields}
        named = {name: NAMES_OF_SIDES[side] for name, side in said.criteria.items()}
        harm = None if said.less_harmful is None else NAMES_OF_SIDES[said.less_harmful]
        return cls(**fields | {"criteria": named, "less_harmful": harm})


class AssignmentOut(TaskOut):
    state: str = Field(description="`leased` until it is `submitted`, skipped or expired.")
    said: AnswerOut | None = Field(description="Your current answer.")
    editable: bool = Field(description="Whether another answer would be taken.")

    @classmethod
    def of(cls, task: TaskView) -> Self:
        return cls(
            **TaskOut.of(task).model_dump(),
            state=task.state,
            said=task.answer and AnswerOut.of(task.answer),
            editable=task.editable,
        )


class OwnJudgementOut(BaseModel):
    id: int
    assignment_id: int
    asked: str = Field(description="The beginning of what was asked; empty for what was erased.")
    said: AnswerOut
    submitted_at: datetime
    editable: bool


class SkipIn(In):
    reason: Text = ""


class DatasetOut(Out):
    number: int
    kind: Literal["preferences", "demonstrations"]
    sha256: str
    row_count: int
    counts: dict[str, Any]
    prefers_verdicts: bool | None = Field(
        description="Where a reviewer had decided, it holds the verdict alone; null: it was cut without the choice."
    )
    believed: dict[str, Any] | None = Field(
        description="Of soft labels, how far each annotator was believed, from −1 (the opposite) to 1; null: it holds"
        " what was said."
    )
    machines: list[dict[str, Any]] = Field(
        description="`name` and `weight` of the judges that are models whose judgements it holds."
    )
    created_at: datetime
    erased_from_at: datetime | None = Field(description="When something in it was erased: it is refused since.")
    file_removed_at: datetime | None
    note: str
    tags: list[str]


class NotesIn(In):
    note: Annotated[str, Field(max_length=LONGEST_NOTE, pattern=NO_NUL)] | None = None
    tags: list[Annotated[str, Field(max_length=LONGEST_TAG, pattern=NO_NUL)]] | None = Field(
        None, max_length=MOST_TAGS, description="All of them."
    )


class SummaryOut(Out):
    added: int = Field(description="Judgements that the later one holds and the earlier one doesn't.")
    gone: int = Field(description="Judgements that the earlier one holds and the later one doesn't.")
    moved: int = Field(description="Judgements in both whose prompt moved to another split.")
    weighed: int = Field(description="Judgements in both whose soft label or weight is another.")
    changed: int = Field(description="Judgements in both that moved or weigh otherwise.")
    same: int
    unknown: int = Field(description="In both, but one was cut before splits and weights were kept.")


class ComparisonOut(BaseModel):
    since: int | None = Field(description="Number of the earlier version; null: there is none, and everything is new.")
    number: int
    judgements: SummaryOut
    agreement_since: dict[str, Any] | None = Field(
        description="`said_the_same`: how likely two people say the same of two responses that both judged, and"
        " `pairs_judged_by_several`, of how many that is; null: not known."
    )
    agreement: dict[str, Any] | None
    counts_since: dict[str, Any] | None
    counts: dict[str, Any]


class DifferenceOut(Out):
    judgement_id: int
    task_id: int
    prompt: str = Field(description="What its last turn says.")
    kind: str
    reasons: list[str] = Field(
        description="Of `added`: new, let_in. Of `changed`: moved, weighed. Of `gone`, as it stands now: replaced,"
        " erased, held_out, excluded, decided (by a reviewer), counted_otherwise."
    )
    split_before: str | None
    split_after: str | None
    learnt_before: list[list[float]] | None = Field(
        description="For each two responses their positions, how likely the first is better, and how much that weighs;"
        " null: as it was said."
    )
    learnt_after: list[list[float]] | None


class NewsOut(BaseModel):
    rows: list[dict[str, Any]] = Field(description="Judgements that are new or changed, as they count now.")
    gone: list[int] = Field(description="Judgements that count no more, or never did.")
    cursor: str = Field(description="Send it as `after` for what comes next.")
    is_up_to_date: bool = Field(description="There is nothing else at the moment.")


class CutIn(In):
    kind: DatasetKind = Field(
        "preferences",
        description="`demonstrations`: what training prompts have of them, without training on them; the other choices"
        " are of preferences.",
    )
    prefers_verdicts: bool | None = Field(
        None,
        description="Where a reviewer has decided, the verdict alone counts; false: no verdict does; null: as the"
        " project has it.",
    )
    takes_machines: bool | None = Field(
        None,
        description="What calibrated judges that are models said is taken in, by a weight below a person's; null: as"
        " the project has it.",
    )


class DatasetExportIn(ExportQuery):
    """What a worker is to write; fields as in the address of an export."""

    model_config = ConfigDict(extra="forbid")


class ExportColumnOut(Out):
    name: str
    type: ColumnType


class ExportPreviewOut(Out):
    columns: list[ExportColumnOut]
    rows: list[dict[str, Any]]


class RunOut(Out):
    id: int
    stage: str
    state: Literal["queued", "running", "succeeded", "failed", "cancelled"]
    round_id: int | None
    round_step: str | None
    phase: str | None
    step: int
    total_steps: int
    attempt: int
    result: dict[str, Any] | None
    error: str | None
    queued_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class RunIn(In):
    stage: Startable


class LogOut(BaseModel):
    text: str


class GateOut(Out):
    id: int
    run_id: int | None
    model_version_id: int
    passed: bool
    rules: list[dict[str, Any]]
    created_at: datetime


class ImportOut(Out):
    id: int
    state: Literal["uploaded", "checked", "imported", "undone"] = Field(
        description="What was last done with all of it. Whether something is being done now the run says."
    )
    file_name: str
    size_bytes: int | None
    sha256: str | None
    format: str | None
    columns: dict[str, str] = Field(description="The column that each field of the format is read from.")
    options: dict[str, Any]
    counts: dict[str, int] = Field(description="Rows by what they are, and what they made; empty before a check.")
    run_id: int | None = Field(description="The run that is at it, or was last.")
    created_at: datetime
    imported_at: datetime | None
    undone_at: datetime | None


class ImportIn(In):
    format: Annotated[str, Field(max_length=60, pattern=NO_NUL)] | None = Field(
        None, description="What the rows are; null: as it was recognised or chosen before."
    )
    columns: dict[Text, Text] | None = Field(None, description="Column by field; null: found by their names.")
    choice: Literal[1, 2, 3] = Field(
        2, description="Of pairs where the file doesn't say: 1 much better, 2 better, 3 slightly better."
    )
    demonstrate: bool = Field(False, description="Make demonstrations of the better responses, too.")


class LoadIn(In):
    skip_bad: bool = Field(False, description="Leave out the rows that can't be used.")


class MetricOut(Out):
    phase: str
    step: int
    figures: dict[str, float | None]
    recorded_at: datetime


class RoundOut(Out):
    id: int
    number: int
    status: Literal["active", "finished", "stopped", "cancelled", "failed"]
    step: str
    label_target: int
    dataset_version_id: int | None
    reward_id: int | None
    cost_id: int | None
    policy_id: int | None
    reason: str | None
    overridden_step: str | None = Field(description="The gate from whose refusal an owner went on.")
    overridden_because: str | None
    trigger: RoundTrigger | None = Field(description="What started it; null for rounds from before that was kept.")
    trigger_figure: float | None = Field(description="What was seen then, where `trigger_bound` was asked for.")
    trigger_bound: float | None
    created_at: datetime
    finished_at: datetime | None


class RoundIn(In):
    label_target: Annotated[
        int | None, Field(ge=0, le=10_000_000, description="New judgements to wait for; null: the project's own.")
    ] = None


class LabelAdviceOut(Out):
    enough: Annotated[int | None, Field(description="Judgements in all; null where nobody can say.")]
    sentence: str


class ModelOut(Out):
    id: int
    kind: ModelKind
    number: int
    state: Literal["candidate", "promoted", "archived"]
    run_id: int | None
    parent_id: int | None
    reference_id: int | None
    reward_id: int | None
    cost_id: int | None
    dataset_version_id: int | None
    manifest_sha256: str
    figures: dict[str, Any]
    created_at: datetime
    promoted_at: datetime | None


class ModelIn(In):
    location: Annotated[str, Field(min_length=1, max_length=4096, pattern=NO_NUL)] = Field(
        description="A directory of the server, or owner/name of the Hugging Face hub if it was fetched before."
    )


class ModelCardOut(Out):
    location: str
    model_type: str
    parameters: int
    size_bytes: int
    dtypes: tuple[str, ...]
    context: int | None
    licence: str | None
    has_chat_template: bool


class NeedOut(Out):
    stage: str
    with_adapters: bool
    memory_bytes: int = Field(description="At its highest, by formula, with the stage's default settings.")
    step_seconds: float = Field(description="Of an optimiser step, an iteration or a batch; rough.")
    fits: bool
    changes: dict[str, Any] | None = Field(
        description="The nearest settings with which it would fit; empty where it does, null where none would."
    )
    changed_bytes: int = Field(description="What it would take with those.")


class CheckedModelOut(Out):
    card: ModelCardOut
    needs: list[NeedOut]
    machine_memory_bytes: int


class PromoteIn(In):
    reason: Text = ""


class RollBackIn(PromoteIn):
    kind: Literal["policy", "reward"] = "policy"
