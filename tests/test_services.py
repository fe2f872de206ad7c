"""The servers that tests start must be whole, private, and gone afterwards."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from playwright.sync_api import Browser

from tests.services import PostgresServer, need


@pytest.mark.postgres
def test_a_fresh_database_is_a_copy_that_shares_nothing(postgres: PostgresServer) -> None:
    def fill(url: str) -> None:
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE note (body text)")

    template = postgres.template("notes", fill)
    one, two = postgres.fresh_database(template), postgres.fresh_database(template)
    with psycopg.connect(one) as connection:
        connection.execute("INSERT INTO note VALUES ('mine')")
    with psycopg.connect(two) as connection:
        assert connection.execute("SELECT count(*) FROM note").fetchone() == (0,)

    postgres.drop_database(one)
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(one)


@pytest.mark.postgres
def test_a_stopped_server_leaves_neither_process_nor_files() -> None:
    need("PostgreSQL")
    server = PostgresServer()
    server.start()
    pid = int((server.folder / "data" / "postmaster.pid").read_text().split()[0])
    server.stop()
    assert not server.folder.exists()
    assert not Path(f"/proc/{pid}").exists()


@pytest.mark.browser
def test_chromium_renders_a_page(chromium: Browser) -> None:
    with chromium.new_context() as context:
        page = context.new_page()
        page.set_content("<title>Hello</title>")
        assert page.title() == "Hello"
