# SPDX-License-Identifier: Apache-2.0
"""cfs-deploy killed at any system call, or told by any of them that it failed.

    faults.py --build DIR [--kills N] [--faults N] [--seed N]

For each of VERBS: one run is traced. Then it is run again and again from the same state, with strace killing it at the
n-th of some system call, or making that call fail. Afterwards the device boots what it had or what the verb makes of it,
whole; all its records can be read; and the next command succeeds and leaves nothing behind that was not finished. A
failure is one error that names its reason. Without --kills and --faults all points are tried, some ten thousand."""

import argparse
import collections
import concurrent.futures
import dataclasses
import errno
import os
import pathlib
import random
import re
import subprocess
import sys
import time

import directory_device
from directory_device import Device, World, check

PROGRAMS = {"boot_chain": "tests/power", "deploy_without_verity": "tests/power", "fake_releases": "tests/power"}
# Errors that a call may end with: of a full or a broken disk, of one that the kernel has made read-only, and of a process
# or machine with too many files open.
FULL, BROKEN, READ_ONLY, TOO_MANY = "ENOSPC", "EIO", "EROFS", "EMFILE"
FAULTS = {"openat": (FULL, BROKEN, READ_ONLY, TOO_MANY), "openat2": (FULL, BROKEN, READ_ONLY, TOO_MANY), "write": (FULL, BROKEN),
          "pwrite64": (FULL, BROKEN), "fsync": (FULL, BROKEN), "fdatasync": (FULL, BROKEN), "syncfs": (FULL, BROKEN),
          "rename": (FULL, BROKEN, READ_ONLY), "renameat": (FULL, BROKEN, READ_ONLY), "renameat2": (FULL, BROKEN, READ_ONLY),
          "linkat": (FULL, BROKEN, READ_ONLY), "symlinkat": (FULL, BROKEN, READ_ONLY), "mkdirat": (FULL, BROKEN, READ_ONLY),
          "unlinkat": (BROKEN, READ_ONLY), "ftruncate": (FULL, BROKEN), "fallocate": (FULL, BROKEN), "fchmod": (BROKEN, READ_ONLY),
          "fchmodat": (BROKEN, READ_ONLY), "fchownat": (BROKEN, READ_ONLY), "utimensat": (BROKEN, READ_ONLY), "ioctl": (FULL, BROKEN), "read": (BROKEN,), "pread64": (BROKEN,), "getdents64": (BROKEN,),
          "readlinkat": (BROKEN,), "newfstatat": (BROKEN,), "statx": (BROKEN,), "fstatfs": (BROKEN,), "statfs": (BROKEN,),
          "copy_file_range": (FULL, BROKEN), "flock": (BROKEN,), "dup": (TOO_MANY,), "epoll_create1": (TOO_MANY,), "pipe2": (TOO_MANY,),
          "socketpair": (TOO_MANY,), "eventfd2": (TOO_MANY,), "memfd_create": (TOO_MANY,)}


# Threads, but no programs that are run.
STRACE = ("strace", "-f", "-b", "execve")


@dataclasses.dataclass(frozen=True)
class Verb:
    """A command from a state. prepare: the commands that lead there; "reboot" is one, "damage" another (what release
    1 alone needs), "update N" has release N on offer.
    may_boot: what boots if it did not finish; boots: what boots when it has; None: nothing is installed. good: releases of
    which one boots in the end, if all others fail. then: what succeeds afterwards, "update N" at the end. is_slow: not
    among a sample."""

    name: str
    prepare: tuple
    command: str
    may_boot: tuple
    boots: object
    good: tuple = ()
    then: tuple = ("update 2",)
    is_slow: bool = False


INIT = "init"
ONE = (INIT, "update 1", "reboot", "health", "bless")
TWO = (*ONE, "update 2", "reboot")
GOOD_TWO = (*TWO, "health", "bless")
VERBS = [
    Verb("init", (), "init", (None,), None, then=("init", "update 2")),
    Verb("first update", (INIT,), "update 1", (None,), 1, then=("update 1",)),
    Verb("first bless", ONE[:-1], "bless", (1,), 1, then=("bless", "update 2")),
    Verb("update", ONE, "update 2", (1,), 2, good=(1,)),
    Verb("update, nothing to do", GOOD_TWO, "update 2", (2,), 2, good=(2,)),
    Verb("update --unattended", ONE, "update 2 --unattended", (1,), 2, good=(1,)),
    Verb("note-boot", TWO, "note-boot", (2,), 2, good=(1,), then=("health", "bless", "update 3")),
    Verb("health", TWO, "health", (2,), 2, good=(1,), then=("health", "bless", "update 3")),
    Verb("health --on-trial", TWO, "health --on-trial", (2,), 2, good=(1,), then=("health", "bless", "update 3")),
    Verb("bless", GOOD_TWO[:-1], "bless", (2,), 2, good=(1, 2), then=("bless", "update 3")),
    Verb("mark-bad", GOOD_TWO, "mark-bad --reason smell", (2,), 1, good=(1, 2), then=("update 3",)),
    Verb("rollback", GOOD_TWO, "rollback", (2,), 1, good=(1, 2), then=("update 3",)),
    Verb("rollback of a staged update", (*ONE, "update 2"), "rollback", (2,), 1, good=(1,), then=("update 3",)),
    Verb("cancel", (*ONE, "update 2"), "cancel", (2,), 1, good=(1,), then=("update 3",)),
    Verb("update --retry", (*GOOD_TWO, "rollback", "reboot", "health", "bless"), "update 2 --retry", (1,), 2, good=(1, 2), then=("update 3",)),
    Verb("fetch", ONE, "fetch 2", (1,), 1, good=(1,)),
    Verb("apply", (*ONE, "fetch 2"), "apply", (1,), 2, good=(1,), then=("update 3",)),
    Verb("check", ONE, "check 2", (1,), 1, good=(1,)),
    Verb("boot", GOOD_TWO, "boot @1", (2,), 1, good=(1, 2), then=("update 3",)),
    Verb("boot of a bad one", (*GOOD_TWO, "mark-bad", "reboot"), "boot @2", (1,), 2, good=(1,), then=("update 3",)),
    Verb("gc", (*GOOD_TWO, "update 3", "reboot", "mark-bad", "reboot"), "gc", (2,), 2, good=(1, 2), then=("gc", "update 3 --retry")),
    Verb("gc --dry-run", (*GOOD_TWO, "update 3", "reboot", "mark-bad", "reboot"), "gc --dry-run", (2,), 2, good=(1, 2),
         then=("gc", "update 3 --retry")),
    Verb("pin", GOOD_TWO, "pin @1", (2,), 2, good=(1, 2), then=("gc", "update 3")),
    Verb("unpin", (*GOOD_TWO, "pin @1"), "unpin @1", (2,), 2, good=(1, 2), then=("gc", "update 3")),
    Verb("recovery", GOOD_TWO, "recovery set @1", (2,), 2, good=(1, 2), then=("gc", "update 3")),
    Verb("recovery clear", (*GOOD_TWO, "recovery set @1"), "recovery clear", (2,), 2, good=(1, 2), then=("gc", "update 3")),
    Verb("reset --var", GOOD_TWO, "reset --var", (2,), 2, good=(1, 2), then=("reset --var", "update 3")),
    Verb("reset --etc", (*GOOD_TWO, "reset --var"), "reset --etc", (2,), 2, good=(1, 2), then=("reset --etc", "update 3")),
    Verb("reset --all", GOOD_TWO, "reset --all", (2,), 2, good=(1, 2), then=("reset --all", "update 3")),
    Verb("fsck --repair", (*GOOD_TWO, "damage"), "fsck 2 --repair", (2,), 2, good=(1, 2), then=("fsck 2 --repair", "update 3")),
    Verb("fsck", GOOD_TWO, "fsck 2", (2,), 2, good=(1, 2), then=("update 3",)),
    Verb("apply-var", (*ONE, "apply-var", "update 2", "reboot"), "apply-var", (2,), 2, good=(1,), then=("apply-var", "update 3")),
    Verb("status", GOOD_TWO, "status", (2,), 2, good=(1, 2)),
    Verb("history", GOOD_TWO, "history", (2,), 2, good=(1, 2)),
    Verb("config show", (*GOOD_TWO, "fsck 2"), "config show", (2,), 2, good=(1, 2)),
    Verb("install", (), "install 2", (None,), None, is_slow=True),
]
RELEASES = 3
WITHOUT_ROW = {"watch"}  # it does not end; what it does is fsck --repair's


def check_complete(program):
    """Every command of cfs-deploy has a row."""
    help = subprocess.run([program, ".", "--help"], stdout=subprocess.PIPE, text=True, check=True).stdout
    commands = set(re.findall(r"^  ([a-z-]+) ", help.partition("Subcommands:")[2], re.M))
    tried = {verb.command.split()[0] for verb in VERBS}
    check(commands - tried == WITHOUT_ROW, f"not tried: {sorted(commands - tried - WITHOUT_ROW)}")


def words_of(step):
    """A step as Device.deploy() wants it: its words, and the release on offer."""
    words = step.split()
    offer = next((int(word) for word in words if word.isdigit()), 1)
    return [word for word in words if not word.isdigit()], offer


def prepared(world, steps, work, known):
    """A device after these steps; not to be changed. known: those that there are already."""
    if steps not in known:
        if not steps:
            known[steps] = Device.make(world, work / "prepared-0")
            return known[steps]
        device = prepared(world, steps[:-1], work, known)
        device = device.copy(work / f"prepared-{len(known)}")
        if steps[-1] == "reboot":
            device.reboot()
        elif steps[-1] == "damage":
            device.damage(1, 2)
        else:
            words, offer = words_of(steps[-1])
            device.done(*words, offer=offer)
        known[steps] = device
    return known[steps]


def counted(trace):
    """How often each system call was made, by the thread that made it most often."""
    threads = collections.defaultdict(collections.Counter)
    for line in trace.read_text(errors="replace").splitlines():
        match = re.match(r"(\d+) +([a-z0-9_]+)\(", line)
        if match:
            threads[match.group(1)][match.group(2)] += 1
    counts = collections.Counter()
    for calls in threads.values():
        for call, count in calls.items():
            counts[call] = max(counts[call], count)
    return counts


def points(start, verb, work):
    """call → (first, last): those that the verb makes, without those that load the program."""
    device = start.copy(work / "traced")
    trace = work / "trace"
    strace = [*STRACE, "-o", trace]
    words, offer = words_of(verb.command)
    run = device.deploy(*words, offer=offer, under=strace)
    check(run.status in (0, 10), f"{verb.name}: {run}")
    counts = counted(trace)
    device.deploy("status", "--help", under=strace)
    loading = counted(trace)
    loading["write"] = 0
    device.remove()
    return {call: (loading[call] + 1, count) for call, count in counts.items() if count > loading[call]}


def check_after(device, verb, run, fault):
    """The device after a command that was stopped or disturbed."""
    finished = run.status in (0, 10)
    check(run.status >= 0 or fault is None, f"it crashed: {run}")
    if verb.command.startswith("health") and run.status == 1 and re.search("^(failed|cannot-run) +required", run.text, re.M):
        finished = True  # the report says it
    if verb.command.startswith("fsck") and run.status in (7, 8) and " wrong, " in run.text:
        finished = True
    if fault and not finished:
        errors = [line for line in run.text.splitlines() if line.startswith("cfs-deploy: error: ")]
        check(len(errors) == 1, f"{len(errors)} errors: {run}")
        reason = os.strerror(getattr(errno, fault))
        check(reason in errors[0], f"the error does not say '{reason}': {run}")
        # Where the report goes is not where the work is done.
        finished = "cannot print the result" in errors[0]
        statuses = (9,) if fault == FULL and not finished else (1, 7, 8)
        check(run.status in statuses, f"another exit status: {run}")
    if verb.command.startswith("install"):
        check_disk_image(device, finished)
        return
    if verb.command.startswith("reset"):
        check_reset(device, verb, finished)
    wanted = {verb.boots} if finished else {verb.boots, *verb.may_boot}
    is_installed = (device.esp / "loader/loader.conf").exists()
    booted = device.boots() if is_installed or None not in wanted else None
    check(booted in wanted, f"release {booted} boots, not one of {wanted}")
    if verb.good:
        device.check_falls_back(verb.good)
    is_sysroot = (device.sysroot / "cfs").exists()
    check(is_sysroot or verb.name == "init", "there is no sysroot")
    if is_sysroot:
        status = device.done("status")
        check("damaged" not in status.text, f"status: {status.text}")
    for step in verb.then:
        words, offer = words_of(step)
        if step != INIT or not is_sysroot:
            device.done(*words, offer=offer, allowed=(0, 10))
    check("apply-var" not in verb.then or device.has_var_of(2), "/var is not as release 2 has it")
    booted = device.boots()
    check(booted == offer, f"after '{verb.then[-1]}' release {booted} boots")
    if verb.good:
        device.check_falls_back({*verb.good, booted})
    device.done(*words, offer=offer, allowed=(10,))
    check(not device.leftovers(), f"left behind: {device.leftovers()}")


def check_reset(device, verb, finished):
    """The next boot forgets what was asked for before, and all of what this command asks for or nothing of it."""
    before = set().union(*(asked_by(step) for step in verb.prepare))
    wanted = [before | asked_by(verb.command)] if finished else [before, before | asked_by(verb.command)]
    check(device.asked_to_reset() in wanted, f"the next boot resets {device.asked_to_reset()}, not one of {wanted}")


def asked_by(step):
    """What a `reset` asks the next boot to forget, in the words of the request."""
    words = step.split()
    if words[0] != "reset":
        return set()
    return {"etc", "identity", "var"} if "--all" in words else {word.removeprefix("--") for word in words[1:]}


def check_disk_image(device, finished):
    """The disk image is there whole or not at all, and can be made."""
    check(device.disk.exists() or not finished, "there is no disk image")
    if not device.disk.exists():
        device.done("install", offer=2)
        check(not device.leftovers(), f"left behind: {device.leftovers()}")
    done = subprocess.run(["sfdisk", "--verify", device.disk], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    check("No errors detected" in done.stdout, done.stdout)
    refused = device.deploy("install", offer=2)
    check(refused.status == 1 and "exists" in refused.text, f"a disk image is replaced: {refused}")


def try_point(job):
    """Runs the verb with something happening to it; returns what is wrong, or nothing."""
    start, verb, call, number, fault, path = job
    device = start.copy(path)
    inject = f"inject={call}:when={number}:" + (f"error={fault}" if fault else "signal=KILL")
    try:
        words, offer = words_of(verb.command)
        run = device.deploy(*words, offer=offer,
                            under=[*STRACE, "-o", "/dev/null", "-e", f"trace={call}", "-e", inject])
        check_after(device, verb, run, fault)
    except Exception as error:  # whatever it is, it belongs into the report
        return f"{verb.name}, {call} number {number}, {fault or 'killed'}: {error}"
    finally:
        device.remove()
    return None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", required=True, type=pathlib.Path)
    parser.add_argument("--kills", type=int)
    parser.add_argument("--faults", type=int)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--verb", help="only this one")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    chance = random.Random(options.seed)
    started = time.monotonic()
    programs = {name: options.build.resolve() / folder / name for name, folder in PROGRAMS.items()}
    check_complete(programs["deploy_without_verity"])
    with directory_device.work_directory() as directory, concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        work = pathlib.Path(directory)
        world = World.make(programs, work, RELEASES)
        kills, faults, known = [], [], {}
        for verb in VERBS:
            is_sample = options.kills is not None and options.faults is not None
            if options.verb != verb.name if options.verb else verb.is_slow and is_sample:
                continue
            start = prepared(world, verb.prepare, work, known)
            for call, (first, last) in points(start, verb, work).items():
                for number in range(first, last + 1):
                    kills.append((start, verb, call, number, None))
                    faults += [(start, verb, call, number, fault) for fault in FAULTS.get(call, ())]
        print(f"{len(kills)} system calls to be killed at, {len(faults)} faults")
        chosen = sample(kills, options.kills, chance) + sample(faults, options.faults, chance)
        wrong = 0
        for result in pool.map(try_point, [(*point, work / f"point-{number}") for number, point in enumerate(chosen)]):
            if result:
                wrong += 1
                print(f"WRONG {result}\n", flush=True)
    killed = sum(1 for point in chosen if point[-1] is None)
    print(f"{killed} kills and {len(chosen) - killed} faults of {len(kills)} and {len(faults)} tried in {time.monotonic() - started:.0f} s, "
          f"{wrong} went wrong")
    sys.exit(1 if wrong else 0)


def sample(all_points, count, chance):
    """`count` of them, as many of each verb and call as can be."""
    if count is None or count >= len(all_points):
        return all_points
    groups = collections.defaultdict(list)
    for point in all_points:
        groups[point[1].name, point[2], point[4]].append(point)
    for group in groups.values():
        chance.shuffle(group)
    order = list(groups.values())
    chosen = []
    while len(chosen) < count:
        chance.shuffle(order)
        for group in order:
            if group and len(chosen) < count:
                chosen.append(group.pop())
    return chosen


if __name__ == "__main__":
    main()
