"""torch on one thread, for a while."""

import pytest
import torch

from fer_core.one_thread import one_thread as alone


@pytest.fixture(autouse=True)
def two_threads(one_thread):
    torch.set_num_threads(2)  # the fixture gives back what there was


def test_threads_come_back_also_after_an_error():
    with pytest.raises(KeyError), alone():
        assert torch.get_num_threads() == 1
        raise KeyError
    assert torch.get_num_threads() == 2


def test_threads_come_back_with_the_last_one_to_leave():
    first, second = alone(), alone()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert torch.get_num_threads() == 1, "the second one is still inside"
    second.__exit__(None, None, None)
    assert torch.get_num_threads() == 2
