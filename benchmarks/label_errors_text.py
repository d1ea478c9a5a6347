"""The study of label errors in Markdown; numbers are read from its values, none is written here."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.markdown import figure, source_line, table

_METHODS = {"confident": "confident learning", "loss": "loss", "random": "random"}
_FIGURES = {"accuracy": "accuracy", "macro_f1": "macro-F1"}


def label_errors_text(values: Mapping[str, Any]) -> str:
    """How it was done, the precision of each ranking, the mistakes of the run, and what retraining gave."""
    retrained = values["retrained"]
    parts = [_opening(values), _precisions(values["splits"]), _sides(values["sides"])]
    return "\n".join([*parts, _retrained(values["listed"], retrained)] if retrained else parts)


def _opening(values: Mapping[str, Any]) -> str:
    code = f" (code {values['run_code']})" if values.get("run_code") else ""
    return (
        "# Likely label errors, measured\n\n"
        f"Train is ranked by {values['folds']} folds of recipe `{values['recipe']}` at {values['epochs']} epochs, each "
        f"on the part that it has not seen; public and private by `{values['run']}`{code}, trained on train. Faces "
        "whose very pixels the net has trained on are left out. A label counts as an error where the majority of "
        "FER+'s ten taggers says another emotion; faces without a majority are passed over.\n\n"
        f"{source_line(values)}\n"
    )


def _precisions(splits: Mapping[str, Any]) -> str:
    ks = [one["k"] for one in next(iter(next(iter(splits.values()))["methods"].values()))]
    head = ("split", "ranking", *(f"first {k:,}" for k in ks))
    rows = [
        (_faces(split, one), _METHODS.get(name, name), *(_with_interval(at) for at in found))
        for split, one in splits.items()
        for name, found in one["methods"].items()
    ]
    return (
        "## Of the first k faces, those whose label FER+'s majority calls wrong\n\n"
        f"In percent, with 95% intervals (Wilson).\n\n{table(head, rows)}"
    )


def _faces(split: str, one: Mapping[str, Any]) -> str:
    return f"{split}: {one['known']:,} of {one['n']:,} known, {one['wrong'] / one['known']:.1%} wrong"


def _sides(sides: Mapping[str, Any]) -> str:
    first = next(iter(sides.values()))
    head = ("split", "mistakes", *(f"FER+ sides with: {side}" for side in first["totals"]))
    rows = [
        (split, f"{one['mistakes']:,}", *(_with_interval(share) for share in one["totals"].values()))
        for split, one in sides.items()
    ]
    same = {split: one["accuracy"] for split, one in sides.items()}
    accuracies = [
        (
            split,
            f"{one['fer2013_same']['n']:,}",
            *(_with_interval(one[name]) for name in ("fer2013_same", "ferplus_same")),
        )
        for split, one in same.items()
    ]
    accuracy_head = ("split", "faces with both", "FER2013's labels", "FER+'s majority")
    return (
        f"## Is it the model or the label?\n\nThe run's mistakes, in percent.\n\n{table(head, rows)}\n"
        f"Its accuracy by each label set, on the same faces.\n\n{table(accuracy_head, accuracies)}"
    )


def _retrained(listed: Mapping[str, Any], values: Mapping[str, Any]) -> str:
    known = listed["known"]
    confirmed = "" if known == 0 else (
        f" FER+ has a majority on {known:,} of them: it calls {listed['wrong'] / known:.0%} of these labels wrong, and "
        f"says what the nets propose on {listed['proposed_right'] / known:.0%}."
    )  # fmt: skip
    tables = [f"By {name}, n = {rows[0]['n']:,}:\n\n{_table(rows)}" for name, rows in values["by"].items()]
    return (
        f"## Trained again without the {listed['faces']:,} likeliest errors of train, on public\n\n"
        f"Dropped, or relabelled as the folds' nets propose ({_rows(values['faces'])}). Means ± standard deviation "
        "over the seeds, in percent; in brackets the difference to as-is in points with its 95% interval, over other "
        "seeds and other faces."
        f"{confirmed} {source_line(values)}\n\n" + "\n".join(tables)
    )


def _rows(faces: Mapping[str, Any]) -> str:
    """A mark holds for every copy of its face under its label, so that rows may be more than marks."""
    said = [
        f"{action}: {one['dropped']:,} rows dropped, {one['relabelled']:,} relabelled" for action, one in faces.items()
    ]
    return "; ".join(said)


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    head = ("setting", "seeds", *_FIGURES.values())
    return table(head, [(one["name"], str(one["seeds"]), *(figure(one[name]) for name in _FIGURES)) for one in rows])


def _with_interval(one: Mapping[str, Any]) -> str:
    if not one["n"]:
        return "none"
    low, high = one["ci95"]
    return f"{100 * one['share']:.1f} ({100 * low:.1f} to {100 * high:.1f})"
