"""Numbers as SVG paths. The page's stylesheet gives them their look, so nothing here knows a colour."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


def line(values: Sequence[float], width: float, height: float, top: float, pad: float = 2) -> str:
    """A path through the values, left to right, where `top` is the height of the picture. Empty for fewer than two."""
    if len(values) < 2:
        return ""
    step = width / (len(values) - 1)
    return "M" + " ".join(
        f"{round(index * step, 1):g} {_y(value, height, top, pad)}" for index, value in enumerate(values)
    )


def area(path: str, height: float) -> str:
    """The same path, closed around the outside of the picture: its line and the area under it in one, the rest cut off."""
    return f"{path}h2V{height + 2:g}H-2Z" if path else ""


def _y(value: float, height: float, top: float, pad: float) -> str:
    share = min(1.0, max(0.0, value / top)) if top > 0 else 0.0
    return f"{round(height - pad - share * (height - 2 * pad), 1):g}"


@dataclass(frozen=True)
class Bar:
    """One column: what is fine below, what isn't on top of it."""

    x: float
    ok_y: float
    ok_height: float
    bad_y: float
    bad_height: float
    title: str


def bars(counts: Sequence[tuple[int, int, str]], width: float, height: float) -> list[Bar]:
    """(fine, not fine, title) for each column. What isn't empty is at least 2 high, so that one failure shows."""
    top = max((fine + bad for fine, bad, _ in counts), default=0)
    if not top:
        return []
    step = width / len(counts)
    return [
        _bar(index * step + 2, fine, bad, title, height / (top * 1.1), height)
        for index, (fine, bad, title) in enumerate(counts)
    ]


def _bar(x: float, fine: int, bad: int, title: str, scale: float, height: float) -> Bar:
    ok_height = max(2.0, fine * scale) if fine else 0.0
    bad_height = max(2.0, bad * scale) if bad else 0.0
    bad_y = height - ok_height - bad_height - (2 if fine and bad else 0)
    return Bar(
        round(x, 1),
        round(height - ok_height, 1),
        round(ok_height, 1),
        round(bad_y, 1),
        round(bad_height, 1),
        title,
    )


@dataclass(frozen=True)
class Trace:
    """A line and the area under it, a path each, with holes where nothing was measured."""

    line: str
    area: str


def trace(points: Sequence[tuple[float, float]], longest_gap: float, height: float, top: float) -> Trace:
    """Through (x, value), left to right. Neighbours farther apart than `longest_gap` aren't joined."""
    pieces: list[list[tuple[float, str]]] = []
    last = None
    for x, value in points:
        if last is None or x - last > longest_gap:
            pieces.append([])
        pieces[-1].append((x, _y(value, height, top, 2)))
        last = x
    return Trace(
        " ".join(_piece(piece) for piece in pieces),
        " ".join(f"{_piece(piece)} V{height:g} H{piece[0][0]:g}Z" for piece in pieces if len(piece) > 1),
    )


def _piece(piece: Sequence[tuple[float, str]]) -> str:
    """What stands alone is a short dash."""
    if len(piece) == 1:
        ((x, y),) = piece
        return f"M{x:g} {y}h1"
    return "M" + " ".join(f"{x:g} {y}" for x, y in piece)


def points(values: Iterable[tuple[float, float | None]], height: float, top: float) -> str:
    """A path through those columns that have a value; a gap where one has none. A lone value is a short dash."""
    out: list[str] = []
    is_open = False
    for x, value in values:
        if value is None:
            is_open = False
            continue
        y = _y(value, height, top, 4)
        out.append(f"L{x:g} {y}" if is_open else f"M{x - 3:g} {y} H{x + 3:g}")
        is_open = True
    return " ".join(out)
