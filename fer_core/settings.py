"""Where things are on this machine: the environment variables, in one place."""

import os
from functools import lru_cache
from pathlib import Path

import platformdirs
from pydantic_settings import BaseSettings, SettingsConfigDict

_PREFIX = "FER_"


class Settings(BaseSettings):
    """`$FER_DATA`, `$FER_CACHE`, `$FER_RUNS` and so on, one for each field; an empty variable counts as unset."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, env_ignore_empty=True, frozen=True)

    data: str | None = None
    """Default data source: a path or `sample`."""
    cache: Path = platformdirs.user_cache_path("fer2013-explorer")
    """Where opened sources are kept in the form that maps into memory."""
    runs: Path = Path("runs")
    """Where training writes its runs."""
    shipped: Path = Path(__file__).parent / "weights"
    """Where the runs are that come with the explorer; they are only read."""
    recipes: Path = Path("recipes")
    """Where augmentation recipes are saved under names of your own."""
    reviews: Path = Path("reviews")
    """Where the list is kept of faces that people marked."""
    plugins: str = ""
    """Python files with models of your own, put together as $PATH is. Each of them is run."""


def settings() -> Settings:
    """The settings as the environment is now. A page asks dozens of times, and reading them anew takes 0.5 ms."""
    return _read(tuple(one for one in os.environ.items() if one[0].upper().startswith(_PREFIX)))


@lru_cache(maxsize=16)
def _read(environment: tuple[tuple[str, str], ...]) -> Settings:
    return Settings()
