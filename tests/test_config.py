"""`RunConfig`: checked when it is made, the same after a round trip, and the same again from its own command line."""

import json
import random

import pytest
from pydantic import ValidationError

from fer_core import augmentations, catalog, cli
from fer_core.config import RunConfig, bounds
from fer_core.config_text import flag
from fer_core.errors import ConfigError

NUMBERS = {
    # field: the lowest and highest value that is allowed, then values just outside
    "image_size": (16, 512, 15, 513),
    "early_size": (16, 512, 15, 513),
    "early_share": (0, 0.9, -0.1, 0.91),
    "head_hidden": (0, 4096, -1, 4097),
    "head_dropout": (0, 0.9, -0.1, 0.91),
    "augment_share": (0, 1, -0.01, 1.01),
    "mixup": (0, 5, -0.1, 5.1),
    "backbone_lr": (0, 1, -0.1, 1.1),
    "warmup_epochs": (0, 100, -0.1, 100.1),
    "head_first_epochs": (0, 1000, -1, 1001),
    "time_limit_min": (0, 100_000, -1, 100_001),
    "min_vote_share": (0, 1, -0.1, 1.1),
    "balance_alpha": (0, 1, -0.1, 1.1),
    "balance_beta": (0, 0.999999, -0.1, 1),
    "balance_cap": (0, 1000, -0.1, 1000.1),
    "balance_gamma": (0, 10, -0.1, 10.1),
    "balance_tau": (0, 3, -0.1, 3.1),
    "balance_defer_epochs": (0, 1000, -1, 1001),
    "epochs": (1, 1000, 0, 1001),
    "batch_size": (8, 4096, 7, 4097),
    "lr": (1e-9, 10, 0, 10.1),
    "weight_decay": (0, 1, -1e-9, 1.1),
    "label_smoothing": (0, 0.5, -0.1, 0.51),
    "clip_norm": (0, 100, -1, 100.1),
    "ema_decay": (0, 0.9999, -0.1, 1),
    "patience": (0, 1000, -1, 1001),
    "seed": (0, 2**31 - 1, -1, 2**31),
    "folds": (0, 10, -1, 11),
    "fold": (0, 9, -1, 10),
}
NAMES = {
    "labels": catalog.LABELS,
    "model": catalog.MODELS,
    "augment": augmentations.BUILT_IN,
    "normalisation": catalog.NORMALISATIONS,
    "balance": catalog.BALANCING,
    "balance_weighting": catalog.WEIGHTINGS,
    "optimizer": catalog.OPTIMIZERS,
    "schedule": catalog.SCHEDULES,
    "select_by": catalog.SELECTION_METRICS,
    "review_action": catalog.REVIEW_ACTIONS,
    "device": catalog.DEVICES,
    "precision": catalog.PRECISIONS,
}
MODELS = f"Known: {', '.join(sorted(catalog.MODELS))}."
BESIDE = {
    "head_dropout": {"head_hidden": 8},
    "head_first_epochs": {"epochs": None},
    "image_size": {"model": "mine", "plugin": "mine.py"},
    "early_size": {"model": "mine", "plugin": "mine.py"},
    "early_share": {"early_size": 32},
    "fold": {"folds": 10},
}
"""What else has to be set for a number to be allowed at its bounds."""


def error_of(values):
    with pytest.raises(ConfigError) as caught:
        RunConfig.parse(values)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def random_config(seed):
    rng = random.Random(seed)
    values = {"data": rng.choice([None, "sample", "/some where/fer 2013.csv"])}
    values |= {"ferplus": rng.choice([None, "/some where/votes.csv"]), "contempt": rng.random() < 0.5}
    values["leave_out"] = tuple(name for name in catalog.FLAGS if rng.random() < 0.4)
    values["views"] = tuple(name for name in catalog.VIEWS if rng.random() < 0.4)
    values |= {"channels": rng.choice([1, 3]), "weights": rng.choice(["none", "imagenet", "/some where/best.pt"])}
    values |= {name: rng.random() < 0.5 for name in ("tensorboard", "head_batch_norm")}
    values["freeze_until"] = rng.choice(["none", "layer3"])
    values["augment_steps"] = rng.choice([None, (), ("flip@0.5", "rotate:7.5", "rotate:3@0.25")])
    values["recipe"] = rng.choice([None, "cnn6", "vgg16-frozen/dropout", "ferplus-cnn"])
    values["plugin"] = rng.choice([None, "/some where/my models.py"])
    values |= {field: rng.choice([*names]) for field, names in NAMES.items()}
    for field, (low, high, *_) in NUMBERS.items():
        whole = RunConfig.model_fields[field].annotation in (int, int | None)
        values[field] = rng.randint(low, high) if whole else rng.uniform(low, high)
        if RunConfig.model_fields[field].default is None and rng.random() < 0.5:
            values[field] = None
    if values["head_hidden"] is None:
        values |= {"head_batch_norm": False, "head_dropout": 0.0}
    for field in ("image_size", "early_size"):
        if values[field]:
            values[field] = 16 * rng.randint(2, 14)
    if values["early_size"] is None:
        values["early_share"] = 0.0
    for field in ("head_first_epochs", "balance_defer_epochs"):
        values[field] = rng.randint(0, (values["epochs"] or 10) - 1)
    values["folds"] = rng.choice([0, rng.randint(2, 10)])
    values["fold"] = rng.randint(0, max(values["folds"] - 1, 0))
    values["review"] = rng.choice([None, "/some where/review.jsonl"])
    if values["review"]:
        values["labels"] = "fer"
    values["balance_cap"] = max(1.0, values["balance_cap"])
    return RunConfig.parse(values)


def test_every_field_is_a_number_or_a_name_that_is_tested_here():
    assert set(RunConfig.model_fields) - {*NUMBERS, *NAMES} == {
        "recipe", "data", "ferplus", "contempt", "leave_out", "plugin", "channels", "weights", "freeze_until",
        "head_batch_norm", "augment_steps", "views", "tensorboard", "review",
    }  # fmt: skip


@pytest.mark.parametrize("field", NUMBERS)
def test_numbers_are_taken_up_to_their_bounds_and_not_beyond(field):
    low, high, below, above = NUMBERS[field]
    for value in (low, high):
        assert getattr(RunConfig.parse({field: value, **BESIDE.get(field, {})}), field) == value
    for value in (below, above):
        message = error_of({field: value})
        assert message.startswith(f"{flag(field)} is {value!r}; it should be ")


@pytest.mark.parametrize("field", NUMBERS)
def test_numbers_are_finite_numbers(field):
    for value in (float("nan"), float("inf"), "x", [1]):
        assert error_of({field: value}).startswith(f"{flag(field)} is {value!r}; it should be ")


@pytest.mark.parametrize("field", ["epochs", "batch_size", "patience", "seed"])
def test_counts_are_whole(field):
    assert error_of({field: 8.5}).startswith(f"{flag(field)} is 8.5; it should be a valid integer")


@pytest.mark.parametrize("field", NAMES)
def test_names_are_known_names(field):
    for name in NAMES[field]:
        assert getattr(RunConfig.parse({field: name}), field) == name
    message = error_of({field: "qqq"})
    assert message.startswith(f"{flag(field)}: no ")
    assert message.endswith(f" named 'qqq'. Known: {', '.join(sorted(NAMES[field]))}.")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": 0}, "--epochs is 0; it should be greater than or equal to 1."),
        ({"balance_beta": 1}, "--balance-beta is 1; it should be less than 1."),
        ({"lr": "fast"}, "--lr is 'fast'; it should be a valid number."),
        ({"model": "resnet1"}, f"--model: no model named 'resnet1'. Did you mean 'resnet18'? {MODELS}"),
        (
            {"balance": "weight"},
            "--balance: no balancing strategy named 'weight'. Did you mean 'weights'? "
            "Known: focal, logit_adjusted, none, sampler, weights.",
        ),
        ({"balance": "none+focal"}, "--balance: none cannot be joined with a strategy."),
        ({"balance_cap": 0.5}, "--balance-cap is 0.5; it should be 0 for none, or 1 or more."),
        (
            {"balance": "focal", "epochs": 4, "balance_defer_epochs": 4},
            "--balance-defer-epochs is 4; it should be less than --epochs.",
        ),
        ({"folds": 1}, "--folds is 1; it should be 0 for none, or 2 or more."),
        ({"folds": 5, "fold": 5}, "--fold is 5; it should be less than --folds, which is 5."),
        ({"fold": 1}, "--fold is 1; it should be less than --folds, which is 0."),
        (
            {"review": "review.jsonl", "labels": "majority"},
            "--review goes with --labels fer alone, and here is majority: marks are of FER2013's labels.",
        ),
    ],
)
def test_an_error_says_what_it_got_and_what_is_allowed(values, message):
    assert error_of(values) == message


def test_joined_strategies_stand_in_one_order_each_once():
    assert RunConfig(balance="focal+sampler+focal").balance == "sampler+focal"
    assert RunConfig(balance="sampler+focal").strategies == ("sampler", "focal")
    assert RunConfig().strategies == ("none",)


def test_strategies_that_count_twice_are_warned_about():
    [warning] = RunConfig(balance="logit_adjusted+weights").warnings()
    assert warning.startswith("weights and logit_adjusted each make up for how common an emotion is")
    for alone in ("sampler", "focal", "sampler+focal", "logit_adjusted+focal"):
        assert RunConfig(balance=alone).warnings() == []


def test_two_mistakes_are_both_named_in_one_line():
    message = error_of({"epochs": 0, "model": "smal"})
    assert "--epochs is 0" in message
    assert "Did you mean 'small'?" in message


def test_an_unknown_setting_is_refused():
    message = error_of({"learning_rate": 0.1})
    assert message.startswith("no setting named 'learning_rate'. Known: recipe, data, ferplus, labels, ")


def test_an_unknown_name_lists_all_and_suggests_only_what_is_near():
    with pytest.raises(ConfigError) as caught:
        catalog.check_name("colour", "blu", ["green", "blue"])
    assert str(caught.value) == "no colour named 'blu'. Did you mean 'blue'? Known: blue, green."
    with pytest.raises(ConfigError) as caught:
        catalog.check_name("colour", "xyz", ["green", "blue"])
    assert str(caught.value) == "no colour named 'xyz'. Known: blue, green."


@pytest.mark.parametrize("field", NUMBERS)
def test_bounds_for_widgets_are_those_that_are_checked(field):
    low, high = bounds(field)
    assert low == pytest.approx(NUMBERS[field][0], abs=1e-8)
    assert high in (NUMBERS[field][1], NUMBERS[field][3])  # an open bound is the first value that is too much


def test_a_configuration_cannot_be_changed():
    config = RunConfig()
    with pytest.raises(ValidationError):
        config.epochs = 3
    assert config.epochs is None


def test_a_changed_copy_is_checked_again_and_leaves_the_first_alone():
    config = RunConfig(epochs=5)
    assert (config.changed(epochs=6).epochs, config.epochs) == (6, 5)
    with pytest.raises(ConfigError, match="--epochs is 0"):
        config.changed(epochs=0)
    with pytest.raises(ConfigError, match="no setting named 'epoch'"):
        config.changed(epoch=3)


@pytest.mark.parametrize("seed", range(20))
def test_the_json_round_trip_keeps_every_value(seed):
    config = random_config(seed)
    assert RunConfig.from_json(config.to_json()) == config
    assert set(json.loads(config.to_json())) == {"format", *RunConfig.model_fields}
    assert json.loads(config.to_json())["format"] == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the configuration is not JSON (Expecting value: line 1 column 1 (char 0))."),
        ("[1]", "the configuration has format None; this version reads 1 and 2."),
        ("null", "the configuration has format None; this version reads 1 and 2."),
        ("{}", "the configuration has format None; this version reads 1 and 2."),
        ('{"format": 3}', "the configuration has format 3; this version reads 1 and 2."),
        ('{"format": 1, "epochs": -3}', "--epochs is -3; it should be greater than or equal to 1."),
        ('{"format": 1, "lr": NaN}', "--lr is nan; it should be a finite number."),
    ],
)
def test_damaged_json_is_refused(text, message):
    with pytest.raises(ConfigError) as caught:
        RunConfig.from_json(text)
    assert str(caught.value) == message


def test_an_older_file_that_lacks_a_setting_gets_its_default():
    assert RunConfig.from_json('{"format": 1, "seed": 3}') == RunConfig(seed=3)


def test_none_is_resolved_to_what_will_be_used():
    config = RunConfig().resolved(default_epochs=14)
    assert (config.epochs, config.lr) == (14, 0.1)
    assert RunConfig(optimizer="adamw").resolved(14).lr == 0.002
    assert config.augment_steps == (
        "flip@0.5", "rotate:12", "shift:0.08", "scale:0.1", "brightness:0.2", "erase:0.45@0.3",
    )  # fmt: skip
    assert config.augment_share == 1.0
    unresolved = {name for name, value in config.model_dump().items() if value is None}
    # Only `resolve_config` knows where the data is; for the others, None is a choice.
    assert unresolved == {
        "data", "ferplus", "recipe", "plugin", "review", "image_size", "early_size", "head_hidden"
    }  # fmt: skip


def test_what_was_chosen_is_not_resolved_away():
    config = RunConfig(epochs=2, lr=0.5, augment="ferplus-cnn", augment_steps=("erase:0.3",))
    resolved = config.resolved(14)
    assert (resolved.epochs, resolved.lr) == (2, 0.5)
    assert (resolved.augment_steps, resolved.augment_share) == (("erase:0.3",), 0.5)
    assert resolved.resolved(99) == resolved


def test_differences_and_command_name_only_what_is_not_the_default():
    assert RunConfig().differences() == {}
    assert RunConfig().command() == ["python", "-m", "fer_core", "train"]
    config = RunConfig(balance="sampler", balance_alpha=0.75, seed=3)
    assert config.differences() == {"balance": "sampler", "balance_alpha": 0.75, "seed": 3}
    assert config.command()[4:] == ["--balance", "sampler", "--balance-alpha", "0.75", "--seed", "3"]


@pytest.mark.parametrize("seed", range(10))
def test_the_command_line_of_a_configuration_gives_it_back(seed, monkeypatch):
    parsed = []
    monkeypatch.setattr(cli.Train, "cli_cmd", parsed.append)
    config = random_config(seed)
    assert cli.main(config.command()[3:]) == 0
    [train] = parsed
    assert {name: getattr(train, name) for name in RunConfig.model_fields} == config.model_dump()
    assert (train.name, train.resume, train.queue, train.sweep) == (None, [], False, False)


def test_flags_stand_once_and_in_the_catalogs_order():
    config = RunConfig.parse({"leave_out": ["constant", "leaks_into", "constant"]})
    assert config.leave_out == ("leaks_into", "constant")
    assert config == RunConfig.parse({"leave_out": ["leaks_into", "constant"]})
    assert config.command()[4:] == ["--leave-out", "leaks_into,constant"]
    assert RunConfig(contempt=False).command()[4:] == ["--no-contempt"]


def test_an_unknown_flag_is_named():
    message = error_of({"leave_out": ["leak_into"]})
    assert message.startswith("--leave-out: no flag named 'leak_into'. Did you mean 'leaks_into'? Known: constant, ")


def test_votes_matter_to_label_modes_and_to_flags_that_they_tell():
    for values in ({"labels": "multi"}, {"min_vote_share": 0.1}, {"leave_out": ["not_a_face"]}):
        assert RunConfig.parse(values).uses_votes
    assert not RunConfig.parse({"leave_out": ["leaks_into", "constant"], "contempt": False}).uses_votes
