"""The types of arguments that families of tasks take: how to draw a value, and how people speak of it.

`draw` gets a `random.Random` and gives plain data. A type's names are what a parameter of it is usually called; its
descriptions stand in phrases where the parameter is meant. `HELPERS` are the same draws as functions, for families that
need values which belong together.
"""

import random
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

_WORDS: Final = """
apple banana cherry kiwi level radar hello world python code data tree stone river cat dog bird fish alpha beta noon
civic table chair lamp green red blue yellow sky moon sun star car bus train ship book pen paper key door house road
city lake hill sand rain snow wind fire ice gold iron silver coin bread milk egg rice tea salt soup oak pine rose lily
mint fig plum pear grape melon orange queue stack open under over into idea area echo anna otto abc xyz foo bar baz zip
stop listen silent night thing letter number pizza coffee summer winter market garden window mirror bottle button pocket
engine tiger zebra rabbit monkey eagle shark whale island desert forest ocean planet
"""
_NAMES: Final = """
Ann Bob Carl Dana Eve Finn Gus Hana Ian Jill Kim Leo Mia Nora Omar Pia Quin Rosa Sam Tess Uma Vera Will Yara Zoe
"""
WORDS: Final = tuple(_WORDS.split())
NAMES: Final = tuple(_NAMES.split())


def word(r: random.Random) -> str:
    """Draw a word in lower case, sometimes one that reads the same backwards."""
    return r.choice(WORDS)


def words(r: random.Random, low: int = 0, high: int = 7) -> list[str]:
    """Draw from *low* to *high* words."""
    return [word(r) for _ in range(r.randint(low, high))]


def sentence(r: random.Random, low: int = 1, high: int = 7) -> str:
    """Draw words with single spaces between them."""
    return " ".join(words(r, low, high))


def text(r: random.Random, low: int = 0) -> str:
    """Draw a word or a sentence with capitals, digits and punctuation now and then; empty if *low* is 0, sometimes."""
    if not low and r.random() < 0.08:
        return ""
    made = word(r) if r.random() < 0.3 else sentence(r, 2, 6)
    if r.random() < 0.3:
        made = made.title() if r.random() < 0.5 else made.capitalize()
    if r.random() < 0.25:
        made = made.replace(" ", r.choice([", ", "-", "  ", f" {r.randint(0, 99)} "]), 1)
    return made + (r.choice(".!?") if r.random() < 0.3 else "")


def ints(r: random.Random, low: int = 0, high: int = 8, smallest: int = -20, largest: int = 40) -> list[int]:
    """Draw from *low* to *high* integers, sometimes digits or larger ones, often with repetitions."""
    kind = r.random()
    if kind < 0.25:
        smallest, largest = max(smallest, 0), min(largest, 9)
    drawn = [r.randint(smallest, largest) for _ in range(r.randint(low, high))]
    if len(drawn) > 2 and r.random() < 0.4:
        drawn[r.randrange(len(drawn))] = drawn[0]
    return drawn


def distinct(r: random.Random, low: int = 3, high: int = 8) -> list[int]:
    """Draw integers that are all different."""
    return r.sample(range(-20, 60), r.randint(low, high))


def floats(r: random.Random, low: int = 1, high: int = 6) -> list[float]:
    """Draw numbers with one decimal."""
    return [round(r.uniform(-20, 60), 1) for _ in range(r.randint(low, high))]


def matrix(r: random.Random, *, square: bool = False) -> list[list[int]]:
    """Draw rows of equal length, one to four of them."""
    height = r.randint(1, 4)
    width = height if square else r.randint(1, 4)
    return [[r.randint(-9, 20) for _ in range(width)] for _ in range(height)]


def counts(r: random.Random, low: int = 0, high: int = 6) -> dict[str, int]:
    """Draw words with a number each."""
    return {word(r): r.randint(-9, 40) for _ in range(r.randint(low, high))}


def pairs(r: random.Random, low: int = 1, high: int = 6) -> list[tuple[str, int]]:
    """Draw (name, number) tuples."""
    return [(r.choice(NAMES), r.randint(0, 60)) for _ in range(r.randint(low, high))]


def records(r: random.Random, fields: str = "name age", low: int = 0, high: int = 5) -> list[dict[str, Any]]:
    """Draw dictionaries with *fields*; `name`, `city` and `category` and the like are words, all others numbers."""
    texts = {"name": NAMES, "city": ("Rome", "Oslo", "Lima", "Bern", "Cairo"), "category": ("food", "toys", "books")}
    drawn = []
    for _ in range(r.randint(low, high)):
        record: dict[str, Any] = {}
        for field in fields.split():
            record[field] = r.choice(texts[field]) if field in texts else r.randint(0, 60)
        drawn.append(record)
    return drawn


def date(r: random.Random) -> str:
    """Draw a date as YYYY-MM-DD."""
    return f"{r.randint(1990, 2030)}-{r.randint(1, 12):02d}-{r.randint(1, 28):02d}"


def clock(r: random.Random) -> str:
    """Draw a time of day as HH:MM."""
    return f"{r.randint(0, 23):02d}:{r.randint(0, 59):02d}"


def letters(r: random.Random, among: str = string.ascii_lowercase, low: int = 1, high: int = 8) -> str:
    """Draw a string of characters *among* those given."""
    return "".join(r.choice(among) for _ in range(r.randint(low, high)))


HELPERS: Final[Mapping[str, Any]] = {
    **{f.__name__: f for f in (word, words, sentence, text, ints, distinct, floats, matrix, counts, pairs, records)},
    **{f.__name__: f for f in (date, clock, letters)},
    "WORDS": WORDS,
    "NAMES": NAMES,
    "string": string,
}


@dataclass(frozen=True)
class ValueType:
    """A type of argument: its values, its annotation, and the words for it."""

    draw: Callable[[random.Random], Any]
    hint: str
    names: tuple[str, ...]
    descriptions: tuple[str, ...]


def _type(draw: Callable[[random.Random], Any], hint: str, names: str, descriptions: str) -> ValueType:
    return ValueType(draw, hint, tuple(names.split()), tuple(part.strip() for part in descriptions.split(";")))


_LIST = "a list of numbers; a list of integers; a list of ints; an integer list; a list; an array of numbers; the list"
_LIST_NAMES = "numbers nums values arr lst items data xs"
_WORD_LIST = "a list of strings; a list of words; a string list; the words; an array of strings; the list of words"
_TEXT = "a string; the string; a text; a given string; the input string; some text"
_NUMBER = "a number; an integer; a given number; the number; an int"
_NUMBER_NAMES = "n number num x value"
_DICT = "a dictionary; a dict; the dictionary; a given dict; a dictionary of numbers"

TYPES: Final[Mapping[str, ValueType]] = {
    "ints": _type(ints, "list[int]", _LIST_NAMES, _LIST),
    "ints1": _type(lambda r: ints(r, 1), "list[int]", _LIST_NAMES, _LIST),
    "ints2": _type(lambda r: ints(r, 2), "list[int]", _LIST_NAMES, _LIST),
    "distinct": _type(distinct, "list[int]", _LIST_NAMES, _LIST),
    "positives": _type(
        lambda r: ints(r, 1, 8, 1, 60), "list[int]", _LIST_NAMES, _LIST + "; a list of positive numbers"
    ),
    "sorted_ints": _type(
        lambda r: sorted(distinct(r, 1, 9)), "list[int]", _LIST_NAMES, "a sorted list; a sorted list of numbers"
    ),
    "other_ints": _type(ints, "list[int]", "other b second values2", "another list; a second list; the other list"),
    "floats": _type(floats, "list[float]", "values numbers data xs", "a list of floats; a list of numbers; the values"),
    "words": _type(words, "list[str]", "words strings items names texts tokens", _WORD_LIST),
    "words1": _type(lambda r: words(r, 1), "list[str]", "words strings items names texts tokens", _WORD_LIST),
    "other_words": _type(words, "list[str]", "other b second", "another list of words; a second list of strings"),
    "text": _type(text, "str", "text s string st line value", _TEXT),
    "text1": _type(lambda r: text(r, 1), "str", "text s string st line value", _TEXT),
    "sentence": _type(sentence, "str", "sentence text s line phrase", "a sentence; a string; a text; the sentence"),
    "word": _type(word, "str", "word s text w string", "a word; a string; the word; a given word"),
    "other_word": _type(word, "str", "other t second b", "another string; another word; a second string"),
    "letter": _type(
        lambda r: r.choice("aeiorstlnd"), "str", "letter ch char c", "a letter; a character; a given letter"
    ),
    "bits": _type(lambda r: letters(r, "01"), "str", "bits s binary text", "a binary string; a string of 0s and 1s"),
    "brackets": _type(
        lambda r: r.choice(["", "()", "([])", "{[()]}", "(()", "())", "[(])", letters(r, "()[]{}", 1, 6)]),
        "str",
        "text s brackets",
        "a string of brackets; a string; an expression",
    ),
    "int": _type(lambda r: r.randint(-40, 60), "int", _NUMBER_NAMES, _NUMBER),
    "other_int": _type(lambda r: r.randint(-40, 60), "int", "m b y other", "another number; a second number"),
    "natural": _type(lambda r: r.randint(0, 14), "int", _NUMBER_NAMES, _NUMBER + "; a non-negative integer"),
    "positive": _type(
        lambda r: r.choice([1, 2, 3, 5, 6, 7, 9, 12, 13, 16, 24, 28, 30, r.randint(1, 60)]),
        "int",
        _NUMBER_NAMES,
        _NUMBER + "; a positive integer",
    ),
    "other_positive": _type(lambda r: r.randint(1, 40), "int", "m b y other", "another number; a second integer"),
    "long_number": _type(
        lambda r: r.choice([r.randint(0, 99), r.randint(100, 999), r.randint(1000, 99999), 121, 153, 370]),
        "int",
        _NUMBER_NAMES,
        _NUMBER + "; a non-negative integer",
    ),
    "small": _type(lambda r: r.randint(1, 4), "int", "k n size count step", "k; n; a number k; a given k"),
    "item": _type(lambda r: r.randint(-5, 20), "int", "target x value item val", "a value; a given value; an element"),
    "float": _type(lambda r: round(r.uniform(-10, 60), 1), "float", "x value n number", "a number; a value; a float"),
    "amount": _type(lambda r: round(r.uniform(1, 90), 1), "float", "x value amount number", "a number; a value"),
    "counts": _type(counts, "dict[str, int]", "counts d data mapping scores", _DICT),
    "counts1": _type(lambda r: counts(r, 1), "dict[str, int]", "counts d data mapping scores", _DICT),
    "other_counts": _type(counts, "dict[str, int]", "other b second d2", "another dictionary; a second dict"),
    "matrix": _type(matrix, "list[list[int]]", "matrix grid m rows", "a matrix; a 2D list; a list of lists; a grid"),
    "square": _type(
        lambda r: matrix(r, square=True), "list[list[int]]", "matrix grid m", "a square matrix; a matrix; a square grid"
    ),
    "lists": _type(
        lambda r: [ints(r, 0, 4) for _ in range(r.randint(0, 5))],
        "list[list[int]]",
        "lists nested rows groups data",
        "a list of lists; a nested list; the given list of lists",
    ),
    "pairs": _type(pairs, "list[tuple[str, int]]", "pairs items tuples data", "a list of pairs; a list of tuples"),
    "people": _type(
        records, "list[dict]", "people users persons records", "a list of dicts with name and age; a list of people"
    ),
    "products": _type(
        lambda r: records(r, "name price quantity"),
        "list[dict]",
        "products items cart",
        "a list of dicts with name, price and quantity; a list of products",
    ),
    "date": _type(date, "str", "date day text s", "a date like 2024-01-31; a date string; a date (YYYY-MM-DD)"),
    "clock": _type(clock, "str", "time t clock text", "a time like 14:05; a time string; a time (HH:MM)"),
    "flag": _type(lambda r: r.random() < 0.5, "bool", "flag value on", "a flag; a boolean"),
}
