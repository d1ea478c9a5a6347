"""Published systems by name: every recipe and variant is a configuration, a command, and a net that can be built."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from fer_core import augmentations, catalog, cli
from fer_core.balance import plan_balance
from fer_core.config import RunConfig
from fer_core.errors import ConfigError
from fer_core.models import MODELS, create_model
from fer_core.recipes import RECIPES, SCRATCH, find_recipe, from_scratch, recipe_names, sweep
from fer_core.run_model import architecture, make_model
from fer_core.train.loop import Trainer
from tests.faces import store_of
from tests.toy import CPU_FP32, run_epochs, toy_tensors

pytestmark = pytest.mark.usefixtures("one_thread")

NAMES = recipe_names()
BASES = recipe_names(variants=False)
VARIANTS = [name for name in NAMES if "/" in name]
every_name = pytest.mark.parametrize("name", NAMES)


def config(name: str, **values: Any) -> RunConfig:
    return RunConfig.parse({"recipe": name, **values})


def refusal(call, *arguments) -> str:
    with pytest.raises(ConfigError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def differing(one: RunConfig, other: RunConfig) -> dict[str, Any]:
    """The fields of `one` that have another value in `other`, but for the recipe's name."""
    others = other.model_dump()
    return {k: v for k, v in one.model_dump().items() if v != others[k] and k != "recipe"}


# --- configurations -------------------------------------------------------------------------------------------------


def test_the_issues_systems_are_there():
    wanted = {"cnn6", "resnet18-grey", "ferplus-cnn", "vgg16-frozen", "resnet50-head", "vgg11-224", "resnet18-224"}
    wanted |= {"efficientnet-lite0-pretrained", "efficientnet-b0", "vit-b16", "convnext-tiny", "mobilenet-v3"}
    assert wanted <= set(BASES) and all(RECIPES[name].title for name in BASES)


@every_name
def test_every_recipe_is_a_configuration(name):
    made, settings = config(name), find_recipe(name).settings
    assert made.recipe == name
    assert {field: getattr(made, field) for field in settings} == dict(settings)
    untouched = differing(made, RunConfig())
    assert set(untouched) <= set(settings)


@every_name
def test_every_recipe_survives_json_before_and_after_it_is_resolved(name):
    for one in (config(name), config(name, seed=3, epochs=9).resolved(14)):
        assert RunConfig.from_json(one.to_json()) == one
    assert json.loads(config(name).to_json())["recipe"] == name


def parsed(command: list[str], monkeypatch) -> dict[str, Any]:
    """What the command line makes of the arguments after `python -m fer_core`."""
    found = []
    monkeypatch.setattr(cli.Train, "cli_cmd", found.append)
    assert cli.main(command[3:]) == 0
    return {field: getattr(found[0], field) for field in RunConfig.model_fields}


@every_name
def test_the_command_of_every_recipe_gives_it_back(name, monkeypatch):
    plain = config(name)
    assert plain.command() == ["python", "-m", "fer_core", "train", "--recipe", name]
    changed = config(name, lr=0.02, seed=3, augment="none", views=["none"], tensorboard=not plain.tensorboard)
    for one in (plain, changed, changed.resolved(14)):
        assert parsed(one.command(), monkeypatch) == one.model_dump()


def test_no_steps_at_all_can_be_said_on_the_command_line(monkeypatch):
    one = config("cnn6", augment_steps=[])
    assert one.augment_steps == () and parsed(one.command(), monkeypatch) == one.model_dump()


def test_what_a_recipe_sets_can_be_left_to_the_default_on_the_command_line(monkeypatch):
    one = config("cnn6", epochs=None, image_size=None, lr=None)
    assert parsed(one.command(), monkeypatch) == one.model_dump()


def test_what_is_given_comes_before_the_recipe_and_the_recipe_before_the_defaults():
    one = config("cnn6", epochs=3, model="resnet18")
    assert (one.epochs, one.model, one.optimizer, one.batch_size) == (3, "resnet18", "adam", 128)
    assert one.differences() == {"epochs": 3, "model": "resnet18"}
    assert one.command()[4:] == ["--recipe", "cnn6", "--model", "resnet18", "--epochs", "3"]


# --- variants -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_differs_from_its_recipe_in_exactly_what_it_sets(name):
    base, _, variant = name.partition("/")
    plain, settings = config(base), RECIPES[base].variants[variant].settings
    news = {field: value for field, value in settings.items() if getattr(plain, field) != value}
    assert differing(config(name), plain) == news
    assert bool(news) == (variant not in ("plain", "batch-norm")), "only the recipe itself changes nothing"


def test_vgg16s_variants_are_those_of_the_notebook():
    heads = {name: config(f"vgg16-frozen/{name}") for name in RECIPES["vgg16-frozen"].swept}
    found = {
        name: (c.head_hidden, c.head_batch_norm, c.head_dropout, c.weight_decay, c.lr) for name, c in heads.items()
    }
    assert found == {
        "hidden-none": (0, False, 0.0, 0.0, 1e-4),
        "hidden-8": (8, False, 0.0, 0.0, 1e-4),
        "hidden-16": (16, False, 0.0, 0.0, 1e-4),
        "hidden-32": (32, False, 0.0, 0.0, 1e-4),
        "batch-norm": (32, True, 0.0, 0.0, 1e-4),
        "dropout": (32, True, 0.3, 0.0, 1e-4),
        "l2": (32, True, 0.0, 1e-2, 1e-4),
        "rate": (32, True, 0.0, 0.0, 1e-3),
    }


def test_a_sweep_is_the_variants_to_compare_and_keeps_what_was_given():
    assert sweep("vgg11-224") == ["vgg11-224/plain", "vgg11-224/weights", "vgg11-224/sampler"]
    made = config("vgg11-224", epochs=2, seed=5).variants()
    assert [(one.recipe, one.balance, one.epochs, one.seed) for one in made] == [
        ("vgg11-224/plain", "none", 2, 5), ("vgg11-224/weights", "weights", 2, 5),
        ("vgg11-224/sampler", "sampler", 2, 5),
    ]  # fmt: skip
    assert len(config("vgg16-frozen").variants()) == 8


@pytest.mark.parametrize("name", [name for name, one in RECIPES.items() if one.swept])
def test_every_sweep_names_variants_that_are_there(name):
    assert [one.recipe for one in config(name).variants()] == sweep(name)


def test_unknown_names_are_named_beside_the_known_ones():
    known = ", ".join(sorted(RECIPES))
    assert refusal(config, "cnn7") == f"no recipe named 'cnn7'. Did you mean 'cnn6'? Known: {known}."
    assert refusal(config, "vgg16-frozen/dropuot") == (
        "no variant of vgg16-frozen named 'dropuot'. Did you mean 'dropout'? "
        f"Known: {', '.join(sorted(RECIPES['vgg16-frozen'].variants))}."
    )
    assert refusal(config, "cnn6/scratch") == "recipe cnn6 has no variants, so no 'scratch': write cnn6 alone."
    assert refusal(sweep, "cnn6") == ("no recipe to sweep named 'cnn6'. Known: resnet18-224, vgg11-224, vgg16-frozen.")
    assert refusal(RunConfig().variants).startswith("no recipe to sweep named 'none'. ")


# --- from scratch ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in NAMES if config(name).weights == "imagenet"])
def test_whatever_needs_pretrained_weights_has_a_variant_that_needs_none(name):
    other = config(from_scratch(name))
    assert other.weights == "none" and other.freeze_until == "none" and other.head_first_epochs == 0
    assert other.normalisation == "data" and other.warnings() == []
    assert other.model == config(name).model


@every_name
def test_no_recipe_is_odd_by_itself(name):
    assert config(name).warnings() == []


def test_a_recipe_without_pretrained_weights_needs_no_such_variant():
    assert from_scratch("cnn6") is None and from_scratch(None) is None and from_scratch("nothing") is None
    assert from_scratch("mobilenet-v3/224") == f"mobilenet-v3/{SCRATCH}"


def test_frozen_random_weights_are_warned_about_with_the_variant_that_trains_all():
    (line,) = config("resnet18-grey", weights="none").warnings()
    assert line == (
        "the layers before layer2 keep their random weights, which are worth nothing. "
        "resnet18-grey/scratch trains all of it."
    )


# --- nets -----------------------------------------------------------------------------------------------------------


@every_name
def test_model_augmentation_and_size_of_every_recipe_are_there(name):
    one = config(name)
    assert one.model in MODELS and one.model in catalog.MODELS
    assert one.augment in augmentations.BUILT_IN and one.augmentation() == augmentations.find(one.augment).augmentation
    catalog.check_size(one.model, one.image_size)


NETS = {
    str(net := architecture(config(name), 7, (48, 48))): net | {"recipe": name} for name in NAMES
}  # each net once, whatever the number of recipes that train it


@pytest.mark.parametrize("net", NETS.values(), ids=[net["recipe"] for net in NETS.values()])
def test_the_net_of_every_recipe_can_be_built(net):
    options = {key: value for key, value in net.items() if key != "recipe"}
    with torch.device("meta"):
        model = create_model(**options)
        size = options["image_size"]
        assert model.eval()(torch.empty(1, 1, size, size)).shape == (1, 7)
    frozen = config(net["recipe"]).freeze_until != "none"
    assert (model.frozen_share > 0) == frozen and model.head is not None


def trained(name: str, **values: Any) -> Any:
    """A training of three steps on made-up faces, its trainer and its one record."""
    one = config(name, batch_size=8, epochs=1, device="cpu", precision="fp32", **values).resolved(1)
    faces = toy_tensors([4, 4, 4, 3, 3, 3, 3], side=48)
    own = F.one_hot(faces.labels_N, 7).float()
    faces = replace(faces, targets_NK=0.7 * own + 0.3 * own.roll(1, 1))
    store = store_of(faces.images_NHW.numpy(), faces.labels_N.tolist(), [0] * len(faces))
    torch.manual_seed(0)
    model = make_model(one, store, faces.images_NHW)
    trainer = Trainer(model, faces, plan_balance(store.counts_SK[0], one), one, CPU_FP32)
    before = {key: p.detach().clone() for key, p in model.named_parameters()}
    [record] = run_epochs(trainer, toy_tensors([1] * 7, side=48))
    moved = {key for key, p in model.named_parameters() if not torch.equal(p, before[key])}
    return trainer, record, moved


@pytest.mark.parametrize("name", ["cnn6", "ferplus-cnn", "resnet18-grey/scratch", "mobilenet-v3/scratch"])
def test_a_recipe_trains_at_48_pixels(name):
    trainer, record, moved = trained(name, image_size=48)
    assert trainer.step == 3 and np.isfinite([record.train_loss, record.public_loss]).all()
    assert moved == {key for key, _ in trainer.model.named_parameters()}, "nothing is frozen"


# --- configurations of version 0.1 and 0.2 ---------------------------------------------------------------------------

VERSION_0_2: dict[str, Any] = {
    "format": 1, "data": "sample", "ferplus": None, "labels": "fer", "contempt": True, "leave_out": ["leaks_into"],
    "min_vote_share": 0.0, "model": "resnet18", "augment": "standard", "augment_flip": 0.5, "augment_rotate": 12.0,
    "augment_shift": 0.08, "augment_scale": 0.1, "augment_brightness": 0.2, "augment_erase": 0.3, "balance": "sampler",
    "balance_alpha": 0.5, "balance_weighting": "inverse", "balance_beta": 0.999, "epochs": 14, "batch_size": 128,
    "optimizer": "adamw", "lr": 0.002, "schedule": "plateau", "weight_decay": 0.0005, "label_smoothing": 0.1,
    "clip_norm": 0.0, "ema_decay": 0.998, "select_by": "accuracy", "patience": 0, "seed": 3, "device": "auto",
    "precision": "auto",
}  # fmt: skip
"""As a run of version 0.2 has it, resolved. Version 0.1 lacks what FER+ brought."""
FER_PLUS = ("ferplus", "labels", "contempt", "leave_out", "min_vote_share")


def read(**changes: Any) -> RunConfig:
    return RunConfig.from_json(json.dumps({**VERSION_0_2, **changes}))


@pytest.mark.parametrize("lacking", [(), FER_PLUS], ids=["0.2", "0.1"])
def test_an_old_configuration_reads_as_the_augmentation_that_it_was(lacking):
    one = RunConfig.from_json(json.dumps({k: v for k, v in VERSION_0_2.items() if k not in lacking}))
    assert one.augmentation() == augmentations.BUILT_IN["standard"].augmentation
    assert one.augment_steps == ("flip@0.5", "rotate:12", "shift:0.08", "scale:0.1", "brightness:0.2", "erase:0.45@0.3")
    kept = {k: v for k, v in VERSION_0_2.items() if not k.startswith("augment") and k not in ("format", *lacking)}
    assert {k: getattr(one, k) for k in kept} == {**kept, **({} if lacking else {"leave_out": ("leaks_into",)})}
    assert (one.recipe, one.image_size, one.weights, one.mixup, one.time_limit_min) == (None, None, "none", 0, 0)
    assert RunConfig.from_json(one.to_json()) == one


def test_old_strengths_are_kept_and_those_of_0_are_no_step():
    one = read(augment_flip=1.0, augment_rotate=0.0, augment_shift=0.125, augment_brightness=0.0, augment_erase=0.75)
    assert one.augment_steps == ("flip@1", "shift:0.125", "scale:0.1", "erase:0.45@0.75")
    strengths = {f"augment_{k}": 0.0 for k in ("flip", "rotate", "shift", "scale", "brightness", "erase")}
    assert read(augment="none", **strengths).augment_steps == ()
    assert read(augment="none", **(strengths | {"augment_erase": 0.25})).augment_steps == ("erase:0.45@0.25",)


def test_old_strengths_that_were_left_out_are_the_recipes():
    empty = dict.fromkeys((k for k in VERSION_0_2 if k.startswith("augment_")), None)
    assert read(**empty).augmentation() == augmentations.BUILT_IN["standard"].augmentation
    assert read(**empty, augment="none").augmentation() == augmentations.BUILT_IN["none"].augmentation
    mixed = read(**(empty | {"augment_rotate": 30}))
    assert mixed.augment_steps[:3] == ("flip@0.5", "rotate:30", "shift:0.08") and len(mixed.augment_steps) == 6
