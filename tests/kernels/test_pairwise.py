"""The covering set that other tests run over covers."""

from __future__ import annotations

from itertools import combinations, product

from tests.kernels.pairwise import pairwise

FACTORS = {"a": [1, 2, 3], "b": ["x", "y"], "c": [None, 0.5], "d": [True, False]}


def test_every_two_settings_meet_in_few_cases():
    cases = pairwise(FACTORS)
    for one, other in combinations(FACTORS, 2):
        met = {(case[one], case[other]) for case in cases}
        assert met == set(product(FACTORS[one], FACTORS[other]))
    assert len(cases) <= 8  # 6 is the least, 24 are all
    assert all(list(case) == list(FACTORS) for case in cases)


def test_what_is_not_allowed_is_left_out_and_the_rest_still_met():
    def allowed(case):
        return not (case.get("a") == 3 and case.get("b") == "y")

    cases = pairwise(FACTORS, allowed)
    met = {(case["a"], case["b"]) for case in cases}
    assert met == set(product(FACTORS["a"], FACTORS["b"])) - {(3, "y")}
