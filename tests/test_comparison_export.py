"""A comparison to take along: what the files say, and that names in them cannot be markup."""

import csv
import io
from html.parser import HTMLParser

import pytest

from fer_core import cli
from fer_core.compare import compare
from fer_core.comparison_export import comparison_html, differing_settings, faces_csv, figures_csv
from fer_core.config import RunConfig
from fer_core.ensemble import create_ensemble
from fer_core.runs import create_run
from fer_core.verdict import verdict
from tests.faces import make_predictions

LABELS = [0, 0, 0, 0, 3, 3, 3, 4]
A = make_predictions(LABELS, [0, 3, 3, 4, 3, 0, 3, 4])
B = make_predictions(LABELS, [3, 0, 3, 3, 3, 0, 3, 4])


class Texts(HTMLParser):
    """The texts of a page, and whether every element that was opened is closed again."""

    def __init__(self, page):
        super().__init__()
        self.open, self.texts = [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "br"):
            self.open.append(tag)
        assert not any(name in ("src", "href") for name, _ in attrs), "it needs nothing beside it"

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def page(names=("one", "other"), settings=None):
    return comparison_html(compare(A, B), names, settings or {}, "private, as it is")


def test_the_page_is_whole_and_says_what_the_comparison_says():
    found, texts = compare(A, B), Texts(page()).texts
    assert verdict(found, "one", "other") in texts
    for value in (f"{found.a.accuracy:.2%}", f"{found.b.accuracy:.2%}", f"{found.accuracy_delta:+.2%}"):
        assert value in texts
    assert "Both runs have the same settings." in texts


def test_names_and_settings_are_text_and_never_markup():
    bad = "<script>alert(1)</script>"
    text = page((bad, "other"), {"lr": (bad, "0.1")})
    assert "<script" not in text
    assert bad in Texts(text).texts


def test_every_cell_of_both_matrices_is_there():
    found, texts = compare(A, B), Texts(page()).texts
    digits = sum(text.isdigit() for text in texts)
    faces_column = len(found.a.classes)
    assert digits >= 2 * len(found.a.classes) ** 2 + faces_column


def test_a_line_a_face():
    rows = list(csv.DictReader(io.StringIO(faces_csv(A, B))))
    assert [row["label"] for row in rows] == [A.classes[k] for k in LABELS]
    assert [row["group"] for row in rows] == [
        "broken", "fixed", "still wrong", "still wrong", "right in both", "still wrong", "right in both",
        "right in both",
    ]  # fmt: skip
    assert rows[1]["a_says"] == "happy" and rows[1]["b_says"] == "angry"
    # exp(4) of exp(4) + 6
    assert float(rows[0]["a_sure"]) == pytest.approx(54.598 / 60.598, abs=1e-4)
    assert rows[0]["hash"] == f"{int(A.hashes_N[0]):016x}"


def test_a_line_a_figure_with_its_interval():
    rows = {row["figure"]: row for row in csv.DictReader(io.StringIO(figures_csv(compare(A, B))))}
    found = compare(A, B)
    assert float(rows["accuracy"]["difference"]) == pytest.approx(found.accuracy_delta)
    low, high = found.intervals.accuracy.delta
    assert (float(rows["accuracy"]["low"]), float(rows["accuracy"]["high"])) == (
        pytest.approx(low),
        pytest.approx(high),
    )
    assert rows["recall fear"]["low"] == ""  # no face has it


def test_settings_that_differ_leave_the_datas_place_out():
    one = create_run(RunConfig(data="/here/fer2013.csv", lr=0.1, views=("none",)), "one")
    other = create_run(RunConfig(data="/there/fer2013.csv", lr=0.2, views=("none", "flip")), "other")
    assert differing_settings(one, other) == {"lr": ("0.1", "0.2"), "views": ("none", "none, flip")}


def test_an_ensemble_shows_its_members_and_what_they_do_not_share():
    runs = [create_run(RunConfig(lr=lr, seed=seed), name) for name, lr, seed in (("a", 0.1, 0), ("b", 0.1, 1))]
    for run, answers in zip(runs, (A, B), strict=True):
        run.write_predictions({"private": answers})
    ensemble, other = create_ensemble(runs, "e", "logits"), create_run(RunConfig(lr=0.2, seed=1), "other")
    mine = {"members": ("a, b", ""), "average": ("logits", ""), "lr": ("0.1", "0.2"), "seed": ("0; 1", "1")}
    assert list(differing_settings(other, ensemble))[:2] == ["members", "average"]
    assert differing_settings(ensemble, other) == mine
    assert differing_settings(other, ensemble) == {name: (b, a) for name, (a, b) in mine.items()}
    assert differing_settings(ensemble, ensemble) == {}


def test_the_command_writes_a_new_folder_and_never_over_another(tmp_path, capsys):
    for name, answers in (("a", A), ("b", B)):
        run = create_run(RunConfig(data="sample").resolved(2), name)
        run.write_predictions({"private": answers})
        run.update_status(state="done")
    target = tmp_path / "new" / "report"
    assert cli.main(["compare", "a", "b", "--export", str(target)]) == 0
    assert {path.name for path in target.iterdir()} == {"report.html", "faces.csv", "figures.csv"}
    assert (target / "faces.csv").read_text() == faces_csv(A, B)
    capsys.readouterr()
    assert cli.main(["compare", "a", "b", "--export", str(target)]) == 2
    assert "is there already" in capsys.readouterr().err
