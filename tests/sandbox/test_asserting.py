"""What a rewritten assert accepts: honest classes in whatever way they compare, and nothing that equals anything."""

import pytest

from sandbox.inside.asserting import compare

HONEST = """
class Point:
    def __init__(self, x):
        self.x = x
    def __eq__(self, other):
        return self.x == other.x
class Money(int):
    def __eq__(self, other):
        return int(self) == other
    __hash__ = None
class Even:
    def __eq__(self, other):
        return other % 2 == 0
"""
ANY = "class Any(BASE):\n    __hash__ = None\n    def __eq__(self, other):\n        return TRUE\n"


def _load(code: str) -> dict[str, object]:
    names: dict[str, object] = {"__name__": "solution"}
    exec(compile(code, "solution.py", "exec"), names)  # noqa: S102 - as the harness loads a program
    return names


def test_a_class_that_only_compares_with_its_own_kind_may_be_equal() -> None:
    names = _load(HONEST)
    point, money = names["Point"], names["Money"]
    compare(point(1), point(1), "Eq", "a == b")  # type: ignore[operator]  # a class
    compare([point(1)], [point(1)], "Eq", "a == b")  # type: ignore[operator]  # a class
    compare(money(3), 3, "Eq", "a == 3")  # type: ignore[operator]  # a class
    for _ in range(50):  # whatever numbers are drawn
        compare(names["Even"](), 4, "Eq", "a == 4")  # type: ignore[operator]  # a class
    with pytest.raises(AssertionError, match="left is"):
        compare(money(3), 4, "Eq", "a == 4")  # type: ignore[operator]  # a class


@pytest.mark.parametrize("module", ["", "Any.__module__ = 'decimal'\n"], ids=["plain", "under another name"])
@pytest.mark.parametrize("truth", ["True", "isinstance(other, int)", "type(other).__module__ == 'builtins'"])
@pytest.mark.parametrize("base", ["object", "int"])
def test_what_equals_anything_proves_nothing(base: str, truth: str, module: str) -> None:
    value = _load(ANY.replace("BASE", base).replace("TRUE", truth) + module)["Any"]()  # type: ignore[operator]  # a class
    for left, right in ((value, 3), (3, value), ([value], [3]), ({"a": (1, value)}, {"a": (1, 3)})):
        with pytest.raises(AssertionError, match="compares equal to everything"):
            compare(left, right, "Eq", "a == b")


def test_a_large_or_endless_value_is_looked_at_in_part() -> None:
    endless: list[object] = []
    endless.append(endless)
    compare(endless, endless, "Is", "a is a")
    compare([[0] * 1000] * 1000, [[0] * 1000] * 1000, "Eq", "a == b")
