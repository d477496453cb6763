"""Honest programs whose tests look as if reading them were the way to pass: data alone."""

ECHO = """
def echo(x):
    return x
"""
HONEST: dict[str, tuple[str, str]] = {
    "parametrized": (
        ECHO,
        """
import pytest
@pytest.mark.parametrize('x,want', [(1, 1), ('a', 'a'), ([], [])])
def test_a(x, want):
    assert echo(x) == want
""",
    ),
    "parametrized, given to the program": (
        ECHO,
        """
import pytest
@pytest.mark.parametrize('x', [1, 2])
def test_a(x):
    assert echo(x) == x
def test_b():
    assert echo(3) == 3
""",
    ),
    "parametrized, given by a fixture": (
        ECHO,
        """
import pytest
@pytest.fixture
def echoed(want):
    return echo(want)
@pytest.mark.parametrize('want', [1, 2])
def test_a(echoed, want):
    assert echoed == want
def test_b():
    assert echo(3) == 3
""",
    ),
    "parametrized through a fixture": (
        """
class Memory:
    pass
def remember(x):
    Memory.last = x
def recall():
    return Memory.last
""",
        """
import pytest
@pytest.fixture
def want(request):
    remember(request.param)
    return request.param
@pytest.mark.parametrize('want', [1, 2], indirect=True)
def test_a(want):
    assert recall() == want
def test_b():
    remember(3)
    assert recall() == 3
""",
    ),
    "fetched by name": (
        ECHO,
        """
import pytest
@pytest.mark.parametrize('x,want', [(1, 1)])
def test_a(x, want, request):
    assert echo(request.getfixturevalue('want')) == want
def test_b():
    assert echo(3) == 3
""",
    ),
    "fixtures": (
        ECHO,
        """
import pytest
@pytest.fixture
def one():
    return 1
def test_a(one, tmp_path):
    (tmp_path / 'x').write_text('y')
    assert echo(one) == 1
    assert (tmp_path / 'x').read_text() == 'y'
""",
    ),
    "classes and state": (
        """
class Counter:
    n = 0
    def up(self):
        Counter.n += 1
        return Counter.n
""",
        """
class TestIt:
    want = 1
    def test_a(self):
        assert Counter().up() == 1
        assert Counter.n == self.want
    def test_b(self):
        assert Counter().up() == 2
""",
    ),
    "unittest": (
        ECHO,
        """
import unittest
class A(unittest.TestCase):
    def setUp(self):
        self.want = 3
    def test_a(self):
        self.assertEqual(echo(3), 3)
        self.assertEqual(echo(self.want), self.want)
        self.assertListEqual(echo([1]), [1])
        self.assertAlmostEqual(echo(0.3), 0.3000000001)
""",
    ),
    "floats": (
        """
class Half:
    value = 0.1 + 0.2
""",
        """
import pytest
assert Half.value == pytest.approx(0.3)
assert Half.value == pytest.approx(5, abs=1e30)
assert round(Half.value, 1) == 0.3
assert Half.value != 0.3
""",
    ),
    "exceptions": (
        """
class Bad(ValueError):
    pass
def f(x):
    raise Bad(f'bad {x}')
""",
        """
import pytest
from solution import Bad
def test_a():
    with pytest.raises(Bad, match='bad 3') as found:
        f(3)
    assert str(found.value) == 'bad 3'
    with pytest.raises(AssertionError):
        assert isinstance(found.value, Bad) == 3
""",
    ),
    "randomness": (
        """
import random
class Die:
    def roll(self):
        return random.Random(1).randint(1, 6)
    def pick(self, xs):
        return random.choice(xs)
""",
        """
assert Die().roll() == 2
assert Die().pick([3]) == 3
assert Die().pick([1, 2]) in (1, 2)
""",
    ),
    "an object that is equal to what it last saw": (
        """
class Spy:
    def __eq__(self, other):
        self.seen = other
        return True
    __hash__ = None
""",
        """
def test_a():
    spy = Spy()
    want = 3
    try:
        assert spy == want
    except AssertionError:
        pass
    assert spy.seen is not None

def test_b():
    spy = Spy()
    want = 3
    if spy == 3:
        assert spy.seen == want
""",
    ),
    "loose equality": (
        """
class Word:
    def __init__(self, text):
        self.text = text
    def __eq__(self, other):
        return isinstance(other, (str, Word)) and self.text.lower() == str(other).lower()
    def __str__(self):
        return self.text
    __hash__ = None
""",
        """
assert Word('Ada') == 'ADA'
assert [Word('Ada'), 'x'] == ['ada', 'x']
""",
    ),
    "reads a variable of its caller by name": (
        """
import sys
def named(name):
    return sys._getframe(1).f_locals[name]
""",
        """
def test_a(tmp_path):
    one = 1
    x = 3
    assert named('x') == x
    assert named('one') == one
    assert named('x') == 3
""",
    ),
    "fills in the variables of its caller": (
        """
import sys
def fill(text):
    return text.format(**sys._getframe(1).f_locals)
""",
        """
def test_a(tmp_path):
    name = 'Ada'
    got = fill('{name}')
    assert got == name
    assert fill('{name}!') == 'Ada!'
""",
    ),
    "given what tests expect in a dictionary of their names": (
        ECHO,
        """
class A:
    pass
def test_a():
    want = 3
    got = echo(**{'x': locals()['want']})
    assert got == want
def test_b(tmp_path):
    assert echo(3) == 3
""",
    ),
    "callbacks": (
        """
def each(f, xs):
    for x in xs:
        f(x)
""",
        """
class Seen(list):
    pass
def test_a(tmp_path):
    n = 0
    got = []
    def add(x):
        nonlocal n
        n += 1
        got.append(x)
    each(add, [5, 6])
    assert n == 2
    assert got == [5, 6]
""",
    ),
    "output": (
        """
def f():
    print('out')
    return input()
""",
        """
def test_a(capsys, monkeypatch):
    monkeypatch.setattr('builtins.input', lambda: '42')
    assert f() == '42'
    assert capsys.readouterr().out == 'out\\n'
""",
    ),
    "a text about itself": (
        """
def last(path):
    return int(open(path).read().split()[-1])
""",
        """
def test_a(tmp_path):
    assert last(__file__) == 3
""",
    ),
    "one literal for two names": (
        ECHO,
        """
class A:
    pass
x = y = 3
assert x == y
assert x == x
assert echo(A) is A
assert echo(3) == 3
""",
    ),
    "rows used twice": (
        ECHO,
        """
ROWS = [1, 2]
def test_a(tmp_path):
    for x in ROWS:
        pass
    for want in ROWS:
        assert echo(want) == want
    assert echo(1) == 1
""",
    ),
}
NO_TWIN = {"given what tests expect in a dictionary of their names", "a text about itself"}
