"""A comparison to take along: one HTML file that needs nothing beside it, and two CSV files.

Shapes: N faces that both runs judged, K classes.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from fer_core.cell_groups import GROUPS, both_answers
from fer_core.compare import Comparison, joined_rows
from fer_core.ensemble_file import read_ensemble
from fer_core.evaluate import Report, softmax
from fer_core.palette import RIGHT_COLOR, RUN_COLORS, WRONG_COLOR
from fer_core.predictions import SplitPredictions
from fer_core.runs import Run
from fer_core.verdict import verdict

_HEADLINES = {
    "accuracy": ("Accuracy", "{:.2%}"),
    "balanced_accuracy": ("Macro-recall", "{:.2%}"),
    "macro_f1": ("Macro-F1", "{:.3f}"),
    "log_loss": ("Log loss", "{:.3f}"),
    "ece": ("ECE", "{:.3f}"),
}
_NO_SETTING = frozenset({"recipe", "data", "ferplus"})
"""What a recipe sets stands there setting by setting; where the data lies says nothing of a run."""
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2em auto; padding: 0 1em; color: #1f2530; }
table { border-collapse: collapse; margin: .5em 0 1.5em; font-variant-numeric: tabular-nums; }
th, td { padding: .3em .6em; text-align: right; } th { font-weight: 600; }
td:first-child, th:first-child { text-align: left; }
.matrix td { min-width: 3.2em; text-align: center; border-radius: 3px; }
.pair { display: flex; flex-wrap: wrap; gap: 2em; }
.bar { display: inline-block; height: .7em; border-radius: 2px; } .verdict { font-size: 1.15em; font-weight: 600; }
small { color: #666c78; }
"""


def comparison_html(
    found: Comparison, names: tuple[str, str], settings: Mapping[str, tuple[str, str]], where: str
) -> str:
    """A whole page: verdict, headline figures, both matrices, each emotion, settings that differ.

    Args:
        names: of the two runs.
        settings: field -> its value in each run, of the fields that differ.
        where: what both were judged on, in words, such as "FER2013, private, as it is".
    """
    title = f"{names[0]} and {names[1]}"
    parts = [
        f"<h1>{escape(title)}</h1><p><small>{escape(where)}; {found.a.n:,} faces that both judged.</small></p>",
        f'<p class="verdict">{escape(verdict(found, *names))}</p>',
        _headlines(found, names),
        f'<div class="pair">{_matrix(found.a, names[0], "A")}{_matrix(found.b, names[1], "B")}</div>',
        "<p><small>Rows are the true emotion, columns what the model said; numbers are faces, colours shares of the "
        "row.</small></p>",
        _emotions(found),
        _settings(settings),
    ]
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(parts)}</body></html>\n'


def differing_settings(a: Run, b: Run) -> dict[str, tuple[str, str]]:
    """Setting -> its value in both, as text, of those that are not the same; where the data lies is none.

    An ensemble has its members and their average besides; of a setting that they do not share, the value of each.
    Raises: RunError: a run is damaged.
    """
    mine, theirs = _settings_of(a), _settings_of(b)
    names = dict.fromkeys(["members", "average", *mine, *theirs])
    return {name: (mine.get(name, ""), theirs.get(name, "")) for name in names if mine.get(name) != theirs.get(name)}


def _settings_of(run: Run) -> dict[str, str]:
    found = {name: _text(value) for name, value in run.config() if name not in _NO_SETTING}
    ensemble = read_ensemble(run)
    if ensemble is None:
        return found
    own = {"members": ", ".join(ensemble.members), "average": ensemble.average}
    of_each = {name: "; ".join(map(_text, values)) for name, values in ensemble.differs.items() if name in found}
    return own | found | of_each


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def faces_csv(a: SplitPredictions, b: SplitPredictions) -> str:
    """A line a face: its row and pixel hash, its label, what each run says and how sure it is, and its group."""
    rows_a, rows_b = joined_rows(a, b)
    both, classes = both_answers(a, b), a.classes
    sure = [softmax(one.logits_NK[rows]).max(axis=1) for one, rows in ((a, rows_a), (b, rows_b))]
    groups = list(GROUPS)
    lines = [
        (int(a.rows_N[row]), f"{int(a.hashes_N[row]):016x}", classes[label], classes[said_a], f"{p_a:.4f}",
         classes[said_b], f"{p_b:.4f}", groups[group])
        for row, label, said_a, p_a, said_b, p_b, group in zip(
            rows_a, both.labels_N, both.said_a_N, sure[0], both.said_b_N, sure[1], both.group_N(), strict=True
        )
    ]  # fmt: skip
    return _csv([("row", "hash", "label", "a_says", "a_sure", "b_says", "b_sure", "group"), *lines])


def figures_csv(found: Comparison) -> str:
    """A line a figure: of each run, the difference, and its 95% bootstrap interval."""
    lines: list[Sequence[Any]] = [("figure", "a", "b", "difference", "low", "high")]
    for name in ("accuracy", "balanced_accuracy", "macro_f1"):
        one = getattr(found.intervals, name)
        was, now = getattr(found.a, name), getattr(found.b, name)
        lines.append((name, was, now, now - was, *one.delta))
    for emotion, interval in found.intervals.recall.items():
        was, now = found.a.per_class[emotion].recall, found.b.per_class[emotion].recall
        lines.append((f"recall {emotion}", was, now, now - was, *(interval.delta if interval else ("", ""))))
    return _csv(lines)


def _csv(lines: Sequence[Sequence[Any]]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(lines)
    return out.getvalue()


def _table(rows: Sequence[Sequence[str]], kind: str = "") -> str:
    """The first row is the head; cells are HTML already, or begin with `<td`."""
    head = "".join(f"<th>{cell}</th>" for cell in rows[0])
    body = ("".join(cell if cell.startswith("<td") else f"<td>{cell}</td>" for cell in row) for row in rows[1:])
    lines = "".join(f"<tr>{line}</tr>" for line in body)
    return f'<table class="{kind}"><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>'


def _headlines(found: Comparison, names: tuple[str, str]) -> str:
    rows: list[tuple[str, ...]] = [("", f"A: {escape(names[0])}", f"B: {escape(names[1])}", "B - A", "95% interval")]
    for name, (title, form) in _HEADLINES.items():
        was, now = getattr(found.a, name), getattr(found.b, name)
        signed = form.replace(":", ":+")
        interval = getattr(found.intervals, name, None)
        ends = " to ".join(signed.format(end) for end in interval.delta) if interval else ""
        rows.append((title, form.format(was), form.format(now), signed.format(now - was), ends))
    return _table(rows)


def _matrix(report: Report, name: str, letter: str) -> str:
    rows: list[tuple[str, ...]] = [("", *map(escape, report.classes))]
    for i, true in enumerate(report.classes):
        total = max(1, int(report.confusion_KK[i].sum()))
        cells = (_cell(int(n), n / total, i == j) for j, n in enumerate(report.confusion_KK[i]))
        rows.append((escape(true), *cells))
    return f"<section><h2>{letter}: {escape(name)}</h2>{_table(rows, 'matrix')}</section>"


def _cell(faces: int, share: float, right: bool) -> str:
    color = RIGHT_COLOR if right else WRONG_COLOR
    strength = round(255 * min(1.0, share))
    ink = "white" if share > 0.45 else "inherit"
    return f'<td style="background:{color}{strength:02x};color:{ink}" title="{share:.1%}">{faces:,}</td>'


def _emotions(found: Comparison) -> str:
    rows: list[tuple[str, ...]] = [("emotion", "faces", "recall A", "recall B", "", "difference", "p, corrected")]
    for name, test in found.emotion_tests.items():
        was, now = found.a.per_class[name].recall, found.b.per_class[name].recall
        bars = "<br>".join(_bar(share, color) for share, color in zip((was, now), RUN_COLORS.values(), strict=False))
        p = "" if test.p_holm is None else f"{test.p_holm:.2g}"
        real = f"<b>{p}</b>" if test.real else p
        bars = f'<td style="text-align:left">{bars}</td>'
        rows.append((escape(name), f"{test.faces:,}", f"{was:.1%}", f"{now:.1%}", bars, f"{now - was:+z.1%}", real))
    return f"<h2>Each emotion</h2>{_table(rows)}"


def _bar(share: float, color: str) -> str:
    return f'<span class="bar" style="width:{200 * share:.0f}px;background:{color}"></span>'


def _settings(settings: Mapping[str, tuple[str, str]]) -> str:
    if not settings:
        return "<p>Both runs have the same settings.</p>"
    rows = [("setting", "A", "B"), *((escape(k), escape(a), escape(b)) for k, (a, b) in settings.items())]
    return f"<h2>Settings that differ</h2>{_table(rows)}"
