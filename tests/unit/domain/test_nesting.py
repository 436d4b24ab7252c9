"""How deeply JSON from outside may nest."""

from typing import Any

import pytest

from asset_worker.domain.nesting import ANSWER_LEVELS, METADATA_LEVELS, nests_deeper


def test_the_limits_are_those_documented():
    assert METADATA_LEVELS == 32
    assert ANSWER_LEVELS == 100


@pytest.mark.parametrize(
    ("value", "levels"),
    [
        pytest.param(None, 0, id="null"),
        pytest.param("[[[", 0, id="a string of brackets"),
        pytest.param(1.5, 0, id="a number"),
        pytest.param({}, 1, id="an empty object"),
        pytest.param([], 1, id="an empty array"),
        pytest.param({"a": 1, "b": "x"}, 1, id="a flat object"),
        pytest.param([1, [2]], 2, id="an array in an array"),
        pytest.param({"a": {}, "b": {"c": []}}, 3, id="the deepest member counts"),
        pytest.param([{}, [[[]]], 1], 4, id="the deepest element counts"),
    ],
)
def test_levels_are_objects_and_arrays_within_one_another(value: Any, levels: int):
    assert not nests_deeper(value, levels)
    assert levels == 0 or nests_deeper(value, levels - 1)


@pytest.mark.parametrize("opening", ["object", "array"])
def test_a_value_deeper_than_the_stack_is_refused_and_not_walked(opening: str):
    value: Any = 1
    for _ in range(100_000):
        value = {"a": value} if opening == "object" else [value]
    assert nests_deeper(value, ANSWER_LEVELS)
