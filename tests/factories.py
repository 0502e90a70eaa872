"""What tests start from: people, projects, prompts and tasks, each made by one plain function and flushed."""

from hashlib import sha256
from itertools import count

from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Completion, Member, Project, Prompt, Task, TaskCompletion, User
from app.db.tables.content import Split
from app.db.tables.projects import Role
from app.security import Principal
from app.services import accounts

numbers = count(1)


async def make_user(
    db: AsyncSession, name: str | None = None, *, is_admin: bool = False, is_simulated: bool = False
) -> User:
    user = User(name=name or f"Person {next(numbers)}", is_admin=is_admin, is_simulated=is_simulated)
    db.add(user)
    await db.flush()
    return user


def principal(user: User) -> Principal:
    return Principal(user.id, user.name, is_admin=user.is_admin, is_simulated=user.is_simulated)


async def make_project(
    db: AsyncSession, slug: str | None = None, *, overlap: int = 1, lease_seconds: int = 600
) -> Project:
    slug = slug or f"project-{next(numbers)}"
    project = Project(slug=slug, name=slug.title(), overlap=overlap, lease_seconds=lease_seconds)
    db.add(project)
    await db.flush()
    return project


async def principal_of_api_token(db: AsyncSession, token: str) -> Principal | None:
    """Who owns this token, and None once it opens nothing."""
    bearer = await accounts.bearer_of(db, token)
    return bearer.principal if bearer else None


async def make_member(
    db: AsyncSession, project: Project, role: Role = "annotator", *, is_simulated: bool = False
) -> Principal:
    """A new person who works in `project`."""
    user = await make_user(db, is_simulated=is_simulated)
    db.add(Member(project_id=project.id, user_id=user.id, role=role))
    await db.flush()
    return principal(user)


async def make_prompt(db: AsyncSession, project: Project, text: str | None = None, *, split: Split = "train") -> Prompt:
    text = text or f"How do I boil {next(numbers)} eggs?"
    prompt = Prompt(
        project_id=project.id,
        messages=[{"role": "user", "content": text}],
        digest=sha256(text.encode()).digest(),
        split=split,
        source="test",
    )
    db.add(prompt)
    await db.flush()
    return prompt


async def make_task(
    db: AsyncSession,
    project: Project,
    *texts: str,
    prompt: Prompt | None = None,
    quota: int | None = None,
    priority: float = 0.0,
    author: Principal | None = None,
) -> Task:
    """An open task with a completion for each of `texts` (two of them unless given), the first one by `author`."""
    prompt = prompt or await make_prompt(db, project)
    task = Task(project_id=project.id, prompt_id=prompt.id, quota=quota or project.overlap, priority=priority)
    completions = [
        Completion(prompt_id=prompt.id, text=text, source="person") for text in texts or ("Gently.", "In a shoe.")
    ]
    if author is not None:
        completions[0].author_id = author.user_id
    db.add_all([task, *completions])
    await db.flush()
    db.add_all(
        TaskCompletion(task_id=task.id, position=position, completion_id=completion.id)
        for position, completion in enumerate(completions)
    )
    await db.flush()
    return task


async def make_scene(db: AsyncSession) -> tuple[Project, Task, Principal]:
    """A project with one open task for one judgement, and an annotator who works in it."""
    project = await make_project(db)
    return project, await make_task(db, project), await make_member(db, project)
