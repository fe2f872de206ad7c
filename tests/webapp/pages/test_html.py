"""Every page is valid HTML: nothing unclosed, no name twice, nothing where it may not be."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.garage import NOW, Garage, at, made_garage
from tests.validity import problems
from tests.world import World, migrate, settings_for
from webapp import clock, create_app

PAGE = '<!doctype html><html lang="en"><head><title>x</title></head><body>{}</body></html>'


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ("<div><p>open</div>", ""),  # the end of a paragraph may be left out
        ("<div><span>open</div>", "end-tag"),
        ("<p>a</p></section>", "end-tag-too-early"),
        ("<b><i>crossed</b></i>", "adoption-agency"),
        ('<p id=&#34;a">x</p>', "unquoted"),
        ('<p id="a" id="b">x</p>', "duplicate-attribute"),
        ('<p id="a">x</p><i id="a">y</i>', "'a' is there 2 times"),
        ('<label for="gone">x</label>', "names 'gone'"),
        ('<a href="#gone">x</a>', "names 'gone'"),
        ("<ul><div>x</div></ul>", "div in ul"),
        ("<span><div>x</div></span>", "div in span"),
        ("<button><a href='/'>x</a></button>", "a in button"),
        ("<a href='/'><i><a href='/'>x</a></i></a>", "a"),
        ("<table><div>x</div></table>", "table-voodoo"),
        ("<form><div><form></form></div></form>", "form"),
        ("&nosuch; text", "entity"),
    ],
)
def test_what_is_wrong_is_found(body: str, complaint: str) -> None:
    found = problems(PAGE.format(body))
    assert any(complaint in each for each in found) if complaint else found == [], found


@pytest.fixture(scope="module")
def garage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Garage]:
    garage = made_garage(tmp_path_factory.mktemp("garage"))
    at(NOW)
    yield garage
    clock.reset()


OTHERS = ("/settings/tokens", "/settings/retention", "/tasks?q=none-like-it", "/workers?q=none-like-it", "/nowhere",
          "/api/docs?about=workers", "/api/docs?about=agents", "/tasks?status=failed", "/?over=week")  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_every_page_is_valid(garage: Garage) -> None:
    task = garage.pages()["task"]
    parts = (f"{task}?line=20", f"{task}?find=nobody-has-this")
    pages = dict.fromkeys((*garage.pages().values(), *OTHERS, *parts), garage.admin)
    viewer, nobody = garage.world.browser("viewer"), garage.world.browser()
    answers = [(path, client.get(path, follow_redirects=True)) for path, client in pages.items()]
    answers += [("/login", nobody.get("/login")), (f"{task} of a viewer", viewer.get(task))]
    assert [f"{path}: {each}" for path, answer in answers for each in problems(answer.text)] == []


@pytest.mark.slow
def test_every_empty_page_is_valid(tmp_path_factory: pytest.TempPathFactory) -> None:
    settings = settings_for(tmp_path_factory.mktemp("empty"))
    migrate(settings)
    client = World(create_app(settings)).browser("admin")
    for path in (
        "/",
        "/tasks",
        "/locks",
        "/tasks/new",
        "/workers",
        "/workers/add",
        "/settings/join-tokens",
        "/api/docs",
    ):
        assert problems(client.get(path).text) == [], path
