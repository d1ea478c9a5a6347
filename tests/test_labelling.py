"""Label modes: against a literal, row-by-row reading of the FER+ project's rules, and by hand."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fer_core import catalog
from fer_core.data import open_store
from fer_core.data.ferplus import read_votes
from fer_core.data.labelling import (
    FERPLUS_CLASSES,
    LABEL_MODES,
    judged_by,
    labelled,
    majority_labels,
    take_votes,
)  # fmt: skip
from fer_core.errors import DataError
from fer_core.labels import CONTEMPT, EMOTIONS, FERPLUS_COLUMNS, FERPLUS_TO_EMOTION
from tests.faces import make_faces, write_csv

FERPLUS = [*LABEL_MODES]


def votes(**named: int) -> list[int]:
    """A row of the votes file: `votes(happiness=6, neutral=4)`."""
    return [named.get(column, 0) for column in FERPLUS_COLUMNS]


def by_the_letter(row: list[int], mode: str) -> dict[str, int]:
    """Column -> votes that the mode takes of one row, as the rules say it, without a single array; empty: dropped."""
    left = {column: n for column, n in zip(FERPLUS_COLUMNS, row, strict=True) if n > 1}
    total = sum(left.values())
    taken: dict[str, int] = {}
    if mode == "majority":
        taken = {column: n for column, n in left.items() if n > total / 2}
    elif mode == "multi":
        taken = {column: n for column, n in left.items() if n >= 0.3 * total}
        taken = taken if sum(taken.values()) > total / 2 else {}
    else:
        while left and sum(taken.values()) < 0.75 * total and len(taken) < 3:
            ties = [column for column, n in left.items() if n == max(left.values())]
            emotions = [column for column in ties if column not in ("unknown", "NF")]
            taken |= {column: left.pop(column) for column in emotions}
            if emotions != ties:
                break
        taken = taken if sum(taken.values()) > total / 2 and len(taken) <= 3 else {}
    leader = max(taken, key=lambda column: taken[column], default="NF")  # the first of equals
    return {} if leader in ("unknown", "NF") else {c: n for c, n in taken.items() if c not in ("unknown", "NF")}


def as_dict(row_E: np.ndarray) -> dict[str, int]:
    columns = {emotion: column for column, emotion in FERPLUS_TO_EMOTION.items()} | {CONTEMPT: CONTEMPT}
    return {columns[name]: n for name, n in zip(FERPLUS_CLASSES, row_E.tolist(), strict=True) if n}


def random_rows(count: int = 3000) -> np.ndarray:
    """Ten taggers who agree more or less; ties, unknown and no-face included."""
    rng = np.random.default_rng(0)
    spread = rng.choice([0.1, 0.3, 1.0], count)
    return np.array([rng.multinomial(10, rng.dirichlet([a] * 10)) for a in spread])


@pytest.mark.parametrize("mode", FERPLUS)
def test_every_mode_takes_what_the_rules_say(mode):
    rows = random_rows()
    taken = take_votes(rows, mode)
    assert [as_dict(row) for row in taken] == [by_the_letter(row, mode) for row in rows.tolist()]
    assert 0.1 < taken.any(axis=1).mean() < 1  # some are kept, some dropped: the comparison means something


@pytest.mark.parametrize(
    ("row", "mode", "expected"),
    [
        (votes(happiness=6, neutral=4), "majority", {"happiness": 6}),
        (votes(happiness=5, neutral=5), "majority", {}),
        (votes(happiness=5, neutral=4, fear=1), "majority", {"happiness": 5}),  # the single vote is gone: 5 of 9
        (votes(contempt=9), "majority", {"contempt": 9}),
        (votes(NF=10), "majority", {}),
        (votes(unknown=8, happiness=2), "majority", {}),
        (votes(happiness=8, sadness=2), "crossentropy", {"happiness": 8}),  # 80% are covered by the first
        (votes(happiness=5, sadness=3, fear=2), "crossentropy", {"happiness": 5, "sadness": 3}),
        (votes(happiness=4, sadness=2, fear=2, anger=2), "crossentropy", {}),  # 4, then three ties: four are taken
        (votes(happiness=4, unknown=4, fear=2), "crossentropy", {}),  # unknown ties: happiness alone covers 40%
        (votes(happiness=6, unknown=2, fear=2), "crossentropy", {"happiness": 6, "fear": 2}),
        (votes(happiness=5, unknown=3, fear=2), "crossentropy", {}),  # nothing after unknown is taken: 5 of 10
        (votes(happiness=3, sadness=3, fear=2, anger=2), "multi", {"happiness": 3, "sadness": 3}),
        (votes(happiness=6, sadness=2, fear=2), "multi", {"happiness": 6}),
        (votes(happiness=2, sadness=2, fear=2, anger=2, surprise=2), "multi", {}),
        (votes(), "multi", {}),
    ],
)
def test_rows_worked_out_by_hand(row, mode, expected):
    assert as_dict(take_votes(np.array([row], dtype=np.uint8), mode)[0]) == expected
    assert by_the_letter(row, mode) == expected


def test_modes_are_the_catalogs():
    assert {"fer", *LABEL_MODES} == set(catalog.LABELS)


@pytest.fixture
def store(tmp_path):
    """Ten faces: 6 train, 2 public, 2 private; votes by hand."""
    rows = [
        votes(anger=10), votes(anger=5, disgust=5), votes(contempt=6, happiness=4), votes(NF=10), votes(),
        votes(happiness=4, surprise=4, fear=2), votes(happiness=10), votes(contempt=10), votes(disgust=7, fear=3),
        votes(unknown=10),
    ]  # fmt: skip
    opened = open_store(str(write_csv(tmp_path / "fer2013.csv", make_faces())))
    return replace(opened, votes_NV=np.array(rows, dtype=np.uint8))


def test_fer_is_the_store_itself(store):
    assert labelled(store, "fer") is store
    assert labelled(store, "fer", contempt=False) is store


def test_a_view_has_the_labels_of_the_mode_and_leaves_out_what_it_drops(store):
    view = labelled(store, "majority")
    kept = [0, 2, 6, 7, 8]
    assert np.flatnonzero(view.splits_N >= 0).tolist() == kept
    assert [view.classes[view.labels_N[row]] for row in kept] == ["angry", "contempt", "happy", "contempt", "disgust"]
    assert view.counts()["train"] == dict.fromkeys(FERPLUS_CLASSES, 0) | {"angry": 1, "contempt": 1}
    assert (len(view), len(store)) == (5, 10)
    assert view.rows("public").tolist() == [6, 7]
    assert view.images_NHW is store.images_NHW  # row numbers and pixels stay


def test_without_contempt_its_rows_and_its_votes_are_gone(store):
    view = labelled(store, "crossentropy", contempt=False)
    assert view.classes == EMOTIONS
    assert np.flatnonzero(view.splits_N >= 0).tolist() == [0, 1, 5, 6, 8]
    assert view.targets_NK.shape == (10, 7)
    both = replace(store, votes_NV=np.array([votes(happiness=6, contempt=4)] * 10, dtype=np.uint8))
    share = labelled(both, "crossentropy").targets_NK[0]
    assert share[EMOTIONS.index("happy")] == pytest.approx(0.6) and share[7] == pytest.approx(0.4)
    assert labelled(both, "crossentropy", contempt=False).targets_NK[0].tolist() == np.eye(7)[3].tolist()


@pytest.mark.parametrize("mode", FERPLUS)
def test_targets_are_shares_and_the_label_leads_them(mode, store):
    view = labelled(store, mode)
    rows = np.flatnonzero(view.splits_N >= 0)
    np.testing.assert_allclose(view.targets_NK[rows].sum(axis=1), 1)
    assert (view.targets_NK[rows].max(axis=1) == view.targets_NK[rows, view.labels_N[rows]]).all()


def test_of_equal_votes_the_first_column_of_ferplus_leads(store):
    # Row 1: anger and disgust tie; in FER+'s columns anger comes first, in FER2013's too. Row 5: happiness, surprise.
    view = labelled(store, "crossentropy")
    assert [view.classes[view.labels_N[row]] for row in (1, 5)] == ["angry", "happy"]
    tie = replace(store, votes_NV=np.array([votes(neutral=5, anger=5)] * 10, dtype=np.uint8))
    assert labelled(tie, "crossentropy").labels_N[0] == EMOTIONS.index("neutral")  # not angry, which FER2013 has first


def test_every_view_has_a_fingerprint_of_its_own(store):
    views = [labelled(store, mode, contempt=c) for mode in FERPLUS for c in (True, False)]
    assert len({store.fingerprint, *(view.fingerprint for view in views)}) == 1 + len(views)
    assert labelled(store, "multi").fingerprint == labelled(store, "multi").fingerprint


def test_without_votes_the_error_says_where_to_get_them(tmp_path):
    opened = open_store(str(write_csv(tmp_path / "fer2013.csv")))
    with pytest.raises(DataError) as caught:
        labelled(opened, "majority")
    assert str(caught.value) == (
        f"{tmp_path}/fer2013.csv: no FER+ votes, which --labels majority needs. Put fer2013new.csv beside it, give "
        "--ferplus PATH, or run: python -m fer_core data download --what votes"
    )


def test_ferplus_runs_are_judged_on_majority_rows():
    assert {mode: judged_by(mode) for mode in catalog.LABELS} == {"fer": "fer"} | dict.fromkeys(FERPLUS, "majority")


def test_majority_labels_are_minus_one_where_there_is_none():
    rows = np.array([votes(fear=9), votes(NF=10), votes(fear=5, sadness=5), votes(contempt=8)], dtype=np.uint8)
    assert majority_labels(rows).tolist() == [EMOTIONS.index("fear"), -1, -1, 7]


REAL_VOTES = Path(os.environ.get("FER_DATA", "")).with_name("fer2013new.csv") if os.environ.get("FER_DATA") else None


@pytest.mark.real_data
@pytest.mark.skipif(REAL_VOTES is None or not REAL_VOTES.is_file(), reason="no fer2013new.csv beside $FER_DATA")
@pytest.mark.parametrize(
    ("mode", "counts"),
    [
        ("majority", [25_060, 3_199, 3_153]),
        ("probability", [27_956, 3_505, 3_505]),
        ("crossentropy", [27_956, 3_505, 3_505]),
        ("multi", [27_671, 3_472, 3_472]),
    ],
)
def test_the_real_votes_leave_as_many_rows_as_are_known(mode, counts):
    found = read_votes(REAL_VOTES)
    kept = take_votes(found.votes_MV, mode).any(axis=1)
    assert np.bincount(found.splits_M[kept]).tolist() == counts
    sample = np.random.default_rng(0).choice(len(kept), 2000, replace=False)
    rows = found.votes_MV[sample]
    assert [as_dict(r) for r in take_votes(rows, mode)] == [by_the_letter(r, mode) for r in rows.tolist()]
