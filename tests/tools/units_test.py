#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The units of a device as they are installed: units_test.py BUILD WORK

Installs the component "device" into WORK and looks at it with systemd's own eyes: whatever is to be started at boot is
linked from a target, systemd loads all of it without a complaint or an ordering cycle, and none but the one that runs
other people's programs is exposed more than it need be."""

import os
import pathlib
import re
import shutil
import subprocess
import sys

MAX_EXPOSURE = 5.0
EXPOSED = {"cfs-health.service"}  # its checks are programs of the release and of the administrator
STARTED_AT_BOOT = {
    "local-fs.target.wants/cfs-var.service",
    "sysinit.target.wants/cfs-note-boot.service",
    "sysinit.target.wants/cfs-health-limit.service",
    "boot-complete.target.requires/cfs-health.service",
    "multi-user.target.wants/cfs-bless.service",
    "multi-user.target.wants/cfs-watch.service",
}
ENABLED_BY_MANIFESTS = {"cfs-update.timer"}
STARTED_BY_OTHERS = {"cfs-update.service", "cfs-ssh-keys.service", "cfs-end-trial.service"}  # the timer; sshd; the limit
RUNS_NOTHING = {"cfs-end-trial.service"}
OF_THE_IMAGE = ["/usr/bin/find", "/usr/bin/ssh-keygen", "/usr/bin/sync"]
HOST_UNITS = "/lib/systemd/system"


def check(condition, what):
    if not condition:
        sys.exit("units_test: " + what)


def run(*command, **more):
    return subprocess.run(command, capture_output=True, text=True, check=False, **more)


def install(build, root):
    shutil.rmtree(root, ignore_errors=True)
    done = run("cmake", "--install", build, "--component", "device", "--prefix", "/usr",
               env={**os.environ, "DESTDIR": str(root)})
    check(done.returncode == 0, "cannot install: " + done.stderr)
    return root / "usr/lib/systemd/system"


def check_links(units):
    links = {str(path.relative_to(units)) for path in units.rglob("*") if path.is_symlink()}
    check(links == STARTED_AT_BOOT, f"these links are installed: {sorted(links)}")
    for link in links:
        path = units / link
        check(path.resolve() == units / path.name, f"{link} leads elsewhere")
    known = {pathlib.Path(link).name for link in links} | ENABLED_BY_MANIFESTS | STARTED_BY_OTHERS
    files = {path.name for path in units.iterdir() if path.is_file()}
    check(files == known, f"nothing starts these, or they are missing: {sorted(files ^ known)}")
    for name in ENABLED_BY_MANIFESTS:
        check("\n[Install]\n" in (units / name).read_text(), f"{name} cannot be enabled")


def check_commands(root, units):
    """What a unit starts is installed, and is a command with options that there are."""
    for unit in sorted(units.glob("*.service")):
        if unit.name in RUNS_NOTHING:
            continue
        [line] = re.findall(r"^ExecStart=(.+)", unit.read_text(), re.M)
        program, *arguments = line.split()
        if program in OF_THE_IMAGE:
            continue
        program = root / program.lstrip("/")
        check(os.access(program, os.X_OK), f"{unit.name} starts {program}, which is not installed")
        help_text = run(program, arguments[0], "--help")
        is_known = help_text.returncode == 0 and set(arguments[1:]) <= set(re.findall(r"--[a-z-]+", help_text.stdout))
        check(is_known, f"{unit.name}: '{line}' is not known: {help_text.stderr}")


def check_loads(root, units):
    """Together with the units of this machine's systemd, as in an image."""
    beside = root / "lib/systemd/system"
    shutil.copytree(HOST_UNITS, beside, symlinks=True)
    names = sorted(path.name for path in units.iterdir() if path.is_file())
    done = run("systemd-analyze", "verify", "--man=no", "--recursive-errors=one", f"--root={root}",
               *names, "multi-user.target", "boot-complete.target")
    missing = [f"Command {program} is not executable" for program in OF_THE_IMAGE]
    ours = [line for line in done.stderr.splitlines()
            if ("cfs" in line or "cycle" in line) and not any(text in line for text in missing)]
    check(not ours, "systemd-analyze verify:\n" + "\n".join(ours))


def check_bless_boot(units):
    drop_in = (units / "systemd-bless-boot.service.d/10-cfs.conf").read_text()
    check("\nConditionPathIsDirectory=!/sysroot/cfs\n" in drop_in, "systemd-bless-boot.service would bless")


def check_ssh_keys(units):
    for unit in ("ssh.service", "ssh@.service", "sshd.service"):
        lines = (units / f"{unit}.d/10-cfs.conf").read_text().splitlines()
        check({"Wants=cfs-ssh-keys.service", "After=cfs-ssh-keys.service"} <= set(lines), f"{unit} does not wait for its keys")


def check_exposure(units):
    for unit in sorted(units.glob("*.service")):
        if unit.name in RUNS_NOTHING:
            continue
        done = run("systemd-analyze", "security", "--offline=true", "--no-pager", unit)
        found = re.search(r"exposure level for \S+: ([\d.]+)", done.stdout)
        check(found, f"systemd-analyze security {unit.name}: {done.stderr}")
        exposure = float(found.group(1))
        check(exposure <= MAX_EXPOSURE or unit.name in EXPOSED, f"{unit.name}: exposure {exposure}")
        print(f"{unit.name}: exposure {exposure}")


def main():
    build, work = sys.argv[1:]
    root = pathlib.Path(work).resolve()
    units = install(build, root)
    check_links(units)
    check_commands(root, units)
    check_bless_boot(units)
    check_ssh_keys(units)
    check_exposure(units)
    check_loads(root, units)


if __name__ == "__main__":
    main()
