"""The ablation: one change each, trained by the real trainer, judged on public alone, paired face by face."""

import json
import math

import numpy as np
import pytest

from benchmarks import ablation
from benchmarks.ablation import VARIANTS, Variant, changed_by, described, paired
from fer_core.config import RunConfig
from fer_core.errors import RunError
from fer_core.evaluate import Z95
from fer_core.runs import NAME, find_run
from tests.faces import make_predictions
from tests.toy import toy_csv

pytestmark = pytest.mark.usefixtures("one_thread", "no_plugins")

STANDARD = RunConfig(recipe="small/fast", data="sample").changed(epochs=6).resolved(6)


@pytest.fixture
def places(tmp_path, monkeypatch):
    monkeypatch.setenv("FER_RUNS", str(tmp_path / "elsewhere"))  # main sets it for its process: put back at the end
    data = toy_csv(tmp_path / "fer2013.csv", train=3, public=2, private=2)
    words = ("--data", data, "--recipe", "cnn6", "--epochs", "1", "--runs", tmp_path / "ablation", "--out", tmp_path)
    return [str(word) for word in words]


def test_each_variant_changes_one_thing_of_the_standard_settings():
    for variant in VARIANTS:
        changed = changed_by(STANDARD, variant).differences_from(STANDARD)
        wanted = set(variant.changes) | ({"augment_steps"} if variant.without else set())
        assert changed.keys() <= wanted and (changed or variant.in_turn)


def test_every_variant_has_a_name_of_its_own_that_can_name_a_run():
    names = [variant.name for variant in VARIANTS]
    assert len(set(names)) == len(names) and ablation.REFERENCE not in names
    assert all(NAME.fullmatch(f"{name}-e100-s100") for name in names)


def test_taking_a_step_away_keeps_the_others_in_their_order():
    steps = changed_by(STANDARD, Variant("no-rotation", without="rotate")).augment_steps
    assert steps == tuple(step for step in STANDARD.augment_steps if not step.startswith("rotate"))
    assert len(steps) == len(STANDARD.augment_steps) - 1


def test_a_variant_that_changes_nothing_is_refused():
    with pytest.raises(RunError, match="no-shear changes nothing"):
        changed_by(STANDARD, Variant("no-shear", without="shear"))


def test_a_setting_is_told_as_before_and_after():
    assert described(STANDARD, STANDARD.changed(ema_decay=0)) == "ema_decay 0.998 -> 0.0"
    none = changed_by(STANDARD, next(one for one in VARIANTS if one.name == "no-augmentation"))
    assert described(STANDARD, none) == f"augment_steps {','.join(STANDARD.augment_steps)} -> none"


def test_one_pair_has_the_paired_interval():
    labels = [0] * 10
    base = make_predictions(labels, [0] * 6 + [3] * 4)
    other = make_predictions(labels, [0] * 5 + [3] + [0] * 2 + [3] * 2)  # two fixed, one broken
    delta, (low, high) = paired([base], [other])
    assert delta == pytest.approx(0.1)
    gain, loss = 3 / 12, 2 / 12  # Bonett & Price: one more on each side, two more in all
    half = Z95 * math.sqrt((gain + loss - (gain - loss) ** 2) / 12)
    assert (low, high) == (pytest.approx(gain - loss - half), pytest.approx(gain - loss + half))


def test_of_several_seeds_each_face_counts_by_its_mean_difference():
    labels = [0, 0, 3, 3]
    base = [make_predictions(labels, [0, 3, 3, 3]), make_predictions(labels, [0, 0, 0, 3])]
    other = [make_predictions(labels, [0, 0, 3, 3]), make_predictions(labels, [3, 0, 3, 3])]
    # Hits of the base 1 1/2 1/2 1, of the other 1/2 1 1 1: differences -1/2 1/2 1/2 0.
    delta, (low, high) = paired(base, other)
    spread = np.std([-0.5, 0.5, 0.5, 0.0], ddof=1) / 2
    assert delta == pytest.approx(0.125)
    assert (low, high) == (pytest.approx(0.125 - Z95 * spread), pytest.approx(0.125 + Z95 * spread))


def test_variants_are_trained_once_and_judged_on_public_alone(places, tmp_path, monkeypatch, capsys):
    chosen = [*places, "--only", "mixup"]
    assert ablation.main(chosen) == 0
    assert "| mixup | mixup 0.0 -> 0.2 |" in capsys.readouterr().out
    first = json.loads((tmp_path / "ablation.json").read_text())
    assert [row["trick"] for row in first["rows"]] == ["reference", "mixup"]
    assert (first["judged_on"], first["n"], first["seeds"]) == ("public", 14, [0])
    assert first["rows"][0]["delta"] is None and len(first["rows"][1]["delta_ci95"]) == 2
    run = find_run(str(tmp_path / "ablation" / "mixup-e1-s0"))
    assert run.splits() == ("public",) and run.views("public") == ("none", "flip")
    monkeypatch.setattr(ablation, "_train", lambda run: pytest.fail(f"{run.name} was trained again"))
    assert ablation.main(chosen) == 0
    assert json.loads((tmp_path / "ablation.json").read_text()) == first
    assert str(tmp_path) not in (tmp_path / "ablation.json").read_text()


def test_a_run_of_another_configuration_is_not_taken_for_the_variant(places, tmp_path, capsys):
    ablation.main([*places, "--only", "mixup"])
    config = tmp_path / "ablation" / "mixup-e1-s0" / "config.json"
    config.write_text(config.read_text().replace('"mixup": 0.2', '"mixup": 0.4'))
    assert ablation.main([*places, "--only", "mixup"]) == 2
    assert "mixup-e1-s0 was trained with another configuration (mixup)" in capsys.readouterr().err


def test_wrong_names_are_one_line_before_anything_is_trained(places, tmp_path, capsys):
    assert ablation.main([*places, "--only", "mixxup"]) == 2
    assert "Did you mean 'mixup'?" in capsys.readouterr().err
    assert not (tmp_path / "ablation").exists()
