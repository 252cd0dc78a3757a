#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The life of a device, on a real Debian: install release 1, boot, update to release 2 over HTTP from
inside, reboot into it, roll back, reboot into release 1, which repairs a damaged file by itself; take release 2 again, which
is not in good health any more, and fall back from it.

    debian_test.py --build DIR --work DIR      DIR: the build tree with the programs, `programs` built"""

import argparse
import json
import pathlib
import re
import uuid

import debian_fallback_test
import debian_guest
import vm
from debian_guest import wait_until_good
from debian_line import MARKER, PAGES, Server, line_of_arguments, marker


UNWELL = "/var/lib/unwell"
# In release 2: where a device has this file, no shell is there and a check of its health fails.
MAYBE_UNWELL = f"""
  - {{path: /etc/systemd/system/serial-getty@ttyS0.service.d/unwell.conf, content: "[Unit]\\nConditionPathExists=!{UNWELL}\\n"}}
  - path: /usr/lib/cfs/health.d/required/page
    mode: 0755
    content: |
      #!/bin/sh
      test ! -e {UNWELL} && exit
      echo no page
      exit 3
"""
# The entries in which release 2 is to differ from release 1: version, marker, pages, configuration and what is above.
DIFFERING = re.compile(rf"/usr/lib/os-release|{MARKER}|(/usr/share/factory)?{PAGES}/(kept|replaced|of-\d)|"
                       r"/usr/lib/cfs(/(deploy\.yaml|health\.d|health\.d/required|health\.d/required/page|var))?|"
                       r"/(usr/share/factory/)?etc/systemd/system/serial-getty@ttyS0\.service\.d(/unwell\.conf)?")


def check_reproducible(line, one, other):
    """Two releases of sources that are the same are the same but for what their manifests have them differ in."""
    def entries(number):
        return set(vm.run("composefs-info", "dump", line.work / f"release-{number}/image.cfs").splitlines())

    differing = {entry.split()[0] for entry in entries(one) ^ entries(other)}
    wrong = sorted(path for path in differing if not DIFFERING.fullmatch(path))
    vm.check(differing and not wrong, f"releases {one} and {other} differ in {wrong}")
    for name in ("vmlinuz", "initramfs"):
        files = [(line.work / f"release-{number}" / name).read_bytes() for number in (one, other)]
        vm.check(files[0] == files[1], f"releases {one} and {other} differ in their {name}")


def partitions(disk):
    return json.loads(vm.run("sfdisk", "--json", disk))["partitiontable"]["partitions"]


def add_foreign_partitions(disk):
    """What somebody might add: a /home and swap space, by the types that systemd mounts unasked."""
    with open(disk, "r+b") as file:
        file.truncate(disk.stat().st_size + (80 << 20))
    vm.run("sfdisk", "-q", "--relocate", "gpt-bak-std", disk)
    vm.run("sfdisk", "-q", "--append", disk,
           input="size=32MiB, type=933AC7E1-2EB4-4F13-B844-0E14E2AEF915\n"
                 "size=32MiB, type=0657FD6D-A4AB-43C4-84E5-0933C84B4F4F\n")
    for partition, *make in zip(partitions(disk)[-2:], ("mkfs.ext4", "mkswap"), ("-q", "-f")):
        part = vm.empty_disk(disk.with_suffix(".part"), 32)
        vm.run(*make, part)
        vm.run("dd", f"if={part}", f"of={disk}", "bs=512", f"seek={partition['start']}", "conv=notrunc", "status=none")
        part.unlink()


def foreign_copy(disk, copy):
    """A copy of the disk as somebody might plug in: the same root, another /var, and ids of its own."""
    vm.copy_disk(disk, copy)
    for number, partition in enumerate(partitions(copy), start=1):
        vm.run("sfdisk", "-q", "--part-uuid", copy, number, str(uuid.uuid4()))
    root = f"{copy}?offset={partitions(copy)[1]['start'] * 512}"
    vm.debugfs(root, "rm /cfs/state/var/lib/kept", write=True)
    return copy


def objects(line, digest):
    """Digests of the objects a published release needs."""
    manifest = (line.repository / "rel" / digest / "manifest").read_text().splitlines()
    return {row.split()[1] for row in manifest if row.startswith("object ")}


def decoy(work):
    """A disk with an empty EFI system partition that is called as ours is."""
    disk = vm.empty_disk(work / "decoy.img", 66)
    vm.run("sfdisk", "--quiet", disk, input="label: gpt\nstart=2048, size=131072, type=uefi, name=cfs-esp\n")
    vm.run("mkfs.vfat", "-F", "32", "-s", "1", "--offset=2048", disk, "65536")
    vm.run("mmd", "-i", f"{disk}@@1M", "::/empty")
    return disk


AS_USER = "setpriv --reuid=1000 --regid=1000 --clear-groups"


def make_files(guest, directory, who="", limit=10**9):
    """Makes empty files until it is told that there is no space, or `limit` of them; returns how many."""
    text = guest.command(f"{who} perl -e 'mkdir $ARGV[0]; $n = 0; $n++ while $n < $ARGV[1] and open F, \">\", \"$ARGV[0]/$n\"; "
                         f"print \"$n $!\"' {directory} {limit}")
    count = int(text.split()[0])
    vm.check(count == limit or "No space left" in text, f"{directory}: {text}")
    return count


def fill(guest, directory):
    """Takes all blocks that a user can get."""
    guest.command(f"for size in 512M 128M 32M 8M 2M 512K 64K 4K; do while {AS_USER} fallocate -l $size "
                  f"{directory}/$((number += 1)) 2>/dev/null; do :; done; done")
    left = guest.command(f"stat -f -c %a {directory}")
    vm.check(left == "0", f"{left} blocks are left for others in {directory}")


def places_of_users(guest):
    """The files and directories on the device's disk that a user can write to, wherever it is mounted. root lists them,
    since a user can know the name of what lies in a directory that he cannot list; the user tries them, since the way
    there, access lists and read-only mounts count too."""
    return guest.command("find $(findmnt -nro TARGET -t ext4) -xdev -fstype ext4 '(' -type f -o -type d ')' -print0 | "
                         f"{AS_USER} xargs -0 sh -c 'for f; do if test -w \"$f\"; then echo \"$f\"; fi; done' -").splitlines()


def check_others_are_kept_out(guest):
    """A user neither reads the objects nor has a place on the device's disk to write to."""
    denied = guest.command(f"{AS_USER} ls /sysroot/cfs/objects", check=False)
    vm.check("Permission denied" in denied, "others read the objects")
    places = places_of_users(guest)
    vm.check(not places, f"a user may write to {places}")
    guest.command("mkdir -m 0711 /var/lib/unlisted && mkdir -m 0777 /var/lib/unlisted/place")
    places = places_of_users(guest)
    vm.check(places == ["/var/lib/unlisted/place"], f"of a place that a user may write to was found {places}")
    guest.command("rm -r /var/lib/unlisted")


def check_others_cannot_fill_the_disk(guest):
    """Whatever a user has written, in /var/tmp and in a directory that is given to them on the device's disk, root can
    write. Leaves both full."""
    fill(guest, "/var/tmp")
    guest.command("mkdir -m 0777 /var/lib/everybodys")
    fill(guest, "/var/lib/everybodys")
    guest.command("head -c 8M /dev/zero >/var/lib/data && sync /var/lib/data")
    count = make_files(guest, "/var/lib/files", limit=5000)
    vm.check(count == 5000, f"root could make {count} files")
    guest.command("rm -r /var/lib/data /var/lib/files")


def check_no_inodes_left(guest):
    """ext4 reserves no inodes: a user with a directory on the device's disk can take all. An update then says so and
    changes nothing; the next one, with the files gone, works."""
    guest.command("mkdir -m 0777 /var/lib/users")
    print(f"files in /var/lib/users: {make_files(guest, '/var/lib/users/many', AS_USER)}")
    left = guest.command("stat -f -c %d /var")
    vm.check(left == "0", f"{left} inodes are left")
    said = guest.command("cfs-deploy update >/run/said 2>&1; echo $?; cat /run/said")
    vm.check(said.startswith("9\n") and "No space left" in said, f"cfs-deploy update: {said}")
    guest.command("rm -r /var/lib/users")


def check_release(guest, number, digest):
    root = guest.command("findmnt -nro FSTYPE,OPTIONS /")
    vm.check(root.startswith("overlay ro,") and "verity=require" in root, f"/ is {root}")
    vm.check(f"composefs.digest={digest}" in guest.command("cat /proc/cmdline"), "another digest is pinned")
    # By this cfs-deploy knows which of several deployments of one image is running.
    [variable] = guest.command("ls /sys/firmware/efi/efivars | grep ^LoaderEntrySelected-").split()
    entry = guest.command(f"cat /sys/firmware/efi/efivars/{variable} | tail -c +5 | tr -d '\\0'")
    names = (pathlib.Path(__file__).resolve().parents[2] / "lib/boot/efi_variables.cc").read_text()
    vm.check(f'"{variable}"' in names, f"the boot loader calls the variable {variable}")
    vm.check(re.fullmatch(rf"cfs_{number}_{digest[:12]}\.0(\+\d+(-\d+)?)?\.efi", entry),
             f"the boot loader started '{entry}'")
    state = guest.command("systemctl is-system-running --wait || systemctl --failed --no-legend")
    vm.check(state == "running", f"the system is {state}")
    vm.check(guest.command(f"cat {MARKER}").startswith(f"{number} "), "the root is another release's")
    for path, options in (("/sysroot", "ro,nosuid,nodev"), ("/var", "rw,nosuid,nodev"), ("/var/tmp", "rw,nosuid,nodev")):
        found = guest.command(f"findmnt -nro OPTIONS {path}")
        vm.check(found.startswith(options), f"{path} is mounted {found}")
    # What the release ships for /var is there, what it does not ship has gone.
    pages = guest.command(f"cd {PAGES} && grep . *")
    vm.check(pages == f"kept:1\nof-{number}:{number}\nreplaced:{number}", f"{PAGES} has\n{pages}")
    packages = guest.command("dpkg-query --show --showformat '${Package}\\n' systemd && readlink /var/lib/dpkg")
    vm.check(packages == "systemd\n../../usr/lib/sysimage/dpkg", f"the package database: {packages}")
    # Nothing of a disk is mounted because of its type.
    guest.command("ls /home")
    vm.check("/home" not in guest.command("cat /proc/mounts"), "a partition for /home was mounted")
    vm.check(len(guest.command("cat /proc/swaps").splitlines()) == 1, "a swap partition is in use")
    vm.check("Read-only" in guest.command("echo x > /usr/bin/ls", check=False), "/usr can be written")


def check_repair(guest, work):
    """An object of release 1 that is missing when its file is read is fetched again by cfs-watch.service."""
    file = work / "marker"
    file.write_text(marker(1))
    digest = vm.run("fsverity", "digest", file).split()[0].removeprefix("sha256:")
    guest.command(f"unshare -m sh -c 'mount -o remount,bind,rw /sysroot && rm /sysroot/cfs/objects/{digest[:2]}/{digest[2:]}'")
    guest.command("sync; echo 3 >/proc/sys/vm/drop_caches")
    said = guest.command(f"for second in $(seq 100); do cat {MARKER} 2>>/run/said && break; sleep 1; done; cat /run/said; "
                         "journalctl -u cfs-watch -o cat")
    vm.check(said.startswith(f"{marker(1)}cat: {MARKER}: ") and "is repaired" in said, said)


def scenario():
    line, _ = line_of_arguments(argparse.ArgumentParser())
    work = line.work
    first = line.build(1, debian_fallback_test.ONE_TRY)
    second = line.build(2, MAYBE_UNWELL)
    check_reproducible(line, 1, 2)
    vm.run("cfs-sign", "init", line.repository, "--keys", line.keys)
    line.publish(1)
    server = Server(line.repository)
    disk = work / "disk.img"
    vm.run("cfs-deploy", "install", "--disk", disk, "--url", f"file://{line.repository}",
           "--device-url", f"http://10.0.2.2:{server.port}",
           "--root", line.repository / "metadata/1.root.json", "--name", "debian-minimal",
           "--free", "256MiB")  # fewer blocks and inodes to take

    add_foreign_partitions(disk)
    other = decoy(work)
    with debian_guest.boot(disk, work, disks_before=[other]) as guest:
        check_release(guest, 1, first["image"]["digest"])
        check_others_are_kept_out(guest)
        guest.command("echo kept > /var/lib/kept; echo lost > /etc/lost")
        vm.check(guest.command("cfs-deploy update >/tmp/said 2>&1; echo $?; cat /tmp/said").startswith("10"), "there is nothing to update to")
        line.publish(2)
        check_no_inodes_left(guest)
        check_others_cannot_fill_the_disk(guest)
        server.requests.clear()
        print(guest.command("cfs-deploy update"))
        new = objects(line, second["image"]["digest"]) - objects(line, first["image"]["digest"])
        new.add(second["image"]["digest"])
        fetched = {path.split("/obj/")[1].removesuffix(".zst").replace("/", "") for path in server.requests if "/obj/" in path}
        print(f"objects fetched: {len(fetched)}, new in release 2: {len(new)}, requests: {len(server.requests)}")
        vm.check(fetched == new, f"fetched {fetched}, new are {new}")
        guest.command("rm -r /var/lib/everybodys")
        wait_until_good(guest)
        guest.reboot()
    listing = vm.run("mdir", "-b", "-i", f"{other}@@1M", "::")
    vm.check(listing.split() == ["::/empty/"], f"the wrong ESP was written to:\n{listing}")

    with debian_guest.boot(disk, work) as guest:
        check_release(guest, 2, second["image"]["digest"])
        vm.check(guest.command("cat /var/lib/kept") == "kept", "/var was lost")
        vm.check(guest.command("test -e /etc/lost; echo $?") == "1", "/etc is not transient")
        wait_until_good(guest)
        print(guest.command("cfs-deploy status; cfs-deploy history"))
        guest.command("mkdir /run/esp && mount /dev/disk/by-partlabel/cfs-esp /run/esp && rm -f /run/esp/EFI/Linux/cfs_1_* && umount /run/esp")
        print(guest.command("cfs-deploy rollback"))
        guest.reboot()

    # The firmware starts from the device's own disk, which is not the first.
    with debian_guest.boot(disk, work, disks_before=[foreign_copy(disk, work / "copy.img")], reboots=True) as guest:
        check_release(guest, 1, first["image"]["digest"])
        vm.check(guest.command("findmnt -nro SOURCE /sysroot").startswith("/dev/vdb"), "the root is on the other disk")
        vm.check(guest.command("cat /var/lib/kept") == "kept", "/var is the other disk's")
        check_repair(guest, work)
        guest.command(f"touch {UNWELL}; cfs-deploy update --retry")
        debian_fallback_test.check_falls_back(guest, 2, "the check 'page' failed with status 3: no page")
        guest.power_off()


if __name__ == "__main__":
    vm.main(scenario)
