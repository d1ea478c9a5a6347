"""The shape that models, augmentations and balancing strategies share: a dict, filled by a decorator."""

from collections.abc import Callable
from typing import TypeVar

Item = TypeVar("Item")


def registrar(table: dict[str, Item]) -> Callable[[str], Callable[[Item], Item]]:
    """A decorator factory that files what it decorates in `table` under a name; a name taken twice is an error."""

    def register(name: str) -> Callable[[Item], Item]:
        def file(item: Item) -> Item:
            assert name not in table, f"{name!r} is registered twice"
            table[name] = item
            return item

        return file

    return register
