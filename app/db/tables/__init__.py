"""Every table of the vocabulary, importable from one place."""

from app.db.tables.audit import AuditEntry
from app.db.tables.backups import Backup
from app.db.tables.changes import BulkChange, ChangedRow
from app.db.tables.content import Completion, Demonstration, Prompt
from app.db.tables.errands import Errand
from app.db.tables.groups import Group, GroupGrant, GroupMember
from app.db.tables.hooks import Delivery, Webhook
from app.db.tables.imports import Import
from app.db.tables.judges import Judge, JudgeAnswer
from app.db.tables.judging import Assignment, GoldAnswer, Judgement, Task, TaskCompletion
from app.db.tables.kept_answers import KeptAnswer
from app.db.tables.lineage import (
    DatasetJudgement,
    DatasetVersion,
    JudgementChange,
    ModelVersion,
    Promotion,
    ScoredPair,
)
from app.db.tables.people import (
    ApiToken,
    Attempts,
    ExternalIdentity,
    Invitation,
    KnownBrowser,
    Passkey,
    PasskeyChallenge,
    SignInLink,
    SignInSession,
    User,
)
from app.db.tables.project_files import ProjectFile
from app.db.tables.projects import Member, Project
from app.db.tables.reports import WrittenReport
from app.db.tables.runs import Gate, Metric, Round, Run
from app.db.tables.served import ServedModel
from app.db.tables.site import Site

__all__ = [
    "ApiToken",
    "Assignment",
    "Attempts",
    "AuditEntry",
    "Backup",
    "BulkChange",
    "ChangedRow",
    "Completion",
    "DatasetJudgement",
    "DatasetVersion",
    "Delivery",
    "Demonstration",
    "Errand",
    "ExternalIdentity",
    "Gate",
    "GoldAnswer",
    "Group",
    "GroupGrant",
    "GroupMember",
    "Import",
    "Invitation",
    "Judge",
    "JudgeAnswer",
    "Judgement",
    "JudgementChange",
    "KeptAnswer",
    "KnownBrowser",
    "Member",
    "Metric",
    "ModelVersion",
    "Passkey",
    "PasskeyChallenge",
    "Project",
    "ProjectFile",
    "Promotion",
    "Prompt",
    "Round",
    "Run",
    "ScoredPair",
    "ServedModel",
    "SignInLink",
    "SignInSession",
    "Site",
    "Task",
    "TaskCompletion",
    "User",
    "Webhook",
    "WrittenReport",
]
