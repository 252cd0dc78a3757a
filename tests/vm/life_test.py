# SPDX-License-Identifier: Apache-2.0
"""What a device makes of releases and commands, from firmware to user space, on one that boots in seconds
(tests/power/tiny_device.py). Each function of SCENARIOS begins with a device that runs release 1, which is good.

    life_test.py --cache DIR --work DIR --build DIR [SCENARIO…]"""

import argparse
import json
import pathlib
import re
import shutil
import subprocess
import sys
import time

import vm

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "power"))
import tiny_device  # noqa: E402

PROGRAMS = {"cfs-build": "builder", "cfs-sign": "signer", "cfs-deploy": "deployer", "cfs-mount-root": "initramfs", "kexec": "tests/vm"}
TRIES = 3


class Device:
    """One device: its disk, its firmware's variables, and what was said at its last boot."""

    def __init__(self, world, name):
        self.world, self.work = world, world.work / name
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir()
        self.disk = vm.copy_disk(world.disk, self.work / "disk.img")
        self.variables = self.work / "variables"
        shutil.copyfile(world.variables, self.variables)
        self.boots = 0
        esp, root = json.loads(vm.run("sfdisk", "--json", self.disk))["partitiontable"]["partitions"]
        self.esp = f"{self.disk}@@{esp['start'] * 512}"
        self.root_offset, self.root_size = root["start"] * 512, root["size"] * 512

    def boot(self, release, *commands, offer=2):
        """Boots, which starts `release`, and runs the commands there. Returns for each its exit status and what it said; none
        for those that the machine did not live to tell of. offer: the newest release in the repository."""
        self.boots += 1
        script = "".join(f"{number} {command}\n" for number, command in enumerate(commands))
        with tiny_device.boot(self.disk, self.world.offers[offer], script, self.work, f"boot-{self.boots}", variables=self.variables) as guest:
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
    """Releases: 1, 2, 3, which has no /sbin/init, 4, which is for another board, and 5."""

    def __init__(self, options):
        self.work = options.work.resolve() / "life"
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)
        self.programs = {name: options.build.resolve() / folder / name for name, folder in PROGRAMS.items()}
        line = tiny_device.Line(self.programs, self.work, vm.kernel(options.cache))
        self.releases, self.offers = {}, {}
        shutil.copyfile(self.programs["kexec"], line.repository / "kexec")
        (line.repository / "kexec").chmod(0o755)
        for number, options in ((1, {}), (2, {}), (3, {"without": "usr/sbin/init"}), (4, {"boards": "another"}), (5, {})):
            self.releases[number] = line.publish(number, **options)
            if number == 2:
                self._unpack_uki(next((self.work / "release-2").glob("*.efi")), line.repository)
            self.offers[number] = line.repository_disk(self.work / f"repository-{number}.img")
            if number == 1:
                self.disk = line.install(self.work / "disk.img")
        self.variables = self.work / "variables"
        with tiny_device.boot(self.disk, self.offers[1], "0 cfs-deploy health\n1 cfs-deploy bless\n", self.work, "first",
                              variables=self.variables) as guest:
            text = guest.wait()
        vm.check("guest: 1 ended with 0" in text, text[-3000:])


    def _unpack_uki(self, uki, directory):
        """For kexec, which starts no UKI."""
        for section in ("linux", "initrd", "cmdline"):
            vm.run(vm.tool("objcopy"), "-O", "binary", f"--only-section=.{section}", uki, directory / section)
        self.cmdline = (directory / "cmdline").read_text().rstrip("\0\n")


STATUS = "cfs-deploy note-boot >/run/noted; cfs-deploy status"


def panic(device):
    device.done(1, "cfs-deploy update")
    device.done(2)  # power off: a try that proves nothing
    for _ in range(TRIES - 1):
        vm.check(device.boot(2, "echo c >/proc/sysrq-trigger") == [], "it lives on")
    [said] = device.done(1, STATUS)
    vm.check(said.startswith("tiny 1 is running and boots next. 2 failed: it was not proven healthy"), said)


def stops_early(device, failing, code):
    """Release `failing` stops in its initramfs as often as it is tried; then release 1 boots and gives the code."""
    for _ in range(TRIES):
        device.boot(None)
        vm.check(f"cfs: FATAL {code} " in device.text, device.text[-3000:])
    [said] = device.done(1, STATUS)
    vm.check(said.startswith(f"tiny 1 is running and boots next. {failing} failed: the boot stopped: FATAL {code}: "), said)


def init_missing_then_held(device):
    """A release without init; after it has failed it is not taken again, but when asked for."""
    device.done(1, "cfs-deploy update", offer=3)
    stops_early(device, 3, "self-test")
    (status, said), (retried, _) = device.boot(1, "cfs-deploy update", "cfs-deploy update --retry", offer=3)
    vm.check(status == 10 and "held: tiny 3 " in said and retried == 0, device.text[-3000:])


def image_missing(device):
    device.done(1, "cfs-deploy update")
    digest = device.world.releases[2].digest
    device.edit_root(f"rm /cfs/objects/{digest[:2]}/{digest[2:]}")
    stops_early(device, 2, "image-missing")


def kexec(device):
    """A boot by kexec is no proof; one by the firmware is."""
    device.done(1, "cfs-deploy update")
    # Both kernels do what stands on the same disk; the second is told from the first by what the kernel says of its loader.
    start = (f"test $(($(cat /proc/sys/kernel/bootloader_type) >> 4)) = 13 || "
             f"/repository/kexec /repository/linux /repository/initrd '{device.world.cmdline}'")
    results = device.boot(2, start, "cfs-deploy health", "cfs-deploy bless", "cfs-deploy status")
    statuses = [status for status, _ in results]
    vm.check(device.text.count("guest: booted ") == 2 and statuses == [0, 0, 1, 0], f"{results}\n{device.text[-3000:]}")
    vm.check("was started by kexec" in results[2][1], results[2][1])
    vm.check(results[3][1].startswith("tiny 2 is running, on trial"), results[3][1])
    device.done(2, "cfs-deploy health", "cfs-deploy bless")


def late_mark_bad(device):
    """A release that was good for a while is marked bad, held, and can be taken again."""
    device.done(1, "cfs-deploy update")
    device.done(2, "cfs-deploy health", "cfs-deploy bless")
    said = device.done(2, "cfs-deploy mark-bad --reason smell", "cfs-deploy status")
    vm.check(said[1].startswith("tiny 2 is running, which is bad; 1 boots next."), said[1])
    [said] = device.done(1, STATUS)
    vm.check(said.startswith("tiny 1 is running and boots next. 2 failed: it was marked bad: smell."), said)
    (held, said), (retried, _) = device.boot(1, "cfs-deploy update", "cfs-deploy update --retry")
    vm.check(held == 10 and "held: tiny 2 " in said and retried == 0, device.text[-3000:])
    device.done(2)


def full_esp(device):
    """Somebody's files fill the ESP: the update says so and changes nothing; without them it works."""
    free = int(re.search(r"^ *([\d ]+) bytes free", vm.run("mdir", "-i", device.esp, "::/"), re.M).group(1).replace(" ", ""))
    big = vm.empty_disk(device.work / "big", (free >> 20) - 1)
    vm.run("mcopy", "-i", device.esp, big, "::/big")
    [(status, said), (_, state)] = device.boot(1, "cfs-deploy update", "cfs-deploy status")
    vm.check(status == 9 and "EFI system partition" in said, f"exit status {status}: {said}")
    vm.check(state.startswith("tiny 1 is running and boots next."), state)
    vm.run("mdel", "-i", device.esp, "::/big")
    device.done(1, "cfs-deploy update")
    device.done(2)


def wrong_hardware(device):
    """A release for another board is refused before anything of it is fetched."""
    (status, said), (_, state) = device.boot(1, "cfs-deploy update", "cfs-deploy status; ls /sysroot/cfs/releases | wc -l", offer=4)
    vm.check(status == 1 and "another" in said and "to fetch" not in said, f"exit status {status}: {said}")
    vm.check(state.startswith("tiny 1 is running and boots next.") and state.endswith("\n1\n"), state)
    device.done(1)


def gc(device):
    """Blessing the third release removes the first, and nothing that the other two need."""
    device.done(1, "cfs-deploy update")
    device.done(2, "cfs-deploy health", "cfs-deploy bless", "cfs-deploy update", offer=5)
    *_, blessed, checked = device.done(5, "cfs-deploy health", "cfs-deploy bless", "cfs-deploy fsck --deep && cfs-deploy rollback", offer=5)
    vm.check("garbage: removed 1 (epoch 1), " in blessed, blessed)
    vm.check(" 2 images: nothing is wrong" in checked, checked)
    device.done(2, offer=5)


def recovery(device):
    """The recovery boots when all other entries are gone, and makes the device whole again."""
    device.done(1, f"cfs-deploy recovery set {device.world.releases[1].digest[:12]}", "cfs-deploy update")
    device.done(2, "cfs-deploy health", "cfs-deploy bless", "cfs-deploy update", offer=5)
    device.done(5, "cfs-deploy health", "cfs-deploy bless", offer=5)
    listing = vm.run("mdir", "-b", "-i", device.esp, "::/EFI/Linux").split()
    vm.check(sum(path.endswith("+0.efi") and "/cfs_1_" in path for path in listing) == 1, f"the recovery's entry is not parked: {listing}")
    for path in listing:
        if "/cfs_1_" not in path:
            vm.run("mdel", "-i", device.esp, path)
    said = device.done(1, "cfs-deploy status", "cfs-deploy fsck --repair", f"cfs-deploy boot {device.world.releases[5].digest[:12]}", offer=5)
    vm.check("recovery  tiny 1 " in said[0], said[0])
    device.done(5, "cfs-deploy health", "cfs-deploy bless", offer=5)


SCENARIOS = {scenario.__name__: scenario for scenario in
             (panic, init_missing_then_held, image_missing, kexec, late_mark_bad, full_esp, wrong_hardware, gc, recovery)}


def main():
    parser = argparse.ArgumentParser()
    for option in ("--cache", "--work", "--build"):
        parser.add_argument(option, required=True, type=pathlib.Path)
    parser.add_argument("scenario", nargs="*", choices=[*SCENARIOS, []])
    options = parser.parse_args()
    world = World(options)
    for name in options.scenario or SCENARIOS:
        started = time.monotonic()
        device = Device(world, name)
        SCENARIOS[name](device)
        print(f"{name}: {device.boots} boots, {time.monotonic() - started:.0f} s", flush=True)
        shutil.rmtree(device.work)


if __name__ == "__main__":
    vm.main(main)
