"""A radix tree over token ids: who holds the longest common prefix with a prompt.

Holders (slots, saved states) are added with the tokens they hold; a match costs time in the length of the prompt and
not in the number of holders, because tokens that holders share are stored once. Edges are compared as slices of lists,
which Python does at the speed of C. Knows nothing of cells: a holder is any hashable value.
"""

from collections.abc import Iterator
from typing import Generic, TypeVar

HolderT = TypeVar("HolderT")


class _Node(Generic[HolderT]):
    """The end of an edge: the tokens on it, who ends here, and what goes on."""

    __slots__ = ("children", "holders", "label", "parent")

    def __init__(self, label: list[int], parent: "_Node[HolderT] | None") -> None:
        self.label = label
        self.parent = parent
        self.children: dict[int, _Node[HolderT]] = {}  # by the first token of their label
        self.holders: dict[HolderT, None] = {}  # a set in order, so that equal runs choose equal holders


class RadixTree(Generic[HolderT]):
    """Prefixes and their holders."""

    def __init__(self) -> None:
        self._root: _Node[HolderT] = _Node([], None)
        self._nodes: dict[HolderT, _Node[HolderT]] = {}

    def __contains__(self, holder: HolderT) -> bool:
        return holder in self._nodes

    def __len__(self) -> int:
        return len(self._nodes)

    def add(self, holder: HolderT, tokens: list[int]) -> None:
        """Say that `holder` holds exactly these tokens, instead of what it held before."""
        self.remove(holder)
        self._insert(holder, self._root, tokens)

    def extend(self, holder: HolderT, tokens: list[int]) -> None:
        """Say that `holder` holds these tokens after those that it holds already.

        Raises:
            KeyError: It holds nothing.
        """
        node = self._nodes[holder]
        if len(node.holders) == 1 and not node.children and node.parent is not None:
            node.label += tokens
            return
        del node.holders[holder]
        self._insert(holder, node, tokens)
        self._tidy(node)

    def remove(self, holder: HolderT) -> None:
        """Forget a holder; one that is not there is no matter."""
        node = self._nodes.pop(holder, None)
        if node is not None:
            del node.holders[holder]
            self._tidy(node)

    def longest(self, tokens: list[int], limit: int) -> tuple[int, list[HolderT]]:
        """Give how many of the first `limit` tokens somebody holds, and all who hold that many."""
        node, _, n_tokens = self._descend(tokens, limit)
        return n_tokens, list(_below(node)) if n_tokens else []

    def whole(self, tokens: list[int], limit: int) -> tuple[int, list[HolderT]]:
        """Give the longest beginning, of at most `limit` tokens, that is all that somebody holds, and by whom."""
        node, n_matched, n_tokens = self._descend(tokens, limit)
        at: _Node[HolderT] | None = node
        if n_matched < len(node.label):
            at, n_tokens = node.parent, n_tokens - n_matched
        while at is not None and at.parent is not None:
            if at.holders:
                return n_tokens, list(at.holders)
            at, n_tokens = at.parent, n_tokens - len(at.label)
        return 0, []

    def _descend(self, tokens: list[int], limit: int) -> tuple[_Node[HolderT], int, int]:
        """Give the deepest node reached, how much of its label matches, and how many tokens match in all."""
        node, at = self._root, 0
        while at < limit and (child := node.children.get(tokens[at])) is not None:
            n_matched = count_common(child.label, tokens[at : min(limit, at + len(child.label))])
            at += n_matched
            if n_matched < len(child.label):
                return child, n_matched, at
            node = child
        return node, len(node.label), at

    def _insert(self, holder: HolderT, node: _Node[HolderT], tokens: list[int]) -> None:
        at = 0
        while at < len(tokens):
            child = node.children.get(tokens[at])
            if child is None:
                child = node.children[tokens[at]] = _Node(tokens[at:], node)
                at = len(tokens)
            else:
                n_common = count_common(child.label, tokens[at : at + len(child.label)])
                if n_common < len(child.label):
                    child = _split(child, n_common)
                at += n_common
            node = child
        node.holders[holder] = None
        self._nodes[holder] = node

    def _tidy(self, node: _Node[HolderT]) -> None:
        """Drop nodes that hold nothing, and join one that only continues into the next."""
        while not node.holders and not node.children and node.parent is not None:
            del node.parent.children[node.label[0]]
            node = node.parent
        if node.parent is None or node.holders or len(node.children) != 1:
            return
        (child,) = node.children.values()
        child.label = node.label + child.label
        child.parent = node.parent
        node.parent.children[child.label[0]] = child


def count_common(one: list[int], other: list[int]) -> int:
    """Count the tokens that two lists have in common at their beginning, by halving slices."""
    low, high = 0, min(len(one), len(other))
    if one[:high] == other[:high]:
        return high
    while high - low > 1:  # one[:low] agrees, and the first difference is before `high`
        middle = (low + high) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle
    return low


def _split(node: _Node[HolderT], n_tokens: int) -> _Node[HolderT]:
    """Cut an edge in two; give the node in its middle."""
    parent = node.parent
    assert parent is not None, "the root has no edge"  # noqa: S101  # an invariant of ours
    middle: _Node[HolderT] = _Node(node.label[:n_tokens], parent)
    parent.children[middle.label[0]] = middle
    node.label = node.label[n_tokens:]
    node.parent = middle
    middle.children[node.label[0]] = node
    return middle


def _below(node: _Node[HolderT]) -> Iterator[HolderT]:
    todo = [node]
    while todo:
        found = todo.pop()
        yield from found.holders
        todo += found.children.values()
