#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Releases that fail, on a real Debian: one that is not in good health, one in which systemd hangs until the hardware
watchdog resets the machine, one whose kernel panics, one whose cfs-deploy cannot run. Each time the release before it
boots again by itself, and says why.

    debian_fallback_test.py --build DIR --work DIR [--only sick|hanging|panicking|broken]

--build: the build tree with the programs, `programs` built."""

import argparse

import debian_guest
import vm
from debian_guest import wait_until_good
from debian_line import Server, line_of_arguments

ONE_TRY = """
  - {path: /usr/lib/cfs/deploy.yaml, content: "tries: 1\\n"}
"""
# Whoever sees a shell knows by it that the good release runs.
NO_SHELL = """
  - {path: /etc/systemd/system/serial-getty@ttyS0.service, symlink: /dev/null}
"""
SICK = NO_SHELL + """
  - path: /usr/lib/cfs/health.d/required/page
    mode: 0755
    content: |
      #!/bin/sh
      echo no page
      exit 3
"""


def service(script):
    """Runs a line of shell before the system is up."""
    return NO_SHELL + f"""
  - path: /usr/lib/systemd/system/test.service
    content: |
      [Unit]
      DefaultDependencies=no
      After=sysinit.target systemd-pstore.service
      [Service]
      Type=oneshot
      ExecStart=/bin/sh -c '{script}'
  - {{path: /usr/lib/systemd/system/basic.target.requires/test.service, symlink: ../test.service}}
"""


# systemd that has crashed stands still, and no longer tells the watchdog that it lives.
HANGING = service("until grep -q ^active /sys/class/watchdog/watchdog0/state; do sleep 1; done; kill -ABRT 1; sleep 1000")
PANICKING = service("echo c >/proc/sysrq-trigger")

# No check of its health runs, and nothing that ends its trial but systemd (cfs-end-trial.service), after ten minutes.
BROKEN = NO_SHELL + """
  - {path: /usr/bin/cfs-deploy, content: "", mode: 0755}
"""

# name → (what it brings, what is said of it)
FAILING = {"sick": (SICK, "the check 'page' failed with status 3: no page"),
           "hanging": (HANGING, "it hung; the watchdog reset the machine"),
           "panicking": (PANICKING, "the kernel panicked: Kernel panic - not syncing: sysrq triggered crash"),
           "broken": (BROKEN, "it was not proven healthy: it never came as far as cfs-deploy")}


def check_falls_back(guest, number, reason):
    """A device that runs release 1 and boots `number` next tries it, and comes back."""
    guest.send("reboot")
    guest.wait_for_shell(boots=5)  # two, and the ten minutes
    said = guest.command("cfs-deploy status")
    print(said)
    vm.check(said.startswith(f"debian-minimal 1 is running and boots next. {number} failed: {reason}.\n"), "status does not say why")
    vm.check(f"{number} failed: {reason}" in guest.command("cat /run/motd.d/cfs"), "nothing is told at login")
    vm.check(f"{number} failed: {reason}" in guest.command("journalctl -b -u cfs-note-boot.service -o cat"), "the journal lacks it")
    history = guest.command("cfs-deploy history")
    print(history)
    vm.check(history.count(reason) == 1, f"the history says otherwise:\n{history}")
    said = guest.command("cfs-deploy update; echo $?", check=False)
    vm.check(f"held: debian-minimal {number}" in said and said.endswith("\n10"), f"it is taken again: {said}")
    wait_until_good(guest)


def scenario():
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", choices=FAILING)
    line, options = line_of_arguments(parser)
    line.build(1, ONE_TRY)
    vm.run("cfs-sign", "init", line.repository, "--keys", line.keys)
    line.publish(1)
    server = Server(line.repository)
    disk = line.work / "disk.img"
    vm.run("cfs-deploy", "install", "--disk", disk, "--url", f"file://{line.repository}", "--device-url",
           f"http://10.0.2.2:{server.port}", "--root", line.repository / "metadata/1.root.json", "--name", "debian-minimal")
    with debian_guest.boot(disk, line.work, reboots=True, arguments=["-device", "i6300esb"]) as guest:
        wait_until_good(guest)
        for number, name in enumerate([options.only] if options.only else FAILING, start=2):
            files, reason = FAILING[name]
            line.build(number, files)
            line.publish(number)
            guest.command("cfs-deploy update")
            check_falls_back(guest, number, reason)
        guest.power_off()


if __name__ == "__main__":
    vm.main(scenario)
