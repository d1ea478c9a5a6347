"""`leaderboard.md` from the board's values: every number in it is read from them, none is written here."""

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.ablation_text import ablation_table
from benchmarks.markdown import table
from fer_core.catalog import VIEWS

Row = Mapping[str, Any]

_OPENING = """# Leaderboard

Written by `python -m benchmarks.leaderboard`; every figure of ours is measured from what a run has stored.

Protocol: `Training` trains, `PublicTest` selects the epoch, `PrivateTest` is read once, by the weights that were
selected. Accuracies are in percent. Several seeds: mean ± standard deviation over the runs; one seed: its 95% interval
(Wilson), which says how far as many other faces might move the figure. Test-time views stand apart: as it is, the mean
with the mirror image, ten crops. *Without copies* leaves out the faces whose very pixels also stand in `Training`.
Minutes are epochs times the median epoch; the wall time stands under Times. Published figures are set in italics, with
their protocol, at the height of their figure; lines stand in the order of the private accuracy as it is. Most
higher ones that are published choose the checkpoint on the split that they report, or begin with ImageNet weights.
"""
_KINDS = {"fer": "FER2013's labels", "majority": "FER+: rows with a majority emotion"}
_NONE = "–"


def render(board: Mapping[str, Any], anchors: Iterable[Row], ablation: Row | None = None) -> str:
    """The whole text. `board` as `leaderboard.read_board` gives it, `anchors` as values of `anchors.Anchor`."""
    groups = grouped(board)
    parts = [_OPENING]
    for kind, title in _KINDS.items():
        ours = [one for one in groups if one["judged_by"] == kind and not one["negative"]]
        published = [one for one in anchors if one["judged_by"] == kind]
        if ours:
            parts.append(f"## {title}\n\n{_main_table(ours, published)}")
    if negative := [one for one in groups if one["negative"]]:
        parts.append(f"## Negative results\n\n{_negative_table(negative)}")
    if ablation:
        parts.append(f"## Ablation\n\n{ablation_table(ablation)}")
    if groups:
        parts.append(f"## Every figure\n\n{_details(groups)}")
        parts.append(f"## Settings\n\n{_settings(groups)}")
        parts.append(f"## Times\n\n{_times(groups)}")
    return "\n".join(parts)


def grouped(board: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Runs that differ in their seed alone, together, with their ensemble; in the order of their private accuracy."""
    ensembles = {one["group"]: one for one in board["ensembles"]}
    groups: dict[tuple[str, bool], list[Row]] = {}
    for row in board["runs"]:
        groups.setdefault((row["group"], bool(row["negative"])), []).append(row)
    found = [
        {
            "title": next((row["title"] for row in rows if row["title"]), "") or default_title(rows[0]),
            "note": " ".join(dict.fromkeys(row["note"] for row in rows if row["note"])),
            "negative": " ".join(dict.fromkeys(row["negative"] for row in rows if row["negative"])),
            "judged_by": rows[0]["judged_by"],
            "runs": sorted(rows, key=lambda row: row["seed"]),
            "ensemble": None if negative else ensembles.get(group),
        }
        for (group, negative), rows in groups.items()
    ]
    titles = Counter(one["title"] for one in found)
    for one in found:
        if titles[one["title"]] > 1:  # two settings of one recipe: the runs' names tell them apart
            one["title"] += f" ({one['runs'][0]['name']})"
    return sorted(found, key=lambda one: -_private(one))


def default_title(row: Row) -> str:
    """The recipe or the net, and what was changed of it in a word or two."""
    words = [f"labels {row['labels']}" if row["labels"] != "fer" else ""]
    balance = row["setting"].get("balance")
    words.append(f"balance {balance}" if balance else "")
    return ", ".join(filter(None, [row["recipe"] or row["model"], *words]))


def percent(share: float | None) -> str:
    return _NONE if share is None else f"{100 * share:.2f}"


def interval(low_high: Sequence[float]) -> str:
    return f"{percent(low_high[0])} to {percent(low_high[1])}"


def spread(values: Sequence[float | None], form: str = "{:.2f}", scale: float = 100.0) -> str:
    """Mean ± standard deviation of what is known; one value alone has no spread."""
    known = [scale * value for value in values if value is not None]
    if not known:
        return _NONE
    mean = form.format(statistics.mean(known))
    return f"{mean} ± {form.format(statistics.stdev(known))}" if len(known) > 1 else mean


def figure(row: Row, split: str, view: str, name: str) -> Any:
    """One figure of a run or ensemble; None where it was not judged so. `copies` is the accuracy without them."""
    values = row["figures"].get(split, {}).get(view)
    if values is None:
        return None
    if name == "copies":
        return (values["without_copies"] or {}).get("accuracy")
    return values[name]


_MAIN = (
    "system", "private, as it is", *(VIEWS[view].title.lower() for view in VIEWS if view != "none"), "without copies",
    "macro-F1", "public", "seeds", "M param", "minutes", "on",
)  # fmt: skip


def _main_table(groups: Sequence[Row], anchors: Iterable[Row]) -> str:
    lines = [(_private(one), _main_row(one)) for one in groups]
    lines += [(figure(e, "private", "none", "accuracy") or 0.0, _ensemble_row(one, e)) for one, e in _ensembles(groups)]
    lines += [(one["accuracy"], _anchor_row(one)) for one in anchors]
    return table(_MAIN, [line for _, line in sorted(lines, key=lambda pair: -pair[0])])


def _main_row(group: Row) -> list[str]:
    runs = group["runs"]
    first, seeds = runs[0], len({row["seed"] for row in runs})
    accuracies = [_accuracy_cell(runs, view) for view in VIEWS]
    again = f" in {len(runs)} runs" if len(runs) > seeds else ""
    return [
        f"**{group['title']}**{': ' + group['note'] if group['note'] else ''}",
        *accuracies,
        spread([figure(row, "private", "none", "copies") for row in runs]),
        spread([figure(row, "private", "none", "macro_f1") for row in runs], "{:.3f}", 1.0),
        spread([figure(row, "public", "none", "accuracy") for row in runs]),
        f"{seeds}{again}",
        _millions(first["parameters"]),
        spread([row["minutes"] for row in runs], "{:.1f}", 1.0),
        machine(first["machine"]),
    ]


def _accuracy_cell(runs: Sequence[Row], view: str) -> str:
    values = [figure(row, "private", view, "accuracy") for row in runs]
    if len(runs) > 1 or values[0] is None:
        return spread(values)
    return f"{percent(values[0])} ({interval(figure(runs[0], 'private', view, 'accuracy_ci95'))})"


def _ensembles(groups: Iterable[Row]) -> list[tuple[Row, Row]]:
    return [(one, one["ensemble"]) for one in groups if one["ensemble"]]


def _ensemble_row(group: Row, ensemble: Row) -> list[str]:
    members = [row for row in group["runs"] if row["name"] in ensemble["members"]]
    minutes = [row["minutes"] for row in members if row["minutes"] is not None]
    return [
        f"**{group['title']}, {len(ensemble['members'])} together**: mean softmax",
        *(_accuracy_cell([ensemble], view) for view in VIEWS),
        percent(figure(ensemble, "private", "none", "copies")),
        f"{figure(ensemble, 'private', 'none', 'macro_f1') or 0:.3f}",
        percent(figure(ensemble, "public", "none", "accuracy")),
        f"{len(ensemble['seeds'])}",
        _millions(sum(row["parameters"] or 0 for row in members) or None),
        f"{sum(minutes):.1f}" if minutes else _NONE,
        machine(members[0]["machine"]),
    ]


def _anchor_row(anchor: Row) -> list[str]:
    empty = [""] * (len(_MAIN) - 3)
    return [f"*published: {anchor['title']}*", f"*{percent(anchor['accuracy'])}*", *empty, f"*{anchor['protocol']}*"]


def _negative_table(groups: Sequence[Row]) -> str:
    rows = [
        [
            f"**{one['title']}**{': ' + one['note'] if one['note'] else ''}",
            one["negative"],
            spread([figure(row, "private", "none", "accuracy") for row in one["runs"]]),
            spread([figure(row, "public", "none", "accuracy") for row in one["runs"]]),
            str(len(one["runs"])),
            ", ".join(dict.fromkeys(row["state"] for row in one["runs"])),
        ]
        for one in groups
    ]
    return table(("system", "what went wrong", "private, as it is", "public", "runs", "ended"), rows)


def _details(groups: Iterable[Row]) -> str:
    head = (
        "run", "split", "view", "n", "accuracy", "95% interval", "n without copies", "without copies", "macro-F1",
        "balanced accuracy", "log loss", "ECE",
    )  # fmt: skip
    rows = []
    for group in groups:
        together = [("together: " + ", ".join(e["members"]), e) for _, e in _ensembles([group])]
        for name, one in [*((row["name"], row) for row in group["runs"]), *together]:
            for split, views in one["figures"].items():
                rows += [[name, split, view, *_detail(values)] for view, values in views.items()]
    return table(head, rows)


def _detail(values: Row) -> list[str]:
    copies = values["without_copies"] or {}
    return [
        f"{values['n']:,}",
        percent(values["accuracy"]),
        interval(values["accuracy_ci95"]),
        f"{copies['n']:,}" if copies else _NONE,
        percent(copies.get("accuracy")),
        f"{values['macro_f1']:.3f}",
        percent(values["balanced_accuracy"]),
        f"{values['log_loss']:.3f}",
        f"{values['ece']:.3f}",
    ]


def _settings(groups: Iterable[Row]) -> str:
    rows = []
    for group in groups:
        first = group["runs"][0]
        judged = figure(first, "private", "none", "n") or figure(first, "public", "none", "n")
        setting = ", ".join(f"{k} {_plain(v)}" for k, v in first["setting"].items() if k not in ("model", "epochs"))
        targets = "FER2013's labels" if first["labels"] == "fer" else f"FER+ {first['labels']}"
        rows.append([
            f"**{group['title']}**", first["recipe"] or _NONE, first["model"], targets,
            f"{first['train_faces']:,} train, {judged or 0:,} judged, {first['classes']} emotions",
            first["selected_by"], setting or "defaults",
            ", ".join(dict.fromkeys(_code(row["code"]) for row in group["runs"])),
        ])  # fmt: skip
    return table(
        ("system", "recipe", "net", "targets", "faces and emotions", "public selects by", "setting", "code"), rows
    )


def _times(groups: Iterable[Row]) -> str:
    head = (
        "run", "on", "seed", "epochs", "median epoch, s", "minutes", "wall minutes", "faces/s", "M param",
        "M multiply-adds",
    )  # fmt: skip
    rows = [
        [
            row["name"], machine(row["machine"]), str(row["seed"]), str(row["epochs"]), _number(row["epoch_s"]),
            _number(row["minutes"]), _number(row["wall_minutes"]), _number(row["images_per_s"], 0),
            _millions(row["parameters"]), _millions(row["multiply_adds"], 0),
        ]
        for group in groups
        for row in group["runs"]
    ]  # fmt: skip
    return table(head, rows)


def machine(values: Row) -> str:
    """The accelerator or the processor, its cores and threads, and the path of the arithmetic."""
    if values["accelerator"]:
        return f"{values['accelerator']}, {values['path']}"
    cores, threads = values["cores"], values["threads"]
    of = f"{threads} of {cores}" if threads not in (None, cores) else f"{cores}"
    return f"{values['processor']}, {of} cores, {values['path']}"


def _private(group: Row) -> float:
    """What lines are ordered by: the mean private accuracy as it is; a run without one stands last."""
    values = [figure(row, "private", "none", "accuracy") for row in group["runs"]]
    known = [value for value in values if value is not None]
    return statistics.mean(known) if known else 0.0


def _plain(value: Any) -> str:
    return " ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)


def _code(code: Row) -> str:
    return f"{code.get('version', '?')} ({code.get('source_hash', '?')})"


def _number(value: float | None, digits: int = 1) -> str:
    return _NONE if value is None else f"{value:,.{digits}f}"


def _millions(count: int | None, digits: int = 2) -> str:
    return _NONE if count is None else f"{count / 1e6:,.{digits}f}"
