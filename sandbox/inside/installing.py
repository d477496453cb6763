"""Run pip behind a wall of its own: with the host's network, without anything of a candidate, without the host's files.

A short-lived sandbox built from the pieces of the template: the same read-only root, an unprivileged user, fresh user,
pid, mount, ipc, uts and cgroup namespaces, no capabilities, the same system-call filter. Added are what names hosts
and certificates, what the operator's configuration of pip names, and one writable folder, from which nothing can be
executed. pip runs in this very process, which can start no other: a package that pip would have to build, which means
to run, fails, however pip came to it. Ends with pip's exit status; started by `sandbox/installer.py`. Not covered:
where the index redirects pip to, since the network is the host's.
"""

import os
import resource
import runpy
import sys
from typing import Any, NoReturn

from sandbox.inside import seccomp, syscalls, template

SETUP_FAILED = 125  # pip has no such status
PLACE = "/install"  # the writable folder inside
NETWORK_ETC = ("hosts", "resolv.conf", "nsswitch.conf", "host.conf", "gai.conf")
CERTIFICATES = ("/etc/ssl/certs", "/etc/ssl/openssl.cnf", "/etc/pki", "/etc/ca-certificates")
N_OPEN_FILES = 1024
NAMESPACES = (
    syscalls.CLONE_NEWNS
    | syscalls.CLONE_NEWPID
    | syscalls.CLONE_NEWIPC
    | syscalls.CLONE_NEWUTS
    | syscalls.CLONE_NEWCGROUP
)


def main(config: dict[str, Any]) -> NoReturn:
    """Build the sandbox and become pip in it; the process outside waits and exits as pip did. Never returns.

    Without a template, where namespaces cannot be made, what remains are the limits and the filter.
    """
    try:
        if config["template"] is not None:
            syscalls.machine()
            init = _enter(config)
            if init:
                _, status = os.waitpid(init, 0)
                os._exit(_exit_code(status))
            os.chdir(PLACE)
        _close_in(config)
    except (template.SetupError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        sys.stderr.flush()
        os._exit(SETUP_FAILED)
    os.environ.clear()
    os.environ.update(config["environment"])
    sys.path[:] = [*(path for path in sys.path if path != config["source_root"]), config["pip_path"]]
    sys.argv[:] = ["pip", *config["options"]]
    runpy.run_module("pip", run_name="__main__", alter_sys=True)
    sys.exit(0)


def _exit_code(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code  # as shells write signals


def _enter(config: dict[str, Any]) -> int:
    """Make the namespaces and the root; return 0 in their first process and its pid outside of them."""
    uid, gid = os.getuid(), os.getgid()
    os.umask(0o022)
    if uid != 0:
        template.step("making a user namespace", lambda: syscalls.unshare(syscalls.CLONE_NEWUSER))
        syscalls.map_identity(template.NOBODY, uid, gid)
    template.step("making the namespaces", lambda: syscalls.unshare(NAMESPACES))
    template.step("building the root", lambda: _build(config))
    pid = os.fork()
    if pid:
        return pid
    template.leave_host(config["template"]["root"])
    if uid == 0:
        template.drop_root()
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, 9)
    return 0


def _build(config: dict[str, Any]) -> None:
    root = config["template"]["root"]
    template.build_root(root, template.TemplateConfig(**config["template"]))
    for name in NETWORK_ETC:
        source = os.path.realpath(f"/etc/{name}")  # resolv.conf is a link on many hosts
        if os.path.exists(source):
            template.bind(root, source, f"/etc/{name}")
    scratch = f"{root}/tmp"  # noqa: S108 - a link to a job's own; here the operator's folders may lie below it
    os.unlink(scratch)
    os.mkdir(scratch)
    for path in (*CERTIFICATES, *config["readable"]):
        if os.path.exists(path) and not os.path.exists(root + path):
            template.bind(root, os.path.realpath(path), path)
    os.mkdir(root + PLACE)
    syscalls.mount(config["folder"], root + PLACE, None, syscalls.MS_BIND)
    syscalls.lock_data_only(root + PLACE)


def _close_in(config: dict[str, Any]) -> None:
    """Give up everything that pip does not need."""
    limits = config["limits"]
    for kind, value in (
        (resource.RLIMIT_FSIZE, limits["file_bytes"]),
        (resource.RLIMIT_DATA, limits["memory_bytes"]),
        (resource.RLIMIT_CPU, limits["cpu_s"]),
        (resource.RLIMIT_NOFILE, N_OPEN_FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(kind)
        bounded = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (bounded, bounded))
    if sys.platform != "linux":
        return  # the rest is of Linux; only the tier `none` comes here
    syscalls.close_from(3)
    syscalls.drop_capabilities()
    syscalls.install_filter(seccomp.assemble())
    syscalls.install_filter(seccomp.assemble_no_processes())
