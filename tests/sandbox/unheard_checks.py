"""Tests whose failed checks go where nobody looks, and honest ones that look like them: data alone."""

# ruff: noqa: E501 - a program inside a string keeps its statements together

RUST = "use super::*;\n#[test]\nfn t() {\n    "
LOST: dict[str, tuple[str, str]] = {
    "suppress": (
        "python",
        "from contextlib import suppress\ndef test_a():\n    with suppress(AssertionError):\n        assert add(1, 2) == 3\n",
    ),
    "suppress all": (
        "python",
        "import contextlib\nwith contextlib.suppress(Exception):\n    assert add(1, 2) == 3\n",
    ),
    "suppress by another name": (
        "python",
        "import contextlib\nquiet = contextlib.suppress(Exception)\ndef test_a():\n    with quiet:\n        assert add(1, 2) == 3\n",
    ),
    "suppress around a helper": (
        "python",
        "from contextlib import suppress\ndef same():\n    if add(1, 2) != 3:\n        raise AssertionError('no')\ndef test_a():\n    with suppress(Exception):\n        same()\n",
    ),
    "suppress in a case": (
        "python",
        "import unittest\nfrom contextlib import suppress\nclass TestAdd(unittest.TestCase):\n    def test_a(self):\n        with suppress(Exception):\n            self.assertEqual(add(1, 2), 3)\n",
    ),
    "a handler in a case": (
        "python",
        "import unittest\nclass TestAdd(unittest.TestCase):\n    def test_a(self):\n        try:\n            self.assertEqual(add(1, 2), 3)\n        except AssertionError as e:\n            print('FAIL', e)\n",
    ),
    "an exit that says True": (
        "python",
        "class Quiet:\n    def __enter__(self):\n        return self\n    def __exit__(self, *a):\n        return True\ndef test_a():\n    with Quiet():\n        assert add(1, 2) == 3\n",
    ),
    "a task": (
        "python",
        "import asyncio\nasync def check():\n    assert add(1, 2) == 3\nasync def test_a():\n    asyncio.create_task(check())\n",
    ),
    "a late task": (
        "python",
        "import asyncio\nasync def check():\n    await asyncio.sleep(0.05)\n    assert add(1, 2) == 3\nasync def main():\n    asyncio.create_task(check())\ndef test_a():\n    asyncio.run(main())\n",
    ),
    "a task of an async case": (
        "python",
        "import asyncio, unittest\nclass TestAdd(unittest.IsolatedAsyncioTestCase):\n    async def check(self):\n        self.assertEqual(add(1, 2), 3)\n    async def test_a(self):\n        asyncio.create_task(self.check())\n",
    ),
    "a task of a loop made by hand": (
        "python",
        "import asyncio\nasync def check():\n    assert add(1, 2) == 3\nasync def main():\n    asyncio.ensure_future(check())\ndef test_a():\n    loop = asyncio.new_event_loop()\n    loop.run_until_complete(main())\n    loop.close()\n",
    ),
    "gathered exceptions": (
        "python",
        "import asyncio\nasync def check():\n    assert add(1, 2) == 3\nasync def test_a():\n    await asyncio.gather(check(), return_exceptions=True)\n",
    ),
    "a callback of a loop": (
        "python",
        "import asyncio\ndef check():\n    assert add(1, 2) == 3\nasync def test_a():\n    asyncio.get_running_loop().call_soon(check)\n    await asyncio.sleep(0)\n",
    ),
    "a thread that nobody joins": (
        "python",
        "import threading, time\ndef check():\n    time.sleep(0.1)\n    assert add(1, 2) == 3\ndef test_a():\n    threading.Thread(target=check, daemon=True).start()\n",
    ),
    "a process": (
        "python",
        "import multiprocessing\ndef check():\n    assert add(1, 2) == 3\ndef test_a():\n    one = multiprocessing.Process(target=check)\n    one.start()\n    one.join()\n",
    ),
    "rust, a dropped join": (
        "rust",
        RUST
        + "let h = std::thread::spawn(|| {\n        assert_eq!(add(1, 2), 3);\n    });\n    let _ = h.join();\n}\n",
    ),
    "rust, a caught panic": (
        "rust",
        RUST + "let _ = std::panic::catch_unwind(|| { assert_eq!(add(1, 2), 3); });\n}\n",
    ),
    "go, a goroutine": (
        "go",
        'func TestAdd(t *testing.T) {\n\tgo func() {\n\t\ttime.Sleep(50 * time.Millisecond)\n\t\tif Add(1, 2) != 3 {\n\t\t\tt.Errorf("no")\n\t\t}\n\t}()\n}\n',
    ),
    "bash, a subshell": ("bash", 'test_a() {\n  ( [ "$(add 1 2)" = 3 ] )\n  echo done\n}\n'),
    "bash, inside a subshell": (
        "bash",
        'test_a() {\n  (\n    [ "$(add 1 2)" = 3 ]\n    echo one\n  )\n  echo two\n}\n',
    ),
    "bash, a top-level subshell": ("bash", '(\n[ "$(add 1 2)" = 3 ]\necho one\n)\n'),
    "bash, a subshell that exits": ("bash", 'test_a() {\n  ( [ "$(add 1 2)" = 3 ] || exit 1 )\n  echo done\n}\n'),
    "bash, a loop behind a pipe": (
        "bash",
        'test_a() {\n  printf \'1 2 3\\n\' | while read -r a b c; do\n    [ "$(add "$a" "$b")" = "$c" ]\n  done\n  echo done\n}\n',
    ),
    "bash, in the background": ("bash", 'test_a() {\n  assert_eq "$(add 1 2)" 3 &\n  echo done\n}\n'),
    "bash, a background top": ("bash", 'assert_eq "$(add 1 2)" 3 &\nwait\n'),
    "bash, a background subshell": ("bash", 'test_a() {\n  ( sleep 0.1; [ "$(add 1 2)" = 3 ] ) &\n  echo done\n}\n'),
}
NEVER_HEARD: dict[str, tuple[str, str]] = {
    "never awaited": ("python", "async def check():\n    assert add(1, 2) == 3\ndef test_a():\n    c = check()\n"),
    "a list of coroutines": (
        "python",
        "async def check():\n    assert add(1, 2) == 3\nasync def test_a():\n    [check() for _ in range(3)]\n",
    ),
    "a coroutine of a method": (
        "python",
        "class Checks:\n    async def check(self):\n        assert add(1, 2) == 3\nasync def test_a():\n    Checks().check()\n",
    ),
    "a task that does not end": (
        "python",
        "import asyncio\nasync def check():\n    await asyncio.sleep(60)\n    assert add(1, 2) == 3\nasync def test_a():\n    asyncio.create_task(check())\n    await asyncio.sleep(0)\n",
    ),
    "a thread that does not end": (
        "python",
        "import threading, time\ndef check():\n    time.sleep(60)\n    assert add(1, 2) == 3\ndef test_a():\n    threading.Thread(target=check).start()\n",
    ),
    "prints": ("python", "def test_a():\n    print('PASS' if add(1, 2) == 3 else 'FAIL')\n"),
    "prints in an if": ("python", "def test_a():\n    if add(1, 2) != 3:\n        print('FAIL')\n"),
    "rust, never joined": (
        "rust",
        RUST + "std::thread::spawn(|| {\n        assert_eq!(add(1, 2), 3);\n    });\n}\n",
    ),
    "rust, prints": ("rust", RUST + 'if add(1, 2) != 3 {\n        println!("FAIL");\n    }\n}\n'),
    "c, never joined": (
        "c",
        "#include <assert.h>\n#include <pthread.h>\nstatic void *check(void *x) { assert(add(1, 2) == 3); return x; }\nvoid test_a(void) {\n    pthread_t one;\n    pthread_create(&one, 0, check, 0);\n}\n",
    ),
    "c, prints FAIL and returns 0": (
        "c",
        '#include <stdio.h>\nint main(void) {\n    if (add(1, 2) != 3) printf("FAIL\\n");\n    return 0;\n}\n',
    ),
    "c, prints results": ("c", '#include <stdio.h>\nint main() {\n    printf("%d\\n", add(1, 2));\n}\n'),
    "c, a check that prints": (
        "c",
        '#include <stdio.h>\nstatic void check(int ok) { printf(ok ? "PASS\\n" : "FAIL\\n"); }\nint main(void) {\n    check(add(1, 2) == 3);\n    return 0;\n}\n',
    ),
    "bash, before a pipe": ("bash", 'test_a() {\n  [ "$(add 1 2)" = 3 ] | cat\n}\n'),
    "bash, a background bracket": ("bash", 'test_a() {\n  [ "$(add 1 2)" = 3 ] &\n  wait\n}\n'),
    "bash, exit behind a pipe": (
        "bash",
        'test_a() {\n  printf \'1 2 3\\n\' | while read -r a b c; do\n    [ "$(add "$a" "$b")" = "$c" ] || exit 1\n  done\n  echo done\n}\n',
    ),
}
HONEST: dict[str, tuple[str, str]] = {
    "an error that is wanted": (
        "python",
        "def test_a():\n    try:\n        add(None, 1)\n        assert False, 'no error'\n    except Exception:\n        pass\n    assert add(1, 2) == 3\n",
    ),
    "suppressed set-up": (
        "python",
        "from contextlib import suppress\ndef test_a():\n    with suppress(Exception):\n        add(None, 2)\n    assert add(1, 2) == 3\n",
    ),
    "a failure that is wanted": (
        "python",
        "import unittest\nclass TestAdd(unittest.TestCase):\n    def check(self):\n        self.assertEqual(add(1, 2), 4)\n    def test_a(self):\n        self.assertRaises(AssertionError, self.check)\n        with self.assertRaises(AssertionError):\n            self.check()\n        self.assertEqual(add(1, 2), 3)\n",
    ),
    "a handler that judges": (
        "python",
        "def test_a():\n    try:\n        assert add(1, 2) == 4\n    except AssertionError as e:\n        assert 'assert' in str(e)\n    assert add(1, 2) == 3\n",
    ),
    "a worker in the background": (
        "python",
        "import queue, threading\ndef test_a():\n    jobs = queue.Queue()\n    def work():\n        while True:\n            n = jobs.get()\n            assert add(n, 0) == n\n            jobs.task_done()\n    threading.Thread(target=work, daemon=True).start()\n    jobs.put(0)\n    jobs.join()\n    assert add(1, 2) == 3\n",
    ),
    "a task in the background": (
        "python",
        "import asyncio\nasync def test_a():\n    async def tick():\n        while True:\n            await asyncio.sleep(0.01)\n    task = asyncio.create_task(tick())\n    assert add(1, 2) == 3\n",
    ),
    "an expected failure": (
        "python",
        "import unittest\nclass TestAdd(unittest.TestCase):\n    @unittest.expectedFailure\n    def test_a(self):\n        self.assertEqual(add(1, 2), 4)\n    def test_b(self):\n        self.assertEqual(add(1, 2), 3)\n",
    ),
    "a call and a print": ("python", "def test_a():\n    print(add(1, 2))\ndef test_b():\n    assert add(1, 2) == 3\n"),
    "a script's own place": (
        "python",
        "import os, sys\nsys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))\nassert add(1, 2) == 3\n",
    ),
    "rust, a panic that is looked at": (
        "rust",
        RUST
        + "let h = std::thread::spawn(|| {\n        assert_eq!(add(1, 2), 4);\n    });\n    assert!(h.join().is_err());\n    assert_eq!(add(1, 2), 3);\n}\n",
    ),
    "rust, a panic for a pool": (
        "rust",
        RUST
        + 'let h = std::thread::spawn(|| {\n        panic!("no")\n    });\n    let _ = h.join();\n    assert_eq!(add(1, 2), 3);\n}\n',
    ),
    "go, an import in the first line": (
        "go",
        'import "time"\n\nfunc TestAdd(t *testing.T) {\n\ttime.Sleep(time.Millisecond)\n\tif Add(1, 2) != 3 {\n\t\tt.Errorf("no")\n\t}\n}\n',
    ),
    "c, a joined thread": (
        "c",
        "#include <assert.h>\n#include <pthread.h>\nstatic void *check(void *x) { assert(add(1, 2) == 3); return x; }\nvoid test_a(void) {\n    pthread_t one;\n    pthread_create(&one, 0, check, 0);\n    pthread_join(one, 0);\n}\n",
    ),
    "bash, a subshell that is asked": (
        "bash",
        'test_a() {\n  ( [ "$(add 1 2)" = 4 ] )\n  assert_eq $? 1\n  ! ( [ "$(add 1 2)" = 5 ] )\n  [ "$(add 1 2)" = 3 ]\n}\n',
    ),
    "bash, a condition in a subshell": (
        "bash",
        'test_a() {\n  ( if [ "$(add 1 2)" = 4 ]; then fail four; fi )\n  x=$( [ 1 = 2 ] && echo yes || echo no )\n  assert_eq "$x" no\n  [ "$(add 1 2)" = 3 ]\n}\n',
    ),
    "bash, a server that is left": ("bash", 'test_a() {\n  sleep 60 &\n  [ "$(add 1 2)" = 3 ]\n}\n'),
}
