"""Plots as inline SVG, each with a title that says in words what it shows. Pure; colours come from the page's style."""

from collections.abc import Sequence
from html import escape

_WIDTH, _ROW, _LABEL, _CELL = 640, 22, 200, 34


def bars(title: str, rows: Sequence[tuple[str, float, str]]) -> str:
    """Horizontal bars: label, share in [0, 1], what is written beside it."""
    room = _WIDTH - _LABEL - 110
    drawn = "".join(_bar(place, room, *row) for place, row in enumerate(rows))
    said = "; ".join(f"{label}: {text}" for label, _, text in rows)
    return _svg(title, said, _WIDTH, max(1, len(rows)) * _ROW + 4, drawn)


def _bar(place: int, room: int, label: str, share: float, text: str) -> str:
    y, width = place * _ROW, max(0.0, min(1.0, share)) * room
    return (
        f'<text x="{_LABEL - 8}" y="{y + 15}" text-anchor="end">{_label(label, 28)}</text>'
        f'<rect class="bar" x="{_LABEL}" y="{y + 4}" width="{width:.1f}" height="{_ROW - 8}"/>'
        f'<text x="{_LABEL + width + 6:.1f}" y="{y + 15}">{escape(text)}</text>'
    )


def histogram(title: str, counts: Sequence[int], low: str, high: str) -> str:
    """Columns of equal steps from `low` to `high`."""
    top, width, height = max(counts, default=0) or 1, 260 / max(1, len(counts)), 80
    drawn = "".join(
        f'<rect class="bar" x="{place * width:.1f}" y="{height - height * count / top:.1f}" width="{width - 1:.1f}"'
        f' height="{height * count / top:.1f}"/>'
        for place, count in enumerate(counts)
    )
    ends = f'<text x="0" y="96">{escape(low)}</text><text x="260" y="96" text-anchor="end">{escape(high)}</text>'
    return _svg(title, f"from {low} to {high}: {', '.join(map(str, counts))}", 260, 100, drawn + ends)


def heatmap(title: str, names: Sequence[str], values: dict[tuple[str, str], float]) -> str:
    """A square of cells in [-1, 1]; a pair without a value stays empty."""
    drawn = "".join(_line(place, name, names, values) for place, name in enumerate(names))
    said = "; ".join(f"{a} and {b}: {value:.2f}" for (a, b), value in values.items())
    heads = "".join(_head(place, name) for place, name in enumerate(names))
    side = len(names) * _CELL
    return _svg(title, said, _LABEL + side + 90, 110 + side, heads + drawn)


def _head(place: int, name: str) -> str:
    x = _LABEL + place * _CELL + 20
    return f'<text transform="translate({x},104) rotate(-45)">{_label(name, 16)}</text>'


def _line(place: int, name: str, names: Sequence[str], values: dict[tuple[str, str], float]) -> str:
    y = 110 + place * _CELL
    label = f'<text x="{_LABEL - 8}" y="{y + 21}" text-anchor="end">{_label(name, 28)}</text>'
    found = ((column, values.get((name, other), values.get((other, name)))) for column, other in enumerate(names))
    return label + "".join(_cell(_LABEL + column * _CELL, y, value) for column, value in found if value is not None)


def _cell(x: int, y: int, value: float) -> str:
    kind = "plus" if value >= 0 else "minus"
    return (
        f'<rect class="{kind}" x="{x}" y="{y}" width="{_CELL - 2}" height="{_CELL - 2}" fill-opacity="{abs(value):.2f}"/>'
        f'<text x="{x + 16}" y="{y + 20}" text-anchor="middle" class="small">{value:.2f}</text>'
    )


def _label(text: str, most: int) -> str:
    return escape(text if len(text) <= most else text[: most - 1] + "…")


def _svg(title: str, said: str, width: float, height: float, drawn: str) -> str:
    box = f'viewBox="0 0 {width:.0f} {height:.0f}" style="max-width:{width:.0f}px"'
    return f'<svg role="img" {box}><title>{escape(title)}</title><desc>{escape(said)}</desc>{drawn}</svg>'
