"""Faces followed over time: numbers that stay, means by elapsed time, and what is forgotten."""

import numpy as np
import pytest

from fer_core.smoothing import Follower

LEFT, RIGHT = (0, 0, 100, 100), (300, 0, 400, 100)
HAPPY, SAD = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)


def numbers(followed):
    return [face.number for face in followed]


def test_a_face_alone_is_what_it_was_found_to_be():
    (face,) = Follower().update(0.0, [LEFT], [(0.2, 0.5, 0.3)])
    assert (face.number, face.unseen_s) == (1, 0.0)
    assert face.box_4.tolist() == [0, 0, 100, 100]
    assert face.probabilities_K.tolist() == [0.2, 0.5, 0.3]


def test_after_one_half_life_the_new_picture_counts_for_half_and_after_two_for_three_quarters():
    follower = Follower(half_life_s=0.4)
    follower.update(10.0, [LEFT], [HAPPY])
    (face,) = follower.update(10.4, [LEFT], [SAD])
    np.testing.assert_allclose(face.probabilities_K, [0.5, 0.5, 0.0])
    (face,) = follower.update(11.2, [LEFT], [SAD])  # 0.25 of what was, 0.75 of sad
    np.testing.assert_allclose(face.probabilities_K, [0.125, 0.875, 0.0])


def test_many_pictures_or_few_in_the_same_time_smooth_alike():
    def after_a_second(steps):
        follower = Follower(half_life_s=0.4)
        follower.update(0.0, [LEFT], [HAPPY])
        for step in range(1, steps + 1):
            (face,) = follower.update(step / steps, [LEFT], [SAD])
        return face.probabilities_K

    np.testing.assert_allclose(after_a_second(5), [0.5**2.5, 1 - 0.5**2.5, 0.0])
    np.testing.assert_allclose(after_a_second(30), after_a_second(5))


def test_the_box_follows_by_its_own_half_life():
    follower = Follower(box_half_life_s=0.1)
    follower.update(0.0, [(0, 0, 100, 100)], [HAPPY])
    (face,) = follower.update(0.2, [(40, 8, 140, 108)], [HAPPY])
    np.testing.assert_allclose(face.box_4, [30, 6, 130, 106])  # three quarters of the way


def test_probabilities_stay_a_distribution():
    rng = np.random.default_rng(0)
    follower = Follower()
    for time_s in np.cumsum(rng.uniform(0.0, 0.5, 50)):
        (face,) = follower.update(time_s, [LEFT], rng.dirichlet(np.ones(7), 1))
        assert face.probabilities_K.sum() == pytest.approx(1.0) and face.probabilities_K.min() >= 0


def test_faces_keep_their_numbers_in_whatever_order_they_are_found():
    follower = Follower()
    follower.update(0.0, [LEFT, RIGHT], [HAPPY, SAD])
    left, right = follower.update(0.2, [(295, 5, 395, 105), (10, 0, 110, 100)], [SAD, HAPPY])
    assert numbers([left, right]) == [1, 2]
    assert left.probabilities_K.tolist() == list(HAPPY) and right.probabilities_K.tolist() == list(SAD)


def test_of_two_boxes_that_could_be_the_face_the_nearer_one_is():
    follower = Follower(box_half_life_s=0.1)
    follower.update(0.0, [LEFT], [HAPPY])
    followed = follower.update(0.1, [(50, 0, 150, 100), (20, 0, 120, 100)], [SAD, HAPPY])
    # 20 pixels away overlap by 80 / 120, 50 pixels away by 50 / 150: the first one listed is the new face.
    assert [face.box_4.tolist() for face in followed] == [[10, 0, 110, 100], [50, 0, 150, 100]]
    assert numbers(followed) == [1, 2]


def test_a_face_that_jumps_too_far_is_another_face():
    follower = Follower()
    follower.update(0.0, [LEFT], [HAPPY])
    assert numbers(follower.update(0.1, [(60, 0, 160, 100)], [SAD])) == [1]  # 40 / 160: just enough
    assert numbers(follower.update(0.2, [(130, 0, 230, 100)], [SAD])) == [1, 2]  # 30 / 170


def test_a_fast_head_is_looked_for_where_it_was_found_and_not_where_its_mean_is():
    follower = Follower(box_half_life_s=1.0)
    for step in range(20):
        followed = follower.update(0.1 * step, [(50 * step, 0, 50 * step + 100, 100)], [HAPPY])
    assert numbers(followed) == [1]


def test_a_face_that_is_missed_is_the_same_one_until_it_is_forgotten():
    follower = Follower(forget_s=1.0)
    follower.update(0.0, [LEFT], [HAPPY])
    (missed,) = follower.update(0.75, [], [])
    assert (missed.number, missed.unseen_s) == (1, 0.75)
    assert numbers(follower.update(1.0, [LEFT], [HAPPY])) == [1]
    assert follower.update(2.25, [], []) == []
    (other,) = follower.update(2.5, [LEFT], [SAD])
    assert other.probabilities_K.tolist() == list(SAD), "nothing is left of who was there"
    assert other.number == 1, "nobody else is followed, so the count begins anew"


def test_a_number_is_not_given_to_another_face_while_somebody_is_followed():
    follower = Follower(forget_s=1.0)
    follower.update(0.0, [LEFT, RIGHT], [HAPPY, SAD])
    follower.update(0.75, [LEFT], [HAPPY])
    assert numbers(follower.update(1.5, [LEFT, RIGHT], [HAPPY, SAD])) == [1, 3]


@pytest.mark.parametrize("wrong", [{"half_life_s": 0}, {"forget_s": -1}, {"box_half_life_s": 0}])
def test_times_are_above_zero(wrong):
    with pytest.raises(ValueError, match="above 0"):
        Follower(**wrong)
