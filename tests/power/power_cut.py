# SPDX-License-Identifier: Apache-2.0
"""A device whose power goes at any instant boots the release it had or the new one, whole, and can be updated.

    power_cut.py --cache DIR --work DIR --build DIR [--random N] [--cuts N] [--boots N] [--seed N]

A device boots through firmware and boot loader and runs the commands of SESSIONS, while QEMU logs every write and flush
of its disk. For each flush of the log, and for `random` points between, the disk is made as the cut would have left it
(write_log.py), and followed on this machine as the firmware, the boot loader and the initramfs would (check_disk()).
Then the next release is installed on it, on this machine, where only fs-verity is missing. `boots` of the disks are
started for real and updated there, too. With `cuts` only so many of all are looked at, taken at random."""

import argparse
import concurrent.futures
import dataclasses
import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import time

from directory_device import Broken, Device, World, check, next_boot
import tiny_device
from tiny_device import vm
import write_log

PROGRAMS = {"cfs-build": "builder", "cfs-sign": "signer", "cfs-deploy": "deployer", "cfs-mount-root": "initramfs",
            "boot_chain": "tests/power", "deploy_without_verity": "tests/power",
            "mend_superblock": "tests/power"}


@dataclasses.dataclass(frozen=True)
class Verb:
    """A command of a session. may_boot: releases that boot if it did not finish; boots: the one that does when it has;
    good: releases of which one boots in the end, if all others fail; kept: those that boot when somebody wants them to,
    after another update too."""

    name: str
    command: str
    may_boot: tuple
    boots: int
    good: tuple
    kept: tuple = ()


@dataclasses.dataclass(frozen=True)
class Session:
    """From power on to power off, with release `offer` the newest. boots: the release that does; may_boot, good, kept: until
    the first command begins. is_reset: it was asked for before."""

    offer: int
    boots: int
    may_boot: tuple
    good: tuple
    verbs: tuple
    kept: tuple = ()
    is_reset: bool = False


# The image of the release that boots if all else fails is lost.
DAMAGE = ("mkdir -p /run/disk && mount -t ext4 /dev/vda2 /run/disk && "
          "image=$(cfs-deploy status | sed -n '/^previous/{n;s/ *image //p}') && "
          "rm /run/disk/cfs/objects/$(echo $image | cut -c1-2)/$(echo $image | cut -c3-) && sync && umount /run/disk")

# The image of the release that is shown on a line with these words.
IMAGE_OF = "$(cfs-deploy status | sed -n '/^{}/{{n;s/ *image //p}}' | cut -c1-12)"
MARKER = "state/var/marker"

# What is known then is that an image is missing.
DAMAGED = ("begin damage", "end damage", "begin repair")

# On offer after every cut.
LAST = 4

# The boot loader counts boots by renaming the entry, and may lose it then: the device falls back.
SESSIONS = [
    Session(2, 1, (1,), (), (Verb("health", "cfs-deploy health", (1,), 1, ()),
                          Verb("bless", "cfs-deploy bless", (1,), 1, ()),
                          Verb("update", "cfs-deploy update", (1,), 2, (1,)))),
    Session(2, 2, (1, 2), (1,), (Verb("note-boot", "cfs-deploy note-boot", (1, 2), 2, (1,)),
                              Verb("health", "cfs-deploy health", (1, 2), 2, (1,)),
                              Verb("bless", "cfs-deploy bless", (1, 2), 2, (1, 2)),
                              Verb("rollback", "cfs-deploy rollback", (2,), 1, (1, 2)),
                              Verb("cancel", "cfs-deploy cancel", (1,), 2, (1, 2)),
                              Verb("mark-bad", "cfs-deploy mark-bad --reason smell", (2,), 1, (1, 2)))),
    Session(2, 1, (1,), (1,), (Verb("retry", "cfs-deploy update --retry", (1,), 2, (1,)),)),
    Session(2, 2, (1, 2), (1,), (Verb("proof", "cfs-deploy health && cfs-deploy bless", (1, 2), 2, (1, 2)),
                              Verb("gc", "cfs-deploy gc", (2,), 2, (1, 2)),
                              Verb("damage", DAMAGE, (2,), 2, (2,)),
                              Verb("repair", "cfs-deploy fsck --repair", (2,), 2, (2,)),
                              Verb("fill", f"touch /var/{MARKER.rsplit('/', 1)[1]} && sync", (2,), 2, (1, 2)),
                              Verb("reset", "cfs-deploy reset --all", (2,), 2, (1, 2)))),
    # cfs-mount-root does what the reset asks for.
    Session(3, 2, (2,), (1, 2), (Verb("pin", f"cfs-deploy pin {IMAGE_OF.format('previous')}", (2,), 2, (1, 2)),
                                 Verb("third", "cfs-deploy update", (2,), 3, (2,), (1,))), is_reset=True),
    Session(3, 3, (2, 3), (2,), (Verb("proof", "cfs-deploy health && cfs-deploy bless", (2, 3), 3, (2, 3), (1,)),
                                 Verb("unpin", f"cfs-deploy unpin {IMAGE_OF.format('.* pinned$')}", (3,), 3, (2, 3)),
                                 Verb("collect", "cfs-deploy gc", (3,), 3, (2, 3))), (1,), is_reset=True),
]


def run(*arguments, allowed=(0,), timeout=300):
    """Runs a program, and returns its exit status and what it said."""
    arguments = [vm.tool(str(arguments[0])), *map(str, arguments[1:])]
    done = subprocess.run(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", timeout=timeout)
    if done.returncode not in allowed:
        raise Broken(f"{' '.join(arguments)}: exit status {done.returncode}\n{done.stdout}")
    return done.returncode, done.stdout


def extract_fat(image, directory):
    """The files of a FAT file system. One that cannot be read, since it was being written, is empty."""
    _, listing = run("mdir", "-b", "-/", "-i", image, "::/")
    for path in (line.removeprefix("::/") for line in listing.splitlines()):
        if path.endswith("/"):
            (directory / path).mkdir(parents=True, exist_ok=True)
            continue
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        status, _ = run("mcopy", "-n", "-i", image, f"::/{path}", directory / path, allowed=(0, 1))
        if status:
            (directory / path).write_bytes(b"")


class Checker:
    """Looks at disks, whose partitions are those of `table`. work: a directory of its own."""

    def __init__(self, world, table, work):
        self._world, self._work = world, work
        self._esp, self._root = ((part["start"] * 512, part["size"] * 512) for part in table)
        work.mkdir(parents=True, exist_ok=True)

    def check_disk(self, disk, state, update_to, is_reset):
        """Returns the number of the release that boots. update_to: the release that is on offer, or None for no update.
        is_reset: as of Session. Raises Broken."""
        good = state.good
        root, esp = self._work / "root.img", self._work / "esp.img"
        write_log.copy_sparse(disk, root, *self._root)
        write_log.copy_sparse(disk, esp, *self._esp)
        # As cfs-mount-root does, and the kernel's replay of the journal.
        run(self._world.programs["mend_superblock"], root)
        run("e2fsck", "-p", root, allowed=(0, 1))
        run("e2fsck", "-fn", root)
        # The firmware reads it as it is; whoever writes to it next has repaired it.
        device = self._device(esp)
        booted = self._follow(device, root, good)
        was_repaired, _ = run("fsck.vfat", "-a", esp, allowed=(0, 1))
        if was_repaired:
            run("fsck.vfat", "-n", esp)
            device = self._device(esp)
            repaired = self._follow(device, root, good)
            check(booted == repaired, f"release {booted} boots, but {repaired} when the ESP was repaired")
        check(booted in state.may_boot, f"release {booted} boots, which is none of {sorted(state.may_boot)}")
        if update_to:
            _, said = run("debugfs", "-R", f"rdump /cfs {device.sysroot}", root)
            check(not re.search(r"^(?!debugfs 1\.)\S", said, re.M), f"debugfs: {said}")
            is_to_be_reset = (device.sysroot / "cfs/state/reset").exists()
            check(not is_reset or is_to_be_reset or not (device.sysroot / "cfs" / MARKER).exists(), "half a reset is forgotten")
            self._update(device, update_to, state.moment in DAMAGED)
            for number in state.kept:
                device.done("boot", f"@{number}")
                check(device.boots() == number, f"release {device.boots()} boots instead of {number}, which was kept")
        return booted

    def _device(self, esp_image):
        shutil.rmtree(self._work / "device", ignore_errors=True)
        device = Device.make(self._world, self._work / "device")
        extract_fat(esp_image, device.esp)
        return device

    def _follow(self, device, root, good):
        keeps = (device.check_falls_back(good),) if good else ()
        return next_boot(self._world, device.esp, "--ext4", root, keeps=keeps)[0]

    def _update(self, device, number, is_damaged):
        """The device starts and installs release `number`; fs-verity apart."""
        device.reboot()
        status = device.done("status")
        check(is_damaged or "damaged" not in status.text, status.text)
        device.done("update", offer=number)
        check(device.boots() == number, f"after an update to {number} release {device.boots()} boots")
        check(not device.leftovers(), f"left behind: {device.leftovers()}")


@dataclasses.dataclass(frozen=True)
class State:
    """What holds at a moment of a session: as of Verb."""

    may_boot: frozenset
    good: tuple
    kept: tuple
    moment: str


@dataclasses.dataclass
class Recording:
    """A session: the disk before, the log, and the firmware's variables after."""

    base: pathlib.Path
    log_path: pathlib.Path
    variables: pathlib.Path
    session: Session

    def load(self):
        """The log, and for each flush and each number of writes since: the State."""
        log = write_log.WriteLog(self.log_path)
        verbs = {verb.name: verb for verb in self.session.verbs}
        state, states = State(frozenset(self.session.may_boot), self.session.good, self.session.kept, "boot"), []
        for writes in log.epochs:
            row = [state]
            for write in writes:
                if write.offset == tiny_device.MARK_SECTOR * 512:
                    moment, name = bytes(write.data).rstrip(b"\0").decode().split()
                    may_boot = {verbs[name].boots} | (set(verbs[name].may_boot) if moment == "begin" else set())
                    state = State(frozenset(may_boot), verbs[name].good, verbs[name].kept, f"{moment} {name}")
                row.append(state)
            states.append(row)
        missing = {f"end {name}" for name in verbs} - {state.moment for row in states for state in row}
        vm.check(not missing, f"{self.log_path}: marks missing: {missing}")
        return log, states

    @staticmethod
    def state(states, cut):
        """The state that the cut came in."""
        return states[cut.flushes][cut.writes]

    @staticmethod
    def ends(states):
        """The cuts right after a command has ended, when nothing that was not flushed is there."""
        return [write_log.Cut(flushes, number) for flushes, row in enumerate(states) for number in range(1, len(row))
                if row[number].moment.startswith("end ") and row[number] != row[number - 1]]


def record(disk, offers, sessions, work):
    """Runs the sessions one after the other and returns their recordings; `disk` is changed. offers: the disks with the
    repository, by the release that is the newest in it."""
    recordings = []
    variables = work / "device.variables"
    for number, session in enumerate(sessions):
        base = vm.copy_disk(disk, work / f"session-{number}.img")
        log = work / f"session-{number}.writes"
        script = "".join(f"{verb.name} {verb.command}\n" for verb in session.verbs)
        with tiny_device.boot(disk, offers[session.offer], script, work, f"session-{number}", variables=variables, write_log=log,
                              timeout=300) as guest:
            text = guest.wait()
        vm.check(re.search(rf"^guest: booted [0-9a-f]{{64}} release {session.boots}$", text, re.M), f"another release booted:\n{text[-3000:]}")
        for verb in session.verbs:
            vm.check(f"guest: {verb.name} ended with 0\n" in text, f"{verb.name} failed:\n{text[-3000:]}")
        kept = work / f"session-{number}.variables"
        shutil.copyfile(variables, kept)
        recordings.append(Recording(base, log, kept, session))
    return recordings


def check_part(job):
    """One worker's share of the cuts of a recording. Returns the failures, and how many disks of each kind there were."""
    recording, cuts, (programs, releases, repository, table), work, update_to = job
    log, states = recording.load()
    checker = Checker(World(programs, releases, lambda _: f"file://{repository}"), table, work)
    replay = write_log.Replay(log, recording.base, work / "durable.img")
    state_disk = work / "state.img"
    failures, counts = [], {}
    for cut in cuts:
        state = recording.state(states, cut)
        replay.make(cut, state_disk)
        try:
            booted = checker.check_disk(state_disk, state, update_to, recording.session.is_reset)
            counts[state.moment, booted] = counts.get((state.moment, booted), 0) + 1
        except (Broken, subprocess.TimeoutExpired) as error:
            failures.append((cut, state.moment, str(error)))
    return failures, counts


def check_cuts(recording, cuts, arguments, work, update_to, workers):
    """Checks all cuts; returns failures and counts."""
    cuts = write_log.in_order(cuts)
    share = -(-len(cuts) // workers)
    jobs = [(recording, cuts[start:start + share], arguments, work / f"worker-{number}", update_to)
            for number, start in enumerate(range(0, len(cuts), share))]
    failures, counts = [], {}
    with concurrent.futures.ProcessPoolExecutor(workers) as pool:
        for failed, counted in pool.map(check_part, jobs):
            failures += failed
            for key, count in counted.items():
                counts[key] = counts.get(key, 0) + count
    return failures, counts


def boot_for_real(recording, cut, releases, repository_disk, work):
    """Starts the disk of the cut through firmware and boot loader, and updates it there."""
    work.mkdir(parents=True, exist_ok=True)
    log, states = recording.load()
    state = recording.state(states, cut)
    disk, variables = work / "disk.img", work / "variables"
    write_log.Replay(log, recording.base, work / "durable.img").make(cut, disk)
    shutil.copyfile(recording.variables, variables)
    repository = vm.copy_disk(repository_disk, work / "repository.img")  # QEMU wants each disk for itself
    verbs = {"status": "cfs-deploy status", "next-update": "cfs-deploy update"}
    if recording.session.is_reset:
        verbs["reset-is-done"] = f"test ! -e /sysroot/cfs/state/reset && test ! -e /sysroot/cfs/{MARKER}"
    script = "".join(f"{name} {command}\n" for name, command in verbs.items())
    with tiny_device.boot(disk, repository, script, work, "boot", variables=variables, timeout=300) as guest:
        text = guest.wait()
    match = re.search(r"^guest: booted ([0-9a-f]{64}) release (\d+)$", text, re.M)
    number = int(match.group(2)) if match else None
    vm.check(number in state.may_boot and match.group(1) == releases[number].digest,
             f"{state.moment}, {cut}: none of {sorted(state.may_boot)} booted:\n{text[-3000:]}")
    for name in verbs:
        vm.check(f"guest: {name} ended with 0\n" in text, f"{state.moment}, {cut}: {name} failed:\n{text[-3000:]}")
    shutil.rmtree(work)
    return state.moment, number


def scenario():
    parser = argparse.ArgumentParser()
    for option in ("--cache", "--work", "--build"):
        parser.add_argument(option, required=True, type=pathlib.Path)
    parser.add_argument("--random", type=int, default=200, help="points between flushes")
    parser.add_argument("--cuts", type=int, help="disks that are looked at (default: all)")
    parser.add_argument("--boots", type=int, default=20, help="disks that are started")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    chance = random.Random(options.seed)
    work = options.work.resolve() / "power_cut"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    programs = {name: options.build.resolve() / folder / name for name, folder in PROGRAMS.items()}
    started = time.monotonic()

    def say(text):
        print(f"{time.monotonic() - started:6.1f} s  {text}", flush=True)

    line = tiny_device.Line(programs, work, vm.kernel(options.cache))
    releases = {1: line.publish(1)}
    disk = line.install(work / "disk.img")
    offers = {}
    for number in (2, 3, LAST):
        releases[number] = line.publish(number)
        offers[number] = line.repository_disk(work / f"repository-{number}.img")
    say(f"releases 1 to {LAST} are made")
    recordings = record(disk, offers, SESSIONS, work)
    say(f"recorded {len(recordings)} sessions")
    table = json.loads(vm.run("sfdisk", "--json", disk))["partitiontable"]["partitions"]
    arguments = (programs, releases, line.repository, table)

    failures, boots = [], []
    for number, recording in enumerate(recordings):
        log, states = recording.load()
        share = -(-options.random // len(recordings))
        cuts = write_log.boundaries(log) + recording.ends(states) + write_log.random_cuts(log, share, chance)
        cuts = list({(cut.flushes, cut.kept, recording.state(states, cut)): cut for cut in cuts}.values())
        if options.cuts:
            cuts = chance.sample(cuts, min(len(cuts), -(-options.cuts // len(recordings))))
        failed, counts = check_cuts(recording, cuts, arguments, work, LAST, options.workers)
        failures += failed
        say(f"session {number}: {log.flushes} flushes, {sum(map(len, log.epochs))} writes, {len(cuts)} disks, {len(failed)} broken")
        for (moment, booted), count in sorted(counts.items()):
            print(f"{'':10}{count:5} in '{moment}' boot release {booted}")
        share = options.boots // len(recordings) + (number < options.boots % len(recordings))
        boots += [(recording, cut) for cut in chance.sample(cuts, min(len(cuts), share))]
    for cut, moment, error in failures:
        print(f"BROKEN {moment}, {cut}:\n{error}")
    vm.check(not failures, f"{len(failures)} disks are broken")

    with concurrent.futures.ThreadPoolExecutor(options.workers) as pool:
        running = [pool.submit(boot_for_real, recording, cut, releases, offers[LAST], work / f"boot-{number}")
                   for number, (recording, cut) in enumerate(boots)]
        booted = [one.result() for one in running]
    say(f"{len(booted)} disks were started and updated")


if __name__ == "__main__":
    vm.main(scenario)
