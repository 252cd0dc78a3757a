# SPDX-License-Identifier: Apache-2.0
"""The life of a device: random commands, reboots, kills, failing calls and damage, one after the other.

    soak.py --build DIR [--operations N] [--seed N]

After each operation the device boots a release, whole; if all fail that were not proven good, one boots that was; all
records can be read; the recovery boots when the entries of all others are gone; and what the next boot is asked to
forget is still asked for. The same seed does the same."""

import argparse
import pathlib
import random
import re
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
        self.good = set()  # releases that have proven good and were not marked bad since
        self.pinned = None  # a release
        self.retried = set()  # releases that may have been taken again since, as if they were new
        self.recovery = None  # a release; None, too, when a command that was stopped may have changed it
        self.asked_to_reset = set()  # what the next boot is to forget
        self.unsure = set()  # those of which a command that was stopped may have said so, or the contrary
        self.device.done("init")
        self.device.done("update", offer=1)
        self.running = self.device.reboot()
        self.bless()

    @property
    def next(self):
        return self.device.boots()

    def publish(self):
        self.offer = min(self.offer + 1, RELEASES)
        return f"release {self.offer} is on offer"

    def update(self):
        run = self.device.done("update", offer=self.offer, allowed=(0, 10))
        if "held: " in run.text:
            return f"update: {self.offer} is held"
        if "in the last try of its trial" in run.text:
            return f"update: {self.offer} runs for the last time"
        check(self.next == self.offer, f"after an update to {self.offer} release {self.next} boots")
        check(not self.device.leftovers(), f"left behind: {self.device.leftovers()}")
        return f"update to {self.offer}"

    def retry(self):
        self.retried.add(self.offer)
        self.device.done("update", "--retry", offer=self.offer, allowed=(0, 10))
        check(self.next == self.offer, f"after an update to {self.offer} release {self.next} boots")
        return f"update --retry to {self.offer}"

    def _switch(self, *words):
        """A command that chooses another release, or says why there is none."""
        run = self.device.deploy(*words)
        check(run.status in (0, 1, 10), f"{words[0]}: {run}")
        check(run.status == 0 or re.search("no earlier good|no update is staged|nothing whole", run.text), f"{words[0]}: {run}")
        return f"{words[0]}: {self.next} boots" if run.status == 0 else f"{words[0]}: nowhere to go"

    def rollback(self):
        return self._switch("rollback")

    def cancel(self):
        return self._switch("cancel")

    def mark_bad(self):
        said = self._switch("mark-bad", "--late", "--reason", "smell")
        if "boots" in said:
            self._judge(self.running, is_good=False)
        return said

    def _judge(self, release, is_good):
        """None: nobody knows."""
        for judged, belongs in ((self.good, is_good), (self.unsure, is_good is None)):
            (judged.add if belongs else judged.discard)(release)

    def bless(self):
        self.device.done("health")
        run = self.device.deploy("bless")
        if run.status and self.running in self.unsure and "stays bad: it was marked bad" in run.text:
            self._judge(self.running, is_good=False)  # by a mark-bad that did not get any further
            return f"bless {self.running}: marked bad"
        check(run.status == 0, f"bless: {run}")
        self._judge(self.running, is_good=True)
        self.retried.discard(self.running)
        return f"bless {self.running}"

    def _start(self):
        self.running = self.device.reboot()
        self.asked_to_reset = set()
        return self.running

    def reboot(self):
        return f"reboot into {self._start()}"

    def reboot_and_bless(self):
        return f"{self.reboot()}, {self.bless()}"

    def reboots_that_fail(self):
        """Boots end before anything of ours runs, until one is good."""
        for _ in range(self.chance.randint(1, 4)):
            if self._start() in self.good:
                break
        self.device.done("note-boot")
        return f"boots that fail; {self.running} runs"

    def gc(self):
        return self.device.done("gc").text.strip()

    def fetch(self):
        """And what comes of it later."""
        before = self.next
        self.device.done("fetch", offer=self.offer, allowed=(0, 10))
        check(self.next == before, f"after a fetch release {self.next} boots")
        return f"fetch {self.offer}"

    def apply(self):
        run = self.device.done("apply", allowed=(0, 10))
        return f"apply: {self.next} boots" if run.status == 0 else "apply: nothing waits"

    def pin(self):
        """A release is kept from now on, and the one before it no more."""
        installed = re.findall(r"^(?:booted|staged|previous|other) +test (\d+) .*\n +image ([0-9a-f]{64})$", self.device.done("status").text, re.M)
        number, digest = self.chance.choice(installed)
        run = self.device.deploy("pin", digest[:12])
        if run.status:
            check("garbage collection has removed it" in run.text, f"pin: {run}")
            return f"pin {number}: it is gone"
        if self.pinned and self.pinned != int(number):
            self.device.done("unpin", f"@{self.pinned}")
        self.pinned = int(number)
        return f"pin {number}"

    def boot_pinned(self):
        """All of it is there still."""
        if not self.pinned:
            return "nothing is pinned"
        self.device.done("boot", f"@{self.pinned}", "--no-way-back")
        check(self.next == self.pinned, f"release {self.next} boots, not the pinned {self.pinned}")
        return f"boot the pinned {self.pinned}"

    def _any_good(self):
        """A release that has proven good, as a command names it; the running one if none has."""
        return self.chance.choice(sorted(self.good) or [self.running])

    def boot_good(self):
        """Any that has proven good, unless it is gone since; the recovery and what is pinned are not."""
        number = self._any_good()
        run = self.device.deploy("boot", f"@{number}")
        if run.status and re.search("garbage collection has removed it|no deployment has the id", run.text):
            check(number not in (self.running, self.recovery, self.pinned), f"boot {number}: {run}")
            return f"boot {number}: it is gone"
        check(run.status == 0 or "nothing whole is left" in run.text, f"boot {number}: {run}")
        check(run.status or self.next == number, f"after 'boot {number}' release {self.next} boots")
        return f"boot {number}: status {run.status}"

    def set_recovery(self):
        number = self._any_good()
        run = self.device.deploy("recovery", "set", f"@{number}")
        if run.status and re.search("garbage collection has removed it|no deployment has the id", run.text):
            check(number not in (self.running, self.recovery, self.pinned), f"recovery set {number}: {run}")
            return f"recovery set {number}: it is gone"
        if run.status and "was not proven good here" in run.text:
            check(number not in self.good or number in self.unsure | self.retried, f"recovery set {number}: {run}")
            return f"recovery set {number}: it is not good"
        check(run.status == 0, f"recovery set {number}: {run}")
        self.recovery = number
        return f"recovery set {number}"

    def clear_recovery(self):
        run = self.device.done("recovery", "clear", allowed=(0, 10))
        check(run.status == 0 or not self.recovery, f"there is no recovery, but {self.recovery} was set")
        self.recovery = None
        return f"recovery clear: status {run.status}"

    def reset(self):
        """What the next boot forgets adds up."""
        options = self.chance.choice((["--etc"], ["--var"], ["--etc", "--var"], ["--all"]))
        self.device.done("reset", *options)
        self.asked_to_reset |= faults.asked_by(" ".join(["reset", *options]))
        return f"reset {' '.join(options)}"

    def _disturbed(self, fault):
        command = self.chance.choice((["update"], ["update"], ["rollback"], ["bless"], ["mark-bad", "--late"], ["cancel"], ["note-boot"],
                                      ["update", "--retry"], ["gc"], ["gc"], ["fetch"], ["apply"], ["boot", f"@{self._any_good()}"],
                                      ["recovery", "set", f"@{self._any_good()}"], ["recovery", "clear"], ["reset", "--var"],
                                      ["reset", "--all"]))
        call = self.chance.choice(CALLS)
        number = self.chance.randint(1, self.chance.choice((3, 30, 150)))
        inject = f"inject={call}:when={number}:" + (f"error={fault}" if fault else "signal=KILL")
        run = self.device.deploy(*command, offer=self.offer,
                                 under=[*faults.STRACE, "-o", "/dev/null", "-e", f"trace={call}", "-e", inject])
        check(run.status >= 0 or not fault, f"{command[0]} crashed: {run}")
        if command[0] in ("bless", "mark-bad"):
            self._judge(self.running, is_good=command[0] == "bless" if run.status == 0 else None)
        if "--retry" in command:
            self.retried.add(self.offer)
        if command[0] == "recovery":
            self.recovery = int(command[2][1:]) if run.status == 0 and command[1] == "set" else None
        if command[0] == "reset":
            asked = self.device.asked_to_reset()
            wanted = self.asked_to_reset | faults.asked_by(" ".join(command))
            check(asked == wanted or run.status and asked == self.asked_to_reset, f"the next boot resets {asked}, not {wanted}")
            self.asked_to_reset = asked
        return f"{' '.join(command)}, {call} number {number} {fault or 'killed'}: status {run.status}, {self.next} boots"

    def kill(self):
        return self._disturbed(None)

    def fault(self):
        return self._disturbed(self.chance.choice(("ENOSPC", "EIO", "EROFS", "EMFILE")))

    def damage(self):
        """An object rots; the next update fetches it again if the newest release needs it, and fsck if another one does."""
        self.retry()
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
        check(self.next == self.offer, f"release {self.next} boots")
        if victim.exists() and victim.read_bytes() == content:
            return f"{kind} object repaired"
        self.device.done("fsck", "--repair", offer=self.offer)
        self.device.done("fsck", offer=self.offer)
        return f"{kind} object of an older release"

    def lose_record(self):
        """Of what a device has twice one is lost; whoever changes something next puts it back."""
        records = self.device.sysroot / "cfs"
        name = self.chance.choice(("meta.json", "origin.json", "trust/root.json"))
        original, copy = records / name, records / "copies" / pathlib.Path(name).name
        content = original.read_bytes()
        victim = self.chance.choice((original, copy))
        kind = self.chance.choice(("removed", "zeroed", "cut short"))
        if kind == "removed":
            victim.unlink()
        else:
            victim.write_bytes(bytes(len(content)) if kind == "zeroed" else content[:len(content) // 2])
        self.device.done("gc")
        check(original.read_bytes() == content == copy.read_bytes(), f"{victim}, {kind}, is not put back")
        return f"{kind} {victim.relative_to(records)}"

    def check(self):
        """What must hold always."""
        self.device.boots()
        if self.good:
            self.device.check_falls_back(self.good | self.unsure)
        if self.recovery:
            self.device.boots_alone(self.recovery)
        asked = self.device.asked_to_reset()
        check(asked == self.asked_to_reset, f"the next boot resets {asked}, not {self.asked_to_reset}")
        status = self.device.done("status")
        check("damaged" not in status.text, f"status: {status.text}")


# name → how often
OPERATIONS = {Life.publish: 3, Life.update: 6, Life.retry: 2, Life.rollback: 2, Life.cancel: 2, Life.mark_bad: 1, Life.reboot: 3,
              Life.reboot_and_bless: 8, Life.reboots_that_fail: 2, Life.kill: 9, Life.fault: 7, Life.damage: 2, Life.gc: 3, Life.fetch: 1,
              Life.apply: 1, Life.pin: 1, Life.boot_pinned: 1, Life.boot_good: 2, Life.set_recovery: 2, Life.clear_recovery: 1,
              Life.reset: 1, Life.lose_record: 1}


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
        life = Life(World.make(programs, work, RELEASES), work / "device", chance)
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
