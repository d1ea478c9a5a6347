"""Small tensors on one thread: where another process keeps the cores busy, two threads wait for one another.

Measured on two cores beside a training: a recipe's preview takes 9 ms on one thread and 200 on two; a frame of the
camera, found and named, 45 ms against 80 to 220, and now and then more than a second.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

import torch


class _Inside:
    """Who is on one thread just now. torch's number is the process's own, and sessions overlap."""

    lock = Lock()
    count = 0
    before = 1


@contextmanager
def one_thread() -> Iterator[None]:
    """torch computes on one thread; the last one to leave gives back the number that there was."""
    with _Inside.lock:
        if _Inside.count == 0:
            _Inside.before = torch.get_num_threads()
        _Inside.count += 1
        torch.set_num_threads(1)
    try:
        yield
    finally:
        with _Inside.lock:
            _Inside.count -= 1
            if _Inside.count == 0:
                torch.set_num_threads(_Inside.before)
