"""Another key for what is encrypted at rest: made, and everything brought under it."""

from dataclasses import dataclass
from typing import Any

from flask import current_app
from sqlalchemy import Column, Text, false, not_, or_, select, type_coerce, update

from webapp.database import EncryptedText, run, transaction
from webapp.extensions import Base
from webapp.security import Keyring, add_key, keyring

BATCH = 200


@dataclass(frozen=True)
class Rekeyed:
    """The new key, and how many secrets were encrypted anew."""

    key_id: str
    count: int


def encrypted_columns() -> list[Column[Any]]:
    """Of all tables: whoever adds one is found here by its type."""
    tables = Base.metadata.sorted_tables
    return [column for table in tables for column in table.columns if isinstance(column.type, EncryptedText)]


def rotate() -> Rekeyed:
    """Make a key and encrypt everything with it. No server may run meanwhile: it wouldn't know the key.

    After a crash in between every key still decrypts what it encrypted; the next rotation goes over all of it again.
    Raises KeyMissing where something can't be read.
    """
    folder = keyring().folder
    _refuse_unreadable(Keyring(folder))  # first: a new key must not get the id of one that was lost
    key_id = add_key(folder)
    current_app.extensions["keyring"] = Keyring(folder)
    return Rekeyed(key_id, sum(_bring_over(column, key_id) for column in encrypted_columns()))


def _refuse_unreadable(ring: Keyring) -> None:
    for column in encrypted_columns():
        stored = type_coerce(column, Text)
        known = [stored.startswith(f"{key_id}:", autoescape=True) for key_id in ring.keys]
        found = run(select(stored).where(column.is_not(None), not_(or_(false(), *known))).limit(1)).scalar()
        if found is not None:
            ring.decrypt(found)  # raises KeyMissing, which names the key


def _bring_over(column: Column[Any], key_id: str) -> int:
    """A batch a transaction, until nothing is left under another key."""
    count = 0
    while done := _batch(column, key_id):
        count += done
    return count


def _batch(column: Column[Any], key_id: str) -> int:
    stored = type_coerce(column, Text)
    keys = list(column.table.primary_key)
    is_older = (column.is_not(None), not_(stored.startswith(f"{key_id}:", autoescape=True)))
    with transaction():
        rows = run(select(*keys, stored.label("stored")).where(*is_older).limit(BATCH)).all()
        for row in rows:
            is_it = [key == row[place] for place, key in enumerate(keys)]
            plain = keyring().decrypt(row.stored)
            run(update(column.table).where(*is_it).values({column.name: plain}))
    return len(rows)
