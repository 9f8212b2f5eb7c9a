"""report.html: the report as one page that needs nothing else: no script, no font, no net. Everything in it is escaped."""

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from millrace_dataset.quality.findings import percent
from millrace_dataset.quality.svg import bars, heatmap, histogram

MAX_PLOTTED = 40
_STYLE = """
:root{color-scheme:light dark;--ink:#1b1f24;--paper:#fff;--faint:#6a737d;--line:#d8dee4;--bar:#2f6fb3;--minus:#b3502f;
--high:#b3261e;--medium:#8a5a00;--low:#4a5568}
@media (prefers-color-scheme:dark){:root{--ink:#e6e9ed;--paper:#14171a;--faint:#9aa4ae;--line:#30363d;--bar:#6ea8e0;
--minus:#e08f6e;--high:#ff8a80;--medium:#f0c060;--low:#b0bac5}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:1000px;margin:2rem auto;padding:0 1rem}
h2{margin-top:2.2rem;border-bottom:1px solid var(--line)}
table{border-collapse:collapse;display:block;overflow-x:auto;font-size:14px}
th,td{text-align:left;padding:.25rem .7rem;border-bottom:1px solid var(--line);white-space:nowrap}
.high{color:var(--high);font-weight:600}.medium{color:var(--medium);font-weight:600}.low{color:var(--low)}
svg{width:100%;height:auto;display:block}svg text{fill:var(--ink);font-size:12px}svg .small{font-size:10px}
.bar,.plus{fill:var(--bar)}.minus{fill:var(--minus)}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(270px,1fr));gap:1rem}figure{margin:0}figcaption,.faint{color:var(--faint)}
"""
Report = dict[str, Any]


def page(report: Report) -> str:
    """The whole page for report.json's content."""
    title = f"Data quality of {report['dataset'] or 'the dataset'}"
    sections = (_summary, _findings, _preview, _columns, _missing, _shapes, _target, _correlations, _methods)
    body = "".join(section(report) for section in sections)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>{body}</body></html>\n"
    )


def _summary(report: Report) -> str:
    rows, measured = report["rows"], report["measuredRows"]
    how = "all were measured" if rows == measured else f"a sample of {measured:,} was measured"
    facts = (
        f"{rows:,} rows, {how}",
        f"{len(report['columns'])} columns",
        f"{percent(report['missingShare'])} of the cells are missing",
        f"{report['duplicateRows']:,} rows repeat another",
        f"content {report['digest']}",
        *(f"{other['rows']:,} rows are in Dataset {other['dataset']!r}, too ({other['digest']})" for other in report["shared"]),
    )
    return f"<ul>{''.join(f'<li>{escape(fact)}</li>' for fact in facts)}</ul>"


def _findings(report: Report) -> str:
    found = report["findings"]
    if not found:
        return "<h2>Findings</h2><p>None.</p>"
    rows, examples = "".join(map(_finding, found)), "".join(map(_example, report["invalid"]))
    return f"<h2>Findings</h2><table><tr><th>severity</th><th>check</th><th>what</th></tr>{rows}</table><ul>{examples}</ul>"


def _finding(found: Report) -> str:
    severity = found["severity"]
    return f'<tr><td class="{severity}">{severity}</td><td>{found["check"]}</td><td>{escape(found["says"])}</td></tr>'


def _example(invalid: Report) -> str:
    column, shown = escape(repr(invalid["column"])), escape(repr(invalid["shown"]))
    return f"<li>{escape(invalid['place'])}: column {column} is {escape(invalid['wanted'])} elsewhere, here {shown}</li>"


def _preview(report: Report) -> str:
    return "<h2>First rows</h2>" + table(report["preview"]["columns"], report["preview"]["rows"])


def _columns(report: Report) -> str:
    heads = ("column", "type", "missing", "distinct", "min", "median", "max", "outliers", "commonest")
    return "<h2>Columns</h2>" + table(heads, (_row(column) for column in report["columns"]))


def _row(column: Report) -> list[str]:
    numbers, values = column.get("numbers"), column["values"]
    spread = ["", "", "", ""]
    if numbers:
        middle = (numbers["min"], numbers["quartiles"][1], numbers["max"])
        spread = [*(f"{value:g}" for value in middle), f"{numbers['outliers']:,}"]
    common = f"{values[0]['value'][:40]} ({values[0]['rows']:,})" if values else ""
    return [column["name"], column["type"], percent(column["missingShare"]), f"{column['distinct']:,}", *spread, common]


def _missing(report: Report) -> str:
    holed = sorted((c for c in report["columns"] if c["missing"]), key=lambda c: -c["missingShare"])[:MAX_PLOTTED]
    if not holed:
        return ""
    rows = [(c["name"], c["missingShare"], percent(c["missingShare"])) for c in holed]
    return f"<h2>Missing values</h2>{bars('Share of missing values by column', rows)}"


def _shapes(report: Report) -> str:
    drawn = [_shape(column) for column in report["columns"] if column.get("numbers") or column["values"]][:MAX_PLOTTED]
    return f'<h2>Distributions</h2><div class="grid">{"".join(drawn)}</div>' if drawn else ""


def _shape(column: Report) -> str:
    name, numbers = column["name"], column.get("numbers")
    if numbers:
        plot = histogram(f"Distribution of {name}", numbers["histogram"], f"{numbers['min']:g}", f"{numbers['max']:g}")
    else:
        counts = [value["rows"] for value in column["values"]]
        plot = histogram(
            f"Rows by value of {name}", counts, column["values"][0]["value"][:18], column["values"][-1]["value"][:18]
        )
    return f"<figure><figcaption>{escape(name)}</figcaption>{plot}</figure>"


def _target(report: Report) -> str:
    target = report["target"]
    if target is None:
        return ""
    rows = sum(c["rows"] for c in target["classes"]) or 1
    balance = [(c["value"], c["rows"] / rows, f"{c['rows']:,} ({percent(c['rows'] / rows)})") for c in target["classes"]]
    power = [(f["column"], f["power"], f"{f['power']:.3f}") for f in target["features"][:MAX_PLOTTED]]
    made = f"<h2>Target: {escape(target['column'])}</h2><p>Problem type: {target['problemType']}.</p>"
    if balance:
        made += f"<h3>Class balance</h3>{bars('Rows by class', balance)}"
    if power:
        best = f"{target['features'][0]['column']} predicts it best."
        made += f"<h3>How well each feature alone predicts it</h3><p>{escape(best)}</p>{bars('Predictive power', power)}"
    return made


def _correlations(report: Report) -> str:
    found = report["correlations"]
    if not found:
        return ""
    strongest = sorted(found, key=lambda c: -abs(c["value"]))
    names = list(dict.fromkeys(name for c in strongest for name in (c["left"], c["right"])))[:16]
    values = {(c["left"], c["right"]): c["value"] for c in found if {c["left"], c["right"]} <= set(names)}
    best = table(
        ("column", "most correlated with", "by", "value"),
        ([c["column"], c["with"], c["method"], f"{c['value']:.3f}"] for c in report["mostCorrelated"]),
    )
    return f"<h2>Correlations</h2>{heatmap('Correlations of the most correlated columns', names, values)}{best}"


def _methods(report: Report) -> str:
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(how)}</dd>" for name, how in report["methods"].items())
    return f'<h2>How it was measured</h2><dl class="faint">{rows}</dl>'


def table(heads: Sequence[str], rows: Iterable[Sequence[str | None]]) -> str:
    """An HTML table of texts."""
    top = "".join(f'<th scope="col">{escape(head)}</th>' for head in heads)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell or str())}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{top}</tr>{body}</table>"
