"""Models of a user's own: a Python file that registers them, run because the user named it, and for no other reason.

    from fer_core.models import register

    @register("my-net")
    def my_net(in_channels, num_classes, image_size):
        "One linear layer: what pixels alone can tell."
        return nn.Sequential(nn.Flatten(), nn.Linear(in_channels * image_size**2, num_classes))

A file is named by `--plugin` or by $FER_PLUGINS. What a run's `config.json` or a web field says is never enough: either
may come from a stranger, and running a file is running whatever is in it.
"""

import hashlib
import os
import re
import shlex
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from threading import RLock
from types import ModuleType
from typing import Any

from fer_core import catalog
from fer_core.errors import ConfigError, RunError
from fer_core.settings import settings

_NAME = re.compile(r"[\w-]{1,32}", re.ASCII)
"""Runs are named after their model, so a model is named as a run is, with room for the rest."""
_TAKEN = re.compile(r"(.+) is registered twice")
_TYPICAL_IMAGES_PER_S = 200
"""The middle of our own nets; the user's own runs replace it."""
_LONGEST_REASON = 200
_EXAMPLE = 'Put @register("my-net"), from fer_core.models, over a function (in_channels, num_classes) -> nn.Module.'


@dataclass(frozen=True)
class _Plugin:
    digest: str
    names: tuple[str, ...]


_loaded: dict[Path, _Plugin] = {}
_named: set[Path] = set()
_lock = RLock()  # the app's sessions are threads of one process


def load_plugin(path: str | Path) -> tuple[str, ...]:
    """Run a file that the user has named, and add the models that it registers to the registry and the catalog.

    To call this is to trust the file; for a path that a run or a web field gives, there is `require_plugin`. The file
    is run once in a process. When its content has changed since, its models go and it is run anew: the app lives for
    hours, and between two trainings people edit their nets. Modules that lie beside the file are not found; what it
    imports must be installed, or on $PYTHONPATH. When it fails, nothing of it stays registered.

    Returns: the names that it has registered, in its order.
    Raises: ConfigError, one line: no such file, not a Python file, it raises something (the line says where), it
        registers nothing, a name that is taken or cannot name a model. The builders are wrapped: `create_model` raises
        ConfigError too, when one fails or gives something else than an `nn.Module`.
    """
    place = _place(path)
    with _lock:
        _named.add(place)
        return _load(place)


def allowed_plugins() -> tuple[Path, ...]:
    """The files that $FER_PLUGINS names, absolute, each once; whether they exist is not looked at."""
    return tuple(dict.fromkeys(_place(part) for part in settings().plugins.split(os.pathsep) if part.strip()))


def plugin_digest(path: str | Path) -> str:
    """SHA-256 of a plugin as it was last run, for a run's record; empty where it was not."""
    known = _loaded.get(_place(path))
    return known.digest if known else ""


def require_plugin(path: str) -> tuple[str, ...]:
    """Run a run's plugin, if the user has named that very file: by $FER_PLUGINS, or by `load_plugin` before.

    Returns: the names that it has registered.
    Raises: RunError: the user has not named it; it is not even opened. ConfigError: as `load_plugin`.
    """
    try:
        place = _place(path)
    except ConfigError:
        place = None
    if place is None or place not in _named | {*allowed_plugins()}:
        shown = path if path.isprintable() else ascii(path)  # a stranger's text may steer a terminal
        raise RunError(
            f"this run's model comes from the plugin {shown}, and only a file that you name is run. If you trust it: "
            f"--plugin {shlex.quote(shown)}, or for the app FER_PLUGINS={shlex.quote(shown)} in its environment."
        )
    return load_plugin(place)


def _place(path: str | Path) -> Path:
    """The file itself, links and `~` followed, so that one file has one name."""
    try:
        return Path(path).expanduser().resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a circle of links, no such user, a zero byte
        raise ConfigError(f"{str(path)!r} cannot be a plugin's path ({error}). Name a Python file.") from None


def _load(place: Path) -> tuple[str, ...]:
    try:
        source = _read(place)
    except ConfigError:
        _unload(place)
        raise
    digest = hashlib.sha256(source).hexdigest()
    known = _loaded.get(place)
    if known is not None and known.digest == digest:
        return known.names
    _unload(place)
    names = _run(place, source)
    _loaded[place] = _Plugin(digest, names)
    return names


def _unload(place: Path) -> None:
    from fer_core.models import MODELS

    known = _loaded.pop(place, None)
    for name in known.names if known else ():
        MODELS.pop(name, None)
        catalog.MODELS.pop(name, None)
    sys.modules.pop(_module_name(place), None)


def _read(place: Path) -> bytes:
    if not place.exists():
        raise ConfigError(f"{place}: no such file. --plugin names a Python file that registers models of your own.")
    if place.suffix != ".py" or not place.is_file():
        raise ConfigError(f"{place} is not a Python file. --plugin names one, such as my_models.py.")
    try:
        return place.read_bytes()
    except OSError as error:
        raise ConfigError(f"{place}: cannot be read ({error.strerror}). Make it readable, or name another.") from None


def _run(place: Path, source: bytes) -> tuple[str, ...]:
    from fer_core.models import MODELS

    with _undone_unless_whole(place, MODELS) as before:
        _execute(place, source)
        if any(MODELS.get(name) is not builder for name, builder in before.items()):
            raise ConfigError(f"{place} replaces a model that is there already. Register yours under another name.")
        names = tuple(name for name in MODELS if name not in before)
        if not names:
            raise ConfigError(f"{place} registers no model. {_EXAMPLE}")
        for name in names:
            _check(place, name, MODELS[name])
        for name in names:
            catalog.MODELS[name] = _entry(place, name, MODELS[name])
            MODELS[name] = _guarded(place, name, MODELS[name])
    return names


@contextmanager
def _undone_unless_whole(place: Path, models: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Give a copy of `models`. When the block fails, they are again what they were, and the file's module is gone."""
    before = dict(models)
    whole = False
    try:
        yield before
        whole = True
    finally:
        if not whole:
            for name in models.keys() - before.keys():
                del models[name]
            models.update(before)
            sys.modules.pop(_module_name(place), None)


def _module_name(place: Path) -> str:
    return f"fer_plugin_{place.stem}_{hashlib.sha256(os.fsencode(place)).hexdigest()[:8]}"


def _execute(place: Path, source: bytes) -> None:
    """Run the file as a module of its own. Not by an import: its cache overlooks a change within the same second."""
    module = ModuleType(_module_name(place))
    module.__file__ = str(place)
    sys.modules[module.__name__] = module  # dataclasses look up the module that they stand in
    with _blamed_on(place):
        exec(compile(source, str(place), "exec", dont_inherit=True), module.__dict__)  # noqa: S102  # the user named it


def _check(place: Path, name: Any, builder: Any) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigError(f"{place}: {name!r} cannot name a model: use 1 to 32 letters, digits, '_' and '-'.")
    if not callable(builder):
        raise ConfigError(f"{place}: {name!r} is registered as {type(builder).__name__}, not as a function. {_EXAMPLE}")


def _entry(place: Path, name: str, builder: Callable[..., Any]) -> catalog.ModelEntry:
    lines = (getattr(builder, "__doc__", None) or "").strip().splitlines()
    text = lines[0] if lines else f"From {place.name}."
    return catalog.ModelEntry(
        name, text, place.name, _TYPICAL_IMAGES_PER_S, 1, plugin=str(place)
    )  # least size 1: it knows


def _guarded(place: Path, name: str, builder: Callable[..., Any]) -> Callable[..., Any]:
    from torch import nn

    @wraps(builder, updated=())  # `create_model` reads the signature; a class's own attributes are not a function's
    def build(*args: Any, **kwargs: Any) -> nn.Module:
        with _blamed_on(place):
            net = builder(*args, **kwargs)
        if not isinstance(net, nn.Module):
            hint = " Is there a return?" if net is None else ""
            raise ConfigError(f"{place}: {name!r} should give an nn.Module, not {type(net).__name__}.{hint}")
        return net

    return build


@contextmanager
def _blamed_on(place: Path) -> Iterator[None]:
    """Whatever the user's file raises becomes one line that says where; `sys.exit` too, for scripts call it."""
    try:
        yield
    except (Exception, SystemExit) as error:
        raise ConfigError(_blame(place, error)) from error


def _blame(place: Path, error: BaseException) -> str:
    line = _line(place, error)
    where = f"{place}, line {line}" if line else str(place)
    reason = str(error.msg if isinstance(error, SyntaxError) else error)
    taken = _TAKEN.fullmatch(reason) if isinstance(error, AssertionError) else None
    if taken:
        known = ", ".join(sorted(catalog.MODELS))
        return f"{where}: the name {taken[1]} is taken. Register your model under another one than {known}."
    first = next(iter(reason.splitlines()), "")[:_LONGEST_REASON]
    return f"{where}: {type(error).__name__}{': ' if first else ''}{first}. Correct the plugin, or leave it out."


def _line(place: Path, error: BaseException) -> int | None:
    """The last line of the file itself that was being run, or that could not be read as Python."""
    if isinstance(error, SyntaxError) and error.filename == str(place):
        return error.lineno
    lines = [n for frame, n in traceback.walk_tb(error.__traceback__) if frame.f_code.co_filename == str(place)]
    return lines[-1] if lines else None
