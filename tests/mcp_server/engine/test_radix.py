"""The radix tree agrees with comparing a prompt to every holder, whatever is added, extended and removed."""

import random

import pytest

from mcp_server.engine.radix import RadixTree, count_common


def slow_longest(held: dict[int, list[int]], tokens: list[int], limit: int) -> tuple[int, set[int]]:
    matches = {holder: slow_common(mine, tokens[:limit]) for holder, mine in held.items()}
    best = max(matches.values(), default=0)
    return best, {holder for holder, n in matches.items() if n == best and best}


def slow_whole(held: dict[int, list[int]], tokens: list[int], limit: int) -> tuple[int, set[int]]:
    whole = {holder: len(mine) for holder, mine in held.items() if mine and mine == tokens[: len(mine)]}
    best = max((n for n in whole.values() if n <= limit), default=0)
    return best, {holder for holder, n in whole.items() if n == best and best}


def slow_common(one: list[int], other: list[int]) -> int:
    n = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        n += 1
    return n


@pytest.mark.parametrize("seed", range(5))
def test_matches_are_those_of_a_comparison_with_every_holder(seed: int) -> None:
    draw = random.Random(seed)  # noqa: S311  # a repeatable test
    tree: RadixTree[int] = RadixTree()
    held: dict[int, list[int]] = {}

    def some(longest: int) -> list[int]:
        return [draw.randint(0, 2) for _ in range(draw.randint(0, longest))]

    for _ in range(600):
        holder, action = draw.randint(0, 9), draw.random()
        if action < 0.4:
            held[holder] = some(12)
            tree.add(holder, held[holder])
        elif action < 0.7 and holder in held:
            more = some(4)
            held[holder] = held[holder] + more
            tree.extend(holder, more)
        elif action < 0.85:
            held.pop(holder, None)
            tree.remove(holder)
        tokens = some(14)
        limit = draw.randint(0, len(tokens))
        for fast, slow in ((tree.longest, slow_longest), (tree.whole, slow_whole)):
            n_tokens, holders = fast(tokens, limit)
            assert (n_tokens, set(holders)) == slow(held, tokens, limit)
        assert len(tree) == len(held)


def test_an_emptied_tree_matches_nothing() -> None:
    tree: RadixTree[str] = RadixTree()
    tree.add("a", [1, 2, 3])
    tree.add("b", [1, 2, 4])
    tree.remove("a")
    tree.remove("b")
    tree.remove("b")
    assert tree.longest([1, 2, 3], 3) == (0, [])
    assert "a" not in tree


@pytest.mark.parametrize("n_common", [0, 1, 7, 8, 99, 100])
def test_common_tokens_are_counted_to_the_first_difference(n_common: int) -> None:
    one = list(range(100))
    other = [*range(n_common), *([-1] * (100 - n_common))]
    assert count_common(one, other) == count_common(other, one) == n_common


def test_tokens_given_to_the_tree_are_copied() -> None:
    tree: RadixTree[str] = RadixTree()
    tokens = [1, 2, 3]
    tree.add("a", tokens)
    tokens.append(4)
    tree.extend("a", [9])
    assert tree.longest([1, 2, 3, 9], 4) == (4, ["a"])
    assert tokens == [1, 2, 3, 4]
