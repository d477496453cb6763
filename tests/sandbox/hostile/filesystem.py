"""C. Files and /proc: programs 33 to 48 of the table."""

# ruff: noqa: E501 - a program inside a string keeps its statements together

from sandbox.types import ExecutionRequest
from tests.sandbox.hostile.host import Host
from tests.sandbox.hostile.programs import Case, bash, blocked, c, python

SECRETS = (
    *("/etc/shadow", "/etc/ssh", "/home", "/var", "/run", "/sys", "/root/.ssh", "/root/.bashrc", "/boot", "/mnt"),
    *("/srv", "/media", "/old", "/etc/hostname", "/etc/resolv.conf", "/proc/1/root/home", "HOST_FILE"),
)
UNWRITABLE = ("/x", "/usr/x", "/etc/x", "/etc/passwd", "/dev/x", "/opt/x", "/bin/sh", "/proc/x")
KERNEL_SETTINGS = (
    *("/proc/sys/kernel/core_pattern", "/proc/sys/kernel/hostname", "/proc/sys/kernel/domainname"),
    *("/proc/sys/kernel/pid_max", "/proc/sys/vm/overcommit_memory", "/proc/sys/fs/file-max"),
    *("/proc/sys/net/ipv4/ip_forward", "/proc/sys/user/max_user_namespaces", "/proc/sys/kernel/ns_last_pid"),
    *("/proc/sys/kernel/shmmax", "/proc/self/uid_map", "/proc/self/gid_map", "/proc/self/setgroups"),
)
NAMES = ("a\\nb", "-rf", "\\xff\\xfe", " ", "\\t", "$(reboot)", "*")


def odd_names_in_requests(host: Host) -> list[str]:
    """48. File names that a request gives: refused before anything starts, and never written elsewhere."""
    found = []
    for name in ("../x", "/etc/x", "a/../../x", "a\nb", "", ".", "\0", "x" * 300, "a/" * 40 + "b", "\ud800"):
        request = ExecutionRequest("print(1)", files={name: "text"}, lint=False)
        try:
            host.sandbox.execute(request)
        except Exception as error:  # noqa: BLE001 - whatever is raised is compared by name
            if type(error).__name__ != "InvalidRequestError":
                found.append(f"{name!r}: {error!r}")
        else:
            found.append(f"{name!r} was accepted")
    return found


CASES = (
    Case(
        "33",
        "read host secrets",
        (
            python(
                f"for path in {SECRETS!r}:\n"
                "    attempt(path, lambda: os.open(path, os.O_RDONLY), errno.ENOENT, errno.EACCES)\n"
                "print('BLOCKED environment' if not set(os.environ) - {'PATH', 'HOME', 'TMPDIR', 'LANG', "
                "'PYTHONDONTWRITEBYTECODE'} else f'ESCAPED {os.environ}')",
                blocked(*(path for path in SECRETS if path != "HOST_FILE"), "environment"),
            ),
        ),
    ),
    Case(
        "34",
        "write read-only places",
        (
            python(
                f"for path in {UNWRITABLE!r}:\n"
                "    attempt(path, lambda: open(path, 'w'), errno.EROFS, errno.EACCES, errno.ENOENT, errno.EPERM)\n"
                "attempt('stdlib', lambda: open(os.__file__, 'a'), errno.EROFS, errno.EACCES)\n"
                "attempt('interpreter', lambda: open(sys.executable, 'a'), errno.EROFS, errno.EACCES)\n"
                "attempt('remove', lambda: os.unlink(os.__file__), errno.EROFS, errno.EACCES)\n"
                "attempt('chmod', lambda: os.chmod('/usr', 0o777), errno.EROFS, errno.EPERM)\n",
                blocked(*UNWRITABLE, "stdlib", "interpreter", "remove", "chmod"),
            ),
        ),
    ),
    Case(
        "35",
        "escape through roots in proc",
        (
            python(
                """
                own = os.stat("/")
                for name, path in (("init", "/proc/1/root"), ("self", "/proc/self/root/.."), ("dots", "/" + "../" * 64)):
                    try:
                        there = os.stat(path)
                        same = (there.st_dev, there.st_ino) == (own.st_dev, own.st_ino)
                    except PermissionError:
                        same = True
                    print("BLOCKED" if same else "ESCAPED", name)
                for name in ("1", "self"):
                    attempt(name + " cwd", lambda: os.stat(f"/proc/{name}/cwd/../../HOST_FILE"), errno.EACCES, errno.ENOENT)
                """,
                blocked("init", "self", "dots", "1 cwd", "self cwd"),
            ),
        ),
    ),
    Case(
        "36",
        "read its init",
        (
            python(
                """
                for name in ("environ", "mem", "maps", "smaps", "stack", "auxv", "io", "syscall"):
                    attempt(name, lambda: open(f"/proc/1/{name}", "rb").read(1), errno.EACCES, errno.EPERM)
                for name in ("cwd", "exe", "root"):
                    attempt(name, lambda: os.readlink(f"/proc/1/{name}"), errno.EACCES)
                for name in ("fd", "map_files"):
                    attempt(name, lambda: os.listdir(f"/proc/1/{name}"), errno.EACCES, errno.EPERM)
                """,
                blocked("environ", "mem", "maps", "stack", "cwd", "exe", "root", "fd", "map_files"),
            ),
        ),
    ),
    Case(
        "37",
        "list other processes",
        (
            python(
                "pids = {p for p in os.listdir('/proc') if p.isdigit()}\n"
                "print('BLOCKED others' if pids == {'1', str(os.getpid())} else f'ESCAPED {pids}')",
                blocked("others"),
            ),
        ),
    ),
    Case(
        "38",
        "write kernel settings",
        (
            python(
                f"for path in {KERNEL_SETTINGS!r}:\n"
                "    attempt(path, lambda: os.write(os.open(path, os.O_WRONLY), b'1'), errno.EACCES, errno.EROFS, "
                "errno.EPERM, errno.ENOENT)",
                blocked(*KERNEL_SETTINGS),
            ),
        ),
    ),
    Case(
        "39",
        "kernel files in proc",
        (
            python(
                """
                for path in ("/proc/sysrq-trigger", "/proc/kcore", "/proc/kmsg", "/dev/kmsg", "/dev/mem"):
                    for flags in (os.O_RDONLY, os.O_WRONLY):
                        attempt(f"{path} {flags}", lambda: os.read(os.open(path, flags), 1), errno.EACCES, errno.EPERM,
                            errno.EROFS, errno.ENOENT, errno.EBADF)
                for name in ("cmdline", "kallsyms", "keys", "version_signature"):
                    text = open(f"/proc/{name}").read() if os.path.exists(f"/proc/{name}") else ""
                    print("BLOCKED" if not text else "ESCAPED", name)
                """,
                blocked("/proc/sysrq-trigger 1", "/proc/kcore 0", "/proc/kmsg 0", "cmdline", "kallsyms", "keys"),
            ),
        ),
    ),
    Case(
        "40",
        "links where results might be read",
        (
            python(
                """
                for name in ("report.xml", "result", "junit.xml", "solution", "a.out", "solution.pyc", "stdout"):
                    os.symlink("/etc/passwd", name)
                os.unlink("solution.py"); os.symlink("HOST_FILE", "solution.py")
                print("BLOCKED links", flush=True)
                """,
                blocked("links"),
                never="secret",
            ),
        ),
    ),
    Case(
        "41",
        "exchange input files and folders",
        (
            bash(
                """
                ln solution.sh linked; mv solution.sh moved
                mkdir other; mv moved other; cd ..; mv work elsewhere 2>/dev/null && mkdir work
                rm -rf work/* ; echo BLOCKED exchange
                """,
                blocked("exchange"),
            ),
            python(
                """
                os.rename("solution.py", "moved"); os.link("moved", "solution.py"); os.truncate("moved", 0)
                os.chdir("/"); os.rename("/sandbox/work", "/sandbox/gone"); os.symlink("/usr", "/sandbox/work")
                attempt("root", lambda: os.rename("/sandbox", "/gone"), errno.EACCES, errno.EPERM, errno.EROFS, errno.EBUSY)
                """,
                blocked("root"),
            ),
        ),
    ),
    Case(
        "42",
        "pipes where results might be read",
        (
            python(
                "for name in ('report.xml', 'result', 'a.out', 'solution'):\n    os.mkfifo(name)\n"
                "os.unlink('solution.py')\nos.mkfifo('solution.py')\nprint('BLOCKED pipes')",
                blocked("pipes"),
            ),
            bash("mkfifo report.xml a.out; rm solution.sh; mkfifo solution.sh; echo BLOCKED pipes", blocked("pipes")),
        ),
    ),
    Case(
        "43",
        "make devices",
        (
            python(
                "for kind in (0o20666, 0o60666):\n"
                "    attempt(f'{kind:o}', lambda: os.mknod('d', kind, os.makedev(1, 1)), errno.EPERM)",
                blocked("20666", "60666"),
            ),
        ),
    ),
    Case(
        "44",
        "devices that exist",
        (
            python(
                """
                allowed = {"null", "zero", "full", "random", "urandom", "fd", "stdin", "stdout", "stderr", "shm"}
                print("BLOCKED devices" if set(os.listdir("/dev")) == allowed else f"ESCAPED {os.listdir('/dev')}")
                for name in ("tty", "ptmx", "kvm", "fuse", "sda", "vda", "loop-control", "net/tun"):
                    attempt(name, lambda: os.open(f"/dev/{name}", os.O_RDWR), errno.ENOENT, errno.ENXIO)
                """,
                blocked("devices", "tty", "ptmx", "kvm", "fuse", "sda", "vda", "loop-control", "net/tun"),
            ),
            bash(
                'found=$(cd /dev; echo *)\n[ "$found" = "fd full null random shm stderr stdin stdout urandom zero" ] '
                "&& echo BLOCKED devices",
                blocked("devices"),
            ),
        ),
    ),
    Case(
        "45",
        "open by handle",
        (
            python(
                "handle = ctypes.create_string_buffer(b'\\x08\\0\\0\\0\\1\\0\\0\\0\\2' + bytes(64), 128)\n"
                "numbers = (303, 304) if os.uname().machine == 'x86_64' else (264, 265)\n"
                "attempt('name', lambda: raw(numbers[0], -100, b'/', handle, handle, 0), errno.EPERM)\n"
                "attempt('open', lambda: raw(numbers[1], -100, handle, 0), errno.EPERM)",
                blocked("name", "open"),
            ),
            c(
                """
                struct { struct file_handle head; unsigned char body[64]; } handle = {{8, 1}, {2}};
                int mount_id, root = open("/", O_RDONLY);
                attempt("name", name_to_handle_at(AT_FDCWD, "/", &handle.head, &mount_id, 0), EPERM);
                attempt("open", open_by_handle_at(root, &handle.head, O_RDONLY), EPERM);
                """,
                blocked("name", "open"),
            ),
        ),
    ),
    Case(
        "46",
        "programs with a set-user-id bit",
        (
            python(
                """
                import subprocess
                for command in (["su", "-c", "id -u"], ["mount", "-t", "tmpfs", "x", "/tmp"], ["sudo", "-n", "id", "-u"],
                        ["passwd", "-d", "root"], ["umount", "/proc"]):
                    try:
                        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
                        gained = done.returncode == 0 or done.stdout.strip() == "0"
                    except OSError:
                        gained = False
                    print("ESCAPED" if gained else "BLOCKED", command[0])
                with open("/proc/self/status") as f:
                    print("BLOCKED privileges" if "NoNewPrivs:\\t1" in f.read() else "ESCAPED")
                """,
                blocked("su", "mount", "sudo", "passwd", "umount", "privileges"),
            ),
            bash(
                "for name in su mount umount passwd; do $name -c id 2>/dev/null </dev/null | grep -q uid=0 || "
                "echo BLOCKED $name; done",
                blocked("su", "mount", "umount", "passwd"),
            ),
        ),
    ),
    Case(
        "47",
        "descriptors that were left open",
        (
            python(
                "found = sorted(os.listdir('/proc/self/fd'))\n"
                "print('BLOCKED descriptors' if found == ['0', '1', '2', '3'] else f'ESCAPED {found}')  # 3 lists them",
                blocked("descriptors"),
            ),
        ),
    ),
    Case(
        "48",
        "odd file names",
        (
            python(
                f"for name in ({', '.join(f'b{name!r}' for name in NAMES)},):\n"
                "    name = name.decode('unicode_escape').encode('latin-1')\n"
                "    with open(name, 'w'):\n        pass\nprint('BLOCKED names', len(os.listdir('.')))",
                (f"BLOCKED names {len(NAMES) + 1}",),
            ),
            bash("touch $'\\xff\\n' ./-rf $'a\\nb' '$(reboot)'; echo BLOCKED names", blocked("names")),
        ),
        act=odd_names_in_requests,
    ),
)
