"""The declarative base: naming convention and the column types that every table uses."""

from datetime import datetime
from typing import Annotated, Any, ClassVar

from sqlalchemy import BigInteger, DateTime, Identity, MetaData, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, mapped_column

NAMING_CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}

Json = dict[str, Any]

IN_A_CIRCLE: Json = {"deferrable": True, "initially": "IMMEDIATE"}
"""How a key is checked that closes a circle of tables: at the end of transactions that ask for it, else at once."""

Key = Annotated[int, mapped_column(BigInteger, Identity(always=False), primary_key=True)]
CreatedAt = Annotated[datetime, mapped_column(DateTime(timezone=True), server_default=func.now())]


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING_CONVENTION)
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        int: BigInteger,
        datetime: DateTime(timezone=True),
        Json: JSONB,
        list[Json]: JSONB,
    }


def one_of(column: str, choices: tuple[str, ...]) -> str:
    """SQL text of a CHECK that a text column holds one of `choices`."""
    listed = ", ".join(f"'{choice}'" for choice in choices)
    return f"{column} IN ({listed})"
