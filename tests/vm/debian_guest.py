# SPDX-License-Identifier: Apache-2.0
"""A running system of manifests/debian-minimal.yaml, used through its root shell on the serial line."""

import itertools
import re
import time

import vm

BOOT_SECONDS = 240


def boot(disk, work, disks_before=(), **options):
    """Boots `disk` through UEFI firmware and waits for the shell. `work`: where the firmware keeps its
    variables and the console its log. `disks_before`: others, which the kernel lists first."""
    guest = DebianGuest(ovmf=True, variables=work / "variables.fd", disks=[*disks_before, disk],
                        boot_disk=len(disks_before), memory_mib=2048, processors=2,
                        network=True, log=work / "console.log", timeout=BOOT_SECONDS, **options)
    guest.wait_for_shell()
    return guest


def wait_until_good(guest):
    """Until the running release has proven itself, which it does without being asked."""
    guest.command("systemctl start cfs-bless.service")
    said = guest.command("cfs-deploy status")
    vm.check("(" in said and "  good\n" in said, f"the release is not good:\n{said}")


class DebianGuest(vm.Guest):
    _marks = itertools.count(1)

    def wait_for_shell(self, boots=1):
        """boots: as many boots may it take."""
        self._deadline = time.monotonic() + boots * BOOT_SECONDS
        self.expect(r"root@\S+:~# ")
        self.command("stty -echo; export PS1= PS2= TERM=dumb; dmesg -n 1", first=True)

    def command(self, command, check=True, first=False):
        """Runs one shell command in the guest and returns what it printed. VmError when it fails."""
        mark = f"mark-{next(self._marks)}"
        self._deadline = time.monotonic() + BOOT_SECONDS
        # Split in the command, so that an echo of what is typed is not taken for the answer.
        head, tail = mark.split("-")
        self.send(f"{{ {command}\n}} 2>&1; echo {head}'-'{tail}:$?:")
        match = self.expect(rf"([\s\S]*?){mark}:(\d+):\n")
        output = match.group(1).strip("\n")
        vm.check(not check or first or match.group(2) == "0", f"'{command}' failed with {match.group(2)}:\n{output}")
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", output)

    def power_off(self):
        self.send("poweroff")
        self.wait()

    def reboot(self):
        """Ends this machine; boot() the disk again."""
        self.send("reboot")
        self.wait()
