"""Which side people took, of each two responses of a task: the one definition that every figure of agreement reads."""

from sqlalchemy import ColumnElement, Integer, TableValuedAlias, Text, cast, column, func

from app.db.tables import Judgement, Task
from app.services import conditions


def of_two(judgement: type[Judgement] = Judgement, name: str = "sides") -> TableValuedAlias:
    """For each judgement a row (`first`, `second`, `level`) of each two responses that it says something of; a level
    from −4 to 4, above 0 where the first is better. Joined to Judgement on true.
    """
    return func.sides_of(judgement.preference, judgement.ranks, cast(judgement.answer_type, Text)).table_valued(
        column("first", Integer), column("second", Integer), column("level", Integer), name=name
    )


def comparable_in(project_id: int) -> tuple[ColumnElement[bool], ...]:
    """Conditions on Judgement and Task: labels of tasks that two people at least said something of."""
    return (*conditions.labels_of(project_id), Task.division.is_not(None))
