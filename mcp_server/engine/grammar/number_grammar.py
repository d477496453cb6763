"""Numbers between bounds, as GBNF: every number that the rule allows is within them, and a multiple if need be.

Digits are chosen from the left; a rule knows whether the digits so far are those of the lower bound, of the upper one,
or neither, and their remainder. Numbers are written without exponents, and with 15 digits at most where no bound needs
more, so that float64 tells them apart. Knows nothing of JSON schemas.
"""

from collections.abc import Iterator
from fractions import Fraction
from itertools import groupby
from math import ceil, floor
from typing import NamedTuple

from mcp_server.engine.grammar.gbnf import Rules, either, literal

MAX_INTEGER_DIGITS = 15  # of a number without an upper bound: float64 holds them exactly
MAX_WHOLE_DIGITS = 9  # before the point of a number without an upper bound, which leaves 6 after it
DECIMALS = 6  # digits after the point at most, unless a bound has more
MAX_DECIMALS = 15
MAX_MODULUS = 512  # rules for each digit grow with it
MAX_BOUND_DIGITS = 40  # of a bound; the largest float64 has 309


class Range(NamedTuple):
    """Bounds of a number, None where there is none, and what it must be a multiple of."""

    low: Fraction | None = None
    high: Fraction | None = None
    excludes_low: bool = False
    excludes_high: bool = False
    step: Fraction | None = None


def integer_rule(rules: Rules, wanted: Range) -> str:
    """Give the rule of the integers in a range.

    Raises:
        ValueError: There are none, or they cannot be expressed.
    """
    step = 1 if wanted.step is None else wanted.step.numerator  # as in `number_rule`
    return _signed(rules, _scaled(wanted, 0, MAX_INTEGER_DIGITS), step, 0)


def number_rule(rules: Rules, wanted: Range) -> str:
    """Give the rule of the numbers in a range, whole or with a point.

    Raises:
        ValueError: There are none that can be expressed.
    """
    least = max(
        (_count_decimals(bound) for bound in (wanted.low, wanted.high, wanted.step) if bound is not None), default=0
    )
    alternatives = []
    for n_decimals in range(min(max(DECIMALS, least + 1), MAX_DECIMALS) + 1):
        # An integer is a multiple of p/q just if it is one of p.
        step = 1 if wanted.step is None else (wanted.step * 10**n_decimals).numerator
        try:
            alternatives.append(_signed(rules, _scaled(wanted, n_decimals, MAX_WHOLE_DIGITS), step, n_decimals))
        except ValueError:
            continue  # none with so many decimals; another number of them may do
    if not alternatives:
        msg = "no number is within the bounds"
        raise ValueError(msg)
    return rules.add(either(alternatives), "number")


def _count_decimals(value: Fraction) -> int:
    n = 0
    while n < MAX_DECIMALS and (value * 10**n).denominator != 1:
        n += 1
    return n


def _scaled(wanted: Range, n_decimals: int, max_digits: int) -> tuple[int, int]:
    """Give the least and the largest integer that, divided by 10^n, is within the range."""
    scale = 10**n_decimals
    low = None if wanted.low is None else wanted.low * scale
    high = None if wanted.high is None else wanted.high * scale
    free = 10 ** (max_digits + n_decimals) - 1
    least = -max(free, -10 * floor(high or 0)) if low is None else ceil(low)
    most = max(free, 10 * ceil(low or 0)) if high is None else floor(high)
    least += wanted.excludes_low and least == low
    most -= wanted.excludes_high and most == high
    if max(len(str(least)), len(str(most))) > MAX_BOUND_DIGITS:
        msg = f"a bound has more than {MAX_BOUND_DIGITS} digits"
        raise ValueError(msg)
    return least, most


def _signed(rules: Rules, span: tuple[int, int], step: int, n_decimals: int) -> str:
    least, most = span
    if step > MAX_MODULUS:
        return _listed(span, step, n_decimals)
    digits = Digits(rules, step, n_decimals)
    alternatives = [*digits.between(max(least, 0), most)]
    if least < 0 and (negative := [*digits.between(max(-most, 1), -least)]):
        alternatives.append(f'"-" {either(negative)}')
    if not alternatives:
        msg = f"no {'integer' if not n_decimals else 'number'} is between the bounds"
        raise ValueError(msg)
    return rules.add(either(alternatives), "digits")


def _listed(span: tuple[int, int], step: int, n_decimals: int) -> str:
    least, most = span
    multiples = range(ceil(Fraction(least, step)), floor(Fraction(most, step)) + 1)
    if n_decimals or not 0 < len(multiples) <= MAX_MODULUS:
        msg = f"multiples of {step} cannot be expressed between these bounds"
        raise ValueError(msg)
    return either(literal(str(multiple * step)) for multiple in multiples)


class Digits:
    """Rules for digits of natural numbers, multiples of `step`, with a point set `n_decimals` from the right."""

    def __init__(self, rules: Rules, step: int, n_decimals: int) -> None:
        self._rules, self._step, self._n_decimals = rules, step, n_decimals
        self._known: dict[tuple[str, str, int], str | None] = {}

    def between(self, least: int, most: int) -> Iterator[str]:
        """Give an alternative for each number of digits."""
        if least > most:
            return
        shortest = self._n_decimals + 1  # at least one digit before the point
        for n in range(max(len(str(least)), shortest), max(len(str(most)), shortest) + 1):
            low = max(least, 0 if n == shortest else 10 ** (n - 1))
            high = min(most, 10**n - 1)
            body = self._tail(str(low).zfill(n), str(high).zfill(n), 0) if low <= high else None
            if body is not None:
                yield body

    def _tail(self, low: str, high: str, remainder: int) -> str | None:
        """Give the digits from `low` to `high`, of equal length, after others with this remainder; None: none."""
        if not low:
            return '""' if remainder == 0 else None
        is_free = set(low) == {"0"} and set(high) == {"9"}
        if is_free and self._step == 1:
            return self._free(len(low))
        key = (low, high, remainder)
        if key not in self._known:
            self._known[key] = self._choice(low, high, remainder)
        return self._known[key]

    def _choice(self, low: str, high: str, remainder: int) -> str | None:
        n = len(low) - 1
        nexts: list[tuple[int, str]] = []
        for digit in range(int(low[0]), int(high[0]) + 1):
            lower = low[1:] if digit == int(low[0]) else "0" * n
            upper = high[1:] if digit == int(high[0]) else "9" * n
            rest = self._tail(lower, upper, (remainder * 10 + digit) % self._step) if lower <= upper else None
            if rest is not None:
                nexts.append((digit, rest))
        alternatives = []
        for (_, rest), group in groupby(enumerate(nexts), lambda item: (item[1][0] - item[0], item[1][1])):
            run = [digit for _, (digit, _) in group]
            alternatives.append(self._digit(run[0], run[-1], n) + ("" if rest == '""' else f" {rest}"))
        return self._rules.add(either(alternatives), "d") if alternatives else None

    def _digit(self, first: int, last: int, n_after: int) -> str:
        digit = f"[{first}]" if first == last else f"[{first}-{last}]"
        return f'{digit} "."' if self._n_decimals and n_after == self._n_decimals else digit

    def _free(self, n: int) -> str:
        whole = n - self._n_decimals
        if not self._n_decimals or whole <= 0:
            return f"[0-9]{{{n}}}"
        return f'[0-9]{{{whole}}} "." [0-9]{{{self._n_decimals}}}'
