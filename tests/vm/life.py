# SPDX-License-Identifier: Apache-2.0
"""Devices that boot in seconds (tests/power/tiny_device.py), from firmware to user space, and the releases for them.

    world = life.World(options, "world", {1: {}, 2: {"boards": "another"}})
    device = world.good_device("name")                          # runs release 1, which is good
    [said] = device.done(1, "cfs-deploy update", offer=2)"""

import argparse
import functools
import json
import pathlib
import re
import shutil
import subprocess
import sys
import time

import initramfs_tools_test
import vm

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "power"))
import tiny_device  # noqa: E402

PROGRAMS = {"cfs-build": "builder", "cfs-sign": "signer", "cfs-deploy": "deployer", "cfs-mount-root": "initramfs", "kexec": "tests/vm"}
PROVE = ("cfs-deploy health", "cfs-deploy bless")


class Device:
    """One device: its disk, its firmware's variables, and what was said at its last boot."""

    def __init__(self, world, name, like=None):
        """like: another device, whose state it begins with; without one it is as it was installed."""
        self.world, self.work = world, world.work / name
        self.work.mkdir()
        self.disk = vm.copy_disk(like.disk if like else world.disk, self.work / "disk.img")
        self.variables = self.work / "variables"
        if like:
            shutil.copyfile(like.variables, self.variables)
        self.boots = 0
        esp, root = json.loads(vm.run("sfdisk", "--json", self.disk))["partitiontable"]["partitions"]
        self.esp = f"{self.disk}@@{esp['start'] * 512}"
        self.root_offset, self.root_size = root["start"] * 512, root["size"] * 512

    def boot(self, release, *commands, offer=2):
        """Boots, which starts `release`, and runs the commands there. Returns for each its exit status and what it said; none
        for those that the machine did not live to tell of. offer: the newest release in the repository."""
        self.boots += 1
        script = "".join(f"{number} {command}\n" for number, command in enumerate(commands))
        with tiny_device.boot(self.disk, self.world.offer(offer), script, self.work, f"boot-{self.boots}", variables=self.variables,
                              timeout=300) as guest:
            self.text = guest.wait()
        started = re.search(r"^guest: booted ([0-9a-f]{64}) release (\d+)$", self.text, re.M)
        if release is None:
            vm.check(not started, f"it has booted:\n{self.text[-3000:]}")
            return []
        vm.check(started and int(started.group(2)) == release, f"another release than {release} booted:\n{self.text[-3000:]}")
        parts = re.split(r"^guest: (\d+) ended with (\d+)\n", self.text[started.end() + 1:], flags=re.M)
        return [(int(status), said) for said, status in zip(parts[0::3], parts[2::3])]

    def done(self, release, *commands, offer=2):
        """boot(), with commands that must succeed. Returns what they said."""
        results = self.boot(release, *commands, offer=offer)
        vm.check(len(results) == len(commands) and all(status == 0 for status, _ in results), f"{commands}: {results}\n{self.text[-3000:]}")
        return [said for _, said in results]

    def edit_root(self, request):
        """Changes the root file system with debugfs, after its journal has been replayed."""
        part = self.work / "root"
        with open(self.disk, "r+b") as disk:
            disk.seek(self.root_offset)
            part.write_bytes(disk.read(self.root_size))
            subprocess.run([vm.tool("e2fsck"), "-p", part], stdout=subprocess.DEVNULL, check=False)
            vm.debugfs(part, request, write=True)
            disk.seek(self.root_offset)
            disk.write(part.read_bytes())
        part.unlink()


class World:
    """Releases, which are made when they are asked for, and devices that begin with release 1.

    options: of parser(). releases: by number from 1, what each has of tiny_device.Line.publish()'s options."""

    def __init__(self, options, name, releases):
        self.work = options.work.resolve() / (f"{name}_initramfs_tools" if options.hook else name)
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)
        self.programs = {name: options.build.resolve() / folder / name for name, folder in PROGRAMS.items()}
        make_initramfs = functools.partial(initramfs_tools_test.make_initramfs, options.hook) if options.hook else None
        self._line = tiny_device.Line(self.programs, self.work, vm.kernel(options.cache), make_initramfs)
        self._wanted, self._offers, self._good = releases, {}, None
        self.releases = {}
        self.offer(1)
        self.disk = self._line.install(self.work / "disk.img")

    def offer(self, number):
        """A disk with the repository, in which the release of that number is the newest."""
        while number not in self._offers:
            newest = len(self.releases) + 1
            self.releases[newest] = self._line.publish(newest, **self._wanted[newest])
            self._offers[newest] = self._line.repository_disk(self.work / f"repository-{newest}.img")
        return self._offers[number]

    def new_device(self, name):
        """One that has never booted."""
        return Device(self, name)

    def good_device(self, name):
        """One that runs release 1, which is good."""
        if not self._good:
            self._good = Device(self, "good")
            self._good.done(1, *PROVE, offer=1)
        return Device(self, name, self._good)


def parser():
    parser = argparse.ArgumentParser()
    for option in ("--cache", "--work", "--build"):
        parser.add_argument(option, required=True, type=pathlib.Path)
    parser.add_argument("--hook", type=pathlib.Path, help="the initramfs is made by Debian's mkinitramfs and this, our hook")
    return parser


def run(name, scenario, device, *arguments):
    """Runs a scenario and says how long it took."""
    started = time.monotonic()
    scenario(device, *arguments)
    print(f"{name}: {device.boots} boots, {time.monotonic() - started:.0f} s", flush=True)
    shutil.rmtree(device.work)
