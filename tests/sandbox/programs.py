"""Small programs of each language that has a tool, doing the same things: what the tests of languages run."""

# ruff: noqa: E501 - a program inside a string keeps its statements together

from dataclasses import dataclass


@dataclass(frozen=True)
class Samples:
    """One language's programs. `echo` prints "hi é" and then all of standard input."""

    language: str
    aliases: tuple[str, ...]
    tool: str
    echo: str
    reads_file: str  # prints what data/in.txt holds
    exits_3: str
    crashes: str
    crash: tuple[str, str, str]  # verdict, error type, a part of the message
    loops: str
    broken: str
    broken_error: tuple[str, str]  # error type, a part of the message
    valid: str  # parses; would leave a mark or never end if it ran


C_HEAD = "#include <stdio.h>\n#include <stdlib.h>\n"
CPP_HEAD = "#include <cstdlib>\n#include <fstream>\n#include <iostream>\n#include <stdexcept>\n"

SAMPLES = {
    samples.language: samples
    for samples in (
        Samples(
            language="javascript",
            aliases=("js", "node"),
            tool="node",
            echo='process.stdout.write("hi é\\n" + require("fs").readFileSync(0, "utf8"));',
            reads_file='process.stdout.write(require("fs").readFileSync("data/in.txt", "utf8"));',
            exits_3="process.exit(3);",
            crashes='function f() {\n  throw new TypeError("bad value");\n}\nf();\n',
            crash=("RUNTIME_ERROR", "TypeError", "bad value (line 2)"),
            loops="while (true);",
            broken="const a = 1;\nconsole.log(a;\n",
            broken_error=("SyntaxError", "Line 2: missing ) after argument list"),
            valid="while (true);",
        ),
        Samples(
            language="go",
            aliases=("golang",),
            tool="go",
            echo='package main\n\nimport (\n\t"fmt"\n\t"io"\n\t"os"\n)\n\nfunc main() {\n\tfmt.Println("hi é")\n\tio.Copy(os.Stdout, os.Stdin)\n}\n',
            reads_file='package main\n\nimport (\n\t"fmt"\n\t"os"\n)\n\nfunc main() {\n\tt, _ := os.ReadFile("data/in.txt")\n\tfmt.Print(string(t))\n}\n',
            exits_3='package main\n\nimport "os"\n\nfunc main() {\n\tos.Exit(3)\n}\n',
            crashes="package main\n\nfunc main() {\n\tvar a []int\n\t_ = a[len(a)]\n}\n",
            crash=("RUNTIME_ERROR", "RuntimeError", "index out of range [0] with length 0 (line 5)"),
            loops="package main\n\nfunc main() {\n\tfor {\n\t}\n}\n",
            broken="package main\n\nfunc main() {\n\tx := )\n}\n",
            broken_error=("CompileError", "Line 4: syntax error"),
            valid="package main\n\nfunc main() {\n\tfor {\n\t}\n}\n",
        ),
        Samples(
            language="rust",
            aliases=("rs",),
            tool="rustc",
            echo='use std::io;\nfn main() {\n    println!("hi é");\n    io::copy(&mut io::stdin(), &mut io::stdout()).unwrap();\n}\n',
            reads_file='fn main() {\n    print!("{}", std::fs::read_to_string("data/in.txt").unwrap());\n}\n',
            exits_3="fn main() {\n    std::process::exit(3)\n}\n",
            crashes='fn main() {\n    let n: Option<i32> = "x".parse().ok();\n    n.expect("no number");\n}\n',
            crash=("RUNTIME_ERROR", "RuntimeError", "no number (line 3)"),
            loops="fn main() {\n    loop {}\n}\n",
            broken='fn main() {\n    let x: i32 = "a";\n}\n',
            broken_error=("CompileError", "Line 2: mismatched types [E0308]"),
            valid="pub fn f() {\n    loop {}\n}\n",
        ),
        Samples(
            language="c",
            aliases=(),
            tool="gcc",
            echo=C_HEAD
            + 'int main(void) {\n  int c;\n  puts("hi é");\n  while ((c = getchar()) != EOF) putchar(c);\n}\n',
            reads_file=C_HEAD
            + 'int main(void) {\n  char t[99] = "";\n  FILE *f = fopen("data/in.txt", "r");\n  fputs(fgets(t, 99, f), stdout);\n}\n',
            exits_3="int main(void) { return 3; }\n",
            crashes="int main(int n, char **a) {\n  volatile int *p = 0;\n  return *p;\n}\n",
            crash=("SIGNALED", "SIGSEGV", "the program was ended by SIGSEGV"),
            loops='int main(void) { for (;;) __asm__(""); }\n',
            broken="int main(void) {\n  return 0\n}\n",
            broken_error=("CompileError", "Line 2: expected"),
            valid="int main(void) { for (;;) ; }\n",
        ),
        Samples(
            language="cpp",
            aliases=("c++",),
            tool="g++",
            echo=CPP_HEAD
            + 'int main() {\n  std::cout << "hi é\\n";\n  if (std::cin.peek() != EOF) std::cout << std::cin.rdbuf();\n}\n',
            reads_file=CPP_HEAD + 'int main() {\n  std::cout << std::ifstream("data/in.txt").rdbuf();\n}\n',
            exits_3=CPP_HEAD + "int main() { std::exit(3); }\n",
            crashes=CPP_HEAD + 'int main() {\n  throw std::runtime_error("boom");\n}\n',
            crash=("SIGNALED", "SIGABRT", "the program was ended by SIGABRT: std::runtime_error: boom"),
            loops='int main() { for (;;) __asm__(""); }\n',
            broken="int main() {\n  return nothing;\n}\n",
            broken_error=("CompileError", "Line 2: "),
            valid="int main() { for (;;) ; }\n",
        ),
        Samples(
            language="bash",
            aliases=("sh", "shell"),
            tool="bash",
            echo='echo "hi é"\ncat\n',
            reads_file="cat data/in.txt\n",
            exits_3="exit 3\n",
            crashes="set -e\nno_such_command\n",
            crash=(
                "RUNTIME_ERROR",
                "NotFoundError",
                "status 127: solution.sh: line 2: no_such_command: command not found",
            ),
            loops="while true; do :; done\n",
            broken="if true; then\n  echo a\n",
            broken_error=("SyntaxError", "Line 3: syntax error: unexpected end of file"),
            valid="while true; do :; done\n",
        ),
    )
}
