"""The organisation's catalogue of tools, from what its approved workers declare."""

from collections.abc import Sequence
from contextlib import suppress
from operator import itemgetter
from typing import Any

from sqlalchemy import Row, bindparam, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from webapp.database import run, table_of, transaction
from webapp.extensions import db
from webapp.workers.models import Tool

MOST_TOOLS = 200
_tools = table_of(Tool)
_BY_NAME = select(_tools.c.name, _tools.c.schema, _tools.c.slot_class).where(
    _tools.c.organisation_id == bindparam("organisation_id"), _tools.c.name == bindparam("name")
)


def catalogue(organisation_id: str) -> Sequence[Tool]:
    query = select(Tool).where(Tool.organisation_id == organisation_id).order_by(Tool.name)
    return db.session.scalars(query).all()


def find(organisation_id: str, name: str) -> Tool | None:
    return db.session.scalar(select(Tool).where(Tool.organisation_id == organisation_id, Tool.name == name))


def schema_of(organisation_id: str, name: str) -> Row[Any] | None:
    """The tool's name and schema, quickly: for each submission."""
    return run(_BY_NAME, organisation_id=organisation_id, name=name).first()


def learn(organisation_id: str, declared: list[dict[str, Any]]) -> None:
    """Take in what an approved worker declares: unknown tools, and newer versions of known ones.

    The same version with another schema changes nothing: one machine can't rewrite what the others offer.
    """
    with transaction() as session:
        known = {tool.name: tool for tool in catalogue(organisation_id)}
        for tool in sorted(
            declared, key=itemgetter("name")
        ):  # in one order, or two agents could block each other
            values = {
                "version": tool["version"],
                "title": tool["title"] or tool["name"],
                "description": tool["description"],
                "schema": tool["schema"],
                "slot_class": tool.get(
                    "slot_class", "task"
                ),  # left out of what was declared before it existed
            }
            if tool["name"] not in known and len(known) < MOST_TOOLS:
                known[tool["name"]] = Tool(version=tool["version"], schema=tool["schema"])
                _add(session, organisation_id=organisation_id, name=tool["name"], **values)
            elif tool["version"] > known[tool["name"]].version:
                _keep_secrets(tool["schema"], known[tool["name"]].schema)
                session.execute(update(Tool).where(Tool.id == known[tool["name"]].id).values(**values))


def _keep_secrets(schema: dict[str, Any], known: dict[str, Any]) -> None:
    """What was secret stays secret: a newer version can't make a machine's owner show what others entrusted to it."""
    for name, part in known.get("properties", {}).items():
        if part.get("x-secret") and name in schema.get("properties", {}):
            schema["properties"][name]["x-secret"] = True


def _add(session: Session, **values: Any) -> None:
    with suppress(IntegrityError), session.begin_nested():  # another agent may bring the same at this moment
        session.execute(insert(Tool).values(**values))
