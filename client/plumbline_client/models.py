"""What the API takes and what it answers.

Made by `make client` from the API's OpenAPI document: change that, not this."""

# ruff: noqa: E501, RUF012
from __future__ import annotations

from datetime import date, datetime
from typing import Any, Literal

from pydantic import Field

from plumbline_client import values


class Account(values.Answer):
    id: int
    name: str
    email: str | None
    is_admin: bool
    is_simulated: bool
    created_at: datetime
    disabled_at: datetime | None


class AccountIn(values.Body):
    is_admin: bool | None = None
    """Whether the person runs the site."""
    disabled: bool | None = None
    """True: shut out at once; sessions, tokens and links end for good."""


class AddIn(values.Body):
    person: str
    """Name or e-mail address of an account."""
    role: Literal["annotator", "owner", "reviewer"] = "annotator"


class Agreement(values.Answer):
    """Rows as the figures `agreement`, `agreement-by-pair` and `divided-tasks` have them."""

    as_of: datetime | None
    """The moment that the rows tell of; null before there are any."""
    is_awaited: bool
    """A newer state is being computed: ask again."""
    problem: str | None
    """Why there is no newer state."""
    coefficients: list[dict[str, Any]]
    """`low` and `high` bound the interval of 95 %."""
    pairs: list[dict[str, Any]]
    tasks: list[dict[str, Any]]
    """The most divided first."""


class Answer(values.Answer):
    """What was said, in the order of the panes, by the fields of what is sent."""

    answer_type: Literal["best", "eight", "ranking", "seven", "six"] | str
    choice: int | None
    ranks: list[int | None] | None
    criteria: dict[str, Literal["A", "B", "tie"] | str]
    acceptable: list[bool | None] | None
    flags: list[list[str]]
    safe: list[bool | None] | None
    less_harmful: Literal["A", "B", "tie"] | str | None
    rationale: str
    response: str
    response_of: int | None


class AskIn(values.Body):
    prompts: int | None = None
    """So many prompts are answered; null: as many as by a policy."""
    compared: list[str] | None = None
    """Writers, as `GET …/writers` lists them; one alone: its responses with each other."""


class Assignment(values.Answer):
    assignment_id: int
    project: str
    prompt: list[Message]
    panes: list[Pane]
    question: Question
    qualification: Qualification | None
    """Until you have passed the project's round, if it has one."""
    lease_expires_at: datetime
    state: str
    """`leased` until it is `submitted`, skipped or expired."""
    said: Answer | None
    """Your current answer."""
    editable: bool
    """Whether another answer would be taken."""


class Audit(values.Answer):
    id: int
    at: datetime
    actor_id: int | None
    """Who; null for the command line, the worker and the database itself."""
    door: Literal["api", "command", "database", "page", "worker"] | str
    request_id: str | None
    """The id that the server's log and the error pages have, too."""
    project_id: int | None
    kind: str
    """The table whose row changed, or what was done: `export`, `sign_in`."""
    subject: str
    """The key of the row."""
    action: Literal["delete", "done", "insert", "update"] | str
    before: dict[str, Any] | None
    """The columns that changed, as they were; “…” for a secret."""
    after: dict[str, Any] | None


class Backup(values.Answer):
    id: int
    place: str
    name: str | None
    """Null for one that isn't whole."""
    began_at: datetime
    ended_at: datetime | None
    """Null while it is under way."""
    size_bytes: int | None
    new_bytes: int | None
    """Those of them that the place did not hold before."""
    lacking: int
    """Files that were missing or damaged already."""
    problem: str | None


class BackupStanding(values.Answer):
    place: str | None
    """Where backups are scheduled to; null where nobody has."""
    last_whole_at: datetime | None
    age_seconds: int | None
    """Of the last whole one."""
    is_late: bool


class BrowseChangeIn(values.Body):
    change: Literal[
        "exclude", "give", "include", "priority", "put_back", "quota", "retire", "share", "split", "tag", "untag"
    ]
    ids: list[int] = []
    matching: dict[str, str | int] | None = None
    """Instead of ids: all rows of the list (of tasks, or of prompts) that match these filters of it; {} for all there are. 200 or more are changed by a run, some at a time."""
    value: str = ""
    """The tag, the split, the number or the person's id, where the change takes one."""


class Calibration(values.Answer):
    """What is known of a judge.

    `shared` are pairs whose majority of people took a side and that it answered; those that the head was sure of are
    none of them. `agreement`: of those on which it took a side, where that was people's. `log_loss`, in nats, is of
    its answer on the shared pairs after a temperature that the others fit, beside ln 2 for a coin; `temperature` is
    that of all, None where it is no better than a coin. `flips`: of the pairs it answered, where it named the same
    side in both orders; `first_side`: of the replies that took one, those for what was shown first.
    `weight` is what its judgements count in training, beside 1 for a person's.
    """

    answered: int
    abstained: int
    ties: int
    shared: int
    agreement: Share | None
    flips: Share | None
    first_side: Share | None
    temperature: float | None
    log_loss: float | None
    weight: float
    is_calibrated: bool
    tokens: int


class Change(values.Answer):
    change_id: int | None
    """To undo it by; null when nothing was changed."""
    changed: int
    left: dict[str, str]
    """Rows that could not be changed, and why."""
    run: Run | None = None
    """That does it, where it takes long; nothing is changed yet."""


class CheckedModel(values.Answer):
    card: ModelCard
    needs: list[Need]
    machine_memory_bytes: int


class Checks(values.Answer):
    qualification_size: int
    """Tasks of the qualification round; 0: everybody works at once."""
    qualification_percent: int
    """So many of them have to be right."""
    gold_percent: float
    """Of the tasks that people are given."""
    tells_gold: bool
    """Gold tasks are explained after the answer."""
    repeat_percent: float
    """Own tasks that are asked again, of those that people are given."""


class ChecksIn(values.Body):
    qualification_size: int | None = None
    qualification_percent: int | None = None
    gold_percent: float | None = None
    tells_gold: bool | None = None
    repeat_percent: float | None = None


class Column(values.Answer):
    name: str
    title: str
    form: (
        Literal[
            "count", "day", "hours", "minutes", "moment", "number", "person", "share", "task", "text", "word", "yes"
        ]
        | str
    )
    """`person`: an id, beside which rows have the name under `person`."""


class Conduct(values.Answer):
    judgements: int
    checked: int
    """Answers to gold tasks."""
    right: int
    """As many of them are what the project says."""
    repeated: int
    """Own tasks that were asked again."""
    same: int
    """As many of them got the same side again."""
    sided: int
    """Choices between A and B."""
    first: int
    """As many of them fell on A."""
    hurried: int
    """Answers that came faster than reading and were confirmed."""
    active_ms: float | None
    """Median time with the page in front and in use."""


class CopyIn(values.Body):
    name: str
    slug: str = ""
    """The short name in addresses; empty: made from the name."""
    with_prompts: bool = False


class Count(values.Answer):
    tasks: int


class Counts(values.Answer):
    prompts_by_split: dict[str, int]
    demonstrations: int
    completions: int
    tasks_open: int
    tasks_closed: int
    judgements: int
    judgements_since_snapshot: int
    """Current judgements that no dataset version holds yet."""
    annotators: int
    counted_at: datetime | None
    """When a worker counted them, as it does in large projects; null where they hold now."""
    are_whole: bool
    """False while a large project is counted for the first time: these are the least that there is."""


class CutIn(values.Body):
    kind: Literal["demonstrations", "preferences"] = "preferences"
    """`demonstrations`: what training prompts have of them, without training on them; the other choices are of preferences."""
    prefers_verdicts: bool | None = None
    """Where a reviewer has decided, the verdict alone counts; false: no verdict does; null: as the project has it."""
    takes_machines: bool | None = None
    """What calibrated judges that are models said is taken in, by a weight below a person's; null: as the project has it."""


class Dataset(values.Answer):
    number: int
    kind: Literal["demonstrations", "preferences"] | str
    sha256: str
    row_count: int
    counts: dict[str, Any]
    prefers_verdicts: bool | None
    """Where a reviewer had decided, it holds the verdict alone; null: it was cut without the choice."""
    believed: dict[str, Any] | None
    """Of soft labels, how far each annotator was believed, from −1 (the opposite) to 1; null: it holds what was said."""
    machines: list[dict[str, Any]]
    """`name` and `weight` of the judges that are models whose judgements it holds."""
    created_at: datetime
    erased_from_at: datetime | None
    """When something in it was erased: it is refused since."""
    file_removed_at: datetime | None
    note: str
    tags: list[str]


class DatasetExportIn(values.Body):
    """What a worker is to write; fields as in the address of an export."""

    split: Literal["train", "validation"] | None = None
    round: int | None = None
    """Number of the round whose tasks were judged."""
    people: str | None = None
    """Pseudonyms, names or e-mail addresses of who judged, with commas between them."""
    agreement: Literal["agreed", "divided"] | None = None
    """Of tasks that two people judged or more: whether any two said different things."""
    least_agreement: float | None = None
    """Of tasks that two people judged or more: the share of all two people, at least, who agree."""
    tag: str | None = None
    """Of the prompt."""
    topic: str | None = None
    """Of the prompt."""
    flag: str | None = None
    """Said of one of the responses."""
    flagged: Literal["no", "yes"] | None = None
    """Any flag was said of a response."""
    since: date | None = None
    """Judged from this day on, UTC."""
    until: date | None = None
    """Judged up to and with this day, UTC."""
    schema_: str | None = Field(None, alias="schema")
    """Of preferences: One of preference, preference-text, preference-margin, unpaired, prompt-only, openrlhf, hh-rlhf, helpsteer3, arena, rankings, criteria, harmlessness, raw, judgements, plumbline. Of demonstrations: One of prompt-completion, messages, prompt-only."""
    format: Literal["csv", "jsonl", "parquet"] = "jsonl"
    votes: Literal["each", "majority", "posterior", "soft"] = "each"
    """What becomes of several people's votes on one pair: `each` is a row; else they are one row, of the side that most took (`majority`), with the share that took it (`soft`), or with what the annotator model makes of them (`posterior`)."""
    files: Literal["one", "splits"] = "one"
    """All rows in one file, or a zip with a file for each split."""
    kind: Literal["demonstrations", "preferences"] = "preferences"
    """Versions of each kind are numbered by themselves."""
    raw: bool = False
    """The same as the schema `raw`."""


class Day(values.Answer):
    day: date
    judgements: int
    active_ms: int


class Delivery(values.Answer):
    id: int
    message_id: str
    """The header `webhook-id`, the same at every try."""
    kind: (
        Literal[
            "alarm.raised",
            "dataset_version.created",
            "gate.decided",
            "judgement.created",
            "judgements.created",
            "model.promoted",
            "model.rolled_back",
            "round.ended",
            "round.started",
            "run.ended",
            "webhook.test",
        ]
        | str
    )
    about: dict[str, Any]
    """`data` of the message, without `project` and `url`."""
    state: Literal["delivered", "failed", "gathering", "waiting"] | str
    happened_at: datetime
    due_at: datetime
    """Of one that waits: when it is tried next."""
    attempt: int
    tries: list[Try]
    """The last 20."""
    ended_at: datetime | None


class Demonstration(values.Answer):
    id: int
    text: str
    source: str
    created_at: datetime
    erased_at: datetime | None


class DemonstrationListed(values.Answer):
    id: int
    prompt_id: int
    text: str
    """Its beginning."""
    source: str
    author: str | None
    created_at: datetime
    erased_at: datetime | None
    """When its text was erased, for good; null: it was not."""


class Difference(values.Answer):
    judgement_id: int
    task_id: int
    prompt: str
    """What its last turn says."""
    kind: str
    reasons: list[str]
    """Of `added`: new, let_in. Of `changed`: moved, weighed. Of `gone`, as it stands now: replaced, erased, held_out, excluded, decided (by a reviewer), counted_otherwise."""
    split_before: str | None
    split_after: str | None
    learnt_before: list[list[float]] | None
    """For each two responses their positions, how likely the first is better, and how much that weighs; null: as it was said."""
    learnt_after: list[list[float]] | None


class DirectoryGroup(values.Answer):
    id: int
    name: str
    people: int
    """How many are in it: who, `GET …/people` lists."""
    projects: list[Grant]


class Erasure(values.Answer):
    """What is touched, as it was before; `run` is null for a dry run."""

    prompts: int
    responses: int
    demonstrations: int
    words: int
    """Reasons and explanations that people wrote."""
    tasks: int
    """Given to nobody any more."""
    judgements: int
    """Of those tasks; they stay."""
    leases: int
    """Out now; they end."""
    versions: list[VersionTouched]
    """Neither served nor trained on any more."""
    models: list[ModelTouched]
    """Trained on those; they stay as they are."""
    exports: int
    """Of the whole project, which may hold it."""
    runs: int
    """Under way."""
    imports: list[int]
    """That brought it."""
    waiting_files: int
    """Uploaded and not brought in yet."""
    run: Run | None = None


class ErasureIn(values.Body):
    kind: Literal["person", "prompt", "response"]
    id: int
    """Of the prompt, the response or the person."""
    files: bool = False
    """Remove files of dataset versions and exports that hold it, and what records of runs say of it."""
    reason: str = ""
    """For the log."""
    dry_run: bool = False
    """Only say what would be touched."""


class Errand(values.Answer):
    """`answers` grow while it is done: for `write` the responses, for `score` a `raw` and a normalised `score` each."""

    id: int
    kind: Literal["score", "write"] | str
    state: Literal["failed", "queued", "running", "succeeded"] | str
    answers: list[dict[str, Any]]
    error: str | None
    task_id: int | None
    """The task that was made of two of its answers."""
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None


class ErrandIn(values.Body):
    wait_seconds: float = 10
    """How long to wait for what comes of it: 202 after that."""
    messages: list[ErrandsMessageIn]
    """The last is the user's."""
    samples: int = 1
    max_new_tokens: int | None = None
    """Null: as the project's stage `generate` has it."""
    temperature: float | None = None
    """Null: the same."""
    seed: int = 0
    writers: list[str]
    """As `policy:ID` or `served:ID`, of `GET …/writers`."""


class ErrandsMessageIn(values.Body):
    role: Literal["assistant", "system", "user"]
    content: str


class ExportColumn(values.Answer):
    name: str
    type: (
        Literal["integer", "integers", "messages", "number", "opinions", "small integer", "text", "texts", "truth"]
        | str
    )


class ExportIn(values.Body):
    with_models: bool = False
    """With the files of its models."""
    with_people: bool = True
    """With names and e-mail addresses; else people are numbered."""


class ExportPreview(values.Answer):
    columns: list[ExportColumn]
    rows: list[dict[str, Any]]


class Figure(values.Answer):
    name: str
    title: str
    meaning: str
    """What is counted, and of what a share is one."""
    columns: list[Column]


class FigureRows(values.Answer):
    name: str
    title: str
    meaning: str
    """What is counted, and of what a share is one."""
    columns: list[Column]
    as_of: datetime | None
    """The moment that the rows tell of; null before there are any."""
    is_awaited: bool
    """A newer state is being computed: ask again."""
    problem: str | None
    """Why there is no newer state."""
    rows: list[dict[str, Any]]


class Finding(values.Answer):
    name: Literal["artifacts", "cluster", "database", "disk", "migrations", "queue", "storage"] | str
    state: Literal["failing", "ok", "unknown"] | str
    sentence: str
    """What was found, and what to do."""


class Gate(values.Answer):
    id: int
    run_id: int | None
    model_version_id: int
    passed: bool
    rules: list[dict[str, Any]]
    created_at: datetime


class GenerateIn(values.Body):
    wait_seconds: float = 10
    """How long to wait for what comes of it: 202 after that."""
    messages: list[ErrandsMessageIn]
    """The last is the user's."""
    samples: int = 1
    max_new_tokens: int | None = None
    """Null: as the project's stage `generate` has it."""
    temperature: float | None = None
    """Null: the same."""
    seed: int = 0


class Gold(values.Answer):
    task_id: int
    prompt: list[Message]
    responses: list[str]
    """By position."""
    purpose: Literal["gold", "qualification"] | str
    """For the qualification round, or among the other tasks."""
    is_in_use: bool
    better: int | None
    """Position of the better response, from 0; null: neither of two is."""
    explanation: str
    """Markdown."""
    answered: int
    right: int
    """So many of the answers are what the project says."""


class GoldChange(values.Body):
    better: int | None = None
    """Position of the better response, from 0; null: neither of two is."""
    explanation: str | None = None
    is_in_use: bool | None = None
    """False: nobody is given it any more; what was said of it stays."""


class GoldIn(values.Body):
    better: int | None
    """Position of the better response, from 0; null: neither of two is."""
    explanation: str = ""
    purpose: Literal["gold", "qualification"] = "gold"
    """For the qualification round, or among the other tasks."""
    prompt: str
    responses: list[str]


class Grant(values.Answer):
    slug: str
    role: Literal["annotator", "owner", "reviewer"] | str


class GrantIn(values.Body):
    role: Literal["annotator", "owner", "reviewer"] = "annotator"


class GroupIn(values.Body):
    name: str


class HTTPValidationError(values.Body):
    detail: list[ValidationError] | None = None


class Health(values.Answer):
    checks: list[Finding]
    backups: BackupStanding


class Import(values.Answer):
    id: int
    state: Literal["checked", "imported", "undone", "uploaded"] | str
    """What was last done with all of it. Whether something is being done now the run says."""
    file_name: str
    size_bytes: int | None
    sha256: str | None
    format: str | None
    columns: dict[str, str]
    """The column that each field of the format is read from."""
    options: dict[str, Any]
    counts: dict[str, int]
    """Rows by what they are, and what they made; empty before a check."""
    run_id: int | None
    """The run that is at it, or was last."""
    created_at: datetime
    imported_at: datetime | None
    undone_at: datetime | None


class ImportIn(values.Body):
    format: str | None = None
    """What the rows are; null: as it was recognised or chosen before."""
    columns: dict[str, Any] | None = None
    """Column by field; null: found by their names."""
    choice: Literal[1, 2, 3] = 2
    """Of pairs where the file doesn't say: 1 much better, 2 better, 3 slightly better."""
    demonstrate: bool = False
    """Make demonstrations of the better responses, too."""


class Invitation(values.Answer):
    id: int
    name: str
    email: str | None
    role: Literal["annotator", "owner", "reviewer"] | str
    created_at: datetime
    expires_at: datetime


class InvitationsIn(values.Body):
    people: list[InviteeIn]
    role: Literal["annotator", "owner", "reviewer"] = "annotator"
    days: int = 7
    """How long the links work."""


class Invited(values.Answer):
    id: int
    name: str
    email: str | None
    role: Literal["annotator", "owner", "reviewer"] | str
    created_at: datetime
    expires_at: datetime
    link: str
    """Lets one person in, once. It is told in this answer and never again."""


class InviteeIn(values.Body):
    name: str = ""
    email: str | None = None


class Judge(values.Answer):
    """Figures as a worker has computed them from its newest 5,000 answers."""

    is_judge: bool
    since: datetime | None = None
    as_of: datetime | None = None
    """The moment that `measured` tells of; null before there is any."""
    is_awaited: bool = False
    """A newer state is being computed: ask again."""
    measured: Calibration | None = None


class JudgeAnswer(values.Answer):
    id: int
    task_id: int
    outcome: Literal["abstained", "first", "flip", "second", "tie"] | str
    chosen_as: Literal["chance", "shared", "sure"] | str
    probability: float | None
    """The head's, before, that the response at position 0 is better."""
    replies: list[JudgeReply]
    tokens: int
    created_at: datetime


class JudgePairsIn(values.Body):
    pairs: int
    """Open pairs, at most; those that people have judged come on top."""


class JudgeReply(values.Answer):
    order: list[int]
    """The positions that were shown as A and B."""
    said: Literal["A", "B", "tie"] | str | None
    """The side that it named; null where none can be read."""
    why: str | None
    """Why none can be read."""
    text: str


class Judgement(values.Answer):
    id: int
    assignment_id: int
    answer_type: Literal["best", "eight", "ranking", "seven", "six"] | str
    choice: int | None
    ranks: list[int | None] | None
    """In the order of the panes."""
    submitted_at: datetime
    verdict: Verdict | None
    """What the project says of it: in its qualification round, and of gold tasks where people are told."""


class JudgementIn(values.Body):
    """What is said of a task, in the order of its panes."""

    answer_type: Literal["best", "eight", "ranking", "seven", "six"] = "seven"
    choice: int | None = None
    """The segment of the scale, from 1 = A much better to its last = B much better."""
    ranks: list[int | None] | None = None
    """1 is best, equal ranks are ties, null is unranked, which is not last."""
    criteria: dict[str, Literal["A", "B", "tie"]] = {}
    acceptable: list[bool | None] | None = None
    flags: list[list[str]] = []
    """The flags of each pane."""
    safe: list[bool] | None = None
    """Of A and of B, where the task asks."""
    less_harmful: Literal["A", "B", "tie"] | None = None
    """May be left out where one response is safe and the other isn't: then it is the safe one."""
    rationale: str = ""
    response: str = ""
    """A better response."""
    response_of: int | None = None
    """The pane that it was made of, from 0."""
    replaces: int | None = None
    """The judgement that you mean to change, 0 for none: 409 if there is another."""
    first_action_ms: int | None = None
    active_ms: int | None = None


class JudgementListed(values.Answer):
    id: int
    task_id: int
    annotator: str | None
    kind: str
    answer_type: str
    choice: int | None
    preference: int | None
    """Levels towards the first response as stored."""
    ranks: list[int | None] | None
    shown_order: list[int]
    rationale: str | None
    active_ms: int | None
    hurried: bool
    is_check: bool
    is_verdict: bool
    """A reviewer's decision about the task; no label."""
    superseded_by: int | None
    submitted_at: datetime
    erased_at: datetime | None
    """When the reason given was erased, for good; null: it was not."""


class LabelAdvice(values.Answer):
    enough: int | None
    """Judgements in all; null where nobody can say."""
    sentence: str


class Limits(values.Answer):
    """How patiently and how much a served model is asked. The caps hold for one run."""

    timeout_seconds: float = 120
    retries: int = 4
    parallel: int = 4
    most_requests: int = 2000
    most_tokens: int = 2000000


class Link(values.Answer):
    link: str
    """Signs the person in once. It is told in this answer and never again."""


class LoadIn(values.Body):
    skip_bad: bool = False
    """Leave out the rows that can't be used."""


class Log(values.Answer):
    text: str


class MadeGold(values.Answer):
    task_id: int


class MadeProject(values.Answer):
    project: Project
    run: Run
    """Fills the project; read it from there until it is over."""


class MadeTask(values.Answer):
    task_id: int


class Me(values.Answer):
    id: int
    name: str
    email: str | None
    is_admin: bool
    created_at: datetime


class MeIn(values.Body):
    name: str


class MemberIn(values.Body):
    role: Literal["annotator", "owner", "reviewer"] | None = None
    paused: bool | None = None
    """True: gets no more work here."""


class Message(values.Answer):
    role: Literal["assistant", "developer", "system", "tool", "user"] | str
    content: str


class Metric(values.Answer):
    phase: str
    step: int
    figures: dict[str, float | None]
    recorded_at: datetime


class Model(values.Answer):
    id: int
    kind: Literal["cost", "policy", "reward"] | str
    number: int
    state: Literal["archived", "candidate", "promoted"] | str
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


class ModelCard(values.Answer):
    location: str
    model_type: str
    parameters: int
    size_bytes: int
    dtypes: list[str]
    context: int | None
    licence: str | None
    has_chat_template: bool


class ModelIn(values.Body):
    location: str
    """A directory of the server, or owner/name of the Hugging Face hub if it was fetched before."""


class ModelTouched(values.Answer):
    kind: str
    number: int


class Need(values.Answer):
    stage: str
    with_adapters: bool
    memory_bytes: int
    """At its highest, by formula, with the stage's default settings."""
    step_seconds: float
    """Of an optimiser step, an iteration or a batch; rough."""
    fits: bool
    changes: dict[str, Any] | None
    """The nearest settings with which it would fit; empty where it does, null where none would."""
    changed_bytes: int
    """What it would take with those."""


class News(values.Answer):
    rows: list[dict[str, Any]]
    """Judgements that are new or changed, as they count now."""
    gone: list[int]
    """Judgements that count no more, or never did."""
    cursor: str
    """Send it as `after` for what comes next."""
    is_up_to_date: bool
    """There is nothing else at the moment."""


class NotesIn(values.Body):
    note: str | None = None
    tags: list[str] | None = None
    """All of them."""


class OwnJudgement(values.Answer):
    id: int
    assignment_id: int
    asked: str
    """The beginning of what was asked; empty for what was erased."""
    said: Answer
    submitted_at: datetime
    editable: bool


class PairIn(values.Body):
    messages: list[ErrandsMessageIn]
    response: str
    ended: bool = True
    """Whether the response ended by itself."""


class PairsIn(values.Body):
    compared: list[str]
    """Writers, as `GET …/writers` lists them; one alone: its responses with each other."""
    pairs: int
    """At most."""


class Pane(values.Answer):
    label: str
    """A, B, … in the order in which you are meant to read them."""
    text: str


class Person(values.Answer):
    id: int
    name: str
    email: str | None
    role: Literal["annotator", "owner", "reviewer"] | str
    state: Literal["active", "disabled", "paused"] | str
    by_group: bool
    """Is here by way of a group, in the role that it gives."""
    judgements: int
    judged_at: datetime | None


class PersonConduct(values.Answer):
    user_id: int
    name: str
    role: Literal["annotator", "owner", "reviewer"] | str
    qualified_at: datetime | None
    judgements: int
    practised: int
    """Answers in the qualification round."""
    practice_right: int
    checked: int
    """Answers to gold tasks."""
    right: int
    repeated: int
    """Own tasks that were asked again."""
    same: int
    """As many of them got the same side again."""
    sided: int
    """Choices between A and B."""
    first: int
    """As many of them fell on A."""
    hurried: int
    active_ms: float | None
    """Median."""


class Problem(values.Answer):
    """RFC 9457 problem details: the body of every error, as `application/problem+json`."""

    type: str
    title: str
    status: int
    detail: str
    request_id: str
    """Quote it when you ask somebody about this error; it is in the server's log."""
    errors: list[dict[str, Any]] | None = None
    """For 422: which field, and why."""


class Progress(values.Answer):
    today: int
    """Your judgements since midnight, UTC."""
    total: int
    open_for_me: int
    """Tasks that you can still judge, at least; those leased to you are among them. 1001 for any number over a thousand."""


class Project(values.Answer):
    slug: str
    name: str
    description: str
    licence: str
    """Of its datasets."""
    created_at: datetime
    archived_at: datetime | None
    setup_step: str | None
    """Where its owner goes on setting it up; null once that is done."""


class ProjectChange(values.Body):
    name: str | None = None
    description: str | None = None
    licence: str | None = None
    """Of its datasets, as the Hub calls it: `cc-by-4.0`."""
    question: dict[str, Any] | None = None
    """`answer_type`, `size`, `criteria`, `flags` and what else differs from the defaults."""
    guidelines: str | None = None
    overlap: int | None = None
    """People who judge each new task."""
    lease_seconds: int | None = None
    policy_source: str | None = None
    """A directory, or owner/name of the hub; null: policies are trained from nothing."""


class ProjectDetail(values.Answer):
    slug: str
    name: str
    description: str
    licence: str
    """Of its datasets."""
    created_at: datetime
    archived_at: datetime | None
    setup_step: str | None
    """Where its owner goes on setting it up; null once that is done."""
    role: Literal["annotator", "owner", "reviewer"] | str
    """What you are in it; admins are owners."""
    guidelines: str
    progress: Progress
    counts: Counts | None
    """Null for annotators."""


class ProjectFile(values.Answer):
    id: int
    file_name: str
    size_bytes: int
    name: str
    slug: str
    version: str
    """Of the Plumbline that wrote it; empty for an old one."""
    with_models: bool
    with_people: bool
    takes_model: bool
    """Whether policies can start here from the model that they started from."""
    rows: dict[str, int]
    """How many, by table."""


class ProjectFileIn(values.Body):
    name: str = ""
    """Empty: as in the file."""
    slug: str = ""
    """The short name in addresses; empty: made from the name."""


class ProjectIn(values.Body):
    name: str
    template: str = "policy"
    """What it begins with: policy, responses, ranking, safety, summaries."""
    slug: str = ""
    """The short name in addresses; empty: made from the name."""
    description: str = ""


class PromoteIn(values.Body):
    reason: str = ""


class Prompt(values.Answer):
    id: int
    messages: list[Message]
    split: Literal["held_out", "train", "validation"] | str
    topic: str | None
    tags: list[str]
    source: str
    excluded: bool
    created_at: datetime
    erased_at: datetime | None


class PromptDetail(values.Answer):
    """At most 200 of each, the newest."""

    id: int
    messages: list[Message]
    split: Literal["held_out", "train", "validation"] | str
    topic: str | None
    tags: list[str]
    source: str
    excluded: bool
    created_at: datetime
    erased_at: datetime | None
    responses: list[Response]
    tasks: list[int]
    """Ids."""
    demonstrations: list[Demonstration]


class PromptIn(values.Body):
    messages: list[RowsMessageIn]
    """The last one is answered."""
    topic: str | None = None
    split: Literal["held_out", "train", "validation"] | None = None
    """Null: drawn from the text, the same in every project."""


class PromptListed(values.Answer):
    id: int
    asked: str | None
    """The beginning of what the person asked last."""
    split: str
    topic: str | None
    tags: list[str]
    source: str
    excluded: bool
    """What is said of it stays out of dataset versions."""
    responses: int
    created_at: datetime
    erased_at: datetime | None
    """When its text was erased, for good; null: it was not."""


class Prompts(values.Answer):
    ids: list[int]
    """In the order of what was sent; those of prompts that were there already, too."""


class PromptsIn(values.Body):
    prompts: list[PromptIn]


class PushIn(values.Body):
    place: str
    """One of those that the site's admin has named."""


class Qualification(values.Answer):
    number: int
    """Of the attempt's tasks, the one that this is, from 1."""
    size: int
    needed: int
    """So many answers have to be right."""


class Quality(values.Answer):
    as_of: datetime | None
    """The moment that `annotators` tells of; null before there are any."""
    is_awaited: bool
    """A newer state is being computed: ask again."""
    problem: str | None
    """Why there is no newer state."""
    annotators: list[dict[str, Any]]
    """How reliable each is, as a worker has computed it."""
    groups: list[dict[str, Any]]
    """The same by kind of task."""


class Question(values.Answer):
    answer_type: Literal["best", "eight", "ranking", "seven", "six"] | str
    """A choice on a scale of seven, six or eight segments from A to B, a ranking, or the best one."""
    criteria: list[str]
    flags: list[str]
    asks_acceptable: bool
    asks_edit: bool
    asks_harm: bool
    """Whether an answer is refused that doesn't say `safe` and `less_harmful`."""
    asks_rationale: bool
    """Whether an answer without a rationale is refused."""


class RenewalIn(values.Body):
    days: int = 7
    """How long the new link works."""


class Response(values.Answer):
    id: int
    text: str
    source: str
    policy: int | None
    """Number of the policy that wrote it."""
    served_model_id: int | None
    source_model: str | None
    """Who wrote it by the account of the file that brought it."""
    created_at: datetime
    erased_at: datetime | None


class ResponseListed(values.Answer):
    id: int
    prompt_id: int
    text: str
    """Its beginning."""
    characters: int
    source: str
    policy: int | None
    """Number of the policy that wrote it."""
    created_at: datetime
    erased_at: datetime | None
    """When its text was erased, for good; null: it was not."""


class Review(values.Answer):
    shows_judgements: bool
    prefers_verdicts: bool


class ReviewIn(values.Body):
    shows_judgements: bool | None = None
    """Reviewers see what was said before they decide."""
    prefers_verdicts: bool | None = None
    """Where a reviewer has decided, dataset versions hold the verdict alone; else no verdict."""


class RewardReport(values.Answer):
    """Rows as the figures `reward-…` have them, of this version."""

    as_of: datetime | None
    """The moment that the rows tell of; null before there are any."""
    is_awaited: bool
    """A newer state is being computed: ask again."""
    problem: str | None
    """Why there is no newer state."""
    human_agreement: float | None
    """How often two people say the same of a task; null: too few did."""
    ceiling: float | None
    """The most that a model could agree with such people."""
    accuracy: list[dict[str, Any]]
    """Of all pairs (`all`), and by kind of pair."""
    certainty: list[dict[str, Any]]
    """Loss, Brier score and calibration error."""
    changes: list[dict[str, Any]]
    """Against the model before it, on the same pairs."""
    probes: list[dict[str, Any]]
    """Edits that make no response better."""
    best_of_n: list[dict[str, Any]]
    disputed_pairs: list[dict[str, Any]]
    """Where it and people differ most; texts are in the tasks."""


class RollBackIn(values.Body):
    reason: str = ""
    kind: Literal["policy", "reward"] = "policy"


class Round(values.Answer):
    id: int
    number: int
    status: Literal["active", "cancelled", "failed", "finished", "stopped"] | str
    step: str
    label_target: int
    dataset_version_id: int | None
    reward_id: int | None
    cost_id: int | None
    policy_id: int | None
    reason: str | None
    overridden_step: str | None
    """The gate from whose refusal an owner went on."""
    overridden_because: str | None
    trigger: Literal["at_once", "click", "drift", "labels", "outlying", "schedule"] | str | None
    """What started it; null for rounds from before that was kept."""
    trigger_figure: float | None
    """What was seen then, where `trigger_bound` was asked for."""
    trigger_bound: float | None
    created_at: datetime
    finished_at: datetime | None


class RoundIn(values.Body):
    label_target: int | None = None
    """New judgements to wait for; null: the project's own."""


class RoundSettingsChangeIn(values.Body):
    """Settings that are named in neither stay as they are."""

    values: dict[str, Any] = {}
    reset: list[str] = []
    """Names that go back to their defaults."""


class RoundSettingsGroup(values.Answer):
    name: str
    """`round`, a gate, or a stage."""
    entries: list[Setting]


class RowsMessageIn(values.Body):
    role: str
    content: str


class Run(values.Answer):
    id: int
    stage: str
    state: Literal["cancelled", "failed", "queued", "running", "succeeded"] | str
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


class RunIn(values.Body):
    stage: Startable


class Sampling(values.Answer):
    """What responses are drawn with. What is null isn't sent, so that the endpoint's own default holds."""

    temperature: float | None = 1.0
    top_p: float | None = None
    max_tokens: int = 512
    responses_per_prompt: int = 2
    stop: list[str] = []
    system: str = ""


class SayingIn(values.Body):
    better: int | None
    """Position of the better response, from 0; null: neither of two is."""
    explanation: str = ""
    purpose: Literal["gold", "qualification"] = "gold"
    """For the qualification round, or among the other tasks."""


class SchemasComparison(values.Answer):
    since: int | None
    """Number of the earlier version; null: there is none, and everything is new."""
    number: int
    judgements: Summary
    agreement_since: dict[str, Any] | None
    """`said_the_same`: how likely two people say the same of two responses that both judged, and `pairs_judged_by_several`, of how many that is; null: not known."""
    agreement: dict[str, Any] | None
    counts_since: dict[str, Any] | None
    counts: dict[str, Any]


class ScoreIn(values.Body):
    wait_seconds: float = 10
    """How long to wait for what comes of it: 202 after that."""
    pairs: list[PairIn]


class ServedAnswer(values.Answer):
    text: str
    finish_reason: str | None
    answered_by: str | None
    """What the endpoint calls the model that wrote this."""
    prompt_tokens: int
    completion_tokens: int
    counted: bool
    """False where the endpoint gave no count and this is an estimate."""


class ServedModel(values.Answer):
    id: int
    name: str
    address: str
    model: str
    protocol: Literal["chat", "completions"] | str
    has_key: bool
    sampling: Sampling
    limits: Limits
    created_at: datetime


class ServedModelChange(values.Body):
    """What is left out stays as it is. Another host needs its key again."""

    name: str | None = None
    address: str | None = None
    model: str | None = None
    protocol: Literal["chat", "completions"] | None = None
    key: str | None = None
    """Sent to the endpoint as a bearer token; never shown."""
    forget_key: bool = False
    sampling: Sampling | None = None
    limits: Limits | None = None


class ServedModelIn(values.Body):
    name: str
    address: str
    """Of the endpoint, `https://example.org/v1`."""
    model: str
    """As the endpoint knows it."""
    protocol: Literal["chat", "completions"] = "chat"
    key: str | None = None
    """Sent to the endpoint as a bearer token; never shown."""
    sampling: Sampling | None = None
    limits: Limits | None = None


class ServedSchemasComparison(values.Answer):
    first: Writer
    second: Writer
    judgements: int
    tasks: int
    share: float
    """Of the judgements, those that prefer the first; a tie is half."""
    low: float
    """With `high` the 95 % interval of `share`."""
    high: float


class Session(values.Answer):
    id: int
    device: str
    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime


class Setting(values.Answer):
    name: str
    kind: Literal["choice", "choices", "number", "switch", "text", "texts", "values", "weights", "whole"] | str
    """`choices` are any of those listed, `texts` any texts, `weights` numbers by name, and `values` anything by name."""
    value: Any
    """What holds for the next round or run."""
    default: Any
    """What would hold if nobody had chosen; null where the model decides."""
    by_model: float | None
    """What the policy in use decides, where that is left to it."""
    choices: list[str]
    minimum: float | None
    above: float | None
    maximum: float | None
    meaning: str


class Share(values.Answer):
    """A share of `count`, with its interval of 95 %."""

    share: float
    low: float
    high: float
    count: int


class SkipIn(values.Body):
    reason: str = ""


class Startable(values.Body):
    pass


class Summary(values.Answer):
    added: int
    """Judgements that the later one holds and the earlier one doesn't."""
    gone: int
    """Judgements that the earlier one holds and the later one doesn't."""
    moved: int
    """Judgements in both whose prompt moved to another split."""
    weighed: int
    """Judgements in both whose soft label or weight is another."""
    changed: int
    """Judgements in both that moved or weigh otherwise."""
    same: int
    unknown: int
    """In both, but one was cut before splits and weights were kept."""


class Task(values.Answer):
    assignment_id: int
    project: str
    prompt: list[Message]
    panes: list[Pane]
    question: Question
    qualification: Qualification | None
    """Until you have passed the project's round, if it has one."""
    lease_expires_at: datetime


class TaskDetail(values.Answer):
    id: int
    prompt: Prompt
    responses: list[Response]
    """By position, as stored."""
    state: str
    purpose: str
    copy_of: int | None
    judged: int
    quota: int
    skipped: int
    division: float | None
    priority: float
    round: int | None
    given_to: int | None
    """Id of the person that it is kept for."""
    judgements: list[TaskJudgement]
    created_at: datetime
    erased_at: datetime | None


class TaskIn(values.Body):
    answers: list[int]
    """Places in `answers`, from 0; as many as the question compares."""


class TaskJudgement(values.Answer):
    judgement: JudgementListed
    held_by: list[int]
    """Numbers of the dataset versions that hold it."""


class TaskListed(values.Answer):
    id: int
    prompt_id: int
    asked: str | None
    """The beginning of what the person asked last."""
    state: str
    purpose: str
    judged: int
    quota: int
    skipped: int
    division: float | None
    """Of all two people who judged it the share who said the opposite, a tie counting half; null: fewer than two."""
    priority: float
    round: int | None
    rule: str | None
    """Why it was selected."""
    given_to: str | None
    """Whom it is kept for: nobody else gets it before them."""
    created_at: datetime
    erased_at: datetime | None
    """When something in it was erased, for good; null: it was not."""


class TestIn(values.Body):
    prompt: str


class Token(values.Answer):
    id: int
    name: str
    hint: str
    """Its first letters. The token itself is kept nowhere."""
    scopes: list[Literal["judge", "manage", "read"] | str]
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None


class Try(values.Answer):
    at: datetime
    status: int | None
    """Null where there was no answer: `problem` says why."""
    milliseconds: int
    said: str
    """The first 500 bytes of the answer."""
    problem: str | None


class ValidationError(values.Body):
    loc: list[str | int]
    msg: str
    type: str
    input: Any = None
    ctx: dict[str, Any] | None = None


class Verdict(values.Answer):
    is_right: bool
    better: str | None
    """The label of the pane that the project says is better; null: neither is."""
    explanation: str
    """Markdown."""


class VersionTouched(values.Answer):
    kind: str
    number: int
    has_file: bool


class Webhook(values.Answer):
    id: int
    address: str
    events: list[
        Literal[
            "alarm.raised",
            "dataset_version.created",
            "gate.decided",
            "judgement.created",
            "judgements.created",
            "model.promoted",
            "model.rolled_back",
            "round.ended",
            "round.started",
            "run.ended",
            "webhook.test",
        ]
        | str
    ]
    pause_seconds: int
    is_on: bool
    off_at: datetime | None
    off_because: Literal["failing", "gone", "owner"] | str | None
    """`owner` switched it off; `gone`: the receiver answered 410; `failing`: it couldn't be reached."""
    failing_since: datetime | None
    """Nothing has reached it since then; null: the last one did."""
    previous_until: datetime | None
    """The secret before this one signs, too, until then."""
    created_at: datetime


class WebhookChange(values.Body):
    """What is left out stays as it is."""

    address: str | None = None
    events: (
        list[
            Literal[
                "alarm.raised",
                "dataset_version.created",
                "gate.decided",
                "judgement.created",
                "judgements.created",
                "model.promoted",
                "model.rolled_back",
                "round.ended",
                "round.started",
                "run.ended",
                "webhook.test",
            ]
        ]
        | None
    ) = None
    pause_seconds: int | None = None
    is_on: bool | None = None
    """False: it is told nothing; true: what waits is sent."""


class WebhookIn(values.Body):
    address: str
    """Told by POST, `https://example.org/hooks`."""
    events: list[
        Literal[
            "alarm.raised",
            "dataset_version.created",
            "gate.decided",
            "judgement.created",
            "judgements.created",
            "model.promoted",
            "model.rolled_back",
            "round.ended",
            "round.started",
            "run.ended",
            "webhook.test",
        ]
    ]
    """What it is told of."""
    pause_seconds: int = 60
    """Of `judgements.created` it is told once in so many seconds, at most."""


class WebhookMade(values.Answer):
    id: int
    address: str
    events: list[
        Literal[
            "alarm.raised",
            "dataset_version.created",
            "gate.decided",
            "judgement.created",
            "judgements.created",
            "model.promoted",
            "model.rolled_back",
            "round.ended",
            "round.started",
            "run.ended",
            "webhook.test",
        ]
        | str
    ]
    pause_seconds: int
    is_on: bool
    off_at: datetime | None
    off_because: Literal["failing", "gone", "owner"] | str | None
    """`owner` switched it off; `gone`: the receiver answered 410; `failing`: it couldn't be reached."""
    failing_since: datetime | None
    """Nothing has reached it since then; null: the last one did."""
    previous_until: datetime | None
    """The secret before this one signs, too, until then."""
    created_at: datetime
    secret: str
    """`whsec_…`, by which messages are verified. It is shown here and never again."""


class Work(values.Answer):
    conduct: Conduct
    days: list[Day]
    """UTC days of the last 30 with a judgement, the newest first."""
    leased: int
    """Tasks that the person holds now."""
    kept: int
    """Tasks that were given to them and wait."""


class Writer(values.Answer):
    writer: str
    """`served:ID` or `policy:ID`, as `compared` takes it."""
    name: str
    """Of a policy, its number."""
