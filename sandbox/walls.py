"""What a bubblewrap sandbox is made of: its binds, its sizes and its command line.

The same view as the template of the namespaces tier (`inside/template.py`), in bubblewrap's words. Pure: starts
nothing. What bubblewrap cannot do, the number of files of a tmpfs, is left to the guard inside.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from sandbox.flavours import FLAVOURS, Binds, Flavour, covered_paths, interpreter, package_paths
from sandbox.inside import single, template
from sandbox.pool import SOURCE_ROOT

_SOURCE = "/opt/cinque"  # the part of our own code that runs inside
_PARTS = ("sandbox/__init__.py", "sandbox/inside")
_EMPTY_BYTES = 4096
# A sandbox is used once, so what it imports ahead must be likely; all that a zygote imports would double its start.
_WARM = "bisect collections.abc copy dataclasses functools heapq itertools json math random re string typing"
_BOOTSTRAP = (
    "import json,sys;c=json.loads(sys.argv.pop());sys.path.insert(0,c['source_root']);"
    "from sandbox.inside import single;single.main(c)"
)


@dataclass(frozen=True)
class Shape:
    """What must be known to start a sandbox; jobs of one shape may use one another's."""

    kind: str  # of its jobs
    flavour: Flavour
    workspace_bytes: int
    requirements: str | None  # folder of the installed set
    for_parsing: bool
    binds: Binds = ()


def bound_paths(cache: Path, binds: Binds) -> list[str]:
    """Return every host path that some sandbox binds and that a private folder could hide."""
    packages = {path for flavour in FLAVOURS.values() for path in package_paths(flavour.distributions)}
    own = [f"{SOURCE_ROOT}/{part}" for part in _PARTS]
    return [interpreter()[1], *own, str(cache), *sorted(packages), *(path for path, _ in binds)]


def files_of_etc() -> dict[str, str]:
    """Return the files of /etc that are made up, by path; their descriptors follow the control socket's."""
    return {f"/etc/{name}": text for name, text in template.ETC_FILES}


def command(bwrap: str, shape: Shape) -> list[str]:
    """Return the command line that starts a sandbox of this shape."""
    fixed = "--unshare-all --unshare-user --cap-drop ALL --new-session --die-with-parent --as-pid-1 --clearenv"
    config = {
        "source_root": _SOURCE,
        "warm": _WARM.split() if shape.flavour.is_python and not shape.for_parsing else [],
        "kinds": [shape.kind],
        "hooks": shape.flavour.hooks,
    }
    ids = ["--uid", str(template.NOBODY), "--gid", str(template.NOBODY), "--hostname", "sandbox"]
    inside = [interpreter()[0], "-I", "-S", "-B", "-X", "utf8", "-c", _BOOTSTRAP, json.dumps(config)]
    return [
        bwrap,
        *fixed.split(),
        *ids,
        *_system(),
        *_kernel(),
        *_code(shape),
        *_own(shape.workspace_bytes),
        "--",
        *inside,
    ]


def _empty(path: str) -> list[str]:
    return ["--size", str(_EMPTY_BYTES), "--perms", "0755", "--tmpfs", path]


def _system() -> list[str]:
    """The system's programs and libraries, the interpreter without its packages, and what it needs of /etc."""
    prefix = interpreter()[1]
    words = ["--ro-bind", "/usr", "/usr"]
    for name in ("bin", "sbin", "lib", "lib32", "lib64"):
        folder = Path("/", name)
        if folder.is_symlink():
            words += ["--symlink", str(folder.readlink()), str(folder)]
        else:
            words += ["--ro-bind-try", str(folder), str(folder)]
    if not prefix.startswith("/usr/") and prefix != "/usr":
        words += ["--ro-bind", prefix, prefix]
    for path in covered_paths(prefix):
        words += [*_empty(path), "--remount-ro", path]
    for fd, path in enumerate(files_of_etc(), single.CONTROL_FD + 1):
        words += ["--ro-bind-data", str(fd), path]
    for name in template.PUBLIC_ETC:
        words += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    return words


def _kernel() -> list[str]:
    """Devices that are harmless, and the sandbox's own /proc without what tells of the host."""
    words = _empty("/dev")
    for name in template.DEVICES:
        words += ["--dev-bind", f"/dev/{name}", f"/dev/{name}"]
    for name, target in template.DEVICE_LINKS:
        words += ["--symlink", target, f"/dev/{name}"]
    words += ["--proc", "/proc"]
    for name in template.COVERED_PROC:
        if Path(f"/proc/{name}").exists():
            words += ["--ro-bind", "/dev/null", f"/proc/{name}"]
    return words


def _code(shape: Shape) -> list[str]:
    """Our own code, the packages of the flavour, and the installed set."""
    words = []
    for part in _PARTS:
        words += ["--ro-bind", f"{SOURCE_ROOT}/{part}", f"{_SOURCE}/{part}"]
    for source in package_paths(shape.flavour.distributions):
        words += ["--ro-bind", source, f"{template.HARNESS}/{Path(source).name}"]
    for source, target in shape.binds:
        if not f"{target}/".startswith(f"{interpreter()[1]}/"):
            words += ["--ro-bind", source, target]
    if shape.requirements is not None:
        words += ["--ro-bind", shape.requirements, template.REQUIREMENTS]
    return words


def _own(workspace_bytes: int) -> list[str]:
    """What the job may write to; everything else is made read-only."""
    words = ["--size", str(workspace_bytes), "--perms", "0755", "--tmpfs", template.BOX]
    for name, mode in template.OWN_FOLDERS:
        words += ["--perms", f"{mode:04o}", "--dir", f"{template.BOX}/{name}"]
    words += ["--symlink", f"{template.BOX}/tmp", "/tmp"]  # noqa: S108 - the sandbox's own
    return [*words, "--remount-ro", "/dev", "--remount-ro", "/", "--chdir", template.WORK]
