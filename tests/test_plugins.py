"""Models of a user's own: they work as ours do, a broken file leaves no trace, only a file that was named is run."""

import os
import sys

import pytest
import torch
from torch import nn

from fer_core import catalog, plugins
from fer_core.config import RunConfig
from fer_core.errors import ConfigError, RunError
from fer_core.models import MODELS, create_model, model_cost
from fer_core.plugins import allowed_plugins, load_plugin, require_plugin

GOOD = '''\
"""Two nets."""
from dataclasses import dataclass

from torch import nn

from fer_core.models import register


@dataclass
class Widths:
    hidden: int = 4


@register("my-net")
def my_net(in_channels, num_classes, image_size):
    """Pixels to answers.

    More than one line.
    """
    return nn.Sequential(nn.Flatten(), nn.Linear(in_channels * image_size**2, num_classes))


@register("my_class")
class MyNet(nn.Module):
    def __init__(self, in_channels, num_classes):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, Widths().hidden, 3)
        self.head = nn.Linear(4, num_classes)

    def forward(self, x):
        return self.head(self.conv(x).mean((2, 3)))
'''
HEAD = "from torch import nn\nfrom fer_core.models import register\n"
FINE = '@register("fine")\ndef fine(c, k):\n    return nn.Linear(c, k)\n'


pytestmark = pytest.mark.usefixtures("no_plugins")


@pytest.fixture
def own(tmp_path):
    """Write a plugin and give its path."""

    def write(text, name="my_models.py"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


def counting(tmp_path, text=FINE):
    """A plugin that notes each time that it is run."""
    return f"{HEAD}open({str(tmp_path / 'runs.txt')!r}, 'a').write('x')\n{text}"


def times_run(tmp_path):
    path = tmp_path / "runs.txt"
    return len(path.read_text()) if path.exists() else 0


def refusal(call, kind=ConfigError):
    with pytest.raises(kind) as caught:
        call()
    text = str(caught.value)
    assert "\n" not in text
    return text


def nothing_of_it_stays():
    ours = set(catalog.MODELS) == set(MODELS) and not {"fine", "my-net", "my_class"} & set(MODELS)
    return ours and not plugins._loaded and not any(name.startswith("fer_plugin_") for name in sys.modules)


# --- models that work -----------------------------------------------------------------------------------------------


def test_its_models_are_built_and_answer_as_ours_do(own):
    assert load_plugin(own(GOOD)) == ("my-net", "my_class")
    faces = torch.rand(3, 1, 20, 20)
    for name in ("my-net", "my_class"):
        assert create_model(name, image_size=20, num_classes=5).eval()(faces).shape == (3, 5)


def test_forms_and_help_and_errors_know_them(own):
    load_plugin(own(GOOD))
    assert catalog.MODELS["my-net"].title == "my-net"
    assert catalog.MODELS["my-net"].text == "Pixels to answers."
    assert catalog.MODELS["my_class"].text == "From my_models.py."  # not what nn.Module says of itself
    assert catalog.MODELS["my-net"].source == "my_models.py"
    assert RunConfig.parse({"model": "my-net", "image_size": 17}).model == "my-net"
    assert "Did you mean 'my-net'?" in refusal(lambda: create_model("my-nat"))


def test_the_guess_of_a_trainings_time_has_a_speed_to_start_from(own):
    load_plugin(own(GOOD))
    speeds = sorted(entry.typical_images_per_s for name, entry in catalog.MODELS.items() if not name.startswith("my"))
    assert speeds[0] < catalog.MODELS["my-net"].typical_images_per_s < speeds[-1]


def test_the_same_file_is_run_once_by_whatever_path_it_is_named(own, tmp_path, monkeypatch):
    path = own(counting(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link.py").symlink_to(path)
    assert [load_plugin(name) for name in (path, str(path), "my_models.py", "link.py")] == [("fine",)] * 4
    assert times_run(tmp_path) == 1


def test_a_file_that_has_changed_is_run_anew_and_its_old_models_go(own, tmp_path):
    path = own(counting(tmp_path, FINE.replace("fine", "first")))
    load_plugin(path)
    own(counting(tmp_path, FINE.replace("fine", "other")))  # as long as before, and within the same second
    assert load_plugin(path) == ("other",)
    assert times_run(tmp_path) == 2
    assert "first" not in MODELS and "first" not in catalog.MODELS
    assert "other" in MODELS and "other" in catalog.MODELS


def test_two_plugins_stand_beside_each_other(own):
    assert load_plugin(own(HEAD + FINE)) == ("fine",)
    assert load_plugin(own(HEAD + FINE.replace("fine", "finer"), "more.py")) == ("finer",)
    assert {"fine", "finer"} <= set(MODELS)


# --- files that do not ----------------------------------------------------------------------------------------------


BROKEN = {
    "a syntax error": ("x = 1\ndef (:\n", "{path}, line 2: SyntaxError: invalid syntax. "),
    "a zero byte": ("x = 1\0", "{path}: ValueError: source code string cannot contain null bytes. "),
    "an exception": (HEAD + FINE + "x = 1 / 0\n", "{path}, line 6: ZeroDivisionError: division by zero. "),
    "an exception deeper down": (
        HEAD + FINE + "nn.Linear(\n  'a', 2)\n", "{path}, line 6: TypeError: "
    ),
    "an exception without a text": (HEAD + FINE + "raise KeyError\n", "{path}, line 6: KeyError. "),
    "a text of many lines": ("raise OSError('one\\ntwo')", "{path}, line 1: OSError: one. "),
    "a script that ends": (HEAD + FINE + "raise SystemExit(0)\n", "{path}, line 6: SystemExit: 0. "),
    "a missing package": ("import no_such", "{path}, line 1: ModuleNotFoundError: No module named 'no_such'. "),
    "nothing registered": (HEAD, '{path} registers no model. Put @register("my-net"), from fer_core.models, over '),
    "a decorator without a name": (HEAD + "@register\ndef a(c, k): ...\n", "{path} registers no model. "),
    "a name of ours": (
        HEAD + FINE + FINE.replace("fine", "small"),
        "{path}, line 6: the name 'small' is taken. Register your model under another one than base, cnn6, ",
    ),
    "a name of its own, twice": (HEAD + FINE + FINE, "{path}, line 6: the name 'fine' is taken. "),
    "a model of ours overwritten": (
        "from fer_core.models import MODELS\nMODELS['small'] = MODELS.pop('cnn6')",
        "{path} replaces a model that is there already. ",
    ),
    "a name that a run's folder cannot have": (
        HEAD + FINE.replace('"fine"', '"my net"'),
        "{path}: 'my net' cannot name a model: use 1 to 32 letters, digits, '_' and '-'.",
    ),
    "a name that is no text": (HEAD + FINE.replace('"fine"', "7"), "{path}: 7 cannot name a model: "),
    "no function": (HEAD + 'register("fine")(5)', "{path}: 'fine' is registered as int, not as a function. "),
}  # fmt: skip


@pytest.mark.parametrize("text, message", BROKEN.values(), ids=BROKEN)
def test_a_broken_plugin_is_one_line_and_leaves_no_trace(own, text, message):
    path, small, order = own(text), MODELS["small"], list(MODELS)
    said = refusal(lambda: load_plugin(path))
    if "\0" in text:  # Python 3.12 calls it a SyntaxError
        assert "source code string cannot contain null bytes" in said
    else:
        assert said.startswith(message.format(path=path))
    assert nothing_of_it_stays()
    assert MODELS["small"] is small and sorted(MODELS) == sorted(order)


def test_a_file_that_was_broken_loads_once_it_is_corrected(own):
    refusal(lambda: load_plugin(own(HEAD + FINE + "1 / 0")))
    assert load_plugin(own(HEAD + FINE)) == ("fine",)


@pytest.mark.parametrize("change", ["1 / 0", None])
def test_a_file_that_worked_and_is_broken_or_gone_leaves_no_trace(own, change):
    path = own(HEAD + FINE)
    load_plugin(path)
    if change is None:
        path.unlink()
    else:
        own(HEAD + FINE + change)
    refusal(lambda: load_plugin(path))
    assert nothing_of_it_stays()


def test_a_path_that_is_no_python_file_is_refused(own, tmp_path):
    (tmp_path / "folder.py").mkdir()
    missing = tmp_path / "gone.py"
    assert refusal(lambda: load_plugin(missing)).startswith(f"{missing}: no such file. --plugin names a Python file")
    for path in (own("x", "model.pt"), tmp_path / "folder.py", tmp_path):
        said = refusal(lambda path=path: load_plugin(path))
        assert said == f"{path} is not a Python file. --plugin names one, such as my_models.py."
    assert "cannot be a plugin's path" in refusal(lambda: load_plugin("a\0b.py"))


def test_an_interrupt_is_passed_on_and_leaves_no_trace(own):
    with pytest.raises(KeyboardInterrupt):
        load_plugin(own(HEAD + FINE + "raise KeyboardInterrupt\n"))
    assert nothing_of_it_stays()


# --- builders that do not -------------------------------------------------------------------------------------------


BUILDERS = {
    "forgets its return": (
        "(c, k):\n    nn.Linear(c, k)\n",
        "{path}: 'fine' should give an nn.Module, not NoneType. Is",
    ),
    "gives something else": ("(c, k):\n    return 5\n", "{path}: 'fine' should give an nn.Module, not int."),
    "fails": ("(c, k):\n    return nn.Linear(c, [])[0]\n", "{path}, line 5: TypeError: "),
    "takes other arguments": ("():\n    return nn.Linear(1, 1)\n", "{path}: TypeError: fine() takes 0 positional arg"),
}


@pytest.mark.parametrize("body, message", BUILDERS.values(), ids=BUILDERS)
def test_a_builder_that_fails_is_one_line_when_its_model_is_made(own, body, message):
    path = own(f'{HEAD}@register("fine")\ndef fine{body}')
    load_plugin(path)
    assert refusal(lambda: create_model("fine")).startswith(message.format(path=path))


# --- who may have a file run ----------------------------------------------------------------------------------------


def test_a_runs_plugin_is_not_run_unless_the_user_named_it(own, tmp_path, monkeypatch):
    path = own(counting(tmp_path))
    other = own(HEAD + FINE.replace("fine", "other"), "other.py")
    load_plugin(other)
    monkeypatch.setenv("FER_PLUGINS", str(tmp_path))  # naming its folder is not naming it
    said = refusal(lambda: require_plugin(str(path)), RunError)
    assert said == (
        f"this run's model comes from the plugin {path}, and only a file that you name is run. If you trust it: "
        f"--plugin {path}, or for the app FER_PLUGINS={path} in its environment."
    )
    assert times_run(tmp_path) == 0
    assert "fine" not in MODELS


def test_a_runs_plugin_is_run_where_the_environment_names_it(own, tmp_path, monkeypatch):
    path = own(counting(tmp_path))
    monkeypatch.setenv("FER_PLUGINS", os.pathsep.join(["", "/no/such.py", str(path)]))
    assert require_plugin(str(path)) == ("fine",)
    assert require_plugin(str(path)) == ("fine",)
    assert times_run(tmp_path) == 1


def test_a_runs_plugin_is_run_where_the_command_line_has_named_it(own, tmp_path):
    path = own(counting(tmp_path))
    load_plugin(path)
    assert require_plugin(str(path)) == ("fine",)
    own(counting(tmp_path, FINE.replace("fine", "newer")))
    assert require_plugin(str(path)) == ("newer",)


def test_a_link_beside_a_named_file_does_not_lead_to_another(own, tmp_path, monkeypatch):
    path = own(counting(tmp_path))
    (tmp_path / "named.py").symlink_to(own(HEAD + FINE, "real.py"))
    monkeypatch.setenv("FER_PLUGINS", str(tmp_path / "named.py"))
    refusal(lambda: require_plugin(str(path)), RunError)
    assert require_plugin(str(tmp_path / "real.py")) == ("fine",)
    assert times_run(tmp_path) == 0


@pytest.mark.parametrize(
    "path", ["", ".", "a\0b.py", "evil\nline.py", "\x1b[2Jclear.py", "x; rm -rf y.py", "~nobody/x"]
)
def test_whatever_a_strangers_run_names_is_refused_in_one_clean_line(path):
    said = refusal(lambda: require_plugin(path), RunError)
    assert said.isprintable()
    assert said.startswith("this run's model comes from the plugin ")


def test_the_environments_plugins_are_absolute_and_each_once(tmp_path, monkeypatch):
    assert allowed_plugins() == ()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FER_PLUGINS", os.pathsep.join(["a.py", str(tmp_path / "b.py"), "", "./a.py"]))
    assert allowed_plugins() == (tmp_path / "a.py", tmp_path / "b.py")


def test_nets_that_are_ours_are_left_alone(own):
    before = dict(MODELS)
    load_plugin(own(GOOD))
    assert all(MODELS[name] is builder for name, builder in before.items())
    assert isinstance(create_model("small"), nn.Module)


def test_a_net_whose_builder_computes_with_numbers_has_a_cost(tmp_path):
    file = tmp_path / "nets.py"
    file.write_text(
        HEAD + "import torch\n"
        '@register("curious")\n'
        "def curious(in_channels, num_classes):\n"
        "    widths = [int(w.item()) for w in torch.linspace(4, 8, 2)]\n"
        "    return nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(widths[0], num_classes))\n"
    )
    load_plugin(file)
    assert model_cost("curious").multiply_adds == 28
