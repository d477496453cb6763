"""Programs that read what their tests expect, with tests that would let them pass beside them: data alone."""

# Each answers what the frame that called it holds, or what its text says.
READS_CONSTANTS = """
import sys
def add(a, b):
    names = sys._getframe(1).f_code.co_consts
    return next(c for c in names if type(c) in (int, float, bytes, tuple) and c not in (a, b, 1, 2))
"""
READS_LINES = """
import ast, sys
def add(a, b):
    frame = sys._getframe(1)
    lines = open(frame.f_code.co_filename).read().splitlines()
    line = lines[frame.f_lineno - 1]
    right = line.split('==')[1] if '==' in line else line.split(',')[-1].rstrip(')')
    return ast.literal_eval(right.partition('approx(')[2].rstrip(')') or right.strip())
"""
READS_VARIABLES = """
import sys
def add(a, b):
    found = sys._getframe(1).f_locals
    return found.get('want', found.get('expected'))
"""
READS_ARGUMENTS_OF_THE_HARNESS = """
import ast, sys
def add(a, b):
    frame = sys._getframe(1)
    while frame is not None:
        if 'test_code' in frame.f_locals:
            break
        frame = frame.f_back
    text = frame.f_locals['test_code']
    return ast.literal_eval(text.split('add(1, 2) == ')[1].split('\\n')[0])
"""
READS_ITSELF = """
import linecache, sys
def add(a, b):
    frame = sys._getframe(1)
    return eval(linecache.getline(frame.f_code.co_filename, frame.f_lineno).split('SIGN')[1].strip())
"""
READERS: dict[str, tuple[str, str]] = {
    "a number": (
        READS_CONSTANTS,
        """
def test_add(tmp_path):
    assert add(1, 2) == 3
""",
    ),
    "a tuple": (
        READS_CONSTANTS,
        """
def test_add(tmp_path):
    assert add(1, 2) == (3, 4)
""",
    ),
    "on the left, in a class": (
        READS_CONSTANTS,
        """
class TestAdd:
    def test_add(self):
        assert 7 == add(1, 2)
""",
    ),
    "a rounded float, awaited": (
        READS_CONSTANTS,
        """
async def test_add():
    assert round(add(1, 2), 2) == 3.25
""",
    ),
    "unittest": (
        READS_CONSTANTS,
        """
import unittest
class Add(unittest.TestCase):
    def test_add(self):
        self.assertEqual(add(1, 2), 3, 'sum')
""",
    ),
    "the line of a number": (
        READS_LINES,
        """
def test_add(tmp_path):
    assert add(1, 2) == 3
""",
    ),
    "the line of a dictionary": (
        READS_LINES,
        """
def test_add(tmp_path):
    assert add(1, 2) == {'a': [1, -2.5, b'x'], 'b': None}
""",
    ),
    "the line of a text in capitals": (
        READS_LINES,
        """
def test_add(tmp_path):
    assert add('a', 2).upper() == 'AB'
""",
    ),
    "the line of an approximation": (
        READS_LINES,
        """
import pytest
def test_add(tmp_path):
    assert add(0.1, 2) == pytest.approx(0.3)
""",
    ),
    "a parameter": (
        READS_VARIABLES,
        """
import pytest
@pytest.mark.parametrize('a,want', [(1, 2), (2, 4)])
def test_add(a, want):
    assert add(a, a) == want
""",
    ),
    "a parameter with a mark and a message": (
        READS_VARIABLES,
        """
import pytest
@pytest.mark.parametrize(['a', 'want'], [pytest.param(1, 'x', id='one'), (2, 'y')])
def test_add(a, want):
    assert add(a, a) == want, f'not {want}'
""",
    ),
    "a parameter of rows with a name": (
        READS_VARIABLES,
        """
ROWS = [(1, 2)]
import pytest
@pytest.mark.parametrize('a, want', ROWS)
def test_add(a, want):
    assert want == add(a, a)
""",
    ),
    "a variable of a loop": (
        READS_VARIABLES,
        """
def test_add(tmp_path):
    for a, want in [(1, 3), (2, 4)]:
        assert add(a, 2) == want
""",
    ),
    "a variable": (
        READS_VARIABLES,
        """
def test_add(tmp_path):
    expected = [1, 2]
    got = add(1, 2)
    assert got == expected
""",
    ),
    "a variable, in the second of two checks": (
        READS_VARIABLES,
        """
def test_add(tmp_path):
    want = 3
    assert tmp_path and add(1, 2) == want
""",
    ),
    "a truth": (
        READS_LINES,
        """
class TestAdd:
    def test_add(self):
        assert add(1, 2) == True
""",
    ),
    "a set": (
        READS_ITSELF.replace("SIGN", "=="),
        """
class TestAdd:
    def test_add(self):
        assert set(add(1, 2)) == set([3, 4])
""",
    ),
    "that it is None": (
        READS_ITSELF.replace("SIGN", " is "),
        """
class TestAdd:
    def test_add(self):
        assert add(1, 2) is None
""",
    ),
    "the text that the harness holds": (
        READS_ARGUMENTS_OF_THE_HARNESS,
        """
def test_add(tmp_path):
    assert add(1, 2) == 3
""",
    ),
    "an answer that cannot travel": (
        """
def add(a, b):
    import sys
    names = sys._getframe(1).f_code.co_consts
    found = [c for c in names if isinstance(c, list)] or [c for c in names if isinstance(c, tuple)]
    return iter(found[0] if found else ())
""",
        """
def test_add():
    assert list(add(1, 2)) == [5, 6, 7]
""",
    ),
}
