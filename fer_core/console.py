"""What the command line shows to a person: progress, epochs, tables. Nothing here computes a figure."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

from tqdm import tqdm

from fer_core.compare import Comparison
from fer_core.config import RunConfig
from fer_core.ensemble_file import Ensemble
from fer_core.runs import EpochRecord

if TYPE_CHECKING:
    from fer_core.models import ModelCost  # torch comes with these
    from fer_core.predict import Prediction
    from fer_core.train.placement import Placement


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal, nothing elsewhere; called with what is done and what there is."""
    with tqdm(total=0, desc=what, leave=False, disable=not sys.stderr.isatty(), unit="", unit_scale=True) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield show


class TrainingLog:
    """A training as it goes: a bar and a line an epoch on a terminal, only the lines elsewhere."""

    def __init__(self, epochs: int) -> None:
        self._epochs = epochs
        self._bar = tqdm(total=1.0, leave=False, disable=not sys.stderr.isatty(), bar_format=_BAR)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.close()

    def step(self, share: float) -> None:
        self._bar.update(share - self._bar.n)

    def epoch(self, record: EpochRecord) -> None:
        line = (
            f"epoch {record.epoch}/{self._epochs}  lr {record.lr:.3g}  train loss {record.train_loss:.3f}  "
            f"public loss {record.public_loss:.3f}  accuracy {record.public_accuracy:.1%}  "
            f"macro-F1 {record.public_macro_f1:.3f}  {record.images_per_s:.0f} faces/s  {record.wall_s:.0f} s"
        )
        tqdm.write(line, file=sys.stdout)
        sys.stdout.flush()


def plan(config: RunConfig, cost: "ModelCost", placement: "Placement") -> None:
    """What is about to be trained: the net, its size, its work for one face, how much of it is frozen, and where."""
    what = f"{config.recipe}: " if config.recipe else ""
    frozen = f", {cost.frozen_share:.0%} of them frozen" if cost.frozen_share else ""
    print(
        f"{what}{config.model}, {cost.parameters / 1e6:.2f}M parameters{frozen}, "
        f"{cost.multiply_adds / 1e6:,.0f}M multiply-adds a face, {placement}"
    )


_BAR = "{percentage:3.0f}%|{bar}| {elapsed}<{remaining}"


def data_info(info: Mapping[str, Any]) -> None:
    splits = info["splits"]
    print(f"{info['source']}: {info['n']} faces, fingerprint {info['fingerprint']}")
    if info["labels"] != "fer":
        print(f"labels: {info['labels']}, which leaves out {info['left_out']} faces")
    print(_row("", *splits))
    for emotion in next(iter(splits.values())):
        print(_row(emotion, *(splits[split][emotion] for split in splits)))
    print(_row("all", *(sum(counts.values()) for counts in splits.values())))
    for note in info["notes"]:
        print(f"note: {note}")


def quality(source: str, values: Mapping[str, Any]) -> None:
    """What `data check` found, a line each, and where FER2013's label and FER+'s majority part ways."""
    in_train, near, votes = values["rows_in_train"], values["near"], values["ferplus"]
    print(f"{source}: {values['n']} faces, {values['unique']} different pictures")
    print(f"exact copies: {values['redundant']} further rows in {values['duplicate_groups']} groups")
    print(f"  also in train: {in_train['public']} of public, {in_train['private']} of private")
    print(f"  in public and in private: {values['images_in_public_and_private']}")
    print(f"  under different labels: {values['conflicting_groups']} groups")
    if near:
        rows = near["rows_in_train"]
        print(f"near copies: {near['pairs']} pairs of {near['rows']} faces, {near['mirrored']} of them mirrored")
        print(f"  no exact copy but a near one in train: {rows['public']} of public, {rows['private']} of private")
    print(f"near-constant pictures: {values['constant']}")
    if votes:
        print(f"no face, say all taggers: {values['not_a_face']}")
        print(f"less than half of the taggers agree: {values['low_agreement']}")
        print(f"label and FER+ majority agree on {votes['agree']:.1%} of {votes['n']} faces")
        print("rows FER2013's label, columns FER+'s majority:")
        _matrix(votes["columns"], votes["matrix"], "d", votes["rows"])


def report(values: Mapping[str, Any], ensemble: Ensemble | None = None) -> None:
    """A run's figures, a line an emotion, and its confusion matrix; of an ensemble, what it is made of."""
    low, high = values["accuracy_ci95"]
    print(f"{values['run']} on {values['split']}, {values['n']} faces, view {values['view']}")
    if ensemble is not None:
        print(ensemble.words)
    if values["decision"]:
        print(f"decision: {values['decision']}")
    print(f"accuracy {values['accuracy']:.2%} (95% interval {low:.2%} to {high:.2%})")
    dedup = values["dedup"]
    if dedup and (left := values["n"] - dedup["n"]):
        print(
            f"without the {left} faces that also stand in train: accuracy {dedup['accuracy']:.2%}, "
            f"macro-F1 {dedup['macro_f1']:.3f}"
        )
    for view, accuracy in values["other_views"].items():
        print(f"by the view {view}: accuracy {accuracy:.2%}")
    print(
        f"macro-F1 {values['macro_f1']:.3f}  balanced accuracy {values['balanced_accuracy']:.2%}  "
        f"log loss {values['log_loss']:.3f}  calibration error {values['ece']:.3f}"
    )
    print(_row("", "precision", "recall", "F1", "faces"))
    for name, one in values["per_class"].items():
        print(_row(name, f"{one['precision']:.1%}", f"{one['recall']:.1%}", f"{one['f1']:.3f}", one["support"]))
    print("rows true, columns predicted:")
    _matrix(values["classes"], values["confusion"], "d")


def comparison(values: Mapping[str, Any], found: Comparison) -> None:
    print(f"A = {values['a']}, B = {values['b']}, on the {values['n']} faces of {values['split']} that both predicted")
    print(values["verdict"])
    print(f"accuracy A {found.a.accuracy:.2%}, B {found.b.accuracy:.2%}: B - A = {values['accuracy_delta']:+z.2%}")
    print(f"{found.fixed} faces only B has right, {found.broken} only A: McNemar p = {values['mcnemar_p']:.3g}")
    print(_wide("", "A", "B", "B - A", "95% interval"))
    for name, title in _MEANS.items():
        a, b, delta = getattr(found.a, name), getattr(found.b, name), values[f"{name}_delta"]
        print(_wide(title, f"{a:.2%}", f"{b:.2%}", f"{delta:+z.2%}", _interval(values["intervals"][name]["delta"])))
    print(_wide("", "recall A", "recall B", "B - A", "95% interval", "p, Holm", "faces"))
    for name, delta in values["recall_delta"].items():
        a, b = found.a.per_class[name].recall, found.b.per_class[name].recall
        test, intervals = values["emotion_tests"][name], values["intervals"]["recall"][name]
        interval, p = (_interval(intervals["delta"]), f"{test['p_holm']:.2g}") if intervals else ("-", "-")
        print(_wide(name, f"{a:.1%}", f"{b:.1%}", f"{delta:+z.1%}", interval, p, str(test["faces"])))
    print("intervals: paired bootstrap over faces; p: McNemar's exact test, corrected for the emotions (Holm)")
    print("confusion, B minus A (rows true, columns predicted):")
    _matrix(values["classes"], values["confusion_delta"], "+d")


def seed_comparison(values: Mapping[str, Any]) -> None:
    """Two settings with several seeds: means ± standard deviations, and the difference."""
    print("over seeds: " + "; ".join(f"{letter} = {', '.join(values[f'runs_{letter.lower()}'])}" for letter in "AB"))
    print(values["verdict"])
    print(_wide("", "A", "B", "B - A", "95% interval", "p, Holm"))
    for name, title in _MEANS.items():
        print(_seed_row(title, values[name], ""))
    for name, one in values["recall"].items():
        if one:
            print(_seed_row(name, one, f"{values['recall_p_holm'][name]:.2g}"))
    over = "other seeds and faces" if values["over_seeds"] else "other faces, not for other seeds"
    print(f"means ± standard deviations of single runs; intervals: for {over}")


_MEANS = {"accuracy": "accuracy", "macro_f1": "macro-F1", "balanced_accuracy": "macro-recall"}


def _seed_row(title: str, one: Mapping[str, Any], p: str) -> str:
    return _wide(title, _mean(one["a"]), _mean(one["b"]), f"{one['delta']:+z.2%}", _interval(one["ci95"]), p)


def _mean(spread: Mapping[str, Any]) -> str:
    sd = "" if spread["sd"] is None else f" ± {100 * spread['sd']:.1f}"
    return f"{spread['mean']:.1%}{sd}"


def _interval(interval: Sequence[float]) -> str:
    return f"{interval[0]:+z.2%} to {interval[1]:+z.2%}"


def _wide(head: str, a: str, b: str, delta: str, interval: str, p: str = "", faces: str = "") -> str:
    return f"{head:<13}{a:>13}{b:>13}{delta:>10}{interval:>22}{p:>10}{faces:>8}".rstrip()


def recipe_table(rows: Sequence[Mapping[str, Any]]) -> None:
    width = max(len(row["name"]) for row in rows) + 2
    for row in rows:
        published = f" Published: {row['published']}." if row["published"] else ""
        print(f"{row['name']:{width}}{row['title']}.{published}")
        if row["variants"]:
            print(f"{'':{width}}/{', /'.join(row['variants'])}")


def run_table(rows: Sequence[Mapping[str, Any]]) -> None:
    if not rows:
        print("no runs yet; train one: python -m fer_core train")
        return
    width = max(len("run"), *(len(row["name"]) for row in rows))
    print(f"{'run':{width}}{_cells('state', 'epoch', 'public', 'macro-F1', 'time')}")
    for row in rows:
        done, after = f"{row['epoch']}/{row['epochs']}", ""
        figures: tuple[str, ...] = ("-", "-", "-")
        if row["public_accuracy"] is not None:
            time = "-" if row["wall_s"] is None else f"{row['wall_s']:.0f} s"
            figures = (f"{row['public_accuracy']:.1%}", f"{row['public_macro_f1']:.3f}", time)
        if row["members"]:  # it has no epochs
            done, after = "-", f"  {row['model']}: {', '.join(row['members'])}"
        print(f"{row['name']:{width}}{_cells(row['state'], done, *figures)}{after}")


def _matrix(
    classes: Sequence[str], rows: Sequence[Sequence[int]], form: str, names: Sequence[str] | None = None
) -> None:
    print(_row("", *classes))
    for name, row in zip(names or classes, rows, strict=True):
        print(_row(name, *(format(cell, form) for cell in row)))


def printable(line: str) -> str:
    """One line, whatever a file's name or content has brought into it: a stranger's text may steer a terminal."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)


def prediction_lines(found: "Prediction", threshold: float) -> None:
    """A picture and its faces, a line each, with the emotions of 5% and more."""
    n = len(found.faces)
    faces = "no face found" if not n else "taken whole" if found.whole else f"{n} face{'s' * (n > 1)}"
    tqdm.write(f"{printable(found.name)}: {faces}, {found.seconds * 1000:.0f} ms", file=sys.stdout)
    for number, face in enumerate(found.faces, 1):
        order = face.probabilities_K.argsort()[::-1]
        likely = [k for k in order if face.probabilities_K[k] >= _WORTH_NAMING]
        said = ", ".join(f"{face.classes[k]} {face.probabilities_K[k]:.0%}" for k in likely)
        unsure = "not sure: " if face.said(threshold) != face.emotion else ""
        place = "" if face.box is None else "  at " + ", ".join(f"{edge:.0f}" for edge in face.box)
        tqdm.write(f"  {number}  {unsure}{said}{place}", file=sys.stdout)


_WORTH_NAMING = 0.05


def _row(head: str, *cells: object) -> str:
    return f"{head:<10}{_cells(*cells)}"


def _cells(*cells: object) -> str:
    return "".join(f"{cell!s:>10}" for cell in cells)
