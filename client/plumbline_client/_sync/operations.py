# Made by `make client` from _async/operations.py.
"""A method for every call of the API.

Made by `make client` from the API's OpenAPI document: change that, not this."""

# ruff: noqa: E501
from __future__ import annotations

from datetime import date, datetime
from typing import Any, Literal

from plumbline_client import models
from plumbline_client._sync.download import Download
from plumbline_client._sync.pages import Pages
from plumbline_client._sync.transport import Transport
from plumbline_client.calls import Call, Content, Progress, place
from plumbline_client.values import Known, Page


class Operations:
    """Every call of the API, by the name that its description gives it."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list_projects(
        self, *, limit: int | None = None, cursor: str | None = None, archived: bool | None = None
    ) -> Pages[models.Project]:
        """List projects.

        Projects that you are a member of, newest first; for admins all of them. `archived`: those of the archive that
        you own instead.
        """
        return Pages(
            self._transport,
            Call("GET", "/api/v1/projects", query={"limit": limit, "cursor": cursor, "archived": archived}),
            Page[models.Project],
        )

    def create_project(self, body: models.ProjectIn, *, idempotency_key: str | None = None) -> models.ProjectDetail:
        """Make a project.

        A project of yours, filled in from a template; 403 where the site lets admins alone make projects.
        """
        return self._transport.ask(
            Call("POST", "/api/v1/projects", headers={"Idempotency-Key": idempotency_key}, body=body, is_keyed=True),
            models.ProjectDetail,
        )

    def change_project(self, slug: str, body: models.ProjectChange, *, if_match: Known) -> models.ProjectDetail:
        """Change a project.

        Changes what is given and leaves the rest. A question is replaced as a whole; it holds from the next task on.
        """
        return self._transport.ask(
            Call("PATCH", f"/api/v1/projects/{place(slug)}", headers={"If-Match": if_match}, body=body),
            models.ProjectDetail,
        )

    def delete_project(self, slug: str, *, name: str) -> models.Project:
        """Delete a project.

        Deletes it for good: nobody sees it from now on, its rounds and runs are cancelled, and a worker removes what it
        holds. 422 for another name.
        """
        return self._transport.ask(
            Call("DELETE", f"/api/v1/projects/{place(slug)}", query={"name": name}), models.Project
        )

    def read_project(self, slug: str) -> models.ProjectDetail:
        """Read a project.

        A project with your role, your progress and, unless you are an annotator, counts of what it holds; 404 if you are
        not in it.
        """
        return self._transport.ask(Call("GET", f"/api/v1/projects/{place(slug)}"), models.ProjectDetail)

    def copy_project(
        self, slug: str, body: models.CopyIn, *, idempotency_key: str | None = None
    ) -> models.ProjectDetail:
        """Copy a project.

        Another project of yours with the same settings; a run brings the prompts, where they are wanted.
        """
        return self._transport.ask(
            Call(
                "POST",
                f"/api/v1/projects/{place(slug)}/copy",
                headers={"Idempotency-Key": idempotency_key},
                body=body,
                is_keyed=True,
            ),
            models.ProjectDetail,
        )

    def export_project(self, slug: str, body: models.ExportIn, *, idempotency_key: str | None = None) -> models.Run:
        """Export a project.

        Has a worker write the whole project into one file; the run says when it is there.
        """
        return self._transport.ask(
            Call(
                "POST",
                f"/api/v1/projects/{place(slug)}/exports",
                headers={"Idempotency-Key": idempotency_key},
                body=body,
                is_keyed=True,
            ),
            models.Run,
        )

    def download_project(self, slug: str, run_id: int) -> Download:
        """Download an exported project.

        A zip, which `plumbline project import` makes a project of again; 404 until its run has succeeded.
        """
        return Download(self._transport, Call("GET", f"/api/v1/projects/{place(slug)}/exports/{place(run_id)}"))

    def archive_project(self, slug: str, *, idempotency_key: str | None = None) -> models.Project:
        """Archive a project.

        Hides it from everybody but its owners and loses nothing; 409 while a round or a run of it is under way.
        """
        return self._transport.ask(
            Call(
                "POST",
                f"/api/v1/projects/{place(slug)}/archive",
                headers={"Idempotency-Key": idempotency_key},
                is_keyed=True,
            ),
            models.Project,
        )

    def take_project_out(self, slug: str, *, idempotency_key: str | None = None) -> models.Project:
        """Take a project out of the archive.

        Brings it back as it was; nothing happens to one that isn't there.
        """
        return self._transport.ask(
            Call(
                "POST",
                f"/api/v1/projects/{place(slug)}/unarchive",
                headers={"Idempotency-Key": idempotency_key},
                is_keyed=True,
            ),
            models.Project,
        )

    def retry_removal(self, slug: str, *, idempotency_key: str | None = None) -> None:
        """Try a removal again.

        Has a worker try again to remove a project of yours that was deleted; 404 for one whose removal isn't stuck.
        """
        self._transport.send(
            Call(
                "POST",
                f"/api/v1/projects/{place(slug)}/removal/retry",
                headers={"Idempotency-Key": idempotency_key},
                is_keyed=True,
            )
        )

    def send_project_file(
        self, content: Content, *, name: str | None = None, progress: Progress | None = None
    ) -> models.ProjectFile:
        """Upload a project.

        The body is the zip that an export has written. It waits a day for a project to be made of it.

        403 where the site lets admins alone make projects, 413 for a file that is too large, 422 for one that is damaged or
        of a newer version.
        """
        return self._transport.ask(
            Call(
                "POST",
                "/api/v1/project-files",
                query={"name": name},
                content=content,
                content_type="application/zip",
                progress=progress,
            ),
            models.ProjectFile,
        )

    def read_project_file(self, file_id: int) -> models.ProjectFile:
        """Look at the file of a project.

        What a file of yours holds by its own account.
        """
        return self._transport.ask(Call("GET", f"/api/v1/project-files/{place(file_id)}"), models.ProjectFile)

    def discard_project_file(self, file_id: int) -> None:
        """Discard a project's file.

        Removes it; 409 for one that a project was made of.
        """
        self._transport.send(Call("DELETE", f"/api/v1/project-files/{place(file_id)}"))

    def make_project(
        self, file_id: int, body: models.ProjectFileIn, *, idempotency_key: str | None = None
    ) -> models.MadeProject:
        """Make a project of a file.

        A project of yours, which a run fills with what the file holds; asked again, the same one.

        People of the file are accounts of this site for its admins alone. 409 for a short name that is taken.
        """
        return self._transport.ask(
            Call(
                "POST",
                f"/api/v1/project-files/{place(file_id)}/project",
                headers={"Idempotency-Key": idempotency_key},
                body=body,
                is_keyed=True,
            ),
            models.MadeProject,
        )

    def next_task(self, slug: str) -> models.Task | None:
        """Take the next task.

        Leases a task to you until `lease_expires_at`. Asked again before you answer, it returns the same task.
        """
        return self._transport.if_any(Call("GET", f"/api/v1/projects/{place(slug)}/next-task"), models.Task)

    def list_own_judgements(
        self, slug: str, *, limit: int | None = None, cursor: str | None = None, verdicts: bool | None = None
    ) -> Pages[models.OwnJudgement]:
        """List what you said last.

        Your current judgements, newest task first; `GET /assignments/{assignment_id}` shows what each was about.
        """
        return Pages(
            self._transport,
            Call(
                "GET",
                f"/api/v1/projects/{place(slug)}/my-judgements",
                query={"limit": limit, "cursor": cursor, "verdicts": verdicts},
            ),
            Page[models.OwnJudgement],
        )

    def read_assignment(self, assignment_id: int) -> models.Assignment:
        """Read a task of yours.

        A task that you have or had, with what you said of it; 404 for anybody else's, 409 where it was erased.
        """
        return self._transport.ask(Call("GET", f"/api/v1/assignments/{place(assignment_id)}"), models.Assignment)

    def submit_judgement(
        self, assignment_id: int, body: models.JudgementIn, *, idempotency_key: str | None = None
    ) -> models.Judgement:
        """Say which response is better.

        201 for a new judgement, 200 with the same body when the key was used before, 422 when it was used with another
        body.

        Another key for an assignment that you have answered changes your answer, until a dataset version holds it (409).
        With `replaces` it changes that judgement and no newer one (409).
        """
        return self._transport.ask(
            Call(
                "POST",
                f"/api/v1/assignments/{place(assignment_id)}/judgements",
                headers={"idempotency-key": idempotency_key},
                body=body,
                is_keyed=True,
            ),
            models.Judgement,
        )

    def skip(self, assignment_id: int, body: models.SkipIn, *, idempotency_key: str | None = None) -> None:
        """Hand a task back unanswered.

        Gives the task back for good: it never comes to you again; 409 for a task that you have judged or of a
        qualification round, 404 for anybody else's assignment.
        """
        self._transport.send(
            Call(
                "POST",
                f"/api/v1/assignments/{place(assignment_id)}/skip",
                headers={"Idempotency-Key": idempotency_key},
                body=body,
                is_keyed=True,
            )
        )

    def list_datasets(
        self, slug: str, *, limit: int | None = None, cursor: str | None = None, tag: str | None = None
    ) -> Pages[models.Dataset]:
        """List dataset versions.

        Versions of preferences and of demonstrations, newest first, those with a `tag` alone; 403 for annotators.
        """
        return Pages(
            self._transport,
            Call(
                "GET", f"/api/v1/projects/{place(slug)}/datasets", query={"limit": limit, "cursor": cursor, "tag": tag}
            ),
            Page[models.Dataset],
        )

    def cut(self, slug: str, body: models.CutIn | None = None, *, idempotency_key: str | None = None) -> models.Run:
        """Cut a dataset version.

        An immutable snapshot of all current judgements, or demonstrations, which a worker writes. The run's `result` has
        its `number`: that of the newest version when it holds them all already. 409 while one is being cut.
        """
        return self._transport.ask(
            Call(
                "POST",
                f"/api/v1/projects/{place(slug)}/datasets",
                headers={"Idempotency-Key": idempotency_key},
                body=body,
                is_keyed=True,
            ),
            models.Run,
        )

    def read_dataset(
        self, slug: str, number: int, *, kind: Literal["demonstrations", "preferences"] | None = None
    ) -> models.Dataset:
        """Read a dataset version.

        A version of the preferences, or of the demonstrations by `kind`.
        """
        return self._transport.ask(
            Call("GET", f"/api/v1/projects/{place(slug)}/datasets/{place(number)}", query={"kind": kind}),
            models.Dataset,
        )

    def change_dataset(
        self,
        slug: str,
        number: int,
        body: models.NotesIn,
        *,
        kind: Literal["demonstrations", "preferences"] | None = None,
        if_match: Known,
    ) -> models.Dataset:
        """Note something about a version.

        Changes its `note`, its `tags` or both. What it holds never changes.
        """
        return self._transport.ask(
            Call(
                "PATCH",
                f"/api/v1/projects/{place(slug)}/datasets/{place(number)}",
                query={"kind": kind},
                headers={"If-Match": if_match},
                body=body,
            ),
            models.Dataset,
        )

    def export(
        self,
        slug: str,
        number: int,
        *,
        split: Literal["train", "validation"] | None = None,
        round: int | None = None,
        people: str | None = None,
        agreement: Literal["agreed", "divided"] | None = None,
        least_agreement: float | None = None,
        tag: str | None = None,
        topic: str | None = None,
        flag: str | None = None,
        flagged: Literal["no", "yes"] | None = None,
        since: date | None = None,
        until: date | None = None,
        schema: str | None = None,
        format: Literal["csv", "jsonl", "parquet"] | None = None,
        votes: Literal["each", "majority", "posterior", "soft"] | None = None,
        files: Literal["one", "splits"] | None = None,
        kind: Literal["demonstrations", "preferences"] | None = None,
        raw: bool | None = None,
    ) -> Download:
        """Export a dataset version.

        The rows of a version in a schema, a format and for the people, splits and days that you say; without anything,
        preference pairs in TRL's conversational schema as JSON lines. Every row says its `split`.

        Ties have no better response: schemas of `chosen` and `rejected` leave them out, and `counts` of the version says
        how many there are. 409 `TooLarge` for a version of more than 100,000 rows, until a worker has written what you
        ask for.
        """
        return Download(
            self._transport,
            Call(
                "GET",
                f"/api/v1/projects/{place(slug)}/datasets/{place(number)}/export",
                query={
                    "split": split,
                    "round": round,
                    "people": people,
                    "agreement": agreement,
                    "least_agreement": least_agreement,
                    "tag": tag,
                    "topic": topic,
                    "flag": flag,
                    "flagged": flagged,
                    "since": since,
                    "until": until,
                    "schema": schema,
                    "format": format,
                    "votes": votes,
                    "files": files,
                    "kind": kind,
                    "raw": raw,
                },
            ),
        )

    def preview_export(
        self,
        slug: str,
        number: int,
        *,
        split: Literal["train", "validation"] | None = None,
        round: int | None = None,
        people: str | None = None,
        agreement: Literal["agreed", "divided"] | None = None,
        least_agreement: float | None = None,
        tag: str | None = None,
        topic: str | None = None,
        flag: str | None = None,
        flagged: Literal["no", "yes"] | None = None,
        since: date | None = None,
        until: date | None = None,
        schema: str | None = None,
        votes: Literal["each", "majority", "posterior", "soft"] | None = None,
        files: Literal["one", "splits"] | None = None,
        kind: Literal["demonstrations", "preferences"] | None = None,
        raw: bool | None = None,
    ) -> models.ExportPreview:
        """Look at the first rows of an export.

        The columns that an export would have, with their types, and its first rows: at most five.
        """
        return self._transport.ask(
            Call(
                "GET",
                f"/api/v1/projects/{place(slug)}/datasets/{place(number)}/rows",
                query={
                    "split": split,
                    "round": round,
                    "people": people,
                    "agreement": agreement,
                    "least_agreement": least_agreement,
                    "tag": tag,
                    "topic": topic,
                    "flag": flag,
                    "flagged": flagged,
                    "since": since,
                    "until": until,
                    "schema": schema,
                    "votes": votes,
                    "files": files,
                    "kind": kind,
                    "raw": raw,
                },
            ),
            models.ExportPreview,
        )

    def start_export(
        self, slug: str, number: int, body: models.DatasetExportIn, *, idempotency_key: str | None = None
    ) -> models.Run:
        """Have a worker write an export.

        For versions of any size. Once the run has succeeded its file is at `…/exports/{run_id}`; its `result` has
        `rows_written`, `size_bytes` and `sha256`. Asked for again, it is the same run.
        """
        return self._transport.ask(
            Call(
                "POST",
                f"/api/v1/projects/{place(slug)}/datasets/{place(number)}/exports",
                headers={"Idempotency-Key": idempotency_key},
                body=body,
                is_keyed=True,
            ),
            models.Run,
        )

    def download_export(
        self, slug: str, number: int, run_id: int, *, kind: Literal["demonstrations", "preferences"] | None = None
    ) -> Download:
        """Download an export.

        The file that a run has written; 404 until it has. `Range` and `If-Range` fetch the rest of a broken download.
        """
        return Download(
            self._transport,
            Call(
                "GET",
                f"/api/v1/projects/{place(slug)}/datasets/{place(number)}/exports/{place(run_id)}",
                query={"kind": kind},
            ),
        )

    def export_judgements(self, slug: str, number: int) -> Download:
        """Export the judgements of a dataset version.

        Everything that each person said: the same as an export in the schema `judgements`.

        `responses`, `models`, `ranks`, `acceptable`, `safe` and the numbers in `flags` are by position in the task;
        `shown_order` says which position was shown as A, B, … Rankings keep their ties, and 0 is unranked.
        """
        return Download(
            self._transport, Call("GET", f"/api/v1/projects/{place(slug)}/datasets/{place(number)}/judgements")
        )

    def follow_judgements(self, slug: str, *, after: str | None = None, limit: int | None = None) -> models.News:
        """Follow judgements.

        What a dataset version cut now would hold, and from then on what changes of it: new and changed answers, and
        those that count no more, because they were replaced, excluded, erased or undone.

        Nothing is cut, and whoever judged can still change their answer. Keep rows by `judgement_id`, put each that comes
        in the place of the one before, drop those that are `gone`, and ask again with `cursor`: at once until
        `is_up_to_date`, then every few seconds. A row has the columns of the judgements' export of a version.
        """
        return self._transport.ask(
            Call("GET", f"/api/v1/projects/{place(slug)}/judgements/live", query={"after": after, "limit": limit}),
            models.News,
        )

    def read_manifest(
        self, slug: str, number: int, *, kind: Literal["demonstrations", "preferences"] | None = None
    ) -> dict[str, Any]:
        """Read a version's manifest.

        What the version came from, enough to cut it again: which judgements it holds and up to where, how they count,
        guidelines and question of then, what cut it, counts, and the SHA-256 of its file. What nobody kept is null.

        `plumbline dataset again NUMBER` cuts it again and says whether the bytes are the same, or why not.
        """
        return self._transport.ask(
            Call("GET", f"/api/v1/projects/{place(slug)}/datasets/{place(number)}/manifest", query={"kind": kind}),
            dict[str, Any],
        )

    def write_folder(
        self,
        slug: str,
        number: int,
        *,
        kind: Literal["demonstrations", "preferences"] | None = None,
        idempotency_key: str | None = None,
    ) -> models.Run:
        """Write a version's folder.

        A worker writes the folder that `datasets.load_dataset` and the Hugging Face Hub take: README.md with what the
        Hub reads, croissant.json, manifest.json and a Parquet file for each split. While one is written, that run.
        """
        return self._transport.ask(
            Call(
                "POST",
                f"/api/v1/projects/{place(slug)}/datasets/{place(number)}/folder",
                query={"kind": kind},
                headers={"Idempotency-Key": idempotency_key},
                is_keyed=True,
            ),
            models.Run,
        )

    def download_folder(
        self, slug: str, number: int, *, kind: Literal["demonstrations", "preferences"] | None = None
    ) -> Download:
        """Download a version's folder.

        The one that was written last. `Range` and `If-Range` go on where a download broke off.
        """
        return Download(
            self._transport,
            Call("GET", f"/api/v1/projects/{place(slug)}/datasets/{place(number)}/folder", query={"kind": kind}),
        )

    def compare_datasets(self, slug: str, number: int, *, since: int | None = None) -> models.SchemasComparison:
        """Compare two versions.

        How many judgements came, went, moved to another split or weigh otherwise between two versions of the
        preferences, and how far people agree in each.
        """
        return self._transport.ask(
            Call("GET", f"/api/v1/projects/{place(slug)}/datasets/{place(number)}/comparison", query={"since": since}),
            models.SchemasComparison,
        )

    def list_differences(
        self,
        slug: str,
        number: int,
        *,
        since: int | None = None,
        change: Literal["added", "changed", "gone"] | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Pages[models.Difference]:
        """List what two versions differ by.

        Judgements that are in one of two versions alone, or count otherwise, oldest first.
        """
        return Pages(
            self._transport,
            Call(
                "GET",
                f"/api/v1/projects/{place(slug)}/datasets/{place(number)}/differences",
                query={"since": since, "change": change, "limit": limit, "cursor": cursor},
            ),
            Page[models.Difference],
        )

    def list_rounds(self, slug: str, *, limit: int | None = None, cursor: str | None = None) -> Pages[models.Round]:
        """List rounds.

        Rounds of the project, newest first, each with its step and the versions that it made; 403 for annotators.
        """
        return Pages(
            self._transport,
            Call("GET", f"/api/v1/projects/{place(slug)}/rounds", query={"limit": limit, "cursor": cursor}),
            Page[models.Round],
        )

    def start_round(self, slug: str, body: models.RoundIn, *, idempotency_key: str | None = None) -> models.Round:
        """Start a round.

        409 while another round of the project is active.
        """
        return self._transport.ask(
            Call(
                "POST",
                f"/api/v1/projects/{place(slug)}/rounds",
                headers={"Idempotency-Key": idempotency_key},
                body=body,
                is_keyed=True,
            ),
            models.Round,
        )

    def read_label_advice(self, slug: str) -> models.LabelAdvice:
        """Ask how many judgements are likely enough.

        Judgements that are likely enough, by the newest reward model or by what is expected of a first one, and what
        more would be worth; 403 for annotators.
        """
        return self._transport.ask(Call("GET", f"/api/v1/projects/{place(slug)}/label-advice"), models.LabelAdvice)

    def read_round(self, slug: str, number: int) -> models.Round:
        """Read a round.

        A round by its number in the project; 404 for a number that it doesn't have, 403 for annotators.
        """
        return self._transport.ask(Call("GET", f"/api/v1/projects/{place(slug)}/rounds/{place(number)}"), models.Round)

    def cancel_round(self, slug: str, number: int, *, idempotency_key: str | None = None) -> models.Round:
        """Cancel a round.

        Ends the round and its runs, and keeps what they have made; 409 when it is over already.
        """
        return self._transport.ask(
            Call(
                "POST",
                f"/api/v1/projects/{place(slug)}/rounds/{place(number)}/cancel",
                headers={"Idempotency-Key": idempotency_key},
                is_keyed=True,
            ),
            models.Round,
        )

    def continue_round(self, slug: str, number: int, *, idempotency_key: str | None = None) -> models.Round:
        """Go on with the judgements at hand.

        Ends the wait for labels, or for votes. 409 when the round waits for nothing.
        """
        return self._transport.ask(
            Call(
                "POST",
                f"/api/v1/projects/{place(slug)}/rounds/{place(number)}/continue",
                headers={"Idempotency-Key": idempotency_key},
                is_keyed=True,
            ),
            models.Round,
        )

    def override_gate(
        self, slug: str, number: int, body: models.PromoteIn, *, idempotency_key: str | None = None
    ) -> models.Round:
        """Go on against a gate.

        Goes on from a gate's refusal, whose figures stay on record with the reason; 409 where none has refused anything
        or another round is under way, 422 without a reason and for a model whose files were changed.
        """
        return self._transport.ask(
            Call(
                "POST",
                f"/api/v1/projects/{place(slug)}/rounds/{place(number)}/override",
                headers={"Idempotency-Key": idempotency_key},
                body=body,
                is_keyed=True,
            ),
            models.Round,
        )

    def list_gates(
        self, slug: str, *, limit: int | None = None, cursor: str | None = None, round: int | None = None
    ) -> Pages[models.Gate]:
        """List decisions of gates.

        Each with its rules and the figure and bound of each, newest first; 403 for annotators.
        """
        return Pages(
            self._transport,
            Call(
                "GET", f"/api/v1/projects/{place(slug)}/gates", query={"limit": limit, "cursor": cursor, "round": round}
            ),
            Page[models.Gate],
        )

    def start_run(self, slug: str, body: models.RunIn, *, idempotency_key: str | None = None) -> models.Run:
        """Start a run.

        Queues a run outside of any round; 409 where it lacks what it works on.
        """
        return self._transport.ask(
            Call(
                "POST",
                f"/api/v1/projects/{place(slug)}/runs",
                headers={"Idempotency-Key": idempotency_key},
                body=body,
                is_keyed=True,
            ),
            models.Run,
        )

    def list_runs(self, slug: str, *, limit: int | None = None, cursor: str | None = None) -> Pages[models.Run]:
        """List runs.

        Runs of rounds and runs started by hand, newest first; 403 for annotators.
        """
        return Pages(
            self._transport,
            Call("GET", f"/api/v1/projects/{place(slug)}/runs", query={"limit": limit, "cursor": cursor}),
            Page[models.Run],
        )

    def read_run(self, run_id: int) -> models.Run:
        """Read a run.

        A run with how far it is, its result and, where it failed, its error; 404 for a run of a project that you are not
        in, 403 for annotators.
        """
        return self._transport.ask(Call("GET", f"/api/v1/runs/{place(run_id)}"), models.Run)

    def read_metrics(
        self, run_id: int, *, limit: int | None = None, cursor: str | None = None, after_step: int | None = None
    ) -> Pages[models.Metric]:
        """Read what a run measured.

        Figures of each step, the newest first, null where one was not finite; 404 for a run of a project that you are
        not in, 403 for annotators.
        """
        return Pages(
            self._transport,
            Call(
                "GET",
                f"/api/v1/runs/{place(run_id)}/metrics",
                query={"limit": limit, "cursor": cursor, "after_step": after_step},
            ),
            Page[models.Metric],
        )

    def read_run_log(self, run_id: int) -> models.Log:
        """Read the log of a run.

        The end of what its process printed, 64 KiB of it; 403 for annotators.
        """
        return self._transport.ask(Call("GET", f"/api/v1/runs/{place(run_id)}/log"), models.Log)

    def read_reward_hacking(self, run_id: int) -> dict[str, Any] | None:
        """Read the report on reward hacking.

        Every evaluation of a PPO run with its figures and alarms, and the newest responses to judge by eye; null before
        the first evaluation.
        """
        return self._transport.if_any(Call("GET", f"/api/v1/runs/{place(run_id)}/reward-hacking"), dict[str, Any])

    def cancel_run(self, run_id: int, *, idempotency_key: str | None = None) -> models.Run:
        """Cancel a run.

        A running run writes a checkpoint before it ends; `retry` goes on from there.
        """
        return self._transport.ask(
            Call(
                "POST",
                f"/api/v1/runs/{place(run_id)}/cancel",
                headers={"Idempotency-Key": idempotency_key},
                is_keyed=True,
            ),
            models.Run,
        )

    def retry_run(self, run_id: int, *, idempotency_key: str | None = None) -> models.Run:
        """Put a run back into the queue.

        For a failed or cancelled run: it goes on from its last checkpoint.
        """
        return self._transport.ask(
            Call(
                "POST",
                f"/api/v1/runs/{place(run_id)}/retry",
                headers={"Idempotency-Key": idempotency_key},
                is_keyed=True,
            ),
            models.Run,
        )

    def read_round_settings(self, slug: str) -> list[models.RoundSettingsGroup]:
        """Read the settings of rounds.

        All settings by group, each with its default, bounds and meaning; 403 for annotators.
        """
        return self._transport.ask(
            Call("GET", f"/api/v1/projects/{place(slug)}/round-settings"), list[models.RoundSettingsGroup]
        )

    def read_round_settings_group(self, slug: str, group: str) -> models.RoundSettingsGroup:
        """Read one group of settings of rounds.

        404 for a group that there isn't, 403 for annotators. The ETag is that of all of the project's settings.
        """
        return self._transport.ask(
            Call("GET", f"/api/v1/projects/{place(slug)}/round-settings/{place(group)}"), models.RoundSettingsGroup
        )

    def change_round_settings(
        self, slug: str, group: str, body: models.RoundSettingsChangeIn, *, if_match: Known
    ) -> models.RoundSettingsGroup:
        """Change settings of rounds.

        Holds from the next round or run on. 422 with the sentence of the stage that would refuse it, and nothing is
        changed; 404 for a group or setting that there isn't.
        """
        return self._transport.ask(
            Call(
                "PATCH",
                f"/api/v1/projects/{place(slug)}/round-settings/{place(group)}",
                headers={"If-Match": if_match},
                body=body,
            ),
            models.RoundSettingsGroup,
        )

    def list_models(
        self,
        slug: str,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        kind: Literal["cost", "policy", "reward"] | None = None,
    ) -> Pages[models.Model]:
        """List model versions.

        Policies, reward models and cost models, newest first, or those of one `kind`; 403 for annotators.
        """
        return Pages(
            self._transport,
            Call(
                "GET", f"/api/v1/projects/{place(slug)}/models", query={"limit": limit, "cursor": cursor, "kind": kind}
            ),
            Page[models.Model],
        )

    def add_model(self, slug: str, body: models.ModelIn, *, idempotency_key: str | None = None) -> models.Run:
        """Bring a model.

        Has a worker take a model over as it is, without training: as the project's first policy, which writes at once,
        or else as a version that waits to be promoted. 422 for a model that can't be used, or that you may not name.
        """
        return self._transport.ask(
            Call(
                "POST",
                f"/api/v1/projects/{place(slug)}/models",
                headers={"Idempotency-Key": idempotency_key},
                body=body,
                is_keyed=True,
            ),
            models.Run,
        )

    def check_model(
        self, slug: str, body: models.ModelIn, *, idempotency_key: str | None = None
    ) -> models.CheckedModel:
        """Look at a model.

        What a model's files say of it, and the memory that each stage would take; nothing is changed. 422 as above.
        """
        return self._transport.ask(
            Call(
                "POST",
                f"/api/v1/projects/{place(slug)}/models/check",
                headers={"Idempotency-Key": idempotency_key},
                body=body,
                is_keyed=True,
            ),
            models.CheckedModel,
        )

    def read_model(self, slug: str, kind: Literal["cost", "policy", "reward"], number: int) -> models.Model:
        """Read a model version.

        A version with its figures and the ids of all that it was made from; 404 for a number that its kind doesn't have,
        403 for annotators.
        """
        return self._transport.ask(
            Call("GET", f"/api/v1/projects/{place(slug)}/models/{place(kind)}/{place(number)}"), models.Model
        )

    def read_reward_report(self, slug: str, number: int) -> models.RewardReport:
        """Read the report on a reward model.

        What a worker has found out about one of the newest reward models; no rows of older ones. 404 for a number that
        there isn't, 403 for annotators.
        """
        return self._transport.ask(
            Call("GET", f"/api/v1/projects/{place(slug)}/models/reward/{place(number)}/report"), models.RewardReport
        )

    def promote(
        self,
        slug: str,
        kind: Literal["cost", "policy", "reward"],
        number: int,
        body: models.PromoteIn,
        *,
        idempotency_key: str | None = None,
    ) -> models.Model:
        """Put a model version to use.

        The version in use until now is archived; `roll-back` brings it back. 422 where its gate refused the version and
        `reason` is blank, and where its files are not those that were registered; 503 with `Retry-After` where comparing
        them takes long, and whoever asks again hears what came of it.
        """
        return self._transport.ask(
            Call(
                "POST",
                f"/api/v1/projects/{place(slug)}/models/{place(kind)}/{place(number)}/promote",
                headers={"Idempotency-Key": idempotency_key},
                body=body,
                is_keyed=True,
            ),
            models.Model,
        )

    def roll_back(self, slug: str, body: models.RollBackIn, *, idempotency_key: str | None = None) -> models.Model:
        """Go back to the model version in use before.

        Puts the version that was in use before the present one back and returns it; 409 when there is none, 503 as for
        `promote`.
        """
        return self._transport.ask(
            Call(
                "POST",
                f"/api/v1/projects/{place(slug)}/roll-back",
                headers={"Idempotency-Key": idempotency_key},
                body=body,
                is_keyed=True,
            ),
            models.Model,
        )

    def download_model(self, slug: str, kind: Literal["cost", "policy", "reward"], number: int) -> Download:
        """Download a model version.

        A tar of the directory that `from_pretrained` opens, with its card as `README.md`; 403 for annotators.

        It is the same to the byte whenever it is asked for, until its card says more: send `Range`, with the `ETag` as
        `If-Range`, to go on with a download that broke off. Every file is compared with its manifest while it is read; the
        answer breaks off before the end of one that doesn't match. 422 where the model's files are gone.
        """
        return Download(
            self._transport, Call("GET", f"/api/v1/projects/{place(slug)}/models/{place(kind)}/{place(number)}/archive")
        )

    def read_model_card(self, slug: str, kind: Literal["cost", "policy", "reward"], number: int) -> Download:
        """Read a model's card.

        What it was made from, its figures with their intervals, what its gates decided, and what it is not for.
        """
        return Download(
            self._transport, Call("GET", f"/api/v1/projects/{place(slug)}/models/{place(kind)}/{place(number)}/card")
        )

    def push_model(
        self,
        slug: str,
        kind: Literal["cost", "policy", "reward"],
        number: int,
        body: models.PushIn,
        *,
        idempotency_key: str | None = None,
    ) -> models.Run:
        """Push a model version.

        Has a worker send the directory with its card to a folder, a storage or a hub.

        422 for a place that isn't offered, which says those that are.
        """
        return self._transport.ask(
            Call(
                "POST",
                f"/api/v1/projects/{place(slug)}/models/{place(kind)}/{place(number)}/push",
                headers={"Idempotency-Key": idempotency_key},
                body=body,
                is_keyed=True,
            ),
            models.Run,
        )

    def generate(self, slug: str, number: int, body: models.GenerateIn) -> models.Errand:
        """Have a policy write.

        Responses of any version of the policy to one prompt, by a worker that keeps models in memory.
        """
        return self._transport.ask(
            Call("POST", f"/api/v1/projects/{place(slug)}/models/policy/{place(number)}/generate", body=body),
            models.Errand,
        )

    def score(self, slug: str, number: int, body: models.ScoreIn) -> models.Errand:
        """Have a reward model score.

        Scores of responses by any version of the reward model, in their order: `raw` as the model says it, `score` less
        its mean over responses for reference, in their deviations.
        """
        return self._transport.ask(
            Call("POST", f"/api/v1/projects/{place(slug)}/models/reward/{place(number)}/score", body=body),
            models.Errand,
        )

    def ask_writers(self, slug: str, body: models.ErrandIn) -> models.Errand:
        """Have several writers write.

        Responses of policies and served models to one prompt, with rewards by the reward model in use: the playground.

        It is forgotten a day later.
        """
        return self._transport.ask(Call("POST", f"/api/v1/projects/{place(slug)}/errands", body=body), models.Errand)

    def read_errand(self, slug: str, errand_id: int) -> models.Errand:
        """Read an errand.

        How far it is; 404 once it was forgotten.
        """
        return self._transport.ask(
            Call("GET", f"/api/v1/projects/{place(slug)}/errands/{place(errand_id)}"), models.Errand
        )

    def make_task_of_errand(
        self, slug: str, errand_id: int, body: models.TaskIn, *, idempotency_key: str | None = None
    ) -> models.MadeTask:
        """Make a task of responses.

        Puts responses of an errand before people, with their prompt; asked again, the same task.
        """
        return self._transport.ask(
            Call(
                "POST",
                f"/api/v1/projects/{place(slug)}/errands/{place(errand_id)}/task",
                headers={"Idempotency-Key": idempotency_key},
                body=body,
                is_keyed=True,
            ),
            models.MadeTask,
        )

    def list_prompts(
        self,
        slug: str,
        *,
        since: date | None = None,
        until: date | None = None,
        search: str | None = None,
        split: Literal["held_out", "train", "validation"] | None = None,
        tag: str | None = None,
        topic: str | None = None,
        source: str | None = None,
        excluded: Literal["no", "yes"] | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Pages[models.PromptListed]:
        """List prompts.

        The project's prompts, newest first, narrowed by what is asked; 403 for annotators.
        """
        return Pages(
            self._transport,
            Call(
                "GET",
                f"/api/v1/projects/{place(slug)}/prompts",
                query={
                    "since": since,
                    "until": until,
                    "search": search,
                    "split": split,
                    "tag": tag,
                    "topic": topic,
                    "source": source,
                    "excluded": excluded,
                    "limit": limit,
                    "cursor": cursor,
                },
            ),
            Page[models.PromptListed],
        )

    def add_prompts(self, slug: str, body: models.PromptsIn, *, idempotency_key: str | None = None) -> models.Prompts:
        """Add prompts.

        Up to 100 at once; one that the project has already stays as it is. More come by an import. Tags, split and
        whether they are kept out of datasets are changed by `POST …/changes`.
        """
        return self._transport.ask(
            Call(
                "POST",
                f"/api/v1/projects/{place(slug)}/prompts",
                headers={"Idempotency-Key": idempotency_key},
                body=body,
                is_keyed=True,
            ),
            models.Prompts,
        )

    def list_responses(
        self,
        slug: str,
        *,
        since: date | None = None,
        until: date | None = None,
        search: str | None = None,
        source: Literal["imported", "person", "policy", "served", "starter"] | None = None,
        policy: int | None = None,
        split: Literal["held_out", "train", "validation"] | None = None,
        tag: str | None = None,
        longer_than: int | None = None,
        shorter_than: int | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Pages[models.ResponseListed]:
        """List responses.

        The project's responses, newest first, narrowed by what is asked; 403 for annotators.
        """
        return Pages(
            self._transport,
            Call(
                "GET",
                f"/api/v1/projects/{place(slug)}/responses",
                query={
                    "since": since,
                    "until": until,
                    "search": search,
                    "source": source,
                    "policy": policy,
                    "split": split,
                    "tag": tag,
                    "longer_than": longer_than,
                    "shorter_than": shorter_than,
                    "limit": limit,
                    "cursor": cursor,
                },
            ),
            Page[models.ResponseListed],
        )

    def list_tasks(
        self,
        slug: str,
        *,
        since: date | None = None,
        until: date | None = None,
        search: str | None = None,
        state: Literal["closed", "open", "retired"] | None = None,
        purpose: Literal["gold", "label", "qualification", "repeat", "review"] | None = None,
        agreement: Literal["agreed", "divided"] | None = None,
        decided: Literal["no", "yes"] | None = None,
        annotator: str | None = None,
        given_to: str | None = None,
        flag: str | None = None,
        policy: int | None = None,
        round: int | None = None,
        split: Literal["held_out", "train", "validation"] | None = None,
        tag: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Pages[models.TaskListed]:
        """List tasks.

        The project's tasks, newest first, narrowed by what is asked; 403 for annotators.
        """
        return Pages(
            self._transport,
            Call(
                "GET",
                f"/api/v1/projects/{place(slug)}/tasks",
                query={
                    "since": since,
                    "until": until,
                    "search": search,
                    "state": state,
                    "purpose": purpose,
                    "agreement": agreement,
                    "decided": decided,
                    "annotator": annotator,
                    "given_to": given_to,
                    "flag": flag,
                    "policy": policy,
                    "round": round,
                    "split": split,
                    "tag": tag,
                    "limit": limit,
                    "cursor": cursor,
                },
            ),
            Page[models.TaskListed],
        )

    def list_judgements(
        self,
        slug: str,
        *,
        since: date | None = None,
        until: date | None = None,
        annotator: str | None = None,
        kind: Literal["human", "imported", "machine", "simulated"] | None = None,
        standing: Literal["check", "current", "replaced", "verdict"] | None = None,
        flag: str | None = None,
        hurried: Literal["no", "yes"] | None = None,
        in_dataset: Literal["no", "yes"] | None = None,
        round: int | None = None,
        search: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Pages[models.JudgementListed]:
        """List judgements.

        The project's judgements, newest first, narrowed by what is asked; 403 for annotators.
        """
        return Pages(
            self._transport,
            Call(
                "GET",
                f"/api/v1/projects/{place(slug)}/judgements",
                query={
                    "since": since,
                    "until": until,
                    "annotator": annotator,
                    "kind": kind,
                    "standing": standing,
                    "flag": flag,
                    "hurried": hurried,
                    "in_dataset": in_dataset,
                    "round": round,
                    "search": search,
                    "limit": limit,
                    "cursor": cursor,
                },
            ),
            Page[models.JudgementListed],
        )

    def list_demonstrations(
        self,
        slug: str,
        *,
        since: date | None = None,
        until: date | None = None,
        search: str | None = None,
        source: Literal["edited", "imported", "starter", "written"] | None = None,
        author: str | None = None,
        split: Literal["held_out", "train", "validation"] | None = None,
        tag: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Pages[models.DemonstrationListed]:
        """List demonstrations.

        The project's demonstrations, newest first, narrowed by what is asked; 403 for annotators.
        """
        return Pages(
            self._transport,
            Call(
                "GET",
                f"/api/v1/projects/{place(slug)}/demonstrations",
                query={
                    "since": since,
                    "until": until,
                    "search": search,
                    "source": source,
                    "author": author,
                    "split": split,
                    "tag": tag,
                    "limit": limit,
                    "cursor": cursor,
                },
            ),
            Page[models.DemonstrationListed],
        )

    def change_rows(
        self, slug: str, body: models.BrowseChangeIn, *, idempotency_key: str | None = None
    ) -> models.Change:
        """Change many rows.

        Retire tasks or put them back, set quota or priority, give them to a person; tag prompts, move them to a split,
        keep them out of datasets. 422 for a value that can't be; rows of other projects are passed over.
        """
        return self._transport.ask(
            Call(
                "POST",
                f"/api/v1/projects/{place(slug)}/changes",
                headers={"Idempotency-Key": idempotency_key},
                body=body,
                is_keyed=True,
            ),
            models.Change,
        )

    def undo_change(self, slug: str, change_id: int, *, idempotency_key: str | None = None) -> models.Change:
        """Undo a change of many rows.

        Puts back what stood there; what was changed again since is left. 409 when it is undone already, or is under way.
        More than 200 rows are put back by a run.
        """
        return self._transport.ask(
            Call(
                "POST",
                f"/api/v1/projects/{place(slug)}/changes/{place(change_id)}/undo",
                headers={"Idempotency-Key": idempotency_key},
                is_keyed=True,
            ),
            models.Change,
        )

    def read_prompt(self, slug: str, prompt_id: int) -> models.PromptDetail:
        """Read a prompt.

        With its responses, tasks and demonstrations; 403 for annotators.
        """
        return self._transport.ask(
            Call("GET", f"/api/v1/projects/{place(slug)}/prompts/{place(prompt_id)}"), models.PromptDetail
        )

    def read_task(self, slug: str, task_id: int) -> models.TaskDetail:
        """Read a task.

        With everything that was said of it, in the stored order of its responses; 403 for annotators.
        """
        return self._transport.ask(
            Call("GET", f"/api/v1/projects/{place(slug)}/tasks/{place(task_id)}"), models.TaskDetail
        )

    def list_figures(self, slug: str) -> list[models.Figure]:
        """List figures.

        The figures that there are of a project and what each means; 403 for annotators.
        """
        return self._transport.ask(Call("GET", f"/api/v1/projects/{place(slug)}/figures"), list[models.Figure])

    def read_figure(self, slug: str, figure: str) -> models.FigureRows:
        """Read a figure.

        What a worker has computed. Newer rows are asked for where something has changed and a minute has passed; 409 for
        a CSV of what has never been computed.
        """
        return self._transport.ask(
            Call("GET", f"/api/v1/projects/{place(slug)}/figures/{place(figure)}"), models.FigureRows
        )

    def read_agreement(self, slug: str) -> models.Agreement:
        """Read how far people agree.

        Coefficients with their intervals, the pairs of people who agree least, and the tasks that divide people, as a
        worker has computed them; 403 for annotators.
        """
        return self._transport.ask(Call("GET", f"/api/v1/projects/{place(slug)}/agreement"), models.Agreement)

    def read_review(self, slug: str) -> models.Review:
        """Read how verdicts are given.

        What reviewers see and what their verdicts count; 403 for annotators.
        """
        return self._transport.ask(Call("GET", f"/api/v1/projects/{place(slug)}/review"), models.Review)

    def change_review(self, slug: str, body: models.ReviewIn, *, if_match: Known) -> models.Review:
        """Change how verdicts are given.

        Changes what is given and leaves the rest.
        """
        return self._transport.ask(
            Call("PATCH", f"/api/v1/projects/{place(slug)}/review", headers={"If-Match": if_match}, body=body),
            models.Review,
        )

    def send_to_review(self, slug: str, task_id: int, *, idempotency_key: str | None = None) -> None:
        """Have a task decided by a reviewer.

        However far people agree on it; reviewers are given it before what divides people. Sent again it changes nothing.
        404 for a task that isn't one for labels, 409 where nobody has judged it, 403 for
        all but owners.
        """
        self._transport.send(
            Call(
                "POST",
                f"/api/v1/projects/{place(slug)}/tasks/{place(task_id)}/review",
                headers={"Idempotency-Key": idempotency_key},
                is_keyed=True,
            )
        )

    def take_review(self, slug: str, *, idempotency_key: str | None = None) -> models.Task | None:
        """Take a divided task to decide.

        Reserves the most divided task for you until `lease_expires_at`; asked again before you answer, the same one.

        What you then say of its assignment is the verdict. 403 for annotators.
        """
        return self._transport.if_any(
            Call(
                "POST",
                f"/api/v1/projects/{place(slug)}/reviews",
                headers={"Idempotency-Key": idempotency_key},
                is_keyed=True,
            ),
            models.Task,
        )

    def read_quality(self, slug: str) -> models.Quality:
        """Read how reliable people are.

        How reliable each person is, as the figures `annotators` and `annotators-by-group`; 403 for annotators.
        """
        return self._transport.ask(Call("GET", f"/api/v1/projects/{place(slug)}/quality"), models.Quality)

    def list_conduct(
        self, slug: str, *, limit: int | None = None, cursor: str | None = None
    ) -> Pages[models.PersonConduct]:
        """List how well people work.

        What checks and clocks tell of each member, who has judged or not; 403 for annotators.
        """
        return Pages(
            self._transport,
            Call("GET", f"/api/v1/projects/{place(slug)}/quality/people", query={"limit": limit, "cursor": cursor}),
            Page[models.PersonConduct],
        )

    def read_checks(self, slug: str) -> models.Checks:
        """Read how people are checked.

        The qualification round, gold tasks and repeats; 403 for annotators.
        """
        return self._transport.ask(Call("GET", f"/api/v1/projects/{place(slug)}/checks"), models.Checks)

    def change_checks(self, slug: str, body: models.ChecksIn, *, if_match: Known) -> models.Checks:
        """Change how people are checked.

        Changes what is given and leaves the rest; 422 where more than half of the tasks would be checks.
        """
        return self._transport.ask(
            Call("PATCH", f"/api/v1/projects/{place(slug)}/checks", headers={"If-Match": if_match}, body=body),
            models.Checks,
        )

    def list_gold(self, slug: str, *, limit: int | None = None, cursor: str | None = None) -> Pages[models.Gold]:
        """List gold tasks.

        Newest first, whether or not they are in use, with what the project says of each; 403 for annotators.
        """
        return Pages(
            self._transport,
            Call("GET", f"/api/v1/projects/{place(slug)}/gold-tasks", query={"limit": limit, "cursor": cursor}),
            Page[models.Gold],
        )

    def write_gold(self, slug: str, body: models.GoldIn, *, idempotency_key: str | None = None) -> models.MadeGold:
        """Write a gold task.

        A prompt and two to nine responses of yours, of which you say which is better.
        """
        return self._transport.ask(
            Call(
                "POST",
                f"/api/v1/projects/{place(slug)}/gold-tasks",
                headers={"Idempotency-Key": idempotency_key},
                body=body,
                is_keyed=True,
            ),
            models.MadeGold,
        )

    def make_gold(
        self, slug: str, task_id: int, body: models.SayingIn, *, idempotency_key: str | None = None
    ) -> models.MadeGold:
        """Make a gold task of a task.

        A gold task like that one, which stays as it is; 409 where there is one for that purpose.
        """
        return self._transport.ask(
            Call(
                "POST",
                f"/api/v1/projects/{place(slug)}/tasks/{place(task_id)}/gold",
                headers={"Idempotency-Key": idempotency_key},
                body=body,
                is_keyed=True,
            ),
            models.MadeGold,
        )

    def read_gold(self, slug: str, task_id: int) -> models.Gold:
        """Read a gold task.

        What the project says of it, and how people answered; 403 for annotators.
        """
        return self._transport.ask(
            Call("GET", f"/api/v1/projects/{place(slug)}/gold-tasks/{place(task_id)}"), models.Gold
        )

    def change_gold(self, slug: str, task_id: int, body: models.GoldChange, *, if_match: Known) -> None:
        """Change a gold task.

        Says something else of it, by which earlier answers are measured, too, or takes it out of use or back into it.
        What isn't sent stays; 404 for what is no gold task.
        """
        self._transport.send(
            Call(
                "PATCH",
                f"/api/v1/projects/{place(slug)}/gold-tasks/{place(task_id)}",
                headers={"If-Match": if_match},
                body=body,
            )
        )

    def let_in(self, slug: str, user_id: int, *, idempotency_key: str | None = None) -> None:
        """Spare somebody the round.

        Has an annotator work without passing the qualification round; 404 for who is no member.
        """
        self._transport.send(
            Call(
                "POST",
                f"/api/v1/projects/{place(slug)}/people/{place(user_id)}/let-in",
                headers={"Idempotency-Key": idempotency_key},
                is_keyed=True,
            )
        )

    def erase(self, slug: str, body: models.ErasureIn, *, idempotency_key: str | None = None) -> models.Erasure:
        """Erase a text for good.

        Has a worker erase a prompt, a response, or all that a person wrote in the project. Texts are overwritten with
        nothing, what people chose stays; dataset versions that held it are marked and refused from then on. 409 when
        nothing of it is left.
        """
        return self._transport.ask(
            Call(
                "POST",
                f"/api/v1/projects/{place(slug)}/erasures",
                headers={"Idempotency-Key": idempotency_key},
                body=body,
                is_keyed=True,
            ),
            models.Erasure,
        )

    def list_imports(self, slug: str, *, limit: int | None = None, cursor: str | None = None) -> Pages[models.Import]:
        """List imports.

        Files that came in, newest first, with what they brought; 403 for annotators.
        """
        return Pages(
            self._transport,
            Call("GET", f"/api/v1/projects/{place(slug)}/imports", query={"limit": limit, "cursor": cursor}),
            Page[models.Import],
        )

    def upload(
        self, slug: str, content: Content, *, name: str | None = None, progress: Progress | None = None
    ) -> models.Import:
        """Upload a file.

        The body is the file, packed or not. What its rows are is recognised; nothing is stored but the file.

        `format` is null where it isn't recognised: name one with the check. 413 for a file that is too large.
        """
        return self._transport.ask(
            Call(
                "POST",
                f"/api/v1/projects/{place(slug)}/imports",
                query={"name": name},
                content=content,
                content_type="application/octet-stream",
                progress=progress,
            ),
            models.Import,
        )

    def read_import(self, slug: str, import_id: int) -> models.Import:
        """Read an import.

        How it is read, what was counted, and the run that is at it or was last; 403 for annotators.
        """
        return self._transport.ask(
            Call("GET", f"/api/v1/projects/{place(slug)}/imports/{place(import_id)}"), models.Import
        )

    def discard_import(self, slug: str, import_id: int) -> None:
        """Discard a file.

        Removes a file that brought nothing; 409 for one that did, which can be undone.
        """
        self._transport.send(Call("DELETE", f"/api/v1/projects/{place(slug)}/imports/{place(import_id)}"))

    def check_import(
        self, slug: str, import_id: int, body: models.ImportIn, *, idempotency_key: str | None = None
    ) -> models.Import:
        """Check a file.

        Queues a run that reads all of it and counts what it would bring; follow `run_id`. Nothing is stored.

        What is given says how it is read from now on. 409 while another run is at it, and once it came in.
        """
        return self._transport.ask(
            Call(
                "POST",
                f"/api/v1/projects/{place(slug)}/imports/{place(import_id)}/check",
                headers={"Idempotency-Key": idempotency_key},
                body=body,
                is_keyed=True,
            ),
            models.Import,
        )

    def load_import(
        self, slug: str, import_id: int, body: models.LoadIn, *, idempotency_key: str | None = None
    ) -> models.Import:
        """Import a file.

        Queues a run that stores all rows that are new, or nothing; follow `run_id`.

        409 while another run is at it, once it came in, and where a check has found rows that can't be used, unless those
        are to be left out.
        """
        return self._transport.ask(
            Call(
                "POST",
                f"/api/v1/projects/{place(slug)}/imports/{place(import_id)}/load",
                headers={"Idempotency-Key": idempotency_key},
                body=body,
                is_keyed=True,
            ),
            models.Import,
        )

    def undo_import(self, slug: str, import_id: int, *, idempotency_key: str | None = None) -> models.Import:
        """Undo an import.

        Queues a run that removes all that it brought; follow `run_id`.

        409 where a dataset version holds some of it, and where people have worked on its tasks.
        """
        return self._transport.ask(
            Call(
                "POST",
                f"/api/v1/projects/{place(slug)}/imports/{place(import_id)}/undo",
                headers={"Idempotency-Key": idempotency_key},
                is_keyed=True,
            ),
            models.Import,
        )

    def cancel_import(self, slug: str, import_id: int, *, idempotency_key: str | None = None) -> models.Import:
        """Cancel what is done with an import.

        Nothing of it stays. 409 when it is over already, 404 when there was nothing to cancel.
        """
        return self._transport.ask(
            Call(
                "POST",
                f"/api/v1/projects/{place(slug)}/imports/{place(import_id)}/cancel",
                headers={"Idempotency-Key": idempotency_key},
                is_keyed=True,
            ),
            models.Import,
        )

    def read_bad_rows(self, slug: str, import_id: int) -> Download:
        """Read the bad rows.

        All of them, as the last check or import found them; the heading alone where there were none.
        """
        return Download(
            self._transport, Call("GET", f"/api/v1/projects/{place(slug)}/imports/{place(import_id)}/bad-rows")
        )

    def read_judge(self, slug: str, served_model_id: int) -> models.Judge:
        """Read how a judge is doing.

        Agreement with people, flip rate, lean to a side, log-loss, weight and cost; 403 for annotators.
        """
        return self._transport.ask(
            Call("GET", f"/api/v1/projects/{place(slug)}/served-models/{place(served_model_id)}/judge"), models.Judge
        )

    def make_judge(self, slug: str, served_model_id: int, *, idempotency_key: str | None = None) -> models.Judge:
        """Make a served model a judge.

        Marked as a machine, and no member: it judges when it is told to. 409 where it is one.
        """
        return self._transport.ask(
            Call(
                "POST",
                f"/api/v1/projects/{place(slug)}/served-models/{place(served_model_id)}/judge",
                headers={"Idempotency-Key": idempotency_key},
                is_keyed=True,
            ),
            models.Judge,
        )

    def stop_judge(self, slug: str, served_model_id: int) -> None:
        """Have a judge judge no more.

        What it said stays, and later dataset versions leave it out; 404 for what is no judge.
        """
        self._transport.send(
            Call("DELETE", f"/api/v1/projects/{place(slug)}/served-models/{place(served_model_id)}/judge")
        )

    def judge_pairs(
        self, slug: str, served_model_id: int, body: models.JudgePairsIn, *, idempotency_key: str | None = None
    ) -> models.Run:
        """Have a judge judge pairs.

        A run that asks it twice for each pair, once in each order; 404 for what is no judge.
        """
        return self._transport.ask(
            Call(
                "POST",
                f"/api/v1/projects/{place(slug)}/served-models/{place(served_model_id)}/judge/runs",
                headers={"Idempotency-Key": idempotency_key},
                body=body,
                is_keyed=True,
            ),
            models.Run,
        )

    def read_judge_answers(
        self,
        slug: str,
        served_model_id: int,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        outcome: Literal["abstained", "first", "flip", "second", "tie"] | None = None,
    ) -> Pages[models.JudgeAnswer]:
        """Read what a judge replied.

        Newest first, word for word, abstentions among them; 403 for annotators.
        """
        return Pages(
            self._transport,
            Call(
                "GET",
                f"/api/v1/projects/{place(slug)}/served-models/{place(served_model_id)}/judge/answers",
                query={"limit": limit, "cursor": cursor, "outcome": outcome},
            ),
            Page[models.JudgeAnswer],
        )

    def list_served_models(
        self, slug: str, *, limit: int | None = None, cursor: str | None = None
    ) -> Pages[models.ServedModel]:
        """List served models.

        Newest first, without those that were removed; 403 for annotators.
        """
        return Pages(
            self._transport,
            Call("GET", f"/api/v1/projects/{place(slug)}/served-models", query={"limit": limit, "cursor": cursor}),
            Page[models.ServedModel],
        )

    def add_served_model(
        self, slug: str, body: models.ServedModelIn, *, idempotency_key: str | None = None
    ) -> models.ServedModel:
        """Add a served model.

        409 for a name that is taken. The address isn't tried: `test` does that.
        """
        return self._transport.ask(
            Call(
                "POST",
                f"/api/v1/projects/{place(slug)}/served-models",
                headers={"Idempotency-Key": idempotency_key},
                body=body,
                is_keyed=True,
            ),
            models.ServedModel,
        )

    def list_writers(self, slug: str) -> list[models.Writer]:
        """List whose responses can be compared.

        The policy in use and the served models, removed ones that have written among them; 403 for annotators.
        """
        return self._transport.ask(Call("GET", f"/api/v1/projects/{place(slug)}/writers"), list[models.Writer])

    def read_comparisons(self, slug: str) -> list[models.ServedSchemasComparison]:
        """Read how writers do against each other.

        Every two writers that people compared, a served model among them, who is ahead first; 403 for annotators.
        """
        return self._transport.ask(
            Call("GET", f"/api/v1/projects/{place(slug)}/comparisons"), list[models.ServedSchemasComparison]
        )

    def make_pairs(self, slug: str, body: models.PairsIn, *, idempotency_key: str | None = None) -> models.Run:
        """Make pairs of what writers wrote.

        A run that makes pairs of responses to one prompt that are in no pair yet, open for people when it is done.
        """
        return self._transport.ask(
            Call(
                "POST",
                f"/api/v1/projects/{place(slug)}/pairs",
                headers={"Idempotency-Key": idempotency_key},
                body=body,
                is_keyed=True,
            ),
            models.Run,
        )

    def try_served_model(self, slug: str, served_model_id: int, body: models.TestIn) -> models.ServedAnswer:
        """Ask a served model for one response.

        Once, within 20 seconds; nothing is stored. 400 with the reason where no usable response comes.
        """
        return self._transport.ask(
            Call("POST", f"/api/v1/projects/{place(slug)}/served-models/{place(served_model_id)}/test", body=body),
            models.ServedAnswer,
        )

    def ask_served_model(
        self, slug: str, served_model_id: int, body: models.AskIn, *, idempotency_key: str | None = None
    ) -> models.Run:
        """Have a served model write responses.

        A run that asks it and then makes pairs of what `compared` wrote; 409 in a project without prompts.
        """
        return self._transport.ask(
            Call(
                "POST",
                f"/api/v1/projects/{place(slug)}/served-models/{place(served_model_id)}/runs",
                headers={"Idempotency-Key": idempotency_key},
                body=body,
                is_keyed=True,
            ),
            models.Run,
        )

    def read_served_model(self, slug: str, served_model_id: int) -> models.ServedModel:
        """Read a served model.

        How it is reached and asked; 403 for annotators.
        """
        return self._transport.ask(
            Call("GET", f"/api/v1/projects/{place(slug)}/served-models/{place(served_model_id)}"), models.ServedModel
        )

    def change_served_model(
        self, slug: str, served_model_id: int, body: models.ServedModelChange, *, if_match: Known
    ) -> models.ServedModel:
        """Change a served model.

        Runs that are queued already ask as they were told. 422 for another host without its key.
        """
        return self._transport.ask(
            Call(
                "PATCH",
                f"/api/v1/projects/{place(slug)}/served-models/{place(served_model_id)}",
                headers={"If-Match": if_match},
                body=body,
            ),
            models.ServedModel,
        )

    def remove_served_model(self, slug: str, served_model_id: int) -> None:
        """Remove a served model.

        It is asked no more and its key is forgotten; what it wrote stays.
        """
        self._transport.send(Call("DELETE", f"/api/v1/projects/{place(slug)}/served-models/{place(served_model_id)}"))

    def read_project_log(
        self,
        slug: str,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        actor: int | None = None,
        kind: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        text: str | None = None,
    ) -> Pages[models.Audit]:
        """Read the log of a project.

        Who changed what in the project, newest first; for owners.
        """
        return Pages(
            self._transport,
            Call(
                "GET",
                f"/api/v1/projects/{place(slug)}/audit",
                query={
                    "limit": limit,
                    "cursor": cursor,
                    "actor": actor,
                    "kind": kind,
                    "since": since,
                    "until": until,
                    "text": text,
                },
            ),
            Page[models.Audit],
        )

    def export_project_log(
        self,
        slug: str,
        *,
        actor: int | None = None,
        kind: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        text: str | None = None,
        format: Literal["csv", "jsonl"] | None = None,
    ) -> Download:
        """Export the log of a project.

        Who changed what in the project, as a file; for owners.
        """
        return Download(
            self._transport,
            Call(
                "GET",
                f"/api/v1/projects/{place(slug)}/audit/export",
                query={"actor": actor, "kind": kind, "since": since, "until": until, "text": text, "format": format},
            ),
        )

    def read_log(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        actor: int | None = None,
        kind: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        text: str | None = None,
    ) -> Pages[models.Audit]:
        """Read the log of the site.

        Who changed what on the whole site, newest first; for admins.
        """
        return Pages(
            self._transport,
            Call(
                "GET",
                "/api/v1/audit",
                query={
                    "limit": limit,
                    "cursor": cursor,
                    "actor": actor,
                    "kind": kind,
                    "since": since,
                    "until": until,
                    "text": text,
                },
            ),
            Page[models.Audit],
        )

    def export_log(
        self,
        *,
        actor: int | None = None,
        kind: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        text: str | None = None,
        format: Literal["csv", "jsonl"] | None = None,
    ) -> Download:
        """Export the log of the site.

        Who changed what on the whole site, as a file; for admins.
        """
        return Download(
            self._transport,
            Call(
                "GET",
                "/api/v1/audit/export",
                query={"actor": actor, "kind": kind, "since": since, "until": until, "text": text, "format": format},
            ),
        )

    def list_people(self, slug: str, *, limit: int | None = None, cursor: str | None = None) -> Pages[models.Person]:
        """List people.

        Everybody in the project, those with most judgements first.
        """
        return Pages(
            self._transport,
            Call("GET", f"/api/v1/projects/{place(slug)}/people", query={"limit": limit, "cursor": cursor}),
            Page[models.Person],
        )

    def add_person(self, slug: str, body: models.AddIn, *, idempotency_key: str | None = None) -> models.Person:
        """Add an account.

        Puts an account of the site into the project; for admins. Owners make invitations.
        """
        return self._transport.ask(
            Call(
                "POST",
                f"/api/v1/projects/{place(slug)}/people",
                headers={"Idempotency-Key": idempotency_key},
                body=body,
                is_keyed=True,
            ),
            models.Person,
        )

    def read_person(self, slug: str, user_id: int) -> models.Work:
        """Read what a person does.

        How much one person does in the project on which day, and how well.
        """
        return self._transport.ask(Call("GET", f"/api/v1/projects/{place(slug)}/people/{place(user_id)}"), models.Work)

    def change_member(self, slug: str, user_id: int, body: models.MemberIn, *, if_match: Known) -> models.Person:
        """Change a member.

        Another role, a pause, or the end of one. What isn't sent stays.
        """
        return self._transport.ask(
            Call(
                "PATCH",
                f"/api/v1/projects/{place(slug)}/people/{place(user_id)}",
                headers={"If-Match": if_match},
                body=body,
            ),
            models.Person,
        )

    def remove_member(self, slug: str, user_id: int) -> None:
        """Remove a member.

        What they judged stays; the tasks that they hold are free for others.
        """
        self._transport.send(Call("DELETE", f"/api/v1/projects/{place(slug)}/people/{place(user_id)}"))

    def release(self, slug: str, user_id: int, *, idempotency_key: str | None = None) -> models.Count:
        """Free the tasks of a person.

        Gives the tasks that this person holds, and those that were given to them, to others.
        """
        return self._transport.ask(
            Call(
                "POST",
                f"/api/v1/projects/{place(slug)}/people/{place(user_id)}/release",
                headers={"Idempotency-Key": idempotency_key},
                is_keyed=True,
            ),
            models.Count,
        )

    def reopen(self, slug: str, user_id: int, *, idempotency_key: str | None = None) -> models.Count:
        """Have the work of a person judged again.

        One more place in each closed task that this person judged, 10,000 at once. What was said stays.
        """
        return self._transport.ask(
            Call(
                "POST",
                f"/api/v1/projects/{place(slug)}/people/{place(user_id)}/reopen",
                headers={"Idempotency-Key": idempotency_key},
                is_keyed=True,
            ),
            models.Count,
        )

    def create_member_link(self, slug: str, user_id: int, *, idempotency_key: str | None = None) -> models.Link:
        """Make a sign-in link.

        For 24 hours; 403 for who can do more than you.
        """
        return self._transport.ask(
            Call(
                "POST",
                f"/api/v1/projects/{place(slug)}/people/{place(user_id)}/sign-in-link",
                headers={"Idempotency-Key": idempotency_key},
                is_keyed=True,
            ),
            models.Link,
        )

    def list_invitations(
        self, slug: str, *, limit: int | None = None, cursor: str | None = None
    ) -> Pages[models.Invitation]:
        """List open invitations.

        Invitations that nobody has accepted or revoked, newest first. After `expires_at` one has to be renewed.
        """
        return Pages(
            self._transport,
            Call("GET", f"/api/v1/projects/{place(slug)}/invitations", query={"limit": limit, "cursor": cursor}),
            Page[models.Invitation],
        )

    def invite(
        self, slug: str, body: models.InvitationsIn, *, idempotency_key: str | None = None
    ) -> list[models.Invited]:
        """Invite people.

        A link for each of `people`, by which they make an account or join with the one that they have.
        """
        return self._transport.ask(
            Call(
                "POST",
                f"/api/v1/projects/{place(slug)}/invitations",
                headers={"Idempotency-Key": idempotency_key},
                body=body,
                is_keyed=True,
            ),
            list[models.Invited],
        )

    def renew_invitation(
        self, slug: str, invitation_id: int, body: models.RenewalIn, *, idempotency_key: str | None = None
    ) -> models.Invited:
        """Renew an invitation.

        Another link for one that is lost or over; the link before lets nobody in any more. 404 once it is used.
        """
        return self._transport.ask(
            Call(
                "POST",
                f"/api/v1/projects/{place(slug)}/invitations/{place(invitation_id)}/renew",
                headers={"Idempotency-Key": idempotency_key},
                body=body,
                is_keyed=True,
            ),
            models.Invited,
        )

    def revoke_invitation(self, slug: str, invitation_id: int) -> None:
        """Revoke an invitation.

        The link lets nobody in any more.
        """
        self._transport.send(Call("DELETE", f"/api/v1/projects/{place(slug)}/invitations/{place(invitation_id)}"))

    def list_accounts(
        self, *, limit: int | None = None, cursor: str | None = None, text: str | None = None
    ) -> Pages[models.Account]:
        """List accounts.

        Everybody who has an account, newest first; for admins.
        """
        return Pages(
            self._transport,
            Call("GET", "/api/v1/people", query={"limit": limit, "cursor": cursor, "text": text}),
            Page[models.Account],
        )

    def read_account(self, user_id: int) -> models.Account:
        """Read an account.

        For admins.
        """
        return self._transport.ask(Call("GET", f"/api/v1/people/{place(user_id)}"), models.Account)

    def change_account(self, user_id: int, body: models.AccountIn, *, if_match: Known) -> models.Account:
        """Change an account.

        Makes somebody an admin or ends that, shuts them out or lets them in again. What isn't sent stays.
        """
        return self._transport.ask(
            Call("PATCH", f"/api/v1/people/{place(user_id)}", headers={"If-Match": if_match}, body=body), models.Account
        )

    def erase_person(self, user_id: int) -> None:
        """Erase a person.

        Forgets name, address, password, ways in and memberships for good. What was judged stays, of a pseudonym.
        """
        self._transport.send(Call("DELETE", f"/api/v1/people/{place(user_id)}"))

    def create_link(self, user_id: int, *, idempotency_key: str | None = None) -> models.Link:
        """Make a sign-in link for anybody.

        For 24 hours.
        """
        return self._transport.ask(
            Call(
                "POST",
                f"/api/v1/people/{place(user_id)}/sign-in-link",
                headers={"Idempotency-Key": idempotency_key},
                is_keyed=True,
            ),
            models.Link,
        )

    def end_ways_in(self, user_id: int) -> None:
        """Sign a person out everywhere.

        Ends every session, token and unopened sign-in link. Password and passkeys stay.
        """
        self._transport.send(Call("DELETE", f"/api/v1/people/{place(user_id)}/sessions"))

    def list_groups(self, *, limit: int | None = None, cursor: str | None = None) -> Pages[models.DirectoryGroup]:
        """List groups.

        Newest first, each with the projects that it is given to; for admins.
        """
        return Pages(
            self._transport,
            Call("GET", "/api/v1/groups", query={"limit": limit, "cursor": cursor}),
            Page[models.DirectoryGroup],
        )

    def create_group(self, body: models.GroupIn, *, idempotency_key: str | None = None) -> models.DirectoryGroup:
        """Make a group.

        A group with nobody in it.
        """
        return self._transport.ask(
            Call("POST", "/api/v1/groups", headers={"Idempotency-Key": idempotency_key}, body=body, is_keyed=True),
            models.DirectoryGroup,
        )

    def read_group(self, group_id: int) -> models.DirectoryGroup:
        """Read a group.

        How many are in it and which projects it is given to; for admins.
        """
        return self._transport.ask(Call("GET", f"/api/v1/groups/{place(group_id)}"), models.DirectoryGroup)

    def rename_group(self, group_id: int, body: models.GroupIn, *, if_match: Known) -> None:
        """Rename a group.

        Calls a group something else.
        """
        self._transport.send(
            Call("PATCH", f"/api/v1/groups/{place(group_id)}", headers={"If-Match": if_match}, body=body)
        )

    def remove_group(self, group_id: int) -> None:
        """Dissolve a group.

        Who is in a project by way of it alone is out of that project.
        """
        self._transport.send(Call("DELETE", f"/api/v1/groups/{place(group_id)}"))

    def list_people_of_group(
        self, group_id: int, *, limit: int | None = None, cursor: str | None = None
    ) -> Pages[models.Account]:
        """List who is in a group.

        The newest account first; for admins.
        """
        return Pages(
            self._transport,
            Call("GET", f"/api/v1/groups/{place(group_id)}/people", query={"limit": limit, "cursor": cursor}),
            Page[models.Account],
        )

    def put_into_group(self, group_id: int, user_id: int) -> None:
        """Put somebody into a group.

        And so into its projects.
        """
        self._transport.send(Call("PUT", f"/api/v1/groups/{place(group_id)}/people/{place(user_id)}"))

    def take_out_of_group(self, group_id: int, user_id: int) -> None:
        """Take somebody out of a group.

        And so out of its projects.
        """
        self._transport.send(Call("DELETE", f"/api/v1/groups/{place(group_id)}/people/{place(user_id)}"))

    def give_group(self, group_id: int, slug: str, body: models.GrantIn) -> None:
        """Give a group to a project.

        Everybody in it is a member there, in this role.
        """
        self._transport.send(Call("PUT", f"/api/v1/groups/{place(group_id)}/projects/{place(slug)}", body=body))

    def withdraw_group(self, group_id: int, slug: str) -> None:
        """Take a group out of a project.

        Who is there by way of it alone is out.
        """
        self._transport.send(Call("DELETE", f"/api/v1/groups/{place(group_id)}/projects/{place(slug)}"))

    def read_me(self) -> models.Me:
        """Read your account.

        Whose token this is.
        """
        return self._transport.ask(Call("GET", "/api/v1/me"), models.Me)

    def change_me(self, body: models.MeIn, *, if_match: Known) -> models.Me:
        """Change your name.

        What others call you. Address and password are changed on the page, by who shows that it is them.
        """
        return self._transport.ask(Call("PATCH", "/api/v1/me", headers={"If-Match": if_match}, body=body), models.Me)

    def list_own_tokens(self, *, limit: int | None = None, cursor: str | None = None) -> Pages[models.Token]:
        """List your tokens.

        Your tokens that still work, newest first.
        """
        return Pages(
            self._transport,
            Call("GET", "/api/v1/me/tokens", query={"limit": limit, "cursor": cursor}),
            Page[models.Token],
        )

    def revoke_own_token(self, token_id: int) -> None:
        """Revoke a token of yours.

        At once and for good, the one that this is called with, too; 404 for anybody else's.
        """
        self._transport.send(Call("DELETE", f"/api/v1/me/tokens/{place(token_id)}"))

    def list_own_sessions(self, *, limit: int | None = None, cursor: str | None = None) -> Pages[models.Session]:
        """List browsers that you are signed in with.

        The one that signed in last first.
        """
        return Pages(
            self._transport,
            Call("GET", "/api/v1/me/sessions", query={"limit": limit, "cursor": cursor}),
            Page[models.Session],
        )

    def end_own_session(self, session_id: int) -> None:
        """Sign a browser of yours out.

        404 for anybody else's.
        """
        self._transport.send(Call("DELETE", f"/api/v1/me/sessions/{place(session_id)}"))

    def read_health(self) -> models.Health:
        """Read how the site is.

        Each check with what it found, and how old the last backup is; for admins.
        """
        return self._transport.ask(Call("GET", "/api/v1/health"), models.Health)

    def list_backups(self, *, limit: int | None = None, cursor: str | None = None) -> Pages[models.Backup]:
        """List backups.

        What came of every try, newest first; for admins.
        """
        return Pages(
            self._transport,
            Call("GET", "/api/v1/backups", query={"limit": limit, "cursor": cursor}),
            Page[models.Backup],
        )

    def list_webhooks(self, slug: str, *, limit: int | None = None, cursor: str | None = None) -> Pages[models.Webhook]:
        """List webhooks.

        Newest first; for owners and, of the site, admins, because an address may be a secret.
        """
        return Pages(
            self._transport,
            Call("GET", f"/api/v1/projects/{place(slug)}/webhooks", query={"limit": limit, "cursor": cursor}),
            Page[models.Webhook],
        )

    def add_webhook(
        self, slug: str, body: models.WebhookIn, *, idempotency_key: str | None = None
    ) -> models.WebhookMade:
        """Add a webhook.

        The answer holds its secret, which is never shown again. The address isn't tried: `test` does that.
        """
        return self._transport.ask(
            Call(
                "POST",
                f"/api/v1/projects/{place(slug)}/webhooks",
                headers={"Idempotency-Key": idempotency_key},
                body=body,
                is_keyed=True,
            ),
            models.WebhookMade,
        )

    def read_webhook(self, slug: str, webhook_id: int) -> models.Webhook:
        """Read a webhook.

        Where it is, what it is told of, and whether it can be reached.
        """
        return self._transport.ask(
            Call("GET", f"/api/v1/projects/{place(slug)}/webhooks/{place(webhook_id)}"), models.Webhook
        )

    def change_webhook(
        self, slug: str, webhook_id: int, body: models.WebhookChange, *, if_match: Known
    ) -> models.Webhook:
        """Change a webhook, or switch it off or on.

        What waits goes to the new address. One that was switched off hears nothing of what happened meanwhile.
        """
        return self._transport.ask(
            Call(
                "PATCH",
                f"/api/v1/projects/{place(slug)}/webhooks/{place(webhook_id)}",
                headers={"If-Match": if_match},
                body=body,
            ),
            models.Webhook,
        )

    def remove_webhook(self, slug: str, webhook_id: int) -> None:
        """Remove a webhook.

        With the log of what it was told.
        """
        self._transport.send(Call("DELETE", f"/api/v1/projects/{place(slug)}/webhooks/{place(webhook_id)}"))

    def rotate_webhook_secret(
        self, slug: str, webhook_id: int, *, idempotency_key: str | None = None
    ) -> models.WebhookMade:
        """Give a webhook a new secret.

        Messages are signed with both for 24 hours; the answer holds the new one, which is never shown again.
        """
        return self._transport.ask(
            Call(
                "POST",
                f"/api/v1/projects/{place(slug)}/webhooks/{place(webhook_id)}/secret",
                headers={"Idempotency-Key": idempotency_key},
                is_keyed=True,
            ),
            models.WebhookMade,
        )

    def test_webhook(self, slug: str, webhook_id: int, *, idempotency_key: str | None = None) -> models.Delivery:
        """Send a test to a webhook.

        A delivery of `webhook.test`, sent by a worker in one try; 409 for a webhook that is switched off.
        """
        return self._transport.ask(
            Call(
                "POST",
                f"/api/v1/projects/{place(slug)}/webhooks/{place(webhook_id)}/test",
                headers={"Idempotency-Key": idempotency_key},
                is_keyed=True,
            ),
            models.Delivery,
        )

    def list_deliveries(
        self,
        slug: str,
        webhook_id: int,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        state: Literal["delivered", "failed", "gathering", "waiting"] | None = None,
    ) -> Pages[models.Delivery]:
        """List what a webhook was told.

        Newest first, of the last 30 days, each with its tries.
        """
        return Pages(
            self._transport,
            Call(
                "GET",
                f"/api/v1/projects/{place(slug)}/webhooks/{place(webhook_id)}/deliveries",
                query={"limit": limit, "cursor": cursor, "state": state},
            ),
            Page[models.Delivery],
        )

    def redeliver(
        self, slug: str, webhook_id: int, delivery_id: int, *, idempotency_key: str | None = None
    ) -> models.Delivery:
        """Tell a webhook again.

        At once and under the same id; 409 for a webhook that is switched off.
        """
        return self._transport.ask(
            Call(
                "POST",
                f"/api/v1/projects/{place(slug)}/webhooks/{place(webhook_id)}/deliveries/{place(delivery_id)}/redeliver",
                headers={"Idempotency-Key": idempotency_key},
                is_keyed=True,
            ),
            models.Delivery,
        )

    def list_site_webhooks(self, *, limit: int | None = None, cursor: str | None = None) -> Pages[models.Webhook]:
        """List webhooks of the site.

        Newest first; for owners and, of the site, admins, because an address may be a secret.
        """
        return Pages(
            self._transport,
            Call("GET", "/api/v1/webhooks", query={"limit": limit, "cursor": cursor}),
            Page[models.Webhook],
        )

    def add_site_webhook(self, body: models.WebhookIn, *, idempotency_key: str | None = None) -> models.WebhookMade:
        """Add a webhook of the site.

        The answer holds its secret, which is never shown again. The address isn't tried: `test` does that.
        """
        return self._transport.ask(
            Call("POST", "/api/v1/webhooks", headers={"Idempotency-Key": idempotency_key}, body=body, is_keyed=True),
            models.WebhookMade,
        )

    def read_site_webhook(self, webhook_id: int) -> models.Webhook:
        """Read a webhook of the site.

        Where it is, what it is told of, and whether it can be reached.
        """
        return self._transport.ask(Call("GET", f"/api/v1/webhooks/{place(webhook_id)}"), models.Webhook)

    def change_site_webhook(self, webhook_id: int, body: models.WebhookChange, *, if_match: Known) -> models.Webhook:
        """Change a webhook of the site, or switch it off or on.

        What waits goes to the new address. One that was switched off hears nothing of what happened meanwhile.
        """
        return self._transport.ask(
            Call("PATCH", f"/api/v1/webhooks/{place(webhook_id)}", headers={"If-Match": if_match}, body=body),
            models.Webhook,
        )

    def remove_site_webhook(self, webhook_id: int) -> None:
        """Remove a webhook of the site.

        With the log of what it was told.
        """
        self._transport.send(Call("DELETE", f"/api/v1/webhooks/{place(webhook_id)}"))

    def rotate_site_webhook_secret(self, webhook_id: int, *, idempotency_key: str | None = None) -> models.WebhookMade:
        """Give a webhook of the site a new secret.

        Messages are signed with both for 24 hours; the answer holds the new one, which is never shown again.
        """
        return self._transport.ask(
            Call(
                "POST",
                f"/api/v1/webhooks/{place(webhook_id)}/secret",
                headers={"Idempotency-Key": idempotency_key},
                is_keyed=True,
            ),
            models.WebhookMade,
        )

    def test_site_webhook(self, webhook_id: int, *, idempotency_key: str | None = None) -> models.Delivery:
        """Send a test to a webhook of the site.

        A delivery of `webhook.test`, sent by a worker in one try; 409 for a webhook that is switched off.
        """
        return self._transport.ask(
            Call(
                "POST",
                f"/api/v1/webhooks/{place(webhook_id)}/test",
                headers={"Idempotency-Key": idempotency_key},
                is_keyed=True,
            ),
            models.Delivery,
        )

    def list_site_deliveries(
        self,
        webhook_id: int,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        state: Literal["delivered", "failed", "gathering", "waiting"] | None = None,
    ) -> Pages[models.Delivery]:
        """List what a webhook of the site was told.

        Newest first, of the last 30 days, each with its tries.
        """
        return Pages(
            self._transport,
            Call(
                "GET",
                f"/api/v1/webhooks/{place(webhook_id)}/deliveries",
                query={"limit": limit, "cursor": cursor, "state": state},
            ),
            Page[models.Delivery],
        )

    def redeliver_of_site(
        self, webhook_id: int, delivery_id: int, *, idempotency_key: str | None = None
    ) -> models.Delivery:
        """Tell a webhook of the site again.

        At once and under the same id; 409 for a webhook that is switched off.
        """
        return self._transport.ask(
            Call(
                "POST",
                f"/api/v1/webhooks/{place(webhook_id)}/deliveries/{place(delivery_id)}/redeliver",
                headers={"Idempotency-Key": idempotency_key},
                is_keyed=True,
            ),
            models.Delivery,
        )
