# SPDX-License-Identifier: Apache-2.0
"""The life of a device: random commands, reboots, kills, failing calls and damage, one after the other.

    soak.py --build DIR [--operations N] [--seed N]

After each operation the device boots a release that it may boot, whole; what runs could be booted again; all records can
be read. The same seed does the same."""

import argparse
import pathlib
import random
import sys
import time

import directory_device
import faults
from directory_device import Broken, Device, World, check

RELEASES = 6
# Calls that a kill or a fault is aimed at: those that change something.
CALLS = ("openat2", "write", "fsync", "renameat2", "linkat", "symlinkat", "mkdirat", "unlinkat", "fchmod", "syncfs")


class Life:
    """A device, and what is known of it. Each method of OPERATIONS does one thing to it and says what."""

    def __init__(self, world, path, chance):
        self.world, self.chance = world, chance
        self.device = Device.make(world, path)
        self.offer = 1
        self.device.done("init")
        self.device.done("update", offer=1)
        self.running = self.device.reboot()
        self.ran = {self.running}

    @property
    def next(self):
        return self.device.boots()[0]

    def publish(self):
        before = self.next
        self.offer = min(self.offer + 1, RELEASES)
        check(self.next == before, "the boot loader's choice has changed by itself")
        return f"release {self.offer} is on offer"

    def update(self):
        self.device.done("update", offer=self.offer, allowed=(0, 10))
        check(self.next == self.offer, f"after an update to {self.offer} release {self.next} boots")
        check(not self.device.leftovers(), f"left behind: {self.device.leftovers()}")
        return f"update to {self.offer}"

    def rollback(self):
        run = self.device.deploy("rollback", offer=self.offer)
        if run.status == 1 and "there is no earlier good deployment" in run.text:
            return "rollback: nothing to go back to"
        check(run.status == 0, f"rollback: {run}")
        check(self.next in self.ran, f"after a rollback release {self.next} boots, which never ran")
        return f"rollback to {self.next}"

    def reboot(self):
        self.running = self.device.reboot()
        self.ran.add(self.running)
        return f"reboot into {self.running}"

    def _disturbed(self, fault):
        command = self.chance.choice(("update", "update", "rollback"))
        call = self.chance.choice(CALLS)
        number = self.chance.randint(1, self.chance.choice((3, 30, 150)))
        before = self.next
        inject = f"inject={call}:when={number}:" + (f"error={fault}" if fault else "signal=KILL")
        run = self.device.deploy(command, offer=self.offer,
                                 under=["strace", "-f", "--seccomp-bpf", "-o", "/dev/null", "-e", f"trace={call}", "-e", inject])
        check(run.status >= 0 or not fault, f"{command} crashed: {run}")
        may_boot = {before, self.offer} if command == "update" else {before, *self.ran}
        check(self.next in may_boot, f"release {self.next} boots, none of {may_boot}")
        return f"{command}, {call} number {number} {fault or 'killed'}: status {run.status}, {self.next} boots"

    def kill(self):
        return self._disturbed(None)

    def fault(self):
        call_faults = ("ENOSPC", "EIO", "EROFS", "EMFILE")
        return self._disturbed(self.chance.choice(call_faults))

    def damage(self):
        """An object of the newest release rots; the next update fetches it again."""
        self.update()
        objects = sorted(path for path in (self.device.sysroot / "cfs/objects").glob("??/*") if path.is_file())
        victim = self.chance.choice(objects)
        content = victim.read_bytes()
        kind = self.chance.choice(("flipped", "cut short", "removed"))
        victim.chmod(0o644)
        if kind == "flipped":
            where = self.chance.randrange(len(content))
            victim.write_bytes(content[:where] + bytes([content[where] ^ 1]) + content[where + 1:])
        elif kind == "cut short":
            victim.write_bytes(content[:len(content) // 2])
        else:
            victim.unlink()
        self.device.done("update", offer=self.offer, allowed=(0, 10))
        if not victim.exists() or victim.read_bytes() != content:
            # Of no use for the newest release: nobody has fetched it.
            check(self.next == self.offer, "the newest release is damaged")
            victim.unlink(missing_ok=True)
            victim.write_bytes(content)
            victim.chmod(0o444)
            return f"{kind} object of an older release"
        return f"{kind} object repaired"

    def check(self):
        """What must hold always."""
        self.device.boots(keeps=(self.running,))
        status = self.device.done("status")
        check("damaged" not in status.text, f"status: {status.text}")


# name → how often
OPERATIONS = {Life.publish: 3, Life.update: 5, Life.rollback: 4, Life.reboot: 6, Life.kill: 8, Life.fault: 6, Life.damage: 2}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", required=True, type=pathlib.Path)
    parser.add_argument("--operations", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    started = time.monotonic()
    programs = {name: options.build.resolve() / folder / name for name, folder in faults.PROGRAMS.items()}
    chance = random.Random(options.seed)
    history = []
    with directory_device.work_directory() as directory:
        work = pathlib.Path(directory)
        life = Life(World(programs, work, RELEASES), work / "device", chance)
        for number in range(1, options.operations + 1):
            [operation] = chance.choices(list(OPERATIONS), list(OPERATIONS.values()))
            try:
                history.append(operation.__name__)
                history[-1] = operation(life)
                life.check()
            except Broken as error:
                for index, line in enumerate(history, start=1):
                    print(f"{index:4} {line}")
                print(f"WRONG after operation {number}, seed {options.seed}: {error}")
                sys.exit(1)
    print(f"{options.operations} operations in {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
