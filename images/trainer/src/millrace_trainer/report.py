"""The loss curve for people: loss.png, and report.html, which needs no other file and no network."""

import base64
import html
import io
import math
from pathlib import Path

from millrace_trainer.config import GPTConfig
from millrace_trainer.context import Context
from millrace_trainer.files import write_text
from millrace_trainer.history import History
from millrace_trainer.progress import perplexity

STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:54rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse}td,th{padding:.2rem .9rem .2rem 0;text-align:left;vertical-align:top}"
    "img{max-width:100%}"
)


def write_report(history: History, config: GPTConfig, context: Context, folder: Path) -> None:
    """Write loss.png and report.html into the output folder."""
    image = draw(history, f"{context.job}: loss in nats per token")
    (folder / "loss.png").write_bytes(image)
    write_text(folder / "report.html", page(history, config, context, image))


def draw(history: History, title: str) -> bytes:
    """A PNG of training and validation loss by step, with the unigram baseline as a line."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5), dpi=120, layout="constrained")
    axes = figure.subplots()
    axes.plot(*_curve(history.train), color="#9bb8d3", linewidth=1, label="training loss")
    axes.plot(*_curve(history.validation), color="#b3392f", marker="o", markersize=4, label="validation loss")
    axes.axhline(history.unigram_loss, color="#555555", linestyle="--", linewidth=1, label="unigram baseline")
    axes.set(xlabel="step", ylabel="nats per token", title=title)
    axes.grid(alpha=0.3)
    axes.legend()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _curve(values: dict[int, float]) -> tuple[list[int], list[float]]:
    steps = sorted(values)
    return steps, [values[step] for step in steps]


def page(history: History, config: GPTConfig, context: Context, image: bytes) -> str:
    """The report as one HTML page with the image inside."""
    metrics = history.metrics()
    facts = {
        "Job": f"{context.namespace}/{context.job}",
        "Run": context.run_id,
        "Attempt": str(context.attempt),
        "Steps": str(max(history.train, default=0)),
        "Ranks": str(context.world),
        "Last training loss": f"{metrics['loss']:.4f} nats per token",
        "Validation perplexity": f"{metrics['validationPerplexity']:.2f} per token",
        "Unigram perplexity, same tokens": f"{metrics['unigramPerplexity']:.2f} per token",
    }
    validations = {str(step): f"{loss:.4f} (perplexity {_short(loss)})" for step, loss in sorted(history.validation.items())}
    encoded = base64.b64encode(image).decode()
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(context.job)}</title>'
        f"<style>{STYLE}</style><h1>{html.escape(context.job)}</h1>{_table(facts)}"
        f'<p><img alt="Loss by step" src="data:image/png;base64,{encoded}"></p>'
        f"<h2>Validation loss by step</h2>{_table(validations)}"
        f"<h2>Settings</h2>{_table({name: str(value) for name, value in vars(config).items()})}</html>\n"
    )


def _short(loss: float) -> str:
    value = perplexity(loss)
    return f"{value:.2f}" if math.isfinite(value) else "infinite"


def _table(rows: dict[str, str]) -> str:
    cells = (f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>" for name, value in rows.items())
    return f"<table>{''.join(cells)}</table>"
