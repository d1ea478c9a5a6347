"""The command line: what it prints where, its exit codes, and one line for everything that is typed wrongly."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fer_core import augmentations, catalog, cli, cli_train, launcher
from fer_core.adjust import Adjustment
from fer_core.config import RunConfig
from fer_core.config_text import flag
from fer_core.labels import EMOTIONS
from fer_core.recipes import RECIPES
from fer_core.run_adjustment import SavedAdjustment, training_prior, write_adjustment
from fer_core.runs import EpochRecord, Status, create_run, runs_folder
from tests.faces import (
    FEW,
    csv_rows,
    make_faces,
    make_predictions,
    random_predictions,
    write_csv,
    write_folder,
    write_rows,
    write_run,
    write_votes,
)

REPO = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def working_folder(tmp_path, monkeypatch):
    """An empty working folder and no $FER_DATA, so that a command sees only what a test gives it."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.delenv("FER_DATA", raising=False)


@pytest.fixture
def call(capsys):
    """Run a command in this process; gives exit code, standard output, standard error."""

    def run(*words):
        code = cli.main([str(word) for word in words])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def complaint(call):
    """Run a command that must fail; gives its one line without `error: `."""

    def run(*words):
        code, out, err = call(*words)
        assert (code, out) == (2, "")
        assert err.startswith("error: ")
        assert err.endswith("\n")
        assert err.count("\n") == 1
        return err.removeprefix("error: ").removesuffix("\n")

    return run


@pytest.fixture
def no_training(monkeypatch):
    monkeypatch.setattr(cli_train, "train_runs", lambda runs, queue: pytest.fail(f"began to train {runs}"))


@pytest.fixture
def csv(tmp_path):
    return write_csv(tmp_path / "fer2013.csv")


# --- data info


def test_data_info_as_json(call, csv):
    code, out, err = call("data", "info", "--data", csv, "--json")
    assert (code, err) == (0, "")
    info = json.loads(out)
    assert list(info) == ["n", "splits", "fingerprint", "source", "labels", "left_out", "ferplus", "notes"]
    assert (info["n"], info["source"]) == (10, str(csv))
    assert info["splits"] == {split: dict.fromkeys(EMOTIONS, 0) | FEW[split] for split in FEW}
    assert len(info["fingerprint"]) == 16
    assert call("data", "info", "--data", csv, "--json")[1] == out


def test_data_info_for_a_person(call, csv):
    code, out, err = call("data", "info", "--data", csv)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith(f"{csv}: 10 faces, fingerprint ")
    table = [line.split() for line in lines[1:]]
    assert table[0] == ["train", "public", "private"]
    assert ["happy", "3", "1", "1"] in table
    assert ["fear", "0", "0", "0"] in table
    assert table[-1] == ["all", "6", "2", "2"]


def test_data_info_tells_how_the_public_split_came_to_be(call, tmp_path):
    write_folder(tmp_path / "faces", prefixes=False)
    assert (
        "note: This data has no public split, and too few training faces"
        in call("data", "info", "--data", tmp_path / "faces")[1]
    )


def test_data_info_reads_the_source_that_the_environment_names(call, csv, monkeypatch):
    monkeypatch.setenv("FER_DATA", str(csv))
    assert json.loads(call("data", "info", "--json")[1])["n"] == 10


def test_a_variable_of_another_program_is_not_read(call, csv, monkeypatch):
    for name in ("DATA", "TRAIN", "RUN", "SPLIT", "JSON"):
        monkeypatch.setenv(name, "nonsense")
    monkeypatch.setenv("RUNS", '{"as_json": true}')
    assert json.loads(call("data", "info", "--data", csv, "--json")[1])["n"] == 10
    assert call("runs")[1].startswith("no runs yet")


def test_a_damaged_source_is_one_line(complaint, tmp_path):
    rows = csv_rows(make_faces())
    rows[3][0] = "8"
    path = write_rows(tmp_path / "bad.csv", rows)
    assert complaint("data", "info", "--data", path) == (
        f"{path}: line 5: emotion '8', expected 0 to 6. Repair these rows or fetch the file again."
    )


def test_a_missing_source_is_one_line(complaint):
    assert complaint("data", "info", "--data", "nope") == (
        "nope: no such file or folder. Give a fer2013.csv, an image folder, an archive of either, or 'sample'."
    )


# --- evaluate and compare

EVALUATE_KEYS = [
    "run", "split", "view", "other_views", "decision", "members", "n", "classes", "accuracy", "accuracy_ci95",
    "macro_f1", "balanced_accuracy", "log_loss", "ece", "dedup", "per_class", "confusion",
]  # fmt: skip
COMPARE_KEYS = [
    "a", "b", "split", "view", "n", "classes", "accuracy_delta", "accuracy_delta_ci95", "mcnemar_p", "recall_delta",
    "confusion_delta", "macro_f1_delta", "balanced_accuracy_delta", "emotion_tests", "intervals", "verdict", "seeds",
]  # fmt: skip


def test_evaluate_as_json(call):
    write_run("one", public=make_predictions([0, 3]), private=make_predictions([0, 3, 3, 4], [0, 3, 0, 3]))
    code, out, err = call("evaluate", "one", "--json")
    assert (code, err) == (0, "")
    values = json.loads(out)
    assert list(values) == EVALUATE_KEYS
    assert (values["run"], values["split"], values["n"], values["accuracy"]) == ("one", "private", 4, 0.5)
    assert values["confusion"][3][0] == 1
    values = json.loads(call("evaluate", "one", "--split", "public", "--json")[1])
    assert (values["split"], values["n"], values["accuracy"]) == ("public", 2, 1.0)


def test_evaluate_for_a_person(call):
    write_run("one", private=make_predictions([0, 3, 3, 4], [0, 3, 0, 3]))
    code, out, err = call("evaluate", "one")
    assert (code, err) == (0, "")
    assert "one on private, 4 faces" in out
    assert "accuracy 50.00%" in out
    assert "rows true, columns predicted" in out
    assert ["happy", "50.0%", "50.0%", "0.500", "2"] in [line.split() for line in out.splitlines()]


def test_evaluate_takes_a_runs_folder(call, monkeypatch, tmp_path):
    run = write_run("one", private=make_predictions([0, 3]))
    monkeypatch.setenv("FER_RUNS", str(tmp_path / "other"))
    assert json.loads(call("evaluate", run.path, "--json")[1])["run"] == "one"


def test_compare_as_json(call):
    write_run("one", private=make_predictions([0, 3, 3, 4], [0, 3, 0, 3]))
    write_run("two", private=make_predictions([0, 3, 3, 4], [0, 3, 3, 3]))
    code, out, err = call("compare", "one", "two", "--json")
    assert (code, err) == (0, "")
    values = json.loads(out)
    assert list(values) == COMPARE_KEYS
    assert (values["a"], values["b"], values["split"], values["n"]) == ("one", "two", "private", 4)
    assert (values["accuracy_delta"], values["recall_delta"]["happy"], values["mcnemar_p"]) == (0.25, 0.5, 1)
    assert (values["confusion_delta"][3][3], values["confusion_delta"][3][0]) == (1, -1)


@pytest.mark.parametrize("words", [["evaluate", "one"], ["compare", "one", "one"]])
def test_a_view_has_figures_of_its_own(words, call, complaint):
    right, wrong = make_predictions([0, 3, 3, 4]), make_predictions([0, 3, 3, 4], [0, 3, 0, 0])
    write_run("one", private=replace(wrong, more_NK={"flip": right.logits_NK}))
    values = json.loads(call(*words, "--view", "flip", "--json")[1])
    assert values["view"] == "flip"
    if words[0] == "evaluate":
        assert (values["accuracy"], values["other_views"]) == (1.0, {"none": 0.5})
        assert "by the view flip: accuracy 100.00%" in call(*words)[1]
    assert complaint(*words, "--view", "flop") == (
        "no view named 'flop'. Did you mean 'flip'? Known: flip, none, ten-crop."
    )
    assert complaint(*words, "--view", "ten-crop") == (
        "run 'one' was not judged by the view 'ten-crop' (it has: none, flip). Name it in --views when you train."
    )


def movable():
    """A run that saw happy nine times as often as disgust, and takes the one disgust face for happy."""
    logits = np.eye(7)[[3, 3, 3, 1]] * 3
    logits[2, 1], logits[3, 3] = 2.5, 4.0  # a happy face with disgust close behind; a disgust face taken for happy
    predictions = make_predictions([3, 3, 3, 1], logits=logits)
    run = write_run("one", public=predictions, private=predictions)
    counts = dict.fromkeys(EMOTIONS, 0) | {"happy": 900, "disgust": 100}
    run.write_environment({"data": {"counts": {"train": counts}, "classes": list(EMOTIONS)}})
    return run


def test_tau_moves_the_decision_that_is_judged(call, complaint):
    movable()
    own, moved = (json.loads(call("evaluate", "one", "--json", *words)[1]) for words in ([], ["--tau", "0.25"]))
    assert (own["decision"], own["accuracy"], own["per_class"]["disgust"]["recall"]) == ("", 0.75, 0)
    # 0.25 x ln 9 = 0.55: above the happy face's margin of 0.5, below the disgust face's of 1
    assert (moved["decision"], moved["accuracy"]) == ("tau 0.25", 0.5)
    assert json.loads(call("evaluate", "one", "--json", "--tau", "0.5")[1])["per_class"]["disgust"]["recall"] == 1
    assert "\ndecision: tau 0.25\n" in call("evaluate", "one", "--tau", "0.25")[1]
    assert "from -10 to 10" in complaint("evaluate", "one", "--tau", "11")


def test_a_run_is_compared_with_itself_under_another_tau(call):
    movable()
    code, out, _ = call("compare", "one", "one", "--tau-b", "0.5", "--json")
    values = json.loads(out)
    assert (code, values["a"], values["b"]) == (0, "one", "one (tau 0.5)")
    assert (values["recall_delta"]["disgust"], values["recall_delta"]["happy"]) == (1, pytest.approx(-1 / 3))


def test_what_is_kept_with_a_run_decides_until_tau_is_given(call):
    run = movable()
    prior = tuple(training_prior(run, EMOTIONS).tolist())
    write_adjustment(run, SavedAdjustment(Adjustment(0.5), EMOTIONS, prior, "hand", "public"))
    kept, own = (json.loads(call("evaluate", "one", "--json", *words)[1]) for words in ([], ["--tau", "0"]))
    assert (kept["decision"], kept["per_class"]["disgust"]["recall"]) == ("tau 0.5", 1)
    assert (own["decision"], own["per_class"]["disgust"]["recall"]) == ("", 0)


def test_one_setting_over_seeds_under_two_values_of_tau(call, complaint):
    movable()
    assert "differ by their seed at most" in complaint("compare", "one", "one", "--seeds")
    values = json.loads(call("compare", "one", "one", "--seeds", "--tau-b", "0.5", "--json")[1])
    assert values["seeds"]["recall"]["disgust"]["delta"] == 1


def test_compare_for_a_person_names_the_shared_faces(call):
    write_run("one", private=make_predictions([0, 3, 3], [0, 3, 0], hashes=[1, 2, 3]))
    write_run("two", private=make_predictions([3, 3, 5, 5], [3, 3, 5, 5], hashes=[2, 3, 8, 9]))
    code, out, err = call("compare", "one", "two")
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == "A = one, B = two, on the 2 faces of private that both predicted"
    assert "B - A = +50.00%" in out
    assert "1 faces only B has right, 0 only A" in out


def test_compare_judges_the_split_that_was_asked_for(call):
    for name in ("one", "two"):
        write_run(name, public=random_predictions(5, seed=1), private=random_predictions(9, seed=1))
    assert json.loads(call("compare", "one", "two", "--split", "public", "--json")[1])["n"] == 5


def test_runs_that_cannot_be_compared_are_one_line(complaint):
    write_run("one", private=make_predictions([0, 1], hashes=[1, 2]))
    write_run("two", private=make_predictions([0, 1], hashes=[3, 4]))
    assert complaint("compare", "one", "two") == ("the runs share no face in this split. Train both on the same data.")


@pytest.mark.parametrize("words", [["evaluate", "one"], ["compare", "one", "one"]], ids=lambda words: words[0])
def test_what_cannot_be_judged_is_one_line(words, complaint):
    assert "no run named 'one'" in complaint(*words)
    run = write_run("one", state="stopped", public=random_predictions(4, seed=1))
    assert "private is read once" in complaint(*words)
    assert complaint(*words, "--split", "train") == "no split to judge named 'train'. Known: held_out, private, public."
    (run.path / "predictions.npz").write_bytes(b"PK\x03\x04damaged")
    assert complaint(*words).startswith(f"{run.path / 'predictions.npz'}: damaged (")


# --- runs


def test_no_runs(call):
    assert call("runs") == (0, "no runs yet; train one: python -m fer_core train\n", "")
    assert json.loads(call("runs", "--json")[1]) == []


def test_runs_are_listed_newest_first_with_their_best_epoch(call):
    for seconds, name in enumerate(["old", "new"], 100):
        run = create_run(RunConfig(data="sample", epochs=3, balance="sampler"), name)
        os.utime(run.path / "config.json", (seconds, seconds))
    records = [
        EpochRecord(e, 0.1, 1.5, 0.4, 1.4, share, share / 2, 1000.0, 10.0 * e) for e, share in ((1, 0.5), (2, 0.4))
    ]
    run.write_history(records)
    run.write_status(Status("done", epoch=2, progress=1.0))
    new, old = json.loads(call("runs", "--json")[1])
    assert (new["name"], new["state"], new["epoch"], new["epochs"], new["balance"]) == ("new", "done", 2, 3, "sampler")
    assert (new["public_accuracy"], new["public_macro_f1"], new["wall_s"]) == (0.5, 0.25, 20.0)
    assert new["folder"] == str(run.path)
    assert (old["name"], old["state"], old["public_accuracy"]) == ("old", "queued", None)
    out = call("runs")[1].splitlines()
    assert [line.split()[0] for line in out] == ["run", "new", "old"]
    assert out[1].split() == ["new", "done", "2/3", "50.0%", "0.250", "20", "s"]


def test_a_damaged_run_is_named_and_the_others_listed(capsys):
    create_run(RunConfig(), "whole")
    run = create_run(RunConfig(), "broken")
    (run.path / "config.json").write_text("{")
    assert cli.main(["runs", "--json"]) == 0
    out, err = capsys.readouterr()
    assert [row["name"] for row in json.loads(out)] == ["whole"]
    assert str(run.path / "config.json") in err


# --- what is typed wrongly


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            [],
            "CLI subcommand is required {data, train, evaluate, compare, recipes, reproduce, ensemble, map, predict, "
            "export, runs}. "
            "See: python -m fer_core --help",
        ),
        (["data"], "CLI subcommand is required {info, check, download, export}. See: python -m fer_core data --help"),
        (
            ["data", "info", "--jsn"],
            "unrecognized arguments: --jsn. Did you mean --json? See: python -m fer_core data info --help",
        ),
        (["evaluate"], "the following arguments are required: RUN. See: python -m fer_core evaluate --help"),
        (["compare", "a"], "the following arguments are required: B. See: python -m fer_core compare --help"),
        (
            ["train", "--epoch", "3"],
            "unrecognized arguments: --epoch 3. Did you mean --epochs? See: python -m fer_core train --help",
        ),
        (["train", "--lr"], "argument --lr: expected one argument. See: python -m fer_core train --help"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_a_wrong_command_is_one_line_that_names_the_help(words, message, complaint):
    assert complaint(*words) == message


def test_a_wrong_command_lists_those_that_there_are(complaint):
    message = complaint("trian")
    assert "'trian'" in message
    assert all(name in message for name in ("data", "train", "evaluate", "compare", "runs"))


@pytest.mark.parametrize("words", [["runs", "--split", "public"], ["data", "info", "--epochs", "3"]], ids=" ".join)
def test_a_flag_of_another_command_is_not_suggested(words, complaint):
    message = complaint(*words)
    assert "unrecognized arguments" in message
    assert "Did you mean" not in message


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["data", "info", "--help"]], ids=" ".join)
def test_help_is_on_standard_output(words, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(words)
    out, err = capsys.readouterr()
    assert (caught.value.code, err) == (0, "")
    assert out.startswith("usage: python -m fer_core")


def test_the_help_of_train_has_every_setting(capsys):
    with pytest.raises(SystemExit):
        cli.main(["train", "--help"])
    out = capsys.readouterr().out
    for name, field in RunConfig.model_fields.items():
        assert f"{flag(name)} " in out
        assert "".join(field.description.split())[:30] in "".join(out.split())  # help wraps its lines


MODELS = f"Known: {', '.join(sorted(catalog.MODELS))}."
BAD_FLAGS = [
    (["--ferplus", "nope.csv"], "nope.csv: no such file. Give FER+'s fer2013new.csv, or leave --ferplus out."),
    (
        ["--labels", "majorty"],
        "--labels: no label mode named 'majorty'. Did you mean 'majority'? "
        "Known: crossentropy, fer, majority, multi, probability.",
    ),
    (["--contempt", "perhaps"], "unrecognized arguments: perhaps. See: python -m fer_core train --help"),
    (
        ["--leave-out", "leaks_into,blurred"],
        "--leave-out: no flag named 'blurred'. Known: constant, duplicate_of, label_conflict, leaks_into, "
        "low_agreement, near_copy_of, near_leaks_into, not_a_face.",
    ),
    (["--min-vote-share", "1.1"], "--min-vote-share is '1.1'; it should be less than or equal to 1."),
    (["--model", "resnet1"], f"--model: no model named 'resnet1'. Did you mean 'resnet18'? {MODELS}"),
    (["--recipe", "cnn66"], f"no recipe named 'cnn66'. Did you mean 'cnn6'? Known: {', '.join(sorted(RECIPES))}."),
    (
        ["--recipe", "vgg16-frozen/l3"],
        "no variant of vgg16-frozen named 'l3'. "
        "Known: batch-norm, dropout, hidden-16, hidden-32, hidden-8, hidden-none, l2, rate, scratch.",
    ),
    (
        ["--sweep", "--recipe", "cnn6"],
        "no recipe to sweep named 'cnn6'. Known: resnet18-224, vgg11-224, vgg16-frozen.",
    ),
    (
        ["--review", "nope.jsonl"],
        "{here}/nope.jsonl: no such review list. Mark faces on the Mistakes page, or leave --review out.",
    ),
    (["--review-action", "drip"], "--review-action: no review action named 'drip'. Did you mean 'drop'? "
     "Known: drop, relabel."),
    (["--folds", "1"], "--folds is 1; it should be 0 for none, or 2 or more."),
    (["--fold", "2", "--folds", "2"], "--fold is 2; it should be less than --folds, which is 2."),
    (
        ["--plugin", "nope.py"],
        "{here}/nope.py: no such file. --plugin names a Python file that registers models of your own.",
    ),
    (["--image-size", "15"], "--image-size is '15'; it should be greater than or equal to 16."),
    (["--channels", "2"], "--channels: 2 channels; it should be 1 or 3."),
    (
        ["--weights", "nope"],
        "--weights nope: neither none, imagenet nor a file, and no run named 'nope' in {runs}, "
        "and no run in a folder of that name. There are none yet.",
    ),
    (["--normalisation", "x"], "--normalisation: no normalisation named 'x'. Known: data, preset."),
    (
        ["--freeze-until", "layer9"],
        "freeze_until: no layer named 'layer9' in small. At the top level: stem, blocks, pool, head.",
    ),
    (["--head-hidden", "-1"], "--head-hidden is '-1'; it should be greater than or equal to 0."),
    (
        ["--head-batch-norm"],
        "batch norm belongs to a hidden layer of the head: give --head-hidden a width.",
    ),
    (["--head-dropout", "1"], "--head-dropout is '1'; it should be less than or equal to 0.9."),
    (
        ["--augment", "standart"],
        "--augment: no augmentation recipe named 'standart'. Did you mean 'standard'? "
        f"Known: {', '.join(sorted(augmentations.BUILT_IN))}.",
    ),
    (["--augment-steps", "rotate:90"], "--augment-steps: step 'rotate:90': strength 90 is not between 0 and 45."),
    (["--augment-share", "2"], "--augment-share is '2'; it should be less than or equal to 1."),
    (["--mixup", "-1"], "--mixup is '-1'; it should be greater than or equal to 0."),
    (
        ["--balance", "samplr"],
        "--balance: no balancing strategy named 'samplr'. Did you mean 'sampler'? "
        "Known: focal, logit_adjusted, none, sampler, weights.",
    ),
    (["--balance-alpha", "1.5"], "--balance-alpha is '1.5'; it should be less than or equal to 1."),
    (["--balance-weighting", "x"], "--balance-weighting: no weighting named 'x'. Known: effective, inverse."),
    (["--balance-beta", "1"], "--balance-beta is '1'; it should be less than 1."),
    (["--balance-cap", "0.5"], "--balance-cap is 0.5; it should be 0 for none, or 1 or more."),
    (["--balance-gamma", "11"], "--balance-gamma is '11'; it should be less than or equal to 10."),
    (["--balance-tau", "-1"], "--balance-tau is '-1'; it should be greater than or equal to 0."),
    (["--balance-defer-epochs", "x"], "--balance-defer-epochs is 'x'; it should be a valid integer."),
    (["--early-size", "8"], "--early-size is '8'; it should be greater than or equal to 16."),
    (["--early-share", "0.5"], "--early-share needs --early-size, the side of the faces in those epochs."),
    (["--epochs", "0"], "--epochs is '0'; it should be greater than or equal to 1."),
    (["--epochs", "1.5"], "--epochs is '1.5'; it should be a valid integer."),
    (["--batch-size", "4"], "--batch-size is '4'; it should be greater than or equal to 8."),
    (
        ["--optimizer", "adan"],
        "--optimizer: no optimizer named 'adan'. Did you mean 'adam'? Known: adam, adamw, muon, sgd.",
    ),
    (["--backbone-lr", "2"], "--backbone-lr is '2'; it should be less than or equal to 1."),
    (["--warmup-epochs", "-1"], "--warmup-epochs is '-1'; it should be greater than or equal to 0."),
    (["--head-first-epochs", "3", "--epochs", "3"], "--head-first-epochs is 3; it should be less than --epochs."),
    (["--time-limit-min", "-1"], "--time-limit-min is '-1'; it should be greater than or equal to 0."),
    (["--views", "ten"], "--views: no view named 'ten'. Known: flip, none, ten-crop."),
    (["--tensorboard", "perhaps"], "unrecognized arguments: perhaps. See: python -m fer_core train --help"),
    (["--lr", "0"], "--lr is '0'; it should be greater than 0."),
    (
        ["--schedule", "steps"],
        "--schedule: no schedule named 'steps'. Did you mean 'step'? Known: constant, cosine, onecycle, plateau, step.",
    ),
    (["--weight-decay", "-1"], "--weight-decay is '-1'; it should be greater than or equal to 0."),
    (["--label-smoothing", "0.6"], "--label-smoothing is '0.6'; it should be less than or equal to 0.5."),
    (["--clip-norm", "-1"], "--clip-norm is '-1'; it should be greater than or equal to 0."),
    (["--ema-decay", "1"], "--ema-decay is '1'; it should be less than 1."),
    (["--select-by", "f1"], "--select-by: no selection metric named 'f1'. Known: accuracy, loss, macro_f1."),
    (["--patience", "-1"], "--patience is '-1'; it should be greater than or equal to 0."),
    (["--seed", "2147483648"], "--seed is '2147483648'; it should be less than 2147483648."),
    (["--device", "gpu"], "--device: no device named 'gpu'. Did you mean 'cpu'? Known: auto, cpu, cuda."),
    (["--precision", "fp16"], "--precision: no precision named 'fp16'. Did you mean 'bf16'? Known: auto, bf16, fp32."),
    (
        ["--data", "nope.csv"],
        "nope.csv: no such file or folder. Give a fer2013.csv, an image folder, an archive of either, or 'sample'.",
    ),
    (["--name", "../x"], "'../x' cannot name a run: use 1 to 64 letters, digits, '_' and '-'."),
    (["--name", "x" * 65], f"'{'x' * 65}' cannot name a run: use 1 to 64 letters, digits, '_' and '-'."),
    (
        ["--resume", "nope", "--epochs", "3"],
        "--epochs does not go with --resume: a run keeps the configuration it has.",
    ),
]  # fmt: skip


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize(("words", "message"), BAD_FLAGS, ids=[" ".join(words)[:40] for words, _ in BAD_FLAGS])
def test_a_wrong_setting_is_one_line_and_leaves_no_run_behind(words, message, complaint):
    assert complaint("train", *words) == message.format(runs=runs_folder(), here=Path.cwd())
    assert not runs_folder().exists() or list(runs_folder().iterdir()) == []


def test_every_setting_has_a_wrong_value_here():
    tried = {words[0] for words, _ in BAD_FLAGS}
    assert tried == {flag(name) for name in cli.Train.model_fields if name != "queue"}


@pytest.mark.usefixtures("no_training")
def test_an_empty_name_is_not_a_free_name(complaint, csv):
    assert "cannot name a run" in complaint("train", "--data", csv, "--name", "")
    assert not runs_folder().exists()


@pytest.mark.usefixtures("no_training")
def test_a_taken_name_is_one_line_and_the_run_stays(complaint, csv):
    run = create_run(RunConfig(seed=5), "one")
    message = complaint("train", "--data", csv, "--name", "one")
    assert message == "there is a run named 'one' already; give another --name, or --resume one."
    assert run.config() == RunConfig(seed=5)
    assert [entry.name for entry in runs_folder().iterdir()] == ["one"]


@pytest.mark.usefixtures("no_training")
def test_a_run_to_resume_that_is_not_there_is_one_line(complaint):
    assert complaint("train", "--resume", "nope").startswith(f"no run named 'nope' in {runs_folder()}")
    create_run(RunConfig(), "nose")
    assert "Did you mean 'nose'?" in complaint("train", "--resume", "nope")


@pytest.mark.usefixtures("no_training")
def test_a_finished_run_is_not_resumed_and_stays_finished(complaint):
    run = write_run("one", private=random_predictions(4, seed=1))
    before = run.status()
    assert "'one' is done" in complaint("train", "--resume", "one")
    assert run.status() == before


@pytest.mark.usefixtures("no_training")
def test_a_run_that_trains_is_not_resumed_and_keeps_its_process(complaint):
    run = create_run(RunConfig(), "one")
    run.claim(state="running")  # by this very process, which lives
    run.stop_file.touch()
    before = run.status()
    assert "'one' is " in complaint("train", "--resume", "one")
    assert run.status() == before
    assert run.stop_file.exists()
    assert launcher.current_status(run).state == "stopping"


def damaged_csv(path):
    rows = csv_rows(make_faces())
    rows[3][0] = "8"
    return write_rows(path, rows)


UNFIT = {
    "damaged": (damaged_csv, [], "line 5: emotion '8', expected 0 to 6"),
    "no private split": (
        lambda path: write_csv(path, make_faces({"train": {"happy": 9}, "public": {"happy": 2}})),
        [],
        "no faces in split 'private'; training needs train, public and private.",
    ),
    "no votes": (write_csv, ["--labels", "majority"], "no FER+ votes, which --labels majority needs."),
}


@pytest.mark.parametrize(("write", "words", "message"), UNFIT.values(), ids=UNFIT)
def test_data_that_cannot_be_trained_on_leaves_no_run_behind(write, words, message, complaint, tmp_path):
    path = write(tmp_path / "unfit.csv")
    assert message in complaint("train", "--data", path, *words)
    assert not runs_folder().exists() or list(runs_folder().iterdir()) == []


def test_cuda_where_there_is_none_leaves_no_run_behind(complaint, csv, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert complaint("train", "--data", csv, "--device", "cuda") == (
        "--device cuda: this machine has no CUDA device that torch can use; leave --device out."
    )
    assert not runs_folder().exists() or list(runs_folder().iterdir()) == []


def test_a_full_disk_is_one_line(complaint, csv, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device", "/runs/one")

    monkeypatch.setattr(cli_train, "create_run", full)
    assert complaint("train", "--data", csv) == "/runs/one: No space left on device."


# --- as a process


def shell(*words):
    return subprocess.run(
        [sys.executable, "-m", "fer_core", *map(str, words)],
        env={**os.environ, "PYTHONPATH": str(REPO)}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_wrong_input_ends_the_process_with_2_and_one_line(tmp_path):
    rows = csv_rows(make_faces())
    rows[1][1:] = [rows[1][1][:500]]  # a truncated row
    rows[2].append("more")
    path = write_rows(tmp_path / "bad.csv", rows)
    done = shell("data", "info", "--data", path, "--json")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"error: {path}: line 3: 2 fields where the header has 3; line 4: 4 fields where the header has 3. "
        "Repair these rows or fetch the file again.\n"
    )


def test_json_is_all_that_stands_on_standard_output(csv):
    done = shell("data", "info", "--data", csv, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["n"] == 10


def test_numbers_on_standard_output_are_unrounded(call):
    write_run("one", private=make_predictions([0, 3, 3], [0, 3, 0]))
    assert json.loads(call("evaluate", "one", "--json")[1])["accuracy"] == np.float64(2 / 3)


# --- data check, export, download


def test_data_check_as_json_has_the_promised_keys(call, csv):
    code, out, err = call("data", "check", "--data", csv, "--json")
    assert (code, err) == (0, "")
    values = json.loads(out)
    assert list(values) == [
        "n", "unique", "duplicate_groups", "redundant", "rows_in_train", "images_in_public_and_private",
        "conflicting_groups", "constant", "not_a_face", "low_agreement", "near", "ferplus",
    ]  # fmt: skip
    assert (values["n"], values["unique"], values["redundant"]) == (10, 10, 0)
    assert values["rows_in_train"] == {"public": 0, "private": 0}
    assert values["near"]["pairs"] == 0
    assert (values["not_a_face"], values["low_agreement"], values["ferplus"]) == (None, None, None)


def test_data_check_for_a_person_counts_copies_and_sets_label_against_votes(call, tmp_path):
    faces = make_faces()
    faces.images_NHW[6] = faces.images_NHW[0]  # a public face that stands in train, under another label
    path = write_csv(tmp_path / "fer2013.csv", faces)
    write_votes(tmp_path / "fer2013new.csv", faces)
    code, out, _ = call("data", "check", "--data", path, "--no-near")
    assert code == 0
    assert "10 faces, 9 different pictures" in out
    assert "also in train: 1 of public, 0 of private" in out
    assert "under different labels: 1 groups" in out
    assert "label and FER+ majority agree on 100.0% of 10 faces" in out
    assert "near copies" not in out


def test_data_info_counts_under_a_label_mode(call, tmp_path):
    path = write_csv(tmp_path / "fer2013.csv")
    votes = np.zeros((10, 10), dtype=np.uint8)
    votes[:, 1] = 10  # all happy
    votes[4, 1], votes[4, 9] = 0, 10  # but one, who is no face
    other = write_votes(tmp_path / "elsewhere.csv", votes_NV=votes)
    info = json.loads(call("data", "info", "--data", path, "--ferplus", other, "--labels", "majority", "--json")[1])
    assert (info["n"], info["left_out"], info["labels"], info["ferplus"]) == (9, 1, "majority", True)
    assert info["splits"]["train"] == dict.fromkeys([*EMOTIONS, "contempt"], 0) | {"happy": 5}
    seven = call("data", "info", "--data", path, "--ferplus", other, "--labels", "majority", "--no-contempt", "--json")
    assert list(json.loads(seven[1])["splits"]["train"]) == list(EMOTIONS)
    assert "labels: majority, which leaves out 1 faces" in call(
        "data", "info", "--data", path, "--ferplus", other, "--labels", "majority"
    )[1]  # fmt: skip


def test_rescan_reads_what_looks_unchanged(call, tmp_path):
    folder = write_folder(tmp_path / "faces")
    before = json.loads(call("data", "info", "--data", folder, "--json")[1])["fingerprint"]
    image = min(folder.glob("train/*/*"))
    image.write_bytes(max(folder.glob("train/*/*")).read_bytes())  # in place: the folder's time stays
    assert json.loads(call("data", "info", "--data", folder, "--json")[1])["fingerprint"] == before
    assert json.loads(call("data", "info", "--data", folder, "--rescan", "--json")[1])["fingerprint"] != before


@pytest.mark.parametrize("layout", ["csv", "folder", "npz"])
def test_an_export_opens_as_the_same_data(layout, call, csv, tmp_path):
    code, out, err = call("data", "export", "--data", csv, "--layout", layout, "--out", tmp_path / "out")
    assert (code, err) == (0, "")
    before, after = (json.loads(call("data", "info", "--data", path, "--json")[1]) for path in (csv, out.strip()))
    assert after["splits"] == before["splits"]
    if layout != "folder":  # whose rows are sorted by path
        assert after["fingerprint"] == before["fingerprint"]


def test_an_unknown_layout_and_a_taken_folder_are_one_line(complaint, csv, tmp_path):
    assert "no layout named 'cvs'. Did you mean 'csv'?" in complaint(
        "data", "export", "--data", csv, "--layout", "cvs", "--out", tmp_path / "out"
    )
    assert "is there already" in complaint("data", "export", "--data", csv, "--layout", "csv", "--out", csv.parent)


def test_a_download_that_cannot_reach_its_address_is_one_line_and_leaves_nothing(complaint, tmp_path):
    line = complaint("data", "download", "--to", tmp_path / "new", "--url", "http://127.0.0.1:9/fer2013.csv")
    assert line.startswith("http://127.0.0.1:9/fer2013.csv: could not be fetched (")
    assert not (tmp_path / "new").exists()
    assert "only addresses that begin with https:// or http://" in complaint(
        "data", "download", "--to", tmp_path / "new", "--url", "file:///etc/passwd"
    )
