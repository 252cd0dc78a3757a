# SPDX-License-Identifier: Apache-2.0
"""A device in a directory of this machine: cfs-deploy runs on it without fs-verity, and a reboot is a file that changes.

    world = World.make(programs, work, 3)
    device = Device.make(world, work / "device")
    device.done("init")
    device.done("update", offer=2)
    assert device.reboot() == 2"""

import collections
import os
import pathlib
import re
import shutil
import struct
import subprocess
import tempfile
import uuid

SELECTED = "LoaderEntrySelected-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
COUNTED = "LoaderBootCountPath-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
FAKE_NOW = 1_800_000_000  # the time for which fake_releases signs
TEMPORARY_PREFIX = ".cfs-"
OF_MOUNT_ROOT = ".cfs-etc-"
COUNTER = re.compile(r"\+\d+(-\d+)?$")
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
    """Releases (number → Release), where they are published, the programs (by name), and the time, if it is not now."""

    def __init__(self, programs, releases, url, clock=None):
        self.programs, self.releases, self.url, self.clock = programs, releases, url, clock
        self.by_digest = {release.digest: release for release in releases.values()}

    @staticmethod
    def make(programs, work, count, files=0):
        """A world of fake releases, each with so many tiny files of its own."""
        repositories = work / "repositories"
        made = subprocess.run([programs["fake_releases"], repositories, str(count), str(files)], stdout=subprocess.PIPE, text=True, check=True)
        releases = {}
        for line in made.stdout.splitlines():
            number, digest, uki = line.split()
            releases[int(number)] = Release(int(number), digest, uki)
        return World(programs, releases, lambda number: f"file://{repositories / str(number)}", FAKE_NOW)


def next_boot(world, esp, *where, keeps=()):
    """The release that boots from that ESP, and its file. where: `--sysroot DIR` or `--ext4 IMAGE`, to follow the chain."""
    arguments = [world.programs["boot_chain"], "--esp", esp, *where]
    for release in world.releases.values():
        arguments += ["--published", f"{release.digest}={release.uki_sha256}"]
    for number in keeps:
        arguments += ["--keeps", world.releases[number].digest]
    done = subprocess.run(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    match = re.match(r"boots ([0-9a-f]{64}) by (\S+)\n", done.stdout)
    check(done.returncode == 0 and match, f"boot_chain: {done.stdout}")
    return world.by_digest[match.group(1)].number, match.group(2)


def count_boot(esp, file):
    """Renames the entry that is started as systemd-boot does. Returns its new name if it is one that is counted."""
    match = re.fullmatch(r"(.*)\+(\d+)(?:-(\d+))?\.efi", file)
    if match and int(match.group(2)) > 0:
        counted = f"{match.group(1)}+{int(match.group(2)) - 1}-{int(match.group(3) or 0) + 1}.efi"
        (esp / "EFI/Linux" / file).rename(esp / "EFI/Linux" / counted)
        return counted
    return None


class Device:
    """One device. `path` holds sysroot, esp, and what the kernel and the boot loader say."""

    def __init__(self, world, path):
        self.world, self.path = world, pathlib.Path(path)
        self.sysroot, self.esp, self.disk = self.path / "sysroot", self.path / "esp", self.path / "disk/image"

    @staticmethod
    def make(world, path):
        device = Device(world, path)
        for name in ("sysroot", "esp", "efivars", "sys/class/block", "dev", "settings/random", "run", "disk"):
            (device.path / name).mkdir(parents=True, exist_ok=True)
        (device.path / "cmdline").write_text("quiet\n")
        systemctl = device.path / "systemctl"  # knows of no failed unit, and does not restart anything
        systemctl.write_text("#!/bin/sh\n")
        systemctl.chmod(0o755)
        if world.clock:
            (device.path / "clock").write_text(f"{world.clock}\n")
        device._start_kernel()
        device._mount_root(0)
        return device

    def _mount_root(self, number):
        """What release `number` has for /var: one file for all releases, which each replaces, and one of its own."""
        (self.path / "root/usr/lib/cfs").mkdir(parents=True, exist_ok=True)
        (self.path / "root/usr/lib/cfs/var.conf").write_text("cfs-var 1\nreplaced-unless-changed /var/lib/data\n")
        factory = self.path / "root/usr/share/factory/var/lib"
        shutil.rmtree(factory, ignore_errors=True)
        factory.mkdir(parents=True)
        for name in ("data", f"of-{number}"):
            (factory / name).write_text(f"{number}\n" * 3000)

    def has_var_of(self, number):
        """True if /var has what release `number` brings."""
        return all((self.sysroot / f"cfs/state/var/lib/{name}").read_text() == f"{number}\n" * 3000 for name in ("data", f"of-{number}"))

    def _start_kernel(self):
        (self.path / "settings/random/boot_id").write_text(f"{uuid.uuid4()}\n")
        (self.path / "settings/bootloader_type").write_text(f"{2 << 4}\n")
        shutil.rmtree(self.path / "run")
        (self.path / "run").mkdir()

    def copy(self, path):
        """Another device that is the same."""
        shutil.copytree(self.path, path, symlinks=True)
        return Device(self.world, path)

    def remove(self):
        shutil.rmtree(self.path)

    def command(self, words, offer):
        """The command line of `words`, where `offer` is the newest release: update, rollback, … A word "@2" is the deployment
        of release 2."""
        verb, *rest = [self.world.releases[int(word[1:])].digest[:12] if word.startswith("@") else word for word in words]
        options = ["--sysroot", self.sysroot]
        root = self.world.url(1).removeprefix("file://") + "/metadata/1.root.json"
        source = ["--url", self.world.url(offer), "--root", root, "--name", "test"]
        if verb == "init":
            options += source
        elif verb == "install":
            options = ["--disk", self.disk, "--free", "1MiB", *source]
        elif verb == "config":
            options = []
        elif verb not in ("apply-var", "history", "pin", "reset", "unpin", "watch"):
            options += ["--esp", self.esp]
        if verb in ("check", "fetch", "update"):
            options += ["--url", self.world.url(offer)]
        if verb == "fsck":
            (self.path / "local").mkdir(exist_ok=True)
            (self.path / "local/deploy.yaml").write_text(f"urls: ['{self.world.url(offer)}']\n")
        return [self.world.programs["deploy_without_verity"], self.path, verb, *options, *rest]

    def deploy(self, *words, offer=1, under=()):
        """Runs a command, `under` another program. Returns its status (negative: killed) and what it said."""
        if words[0] == "health":
            self.deploy("apply-var")  # as cfs-var.service has done by then
        done = subprocess.run([*map(str, under), *map(str, self.command(words, offer))], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, errors="replace", timeout=120, env=ENVIRONMENT)
        return Run(done.returncode, done.stdout)

    def done(self, *words, offer=1, allowed=(0,)):
        """Runs a command that must succeed."""
        run = self.deploy(*words, offer=offer)
        check(run.status in allowed, f"{' '.join(words)}: exit status {run.status}\n{run.text}")
        return run

    def boots(self, keeps=()):
        """The release that the next boot starts, after the whole chain was followed. keeps: others that could be."""
        return next_boot(self.world, self.esp, "--sysroot", self.sysroot, keeps=keeps)[0]

    def check_falls_back(self, good):
        """Returns which of the releases `good` boots in the end, when all others fail each time."""
        with tempfile.TemporaryDirectory(dir=self.path) as directory:
            esp = pathlib.Path(directory) / "esp"
            shutil.copytree(self.esp, esp, copy_function=os.link)
            order = []
            for _ in range(12):
                number, file = next_boot(self.world, esp)
                if number in good:
                    return number
                order.append(file)
                count_boot(esp, file)
            raise Broken(f"none of {good} boots, but {order}")

    def boots_alone(self, number):
        """Raises Broken unless that release boots, the whole chain followed, when the entries of all others are gone."""
        with tempfile.TemporaryDirectory(dir=self.path) as directory:
            esp = pathlib.Path(directory) / "esp"
            shutil.copytree(self.esp, esp, copy_function=os.link)
            for file in (esp / "EFI/Linux").glob("*.efi"):
                if f"_{self.world.releases[number].digest[:12]}." not in file.name:
                    file.unlink()
            booted, _ = next_boot(self.world, esp, "--sysroot", self.sysroot)
            check(booted == number, f"release {booted} boots instead of {number}, which is alone")

    def asked_to_reset(self):
        """What the next boot is asked to forget: a set of "etc", "identity", "var"."""
        request = self.sysroot / "cfs/state/reset"
        return set(request.read_text().splitlines()[1:]) if request.exists() else set()

    def reboot(self):
        """Starts what the boot loader starts, and returns its number. cfs-mount-root is not there to reset anything; its
        request goes."""
        number, file = next_boot(self.world, self.esp, "--sysroot", self.sysroot)
        counted = count_boot(self.esp, file)
        (self.sysroot / "cfs/state/reset").unlink(missing_ok=True)
        (self.path / "cmdline").write_text(f"quiet composefs.digest={self.world.releases[number].digest}\n")
        # The boot loader says the file's name, without counter, in lower case.
        name = COUNTER.sub("", file.removesuffix(".efi")).lower() + ".efi"
        self._set_variable(SELECTED, name)
        self._set_variable(COUNTED, counted)
        self._start_kernel()
        self._mount_root(number)
        return number

    def _set_variable(self, name, text):
        path = self.path / "efivars" / name
        path.unlink(missing_ok=True)
        if text:
            path.write_bytes(struct.pack("<I", 6) + text.encode("utf-16-le") + b"\0\0")

    def damage(self, number, other):
        """Of what release `number` needs and `other` does not, one object goes and one is cut short; and its link goes."""
        def objects(release):
            manifest = pathlib.Path(self.world.url(max(number, other)).removeprefix("file://")) / "rel" / release.digest / "manifest"
            return {line.split()[1] for line in manifest.read_text().splitlines() if line.startswith("object ")}

        release = self.world.releases[number]
        first, second, *_ = sorted(objects(release) - objects(self.world.releases[other]))
        (self.sysroot / "cfs/objects" / first[:2] / first[2:]).unlink()
        victim = self.sysroot / "cfs/objects" / second[:2] / second[2:]
        victim.chmod(0o644)
        victim.write_bytes(victim.read_bytes()[:-1])
        (self.sysroot / "cfs/images" / release.digest).unlink()

    def leftovers(self):
        """Files with the name of something that was not finished, but for those that cfs-mount-root removes."""
        return [str(path) for top in (self.sysroot, self.esp, self.disk.parent) for path in top.rglob(f"{TEMPORARY_PREFIX}*")
                if path.name != ".cfs" and not any(part.startswith(OF_MOUNT_ROOT) for part in path.parts)]
