"""What is wrong with a page's HTML: what the parser of the standard stumbles over, and what stands where it may not.

The parser is html5lib, in the standard's own words. The tables below are the standard's content models, as far as browsers
don't repair them in silence: https://html.spec.whatwg.org/multipage/dom.html#content-models
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from xml.etree.ElementTree import Element

import html5lib

HTML = "{http://www.w3.org/1999/xhtml}"
BLOCKS = {
    "address", "article", "aside", "blockquote", "dd", "details", "dialog", "div", "dl", "dt", "fieldset", "figure",
    "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "nav", "ol", "p", "pre", "search",
    "section", "table", "ul",
}  # fmt: skip
TEXT_ALONE = {
    "abbr", "b", "bdi", "button", "cite", "code", "em", "h1", "h2", "h3", "h4", "h5", "h6", "i", "kbd", "label", "legend",
    "mark", "output", "p", "pre", "q", "s", "samp", "small", "span", "strong", "sub", "summary", "sup", "time", "u", "var",
}  # fmt: skip
# What a legend and a summary may hold besides.
HEADINGS = {"h1", "h2", "h3", "h4", "h5", "h6"}
ONLY = {
    "ul": {"li"},
    "ol": {"li"},
    "dl": {"dt", "dd", "div"},
    "table": {"caption", "colgroup", "thead", "tbody", "tfoot"},
    "thead": {"tr"},
    "tbody": {"tr"},
    "tr": {"th", "td"},
    "select": {"option", "optgroup", "hr"},
}
ACTS = {"a", "button", "details", "input", "label", "select", "textarea"}
# Attributes that name other elements of the page.
REFERS = (
    "for",
    "form",
    "list",
    "popovertarget",
    "headers",
    "aria-labelledby",
    "aria-describedby",
    "aria-controls",
)


def problems(html: str) -> list[str]:
    """One line each; none where the page is as the standard wants it."""
    parser = html5lib.HTMLParser(namespaceHTMLElements=True)
    tree = parser.parse(html)
    found = [f"line {place[0]}: {code} {data or ''}".strip() for place, code, data in parser.errors]
    return [*found, *_ids(tree), *_nesting(tree, ())]


def _name(element: Element) -> str:
    """Empty for what isn't HTML: pictures have rules of their own."""
    tag = str(element.tag)
    return tag.removeprefix(HTML) if tag.startswith(HTML) else ""


def _ids(tree: Element) -> Iterator[str]:
    elements = list(tree.iter())
    ids = Counter(each.get("id") for each in elements if "id" in each.attrib)
    yield from (f"the id {name!r} is there {count} times" for name, count in ids.items() if count > 1)
    for each in elements:
        wanted = {name: each.get(name, "").split() for name in REFERS}
        wanted["href"] = [each.get("href", "")[1:]] if each.get("href", "").startswith("#") else []
        for attribute, names in wanted.items():
            yield from (
                f"{_name(each)} {attribute} names {name!r}, which isn't there"
                for name in names
                if name and name not in ids
            )


def _nesting(element: Element, above: tuple[str, ...]) -> Iterator[str]:
    name = _name(element)
    for child in element:
        inner = _name(child)
        if not inner:
            continue
        if (
            inner in BLOCKS
            and name in TEXT_ALONE
            and not (inner in HEADINGS and name in {"legend", "summary"})
        ):
            yield f"{inner} in {name}"
        if name in ONLY and inner not in ONLY[name] | {"script", "template"}:
            yield f"{inner} in {name}"
        outer = {*above, name} & {"a", "button"}
        if outer and (inner in ACTS - {"label"} or "tabindex" in child.attrib):
            yield f"{inner} in {outer.pop()}"
        if inner in {"form", "label", "dialog"} and inner in {*above, name}:
            yield f"{inner} in {inner}"
        yield from _nesting(child, (*above, name))
