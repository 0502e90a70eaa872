"""Statements that are asked all the time: compiled when they are made, and sent by the driver itself.

SQLAlchemy writes them; what it does around each execution beside takes several times as long as sending one.
"""

from typing import Generic, TypeVar

import psycopg
from psycopg.rows import class_row
from psycopg.types.json import Jsonb
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql import ClauseElement
from sqlalchemy.sql.compiler import SQLCompiler

Row = TypeVar("Row")

_DIALECT = PGDialect_psycopg()  # type: ignore[no-untyped-call]


class Prepared(Generic[Row]):
    """`statement`, whose columns are the fields of `row`; to be given a value for each of its named parameters.

    It is part of the session's transaction and sees what was added to the session before; objects of the session don't
    see what it changes.
    """

    def __init__(self, row: type[Row], statement: ClauseElement) -> None:
        compiled = statement.compile(dialect=_DIALECT)
        assert isinstance(compiled, SQLCompiler)
        self._sql = str(compiled).encode()
        self._row = class_row(row)
        self._fixed = {name: bind.value for name, bind in compiled.binds.items() if not bind.required}
        self._json = [name for name, bind in compiled.binds.items() if isinstance(bind.type, JSONB)]

    async def first(self, db: AsyncSession, **values: object) -> Row | None:
        found = await self.all(db, **values)
        return found[0] if found else None

    async def all(self, db: AsyncSession, **values: object) -> list[Row]:
        if db.new or db.dirty or db.deleted:
            await db.flush()
        connection = await db.connection()
        driver = (await connection.get_raw_connection()).driver_connection
        assert isinstance(driver, psycopg.AsyncConnection)
        values |= {name: Jsonb(values[name]) for name in self._json}
        try:
            async with driver.cursor(row_factory=self._row) as cursor:
                await cursor.execute(self._sql, self._fixed | values)
                return await cursor.fetchall()
        except psycopg.Error as error:
            if driver.closed:
                await connection.invalidate(error)
            raise DBAPIError.instance(None, None, error, psycopg.Error, dialect=_DIALECT) from error
