# SPDX-License-Identifier: Apache-2.0
"""A running device finds damaged files and repairs them.

    repair_test.py --cache DIR --work DIR --build DIR      DIR: the build tree with the programs, `programs` built

On the device of tests/power/tiny_device.py, as it runs, the object of one file loses a bit on the disk, another one goes
and a third becomes another file. `cfs-deploy watch` hears the kernel complain when the files are read, names them,
repairs them from the repository, and they can be read. The same with what the kernel has not been asked for, by
`cfs-deploy fsck --repair`."""

import argparse
import json
import pathlib
import re
import shutil
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "power"))
import tiny_device
import vm

PROGRAMS = {"cfs-build": "builder", "cfs-sign": "signer", "cfs-deploy": "deployer", "cfs-mount-root": "initramfs"}
FILES = "/usr/share/tiny"
OBJECTS = "/run/rw/cfs/objects"

# Files of /usr/share/tiny, by what happens to them. Some are heard of by the watcher, some found by fsck.
HEARD = {"flipped": "7", "missing": "6", "replaced": "5"}
FOUND = {"flipped": "4", "missing": "3", "unprotected": "2"}


class Disk:
    """The device's disk and the objects of its files."""

    def __init__(self, disk, tree):
        self._disk, self._tree = disk, tree
        partition = json.loads(vm.run("sfdisk", "--json", disk))["partitiontable"]["partitions"][1]
        self._start = partition["start"] * 512

    def object(self, name):
        digest = vm.run("fsverity", "digest", self._tree / f"usr/share/tiny/{name}").split()[0].removeprefix("sha256:")
        return f"{digest[:2]}/{digest[2:]}"

    def sector(self, name):
        """The first sector of the file's content."""
        block = int(vm.debugfs(f"{self._disk}?offset={self._start}", f"bmap /cfs/objects/{self.object(name)} 0"))
        vm.check(block > 0, f"{name} has no block")
        return self._start // 512 + block * 8


def damage(disk, files):
    """Commands that damage the objects of the files."""
    commands = []
    for what, name in files.items():
        path = f"{OBJECTS}/{disk.object(name)}"
        if what == "flipped":
            commands.append(f"dd if=/dev/zero of=/dev/vda bs=512 count=1 seek={disk.sector(name)} conv=notrunc oflag=direct status=none")
        elif what == "missing":
            commands.append(f"rm {path}")
        elif what == "replaced":
            commands.append(f"echo other >/run/rw/other && mv /run/rw/other {path}")
        elif what == "unprotected":  # the right content, of which nobody vouches
            commands.append(f"cp -p {path} /run/rw/other && mv /run/rw/other {path}")
    return " && ".join(commands)


def sums(files):
    return "sha256sum " + " ".join(f"{FILES}/{name}" for name in files.values())


def scenario():
    parser = argparse.ArgumentParser()
    for option in ("--cache", "--work", "--build"):
        parser.add_argument(option, required=True, type=pathlib.Path)
    arguments = parser.parse_args()
    work = arguments.work.resolve() / "repair"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    programs = {name: arguments.build.resolve() / folder / name for name, folder in PROGRAMS.items()}
    line = tiny_device.Line(programs, work, vm.kernel(arguments.cache))
    line.publish(1)
    image = line.install(work / "disk.img")
    disk = Disk(image, work / "tree-1")
    script = f"""\
sums {sums(HEARD | FOUND)}
forget sync; echo 3 >/proc/sys/vm/drop_caches
writable mkdir /run/rw && mount -t ext4 /dev/vda2 /run/rw
watch cfs-deploy watch >/run/watch.log 2>&1 &
damage {damage(disk, HEARD)}; sync; echo 3 >/proc/sys/vm/drop_caches
read ! {sums(HEARD)}
wait for second in $(seq 60); do [ $(grep -c 'is repaired' /run/watch.log) = 3 ] && break; sleep 0.5; done; cat /run/watch.log
repaired {sums(HEARD)}
damage-more {damage(disk, FOUND)}; sync; echo 3 >/proc/sys/vm/drop_caches
mended cfs-deploy fsck --deep --repair
read-again {sums(FOUND)}
right cfs-deploy fsck
"""
    with tiny_device.boot(image, line.repository_disk(work / "repository.img"), script, work, timeout=240) as guest:
        text = guest.wait()
    for name in re.findall(r"^([a-z-]+) ", script, re.M):
        vm.check(f"guest: {name} ended with 0\n" in text, f"'{name}' failed:\n{text[-6000:]}")
    heard = text[text.index("guest: read ended"):text.index("guest: wait ended")]
    for name in HEARD.values():
        vm.check(f"    {FILES}/{name} in tiny 1 (epoch 1)\n" in heard, f"the watcher does not name {name}:\n{heard}")
    found = text[text.index("guest: damage-more ended"):text.index("guest: mended ended")]
    for name in FOUND.values():
        vm.check(f"    {FILES}/{name} in tiny 1 (epoch 1)\n" in found, f"fsck does not name {name}:\n{found}")
    vm.check("it has no fs-verity" in found, f"fsck does not miss fs-verity:\n{found}")
    for name in (HEARD | FOUND).values():
        found = set(re.findall(rf"^([0-9a-f]{{64}})  {FILES}/{name}$", text, re.M))
        vm.check(len(found) == 1, f"{name} was read as {found}")


if __name__ == "__main__":
    vm.main(scenario)
