# SPDX-License-Identifier: Apache-2.0
"""A device in a directory of this machine: cfs-deploy runs on it without fs-verity, and a reboot is a file that changes.

    world = World(programs, work, releases=3)
    device = Device(world, work / "device")
    device.deploy("init", …)"""

import collections
import os
import pathlib
import re
import shutil
import struct
import subprocess
import tempfile

SELECTED = "LoaderEntrySelected-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
FAKE_NOW = 1_800_000_000  # the time for which fake_releases signs
TEMPORARY_PREFIX = ".cfs-"
# A leak checker does not work under strace.
ENVIRONMENT = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}

Release = collections.namedtuple("Release", "number digest uki_sha256")
Run = collections.namedtuple("Run", "status text")


class Broken(Exception):
    """A device that is not as it must be."""


def check(condition, message):
    if not condition:
        raise Broken(message)


def work_directory():
    """An empty directory in memory where there is such a place: a disk's fsync takes longer than the rest."""
    parent = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    return tempfile.TemporaryDirectory(prefix="cfs-power-", dir=parent)


class World:
    """Releases 1 to `releases`, and the programs (by name)."""

    def __init__(self, programs, work, releases):
        self.programs, self.repositories = programs, work / "repositories"
        made = subprocess.run([programs["fake_releases"], self.repositories, str(releases)], stdout=subprocess.PIPE, text=True, check=True)
        self.releases = {}
        for line in made.stdout.splitlines():
            number, digest, uki = line.split()
            self.releases[int(number)] = Release(int(number), digest, uki)
        self.by_digest = {release.digest: release for release in self.releases.values()}

    def url(self, number):
        return f"file://{self.repositories / str(number)}"


class Device:
    """One device. `path` holds sysroot, esp, and what the kernel and the boot loader say."""

    def __init__(self, world, path):
        self.world, self.path = world, pathlib.Path(path)
        self.sysroot, self.esp = self.path / "sysroot", self.path / "esp"

    @staticmethod
    def make(world, path):
        device = Device(world, path)
        for name in ("sysroot", "esp", "efivars", "sys/class/block", "dev"):
            (device.path / name).mkdir(parents=True)
        (device.path / "cmdline").write_text("quiet\n")
        (device.path / "clock").write_text(f"{FAKE_NOW}\n")
        return device

    def copy(self, path):
        """Another device that is the same."""
        shutil.copytree(self.path, path, symlinks=True)
        return Device(self.world, path)

    def remove(self):
        shutil.rmtree(self.path)

    def command(self, words, offer):
        """The command line of `words`, where `offer` is the newest release: update, rollback, …"""
        verb, *rest = words
        options = {"init": ["--sysroot", self.sysroot, "--url", self.world.url(offer), "--root",
                            self.world.repositories / "1/metadata/1.root.json", "--name", "test"],
                   "update": ["--sysroot", self.sysroot, "--esp", self.esp, "--url", self.world.url(offer)],
                   "rollback": ["--sysroot", self.sysroot, "--esp", self.esp],
                   "status": ["--sysroot", self.sysroot]}
        return [self.world.programs["deploy_without_verity"], self.path, verb, *options[verb], *rest]

    def deploy(self, *words, offer=1, under=()):
        """Runs a command, `under` another program. Returns its status (negative: killed) and what it said."""
        done = subprocess.run([*map(str, under), *map(str, self.command(words, offer))], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, errors="replace", timeout=120, env=ENVIRONMENT)
        return Run(done.returncode, done.stdout)

    def done(self, *words, offer=1, allowed=(0,)):
        """Runs a command that must succeed."""
        run = self.deploy(*words, offer=offer)
        check(run.status in allowed, f"{' '.join(words)}: exit status {run.status}\n{run.text}")
        return run

    def boots(self, keeps=()):
        """The release and the entry that the next boot starts, after the whole chain was followed."""
        arguments = [self.world.programs["boot_chain"], "--esp", self.esp, "--sysroot", self.sysroot]
        for release in self.world.releases.values():
            arguments += ["--published", f"{release.digest}={release.uki_sha256}"]
        for number in keeps:
            arguments += ["--keeps", self.world.releases[number].digest]
        done = subprocess.run(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        match = re.match(r"boots ([0-9a-f]{64}) by (\S+),", done.stdout)
        check(done.returncode == 0 and match, f"boot_chain: {done.stdout}")
        return self.world.by_digest[match.group(1)].number, match.group(2)

    def reboot(self):
        """Starts what the boot loader starts, and returns its number."""
        number, entry = self.boots()
        (self.path / "cmdline").write_text(f"quiet composefs.digest={self.world.releases[number].digest}\n")
        # The boot loader says the file's name in lower case.
        name = f"{entry}.efi".lower().encode("utf-16-le") + b"\0\0"
        (self.path / "efivars" / SELECTED).write_bytes(struct.pack("<I", 6) + name)
        return number

    def leftovers(self):
        """Files with the name of something that was not finished."""
        return [str(path) for top in (self.sysroot, self.esp) for path in top.rglob(f"{TEMPORARY_PREFIX}*") if path.name != ".cfs"]
