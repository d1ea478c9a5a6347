"""The model card of the shipped nets, `fer_core/weights/README.md`, written from their run folders.

    python -m benchmarks.model_card [--runs RUN RUN] [--out FOLDER]

Every figure is computed from the runs' own answers; the sentences about weaknesses follow from them.
Shapes: N faces, K classes.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.leaderboard_text import interval, percent
from benchmarks.markdown import table
from benchmarks.measured import SPLITS, epoch_seconds
from fer_core.catalog import VIEWS
from fer_core.cli_reproduce import SHIPPED
from fer_core.compare import compare
from fer_core.ensemble_file import refuse_ensemble
from fer_core.environment import code_of
from fer_core.errors import FerError, RunError
from fer_core.evaluate import Report, softmax, wilson_interval
from fer_core.files import write_text
from fer_core.predictions import SplitPredictions, report_on
from fer_core.runs import Run, find_run
from fer_core.settings import settings

_CONFUSIONS = 6
_WEAKEST = 3

_INTENDED = """## What it is for

A worked example: to see what a small net learns of FER2013, what balancing changes, and where both are wrong. It reads
which of seven expressions a cropped, roughly frontal, grey 48 x 48 face *shows*.

## What it must not be used for

- It does not know what anybody feels: it reads a shown expression. People smile without joy, and are sad with a
  neutral face.
- No decisions about people: none about work, school, credit, insurance, health, policing or borders.
- In some places the law forbids it: the EU's AI Act, Article 5(1)(f), prohibits AI systems that infer emotions of
  people at work and in education, save for medical or safety reasons.
- Nothing is known of how it does across ages, skin colours, sexes, cultures or disabilities: FER2013 says none of that
  of its faces, so it cannot be measured here.
- No other pictures: profiles, several faces, thermal or infra-red pictures, video. What it says of them means nothing.
"""
_DATA = """## Data

FER2013 (Goodfellow et al. 2013, arXiv 1307.0414): grey faces of 48 x 48 pixels that an image search engine found for
words of emotion, cropped by a face detector and then sorted by people. Many are posed, by actors and for stock
photographs, and a few are no face at all. It was published in 2013 for a challenge on Kaggle; the pictures were found
on the web and are their owners', so that everybody has to get them from there. No picture is shipped here: only
weights, settings, curves, and for each face the hash of its pixels, its label and the net's answers.
"""
# The two numbers are those of `data.agreement`; `tests/test_quality.py` holds them against the real data.
_AGREEMENT = """- **Labels.** FER2013's label is FER+'s majority for 67.6% of the 31,412 faces that have one
  (`python -m fer_core data check`), and people reach about 65% (Goodfellow et al. 2013). A part of what is counted as
  wrong here is a wrong label.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the card. Returns the exit code: 0, or 2 after one line on standard error."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", nargs="+", default=list(SHIPPED.values()), help="names or folders of the runs")
    parser.add_argument("--out", type=Path, default=settings().shipped, help="folder that the card is written to")
    args = parser.parse_args(arguments)
    try:
        text = card([find_run(reference) for reference in args.runs])
    except FerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    path = args.out / "README.md"
    write_text(path, text)
    print(path)
    return 0


def card(runs: Sequence[Run]) -> str:
    """The whole text. Raises: RunError: a run has not come to its end, or is damaged."""
    for run in runs:
        refuse_ensemble(run)
        if set(run.splits()) != set(SPLITS):
            raise RunError(f"run {run.name!r} has no answers on both public and private: train it to its end.")
    others = "".join(_balancing(runs[0], other) for other in runs[1:])
    nets = "".join(_net(run) for run in runs)
    figures = "\n".join(f"### {run.name}\n\n{_headline(run)}\n{_per_emotion(run)}" for run in runs)
    weaknesses = "\n".join(f"### {run.name}\n\n{_weaknesses(run)}" for run in runs)
    return (
        "# Model card: the nets that come with the explorer\n\n"
        "Written by `python -m benchmarks.model_card` from the run folders beside it.\n\n"
        f"{nets}\n{_INTENDED}\n{_DATA}\n{_protocol(runs)}\n## Figures\n\n{figures}\n## Known failures\n\n{weaknesses}"
        f"\n### All of them\n\n{others}{_AGREEMENT}{_copies(runs[0])}\n## Train them again\n\n{_again(runs)}"
    )


def _net(run: Run) -> str:
    """What it is, how large, and how it was trained."""
    config, environment, history = run.config(), run.environment(), run.history()
    minutes = len(history) * float(np.median(epoch_seconds(history))) / 60
    balance = "the data as it is" if config.balance == "none" else f"balanced ({config.balance})"
    where = f"{environment['machine']}, {environment['cores']} cores, {environment['placement']}"
    return (
        f"- **{run.name}**: net `{config.model}`, {environment['parameters'] / 1e6:.2f}M parameters, recipe "
        f"`{config.recipe or config.model}`, {balance}, from scratch, {len(history)} epochs, seed {config.seed}; "
        f"{minutes:.1f} minutes (epochs times the median epoch) on {where}; code {code_of(environment)}.\n"
    )


def _protocol(runs: Sequence[Run]) -> str:
    selected = ", ".join(dict.fromkeys(run.config().select_by for run in runs))
    counts = {split: sum(n.values()) for split, n in runs[0].environment()["data"]["counts"].items()}
    return (
        "## Protocol\n\n"
        f"`Training` ({counts['train']:,} faces) trains, `PublicTest` ({counts['public']:,}) selects the epoch (by "
        f"{selected}), `PrivateTest` ({counts['private']:,}) is read once, by the selected weights. Public figures are "
        "therefore a little too good. Intervals are Wilson's, 95%: they say how far as many other faces might move a "
        "figure, not how far another seed does; each net is one seed.\n"
    )


def _headline(run: Run) -> str:
    rows = []
    for split in SPLITS:
        for view in run.views(split):
            one = report_on(run.predictions(split, view))
            without = f"{percent(one.dedup.accuracy)} (n = {one.dedup.n:,})" if one.dedup else "–"
            figures = (f"{one.macro_f1:.3f}", percent(one.balanced_accuracy), f"{one.log_loss:.3f}", f"{one.ece:.3f}")
            rows.append(
                [split, view, f"{one.n:,}", percent(one.accuracy), interval(one.accuracy_ci95), without, *figures]
            )
    head = ("split", "view", "n", "accuracy, %", "95% interval", "without copies", "macro-F1", "balanced accuracy, %")
    return table([*head, "log loss", "ECE"], rows)


def _per_emotion(run: Run) -> str:
    """Recall of each emotion with its interval, by each view; precision and F1 as it is."""
    rows = []
    views = run.views("private")
    for split in SPLITS:
        reports = {view: report_on(run.predictions(split, view)) for view in views}
        for name, one in reports["none"].per_class.items():
            recalls = [_recall(reports[view], name) for view in views]
            rows.append([split, name, f"{one.support:,}", *recalls, percent(one.precision), f"{one.f1:.3f}"])
    recall_by = [f"recall, {VIEWS[view].title.lower()}" for view in views]
    return table(("split", "emotion", "n", *recall_by, "precision, as it is", "F1, as it is"), rows)


def _recall(report: Report, emotion: str) -> str:
    one = report.per_class[emotion]
    if not one.support:
        return "–"
    return f"{percent(one.recall)} ({interval(wilson_interval(round(one.recall * one.support), one.support))})"


def _weaknesses(run: Run) -> str:
    """What the private figures say, as it is: weakest emotions, most frequent confusions, trust in its own answers."""
    answers = run.predictions("private")
    report = report_on(answers)
    return f"{_lowest(report)}{_confusions(report)}{_confidence(answers, report)}"


def _lowest(report: Report) -> str:
    seen = {name: one for name, one in report.per_class.items() if one.support}
    weakest = sorted(seen, key=lambda name: seen[name].recall)[:_WEAKEST]
    parts = [f"{name} ({percent(seen[name].recall)}% of {seen[name].support:,})" for name in weakest]
    missed = [name for name in weakest if seen[name].recall < 0.5]
    half = f" It misses more of {_listed(missed)} than it finds." if missed else ""
    doubted = min(seen, key=lambda name: seen[name].precision)
    right = percent(seen[doubted].precision)
    return (
        f"- **Found least often**, private, as it is: {', '.join(parts)}.{half}\n"
        f"- **Least to be believed**: when it says {doubted}, it is right in {right}% of the cases.\n"
    )


def _confusions(report: Report) -> str:
    counts = report.confusion_KK - np.diag(np.diag(report.confusion_KK))
    places = np.argsort(-counts, axis=None, kind="stable")[:_CONFUSIONS]
    lines = []
    for place in places.tolist():
        true, called = divmod(place, len(report.classes))
        if count := int(counts[true, called]):
            n = report.per_class[report.classes[true]].support
            lines.append(f"{report.classes[true]} called {report.classes[called]}: {count} of {n} ({count / n:.1%})")
    return f"- **Most frequent confusions**: {'; '.join(lines)}.\n"


def _confidence(answers: SplitPredictions, report: Report) -> str:
    mean = float(softmax(answers.logits_NK).max(axis=1).mean())
    manner = "too sure of itself" if mean > report.accuracy else "less sure of itself than it might be"
    return (
        f"- **Its probabilities**: on average {manner}: mean top probability {mean:.1%}, accuracy "
        f"{report.accuracy:.1%}; expected calibration error {report.ece:.3f}.\n"
    )


def _balancing(a: Run, b: Run) -> str:
    """What the second net has better and worse than the first, face by face."""
    found = compare(a.predictions("private"), b.predictions("private"))
    moved = sorted(found.recall_delta.items(), key=lambda item: -item[1])
    parts = [f"{name} {100 * delta:+.1f}" for name, delta in moved]
    low, high = (f"{100 * value:+.2f}" for value in found.accuracy_delta_ci95)
    return (
        f"- **{b.name} beside {a.name}**, private, as it is: recall in points {', '.join(parts)}; accuracy "
        f"{100 * found.accuracy_delta:+.2f} (95% interval, paired: {low} to {high}); macro-F1 {found.a.macro_f1:.3f} "
        f"and {found.b.macro_f1:.3f}. {found.fixed} faces are right only with {b.name}, {found.broken} only with "
        f"{a.name}.\n"
    )


def _copies(run: Run) -> str:
    marks = {split: run.predictions(split).in_train_N for split in SPLITS}
    known = {split: int(mark.sum()) for split, mark in marks.items() if mark is not None}
    if not known:
        return "- **Copies between the splits**: it is not recorded which faces also stand in `Training`.\n"
    parts = " and ".join(f"{count} faces of {split}" for split, count in known.items())
    return (
        f"- **Copies between the splits.** {parts} stand in `Training` too, pixel for pixel; the figures without them "
        "are given above.\n"
    )


def _again(runs: Sequence[Run]) -> str:
    nets = {run: net for net, run in SHIPPED.items()}
    lines = [f"python -m fer_core reproduce {nets[run.name]}" for run in runs if run.name in nets]
    commands = lines or [" ".join(run.config().changed(data=None, ferplus=None).command()) for run in runs]
    block = "\n".join(f"    {line}" for line in commands)
    return f"From your own FER2013, with the figures beside these:\n\n{block}\n"


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


if __name__ == "__main__":
    sys.exit(main())
