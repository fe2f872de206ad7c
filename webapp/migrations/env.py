"""Alembic's entry: the app's own engine and tables. A migration is one transaction, so one killed half-way starts again."""

from typing import Any, Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext
from flask import current_app
from sqlalchemy.types import TypeDecorator

from webapp.extensions import db


def render_item(kind: str, item: Any, autogen_context: AutogenContext) -> str | Literal[False]:
    """A migration names plain types: our own may change later, what was once created may not."""
    if kind == "type" and isinstance(item, TypeDecorator):
        return f"sa.{item.impl!r}"
    return False


def run_migrations() -> None:
    engine = current_app.extensions["migrate"].db.engine
    with engine.connect().execution_options(write=True) as connection:
        context.configure(
            connection=connection,
            target_metadata=db.metadata,
            render_item=render_item,
            render_as_batch=engine.dialect.name == "sqlite",
            transactional_ddl=True,
        )
        with context.begin_transaction():
            context.run_migrations()


run_migrations()
