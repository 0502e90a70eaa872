"""Tells the database who acts, before a statement whose change it logs.

Only then: an annotator's requests change no such table, and make no round trip for it.
"""

import re

from sqlalchemy import Connection

from app import acting
from app.db.tables.audit import LOGGED

_CHANGE = re.compile(r"\s*(?:INSERT INTO|UPDATE|DELETE FROM) (\w+)")
# For the length of the transaction; `log_change` in the migrations reads them.
_NAME = (
    "SELECT set_config('plumbline.actor', %(actor)s, true), set_config('plumbline.door', %(door)s, true),"
    " set_config('plumbline.request', %(request)s, true)"
)


def name_actor(
    connection: Connection, _cursor: object, statement: str, _parameters: object, _context: object, _many: bool
) -> None:
    """Listens to `before_cursor_execute` of every engine of ours."""
    actor = acting.current()
    change = _CHANGE.match(statement)
    if actor is None or change is None or change[1] not in LOGGED:
        return
    known = {
        "actor": "" if actor.user_id is None else str(actor.user_id),
        "door": actor.door,
        "request": actor.request_id or "",
    }
    connection.exec_driver_sql(_NAME, known)
