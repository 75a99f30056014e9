"""A report that is one HTML file: tables, curves and pictures inside, nothing fetched from elsewhere."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from .results import ResultRow, distance_text, node_lines

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 60rem; margin: 2rem auto; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { padding: .25rem .9rem; border-bottom: 1px solid #ddd; }
td { text-align: right; } th { text-align: left; } figure { margin: 1rem 0; } figcaption { color: #555; }
img, svg { max-width: 100%; height: auto; } pre { background: #f6f6f6; padding: .7rem; overflow-x: auto; }
"""
SOURCE, TARGET, PLAIN = "#3b6fb6", "#d1662c", "#444444"


def write_training_report(run: Path) -> Path:
    """`report.html` of a training run, from the figures that it left in its folder."""
    figures = _read_figures(run)
    return write_page(
        run / "report.html",
        f"Training: {figures['algorithm']}, eta {figures['eta']:g}",
        [_summary(figures), *_classifier_parts(figures), curves([(run.name, figures)]), _made(figures, [])],
    )


def write_demo_report(out: Path, results: dict[str, Any], runs: dict[str, Path], commands: list[str]) -> Path:
    """`report.html` of a demo.

    Args:
        out: the demo's folder; its dry_run.gif is shown where there is one.
        results: what results.json holds, rows as ResultRow.
        runs: name of each trained policy -> folder of its training run.
        commands: the commands that do the same step by step.
    """
    figures = {name: _read_figures(run) for name, run in runs.items()}
    dara = next((f for f in figures.values() if f["eta"] > 0), None)
    parts = [
        "<p>PyBullet in place of the robot. Source: the flat world; target: the obstructive one, walked and "
        "logged through the ROS 2 nodes.</p>",
        result_table(results["rows"]),
        distances(results["rows"]),
        picture(out / "dry_run.gif", "The first walk of BCQ with DARA in the obstructive world."),
    ]
    if dara is not None:
        parts += [_summary(dara), *_classifier_parts(dara)]
    parts += [curves(list(figures.items())), _made(next(iter(figures.values())), commands)]
    return write_page(out / "report.html", "dara demo", parts)


def write_page(path: Path, title: str, parts: Sequence[str]) -> Path:
    """One HTML page; the parts are HTML."""
    body = "\n".join(part for part in parts if part)
    path.write_text(
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>\n'
        f"<style>{STYLE}</style>\n<h1>{escape(title)}</h1>\n{body}\n</html>\n"
    )
    return path


# -- tables ---------------------------------------------------------------------------------------------


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """An HTML table; the first column is its heading."""
    lines = ["<tr>" + "".join(f"<th>{escape(cell)}</th>" for cell in head) + "</tr>"]
    for first, *rest in rows:
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in rest)
        lines.append(f"<tr><th>{escape(first)}</th>{cells}</tr>")
    return "<table>" + "\n".join(lines) + "</table>"


def result_table(rows: Sequence[ResultRow]) -> str:
    """How the policies walked."""
    head = ("policy", "distance, m", "falls", "episodes", "loop p50, ms", "p99, ms", "max, ms")
    cells = [
        (
            row.policy,
            distance_text(row, "±"),
            str(row.falls),
            str(row.episodes),
            *(f"{row.loop_ms[name]:.2f}" for name in ("p50", "p99", "max")),
        )
        for row in rows
    ]
    note = "Distance: mean over the episodes ± standard error. Loop: complete state received to command sent."
    told = escape("\n".join(node_lines(rows[-1].nodes)))
    details = f"<details><summary>What the nodes said of their timing</summary><pre>{told}</pre></details>"
    return f"<h2>How they walk</h2>{table(head, cells)}<p>{note}</p>{details}"


def _summary(figures: dict[str, Any]) -> str:
    rows = [
        (name, str(data["rows"]), str(data["world"]), data["sha256"][:12])
        for name, data in figures["data_sets"].items()
    ]
    mixed = figures.get("target_fraction")
    note = "" if mixed is None else f"<p>{mixed:.1%} of the rows of a batch are target rows.</p>"
    return f"<h2>Data</h2>{table(('file', 'rows', 'world', 'SHA-256'), rows)}{note}"


def _made(figures: dict[str, Any], commands: Sequence[str]) -> str:
    seconds = ", ".join(f"{stage} {value:.1f} s" for stage, value in figures["seconds"].items())
    versions = ", ".join(f"{name} {version}" for name, version in figures["versions"].items())
    listed = f"<p>The same step by step:</p><pre>{escape(chr(10).join(commands))}</pre>" if commands else ""
    return (
        f"<h2>How it was made</h2><p>Seed {figures['seed']}; {escape(versions)}. "
        f"Training took: {escape(seconds)}.</p>{listed}"
    )


# -- figures --------------------------------------------------------------------------------------------


def _classifier_parts(figures: dict[str, Any]) -> list[str]:
    """How delta r was told, and what it is; nothing where the run has no augmentation."""
    if "delta_r" not in figures:
        return []
    histogram = ["<h2>Delta r</h2>", delta_histogram(figures["delta_r"])]
    if "dynamics" in figures:
        return [*_dynamics_parts(figures["dynamics"]), *histogram, *_scale_part(figures.get("return_scale"))]
    classifiers = figures["classifiers"]
    rows = [
        (
            f"q_{name}",
            f"{c['auc']:.3f}",
            f"{c['cross_entropy']:.3f}",
            f"{c['ece_raw']:.3f}",
            f"{c['ece']:.3f}",
            f"{c['temperature']:.2f}",
        )
        for name, c in classifiers.items()
    ]
    head = ("classifier", "AUC", "cross-entropy", "ECE before", "ECE after", "temperature")
    note = """<p>On episodes held out of training; ECE before and after temperature calibration. The nearer
q_sa's AUC is to 1, the fewer of the source's states and actions the target's rows hold, and the less they say
of what the target would do then: compare with --eta 0 and --penalty constant.</p>"""
    return [
        "<h2>Source or target?</h2>" + table(head, rows) + note,
        calibration(classifiers),
        *histogram,
    ]


def _dynamics_parts(gap: dict[str, float]) -> list[str]:
    left = ("source_variance", "gap_variance", "target_variance")
    head = ("source, its own dynamics", "target, the source's dynamics", "target, its own dynamics")
    note = "<p>Variance of held-out steps that the dynamics leave, in variances of the source's steps.</p>"
    return ["<h2>Two dynamics</h2>" + table(head, [tuple(f"{gap[name]:.3f}" for name in left)]) + note]


def _scale_part(scale: dict[str, float] | None) -> list[str]:
    if scale is None:
        return []
    found = (
        f"The target's returns say that a unit of delta r costs {scale['fitted']:.2f} of reward, nine of ten "
        f"bootstraps that it is above {scale['low']:.2f}: {scale['value']:.2f} is taken, times eta."
    )
    return [f"<p>{found}</p>"]


def delta_histogram(deltas: dict[str, Any]) -> str:
    """Delta r of source and target rows, each as a density."""
    figure, axes = _axes()
    for (name, delta), colour in zip(deltas.items(), (SOURCE, TARGET), strict=True):
        edges, counts = np.array(delta["histogram"]["edges"]), np.array(delta["histogram"]["counts"])
        density = counts / max(1, counts.sum()) / np.diff(edges)
        axes.stairs(density, edges, fill=True, alpha=0.5, color=colour, label=f"{name} rows")
    axes.set(xlabel="delta r, an estimate of log T source(s'|s,a) / T target(s'|s,a)", ylabel="density")
    axes.legend()
    told = "; ".join(
        f"{name}: mean {d['mean']:.2f}, std {d['std']:.2f}, {d['fraction_clipped']:.1%} clipped"
        for name, d in deltas.items()
    )
    return figure_part(figure, f"{told}. Source rewards are lowered by eta times delta r.")


def calibration(classifiers: dict[str, Any]) -> str:
    """Reliability curves of the calibrated classifiers."""
    figure, axes = _axes(width=4.5, height=4.0)
    axes.plot([0, 1], [0, 1], "--", color="#999999", linewidth=1)
    for (name, c), colour in zip(classifiers.items(), (SOURCE, TARGET), strict=True):
        curve = c["reliability"]
        axes.plot(curve["predicted"], curve["observed"], "o-", color=colour, label=f"q_{name}")
    axes.set(xlabel="predicted probability of source", ylabel="observed frequency", xlim=(0, 1), ylim=(0, 1))
    axes.legend()
    return figure_part(figure, "On held-out episodes; on the diagonal, probabilities mean what they say.")


def curves(runs: Sequence[tuple[str, dict[str, Any]]]) -> str:
    """Learning curves, one small plot per figure, one line per run.

    A warm-up has other figures than what follows: a line is where there are points of it.
    """
    names = list(dict.fromkeys(name for p in runs[0][1].get("curve", []) for name in p if name != "step"))
    if not names:
        return ""
    columns = min(3, len(names))
    figure = Figure(figsize=(9, 2.6 * -(-len(names) // columns)), layout="constrained")
    grid = figure.subplots(-(-len(names) // columns), columns, squeeze=False).ravel()
    for axes in grid[len(names) :]:
        axes.set_visible(False)
    for axes, name in zip(grid, names, strict=False):
        for (run, figures), colour in zip(runs, (SOURCE, TARGET, PLAIN), strict=False):
            points = [(p["step"], p[name]) for p in figures["curve"] if name in p]
            axes.plot(*zip(*points, strict=True), color=colour, linewidth=1.2, label=run)
        axes.set_title(name.replace("_", " "), fontsize=10)
        axes.tick_params(labelsize=8)
    grid[0].legend(fontsize=8)
    return "<h2>Learning curves</h2>" + figure_part(figure, "Over gradient steps; means between two points.")


def distances(rows: Sequence[ResultRow]) -> str:
    """Every episode of every policy as a point."""
    figure, axes = _axes(height=0.6 + 0.5 * len(rows))
    for place, row in enumerate(rows):
        axes.plot(row.distance_m, [place] * row.episodes, "o", alpha=0.6, color=SOURCE)
        axes.plot(np.mean(row.distance_m), place, "|", markersize=22, color=TARGET)
    axes.set_yticks(range(len(rows)), [row.policy for row in rows])
    axes.set(xlabel="distance walked, m", ylim=(len(rows) - 0.5, -0.5))
    return figure_part(
        figure, "A point is an episode, the bar their mean; episode i is the same world for all."
    )


def picture(path: Path, caption: str) -> str:
    """An image file inline; nothing where there is none."""
    if not path.is_file():
        return ""
    data = base64.b64encode(path.read_bytes()).decode()
    image = f'<img src="data:image/{path.suffix[1:]};base64,{data}" alt="{escape(caption)}">'
    return f"<figure>{image}<figcaption>{escape(caption)}</figcaption></figure>"


def _axes(width: float = 7.0, height: float = 3.0) -> tuple[Figure, Any]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def figure_part(figure: Figure, caption: str) -> str:
    """A matplotlib figure inline, with what it shows."""
    buffer = io.StringIO()
    figure.savefig(
        buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
    )
    svg = buffer.getvalue()
    return f"<figure>{svg[svg.index('<svg') :]}<figcaption>{escape(caption)}</figcaption></figure>"


def _read_figures(run: Path) -> dict[str, Any]:
    return json.loads((run / "figures.json").read_text())
