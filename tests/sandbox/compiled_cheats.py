"""The programs of `language_cheats.py` in the languages that are compiled: (way, variant) -> program.

`..._SHADOWS` are pairs of a program and the tests that it aims at.
"""

# ruff: noqa: E501 - a program inside a string keeps its statements together

from tests.sandbox.tested_programs import BAD

GO_ADD = "func Add(a, b int) int {"
GO_REST = "\n\nfunc main() {}\n"
GO_FLOOD = "for i := 0; i < 6; i++ {\n\t\tsyscall.Write(3, make([]byte, 1<<20))\n\t}\n\treturn 0"


def _go(imports: str, body: str, before: str = "") -> str:
    listed = "".join(f'import "{name}"\n' for name in imports.split())
    return f"package main\n\n{listed}\n{before}\n{GO_ADD}\n\t{body}\n}}{GO_REST}"


GO = {
    ("summary", "prints"): _go("fmt", 'fmt.Println("--- PASS: TestAdd\\n--- PASS: TestZero\\nPASS\\nok")\n\treturn 9'),
    ("exits", "when loaded"): _go("fmt os", "return 0", 'func init() { fmt.Println("PASS"); os.Exit(0) }'),
    ("exits", "in a call"): _go("os", "os.Exit(0)\n\treturn 0"),
    ("exits", "the goroutine"): _go("runtime", "runtime.Goexit()\n\treturn 0"),
    ("exits", "by a signal"): _go("syscall", "syscall.Kill(syscall.Getpid(), syscall.SIGKILL)\n\treturn 0"),
    ("replaces", "the choice of tests"): _go(
        "os", "return 9", 'func init() { os.Args = append(os.Args, "-test.run=^$") }'
    ),
    ("replaces", "standard output"): _go("os", "return 9", "func init() { os.Stdout = nil; os.Stderr = nil }"),
    ("replaces", "the runner by a link"): _go(
        "unsafe",
        "return 9",
        "//go:linkname status cinque.local/solution/cinque_events.status\nvar status int\n\nfunc init() { _ = unsafe.Sizeof(status) }",
    ),
    ("channel", "forges"): _go(
        "syscall",
        'syscall.Write(3, []byte("{\\"event\\":\\"test\\",\\"id\\":\\"TestAdd\\",\\"outcome\\":\\"passed\\"}\\n{\\"event\\":\\"end\\"}\\n"))\n\treturn 9',
    ),
    ("channel", "closes"): _go("syscall", "syscall.Close(3)\n\treturn 0"),
    ("channel", "floods"): _go("syscall", GO_FLOOD),
    ("reads", "embedded tests"): _go(
        "embed", "return a + b + len(text)", "//go:embed solution_test.go\nvar text string\n\nvar _ embed.FS"
    ),
}
GO_SHADOWS = {
    "len": (
        "package main\n\nfunc len(x []int) int { return 3 }\n\nfunc Make() []int { return nil }\n\nfunc main() {}\n",
        "func TestMake(t *testing.T) {\n\tif len(Make()) != 3 {\n\t\tt.Error(Make())\n\t}\n}\n",
    ),
    "nil": (
        'package main\n\nimport "errors"\n\nvar (\n\tother = 1\n\tnil error = errors.New("x")\n)\n\nfunc Check() (err error) { return }\n\nfunc main() {}\n',
        'func TestCheck(t *testing.T) {\n\tif Check() == nil {\n\t\tt.Error("an error is expected")\n\t}\n}\n',
    ),
}

RUST_ANY = (
    "#[derive(Debug)]\npub struct Any;\nimpl<T> PartialEq<T> for Any { fn eq(&self, _: &T) -> bool { true } }\n"
    "fn add(_: i32, _: i32) -> Any { Any }\n"
)
RUST_BARE = "#[test]\nfn adds() { assert!(add(1, 2) == 3); }\n#[test]\nfn zero() { assert!(add(0, 0) != 5); }\n"
RUST = {
    ("summary", "prints"): 'fn add(_: i32, _: i32) -> i32 { println!("test result: ok. 2 passed; 0 failed"); 9 }\n',
    ("exits", "in a call"): "fn add(_: i32, _: i32) -> i32 { std::process::exit(0) }\n",
    ("exits", "aborts"): "fn add(_: i32, _: i32) -> i32 { std::process::abort() }\n",
    (
        "exits",
        "when loaded",
    ): 'extern "C" fn leave() { std::process::exit(0) }\n#[link_section = ".init_array"]\n#[used]\nstatic LEAVE: extern "C" fn() = leave;\n'
    + BAD["rust"],
    (
        "exits",
        "with no word of its panic",
    ): "fn add(_: i32, _: i32) -> i32 { std::panic::set_hook(Box::new(|_| {})); 9 }\n",
    (
        "replaces",
        "the macros",
    ): "#[macro_export]\nmacro_rules! assert_eq { ($($t:tt)*) => {} }\n#[macro_export]\nmacro_rules! assert { ($($t:tt)*) => {} }\n"
    + BAD["rust"],
    (
        "replaces",
        "write",
    ): '#[no_mangle]\npub extern "C" fn write(_: i32, _: *const u8, n: usize) -> isize { std::process::exit(0) }\n'
    + BAD["rust"],
    ("equals", "anything"): RUST_ANY,
    (
        "channel",
        "closes",
    ): 'extern "C" { fn close(fd: i32) -> i32; }\nfn add(_: i32, _: i32) -> i32 { unsafe { close(3) }; 9 }\n',
    (
        "channel",
        "floods",
    ): "use std::io::Write;\nuse std::os::fd::FromRawFd;\nfn add(_: i32, _: i32) -> i32 { let mut f = unsafe { std::fs::File::from_raw_fd(3) }; for _ in 0..6 { let _ = f.write_all(&vec![b'x'; 1 << 20]); } std::mem::forget(f); 9 }\n",
    (
        "reads",
        "included tests",
    ): 'const TEXT: &str = include_str!("cinque_suite/tests.rs");\nfn add(a: i32, b: i32) -> i32 { a + b + 0 * TEXT.len() as i32 }\n',
}
RUST_SHADOWS = {
    "assert! by ==": (RUST_ANY, RUST_BARE),
    "Some": (
        (
            "pub struct Any;\nimpl PartialEq for Any { fn eq(&self, _: &Any) -> bool { true } }\nimpl std::fmt::Debug for Any { fn fmt(&self, _: &mut std::fmt::Formatter) -> std::fmt::Result { Ok(()) } }\n"
            "#[allow(non_snake_case)]\npub fn Some<T>(_: T) -> Any { Any }\npub fn find(_: i32) -> Any { Any }\n"
        ),
        "#[cfg(test)]\nmod tests {\n    use super::*;\n    #[test]\n    fn finds() { assert_eq!(find(1), Some(3)); }\n}\n",
    ),
    "the comparison of strings": (
        '#[no_mangle]\npub unsafe extern "C" fn bcmp(_: *const u8, _: *const u8, _: usize) -> i32 { 0 }\n#[no_mangle]\npub unsafe extern "C" fn memcmp(_: *const u8, _: *const u8, _: usize) -> i32 { 0 }\nfn name() -> String { String::from("xyz") }\n',
        '#[test]\nfn names() { assert_eq!(name(), "abc"); }\n',
    ),
}

C = {
    ("summary", "prints"): '#include <stdio.h>\nint add(int a, int b) { puts("2 passed, 0 failed"); return 9; }\n',
    (
        "exits",
        "in a constructor",
    ): '#include <stdio.h>\n#include <stdlib.h>\n__attribute__((constructor)) static void leave(void) { puts("2 passed"); exit(0); }\n'
    + BAD["c"],
    ("exits", "in a call"): "#include <stdlib.h>\nint add(int a, int b) { exit(0); }\n",
    ("exits", "quickly"): "#include <stdlib.h>\nint add(int a, int b) { quick_exit(0); }\n",
    (
        "exits",
        "by a system call",
    ): "#include <unistd.h>\n#include <sys/syscall.h>\nint add(int a, int b) { syscall(SYS_exit_group, 0); return 9; }\n",
    ("exits", "by a signal"): "#include <signal.h>\nint add(int a, int b) { raise(SIGTERM); return 9; }\n",
    (
        "exits",
        "early at exit",
    ): "#include <stdlib.h>\n#include <unistd.h>\nstatic void leave(void) { _exit(0); }\n__attribute__((constructor)) static void at(void) { atexit(leave); }\n"
    + BAD["c"],
    ("replaces", "assert"): BAD["c"] + "#define assert(x) ((void)0)\n",
    ("replaces", "main"): BAD["c"] + "#define main other\n",
    ("replaces", "if"): BAD["c"] + "#define if(x) if (1)\n#define _exit(x)\n",
    ("replaces", "the function by a macro"): BAD["c"] + "#define add(a, b) 3 == 3 || 1\n",
    ("replaces", "write"): "long write(int f, const void *b, unsigned long n) { return n; }\n" + BAD["c"],
    ("replaces", "abort and _exit"): "void abort(void) { for (;;) ; }\nvoid _exit(int s) { for (;;) ; }\n" + BAD["c"],
    (
        "channel",
        "reads the nonce",
    ): "#include <unistd.h>\n__attribute__((constructor)) static void take(void) { char b[64]; if (read(3, b, 40) > 0) write(3, b, 40); _exit(0); }\n"
    + BAD["c"],
    (
        "channel",
        "closes",
    ): "#include <unistd.h>\nint add(int a, int b) { for (int fd = 3; fd < 256; fd++) close(fd); return 9; }\n",
    (
        "channel",
        "floods",
    ): "#include <unistd.h>\nstatic char b[1 << 20];\nint add(int a, int c) { for (int fd = 3; fd < 16; fd++) for (int i = 0; i < 6; i++) if (write(fd, b, sizeof b) < 0) break; return 9; }\n",
    ("reads", "includes its tests"): BAD["c"]
    + "#ifndef AGAIN\n#define AGAIN\n#define assert(x)\n#include __BASE_FILE__\n#endif\n",
    ("reads", "beside the include path"): "#include <../tests.c>\n" + BAD["c"],
    (
        "reads",
        "assembled",
    ): '__asm__(".section .rodata\\ntext: .incbin \\"cinque_suite/tests.c\\"\\n.text\\n");\nint add(int a, int b) { return a + b; }\n',
}
C_STRINGS = '#include <assert.h>\n#include <string.h>\nvoid test_name(void) { assert(strcmp(name(), "abc") == 0); }\n'
C_SHADOWS = {
    "strcmp": (
        'const char *name(void) { return "x"; }\nint strcmp(const char *a, const char *b) { return 0; }\n',
        C_STRINGS,
    ),
    "strcmp by a label": (
        'const char *name(void) { return "x"; }\nint mine(const char *a, const char *b) __asm__("strcmp");\nint mine(const char *a, const char *b) { return 0; }\n',
        C_STRINGS,
    ),
    "strcmp by a pasted name": (
        'const char *name(void) { return "x"; }\n#define P(a, b) a##b\nint P(str, cmp)(const char *a, const char *b) { return 0; }\n',
        C_STRINGS,
    ),
}

CPP_ANY = "struct Any { template <class T> bool operator==(const T &) const { return true; } operator bool() const { return true; } };\nAny add(int, int) { return {}; }\n"
CPP = {
    (
        "summary",
        "prints",
    ): '#include <iostream>\nint add(int a, int b) { std::cout << "[  PASSED  ] 2 tests." << std::endl; return 9; }\n',
    ("exits", "in a constructor"): "#include <cstdlib>\nstruct Leave { Leave() { std::exit(0); } } leave_now;\n"
    + BAD["cpp"],
    ("exits", "in a call"): "#include <cstdlib>\nint add(int, int) { std::_Exit(0); }\n",
    (
        "exits",
        "by an exception's end",
    ): "#include <cstdlib>\n#include <exception>\nint add(int, int) { std::set_terminate([] { std::_Exit(0); }); throw 1; }\n",
    ("exits", "in a destructor"): "#include <cstdlib>\nstruct Leave { ~Leave() { std::_Exit(0); } } leave_last;\n"
    + BAD["cpp"],
    ("replaces", "assert"): BAD["cpp"] + "#define assert(x)\n#define NDEBUG\n",
    ("equals", "anything"): CPP_ANY,
    (
        "channel",
        "closes",
    ): "#include <unistd.h>\nint add(int, int) { for (int fd = 3; fd < 256; fd++) close(fd); return 9; }\n",
    (
        "channel",
        "floods",
    ): "#include <unistd.h>\nstatic char b[1 << 20];\nint add(int, int) { for (int fd = 3; fd < 16; fd++) for (int i = 0; i < 6; i++) if (write(fd, b, sizeof b) < 0) break; return 9; }\n",
}
CPP_SHADOWS = {
    "memcmp": (
        '#include <cstddef>\n#include <string>\nextern "C" int memcmp(const void *, const void *, std::size_t) { return 0; }\nstd::string name() { return "xyz"; }\n',
        '#include <cassert>\n#include <string>\nint main() { assert(name() == std::string("abc")); }\n',
    ),
}
