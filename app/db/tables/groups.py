"""Groups: people who are given to projects together."""

from typing import get_args

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, func
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, CreatedAt, Key, one_of
from app.db.tables.projects import Role


class Group(Base):
    __tablename__ = "groups"

    id: Mapped[Key]
    name: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[CreatedAt]

    __table_args__ = (
        Index("uq_groups_name", func.lower(name), unique=True),
        CheckConstraint("length(btrim(name)) > 0", name="name_not_blank"),
    )


class GroupMember(Base):
    """`by_claim`: is in it because an identity provider says so, and no longer than that does."""

    __tablename__ = "group_members"

    group_id: Mapped[int] = mapped_column(ForeignKey("groups.id", ondelete="CASCADE"), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True, index=True)
    by_claim: Mapped[bool] = mapped_column(server_default="false")
    created_at: Mapped[CreatedAt]


class GroupGrant(Base):
    """A project that a group is given to: everybody in the group is a member of it, in this role."""

    __tablename__ = "group_grants"

    group_id: Mapped[int] = mapped_column(ForeignKey("groups.id", ondelete="CASCADE"), primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True, index=True)
    role: Mapped[str] = mapped_column(String(20))
    created_at: Mapped[CreatedAt]

    __table_args__ = (CheckConstraint(one_of("role", get_args(Role)), name="role_known"),)
