# SPDX-License-Identifier: Apache-2.0
"""Makes the disk of the boot tests: a device's file system (docs/FORMATS.md) with a small busybox root.

    boot_disk.py --cache DIR --work DIR --mkcomposefs PROGRAM --cfs-build PROGRAM --mount-root PROGRAM

Leaves in WORK: boot.img, boot.json with the digests of the image, of one that has e2fsck besides, of two whose /etc is
merged and whose root is transient, of init and of the data files, and boot.initramfs, the built-in initramfs with its
default drivers."""

import argparse
import json
import pathlib
import re

import vm

# The root's init: says what it is and what it can read, then powers off.
INIT = """#!/bin/busybox sh
export PATH=/bin
busybox mount -t proc proc /proc 2>/dev/null
echo
echo "guest: booted $(busybox awk '$2 == "/" { print $1 " " $3 " " $4 }' /proc/mounts)"
echo "guest: arguments $*"
for file in /data/*; do
  echo "guest: read $file $(busybox sha256sum "$file" 2>&1 | busybox cut -d' ' -f1)"
done
echo "guest: many $(busybox stat -c %s /many/FIRST 2>&1) / $(busybox stat -c %s /many/DAMAGED 2>&1)"
echo "guest: json $(busybox cat /run/cfs/booted.json)"
echo "guest: volatile-root $(busybox readlink /run/systemd/volatile-root)"
echo "guest: etc mode $(busybox stat -c '%a %u' /etc)"
echo "guest: etc before [$(busybox cat /etc/changed 2>/dev/null)]"
echo "guest: etc kept $(busybox cat /etc/hostname)"
for name in ETC_FILES; do
  echo "guest: etc/$name [$(busybox cat /etc/$name 2>/dev/null)]"
done
etc=/etc
busybox test -d /run/cfs/etc && etc=/run/cfs/etc
for word in "$@"; do
  name=${word#*:}
  case "$word" in
    set:*) echo "${name#*=}" >"$etc/new" && busybox mv "$etc/new" "$etc/${name%%=*}" || echo "guest: cannot change ${name%%=*}" ;;
    remove:*) busybox rm "$etc/$name" ;;
  esac
done
echo now >/etc/changed && echo "guest: etc after [$(busybox cat /etc/changed)]"
echo "guest: var before [$(busybox cat /var/changed 2>/dev/null)]"
echo now >/var/changed && echo "guest: var after [$(busybox cat /var/changed)]"
echo now 2>/dev/null >/sysroot/cfs/tmp/x || echo "guest: sysroot read-only"
busybox grep -E ' /(sysroot|etc|var|var/tmp) ' /proc/mounts | busybox sed 's/^/guest: mount /'
echo now >/var/tmp/x && echo "guest: var/tmp mode $(busybox stat -c %a /var/tmp)"
echo "guest: modules $(busybox cut -d' ' -f1 /proc/modules | busybox sort | busybox tr '\n' ' ')"
case "$*" in
  *by-hand*) /usr/lib/cfs/cfs-mount-root /sysroot; echo "guest: by hand $?" ;;
esac
busybox ls /usr/x 2>/dev/null
echo x 2>/dev/null >/usr/x && echo "guest: root writable" || echo "guest: root read-only"
echo "guest: initramfs [$(busybox ls -A /proc/1/root/../init 2>/dev/null)]"
busybox dmesg | busybox grep -E 'overlayfs|fs-verity|EROFS|erofs|cfs:' | busybox sed 's/^/guest: dmesg /'
echo "guest: end"
busybox sync
busybox poweroff -f
"""

SCRIPT = """
set -e
mkfs.ext4 -q -b 4096 -O verity -L cfs /dev/vda
mount -t ext4 /dev/vda /mnt
mkdir -p /mnt/cfs/objects /mnt/cfs/images /mnt/cfs/state/var /mnt/cfs/tmp
make_image() {
  mkcomposefs --digest-store=/mnt/cfs/objects /root-tree /mnt/cfs/tmp/image
  fsverity enable /mnt/cfs/tmp/image
  digest=$(fsverity measure /mnt/cfs/tmp/image | cut -d' ' -f1 | cut -d: -f2)
  rest=${digest#??}
  object=${digest%"$rest"}/$rest
  mkdir -p /mnt/cfs/objects/${digest%"$rest"}
  mv /mnt/cfs/tmp/image /mnt/cfs/objects/$object
  ln -s ../objects/$object /mnt/cfs/images/$digest
  echo "digest $digest"
}
make_image
cp -a /e2fsck-tree/. /root-tree
make_image
for tree in /first-tree /second-tree; do
  cp -a $tree/. /root-tree
  make_image
done
for object in /mnt/cfs/objects/*/*; do
  fsverity enable $object 2>/dev/null || fsverity measure $object >/dev/null
done
umount /mnt
"""

# name → content; more than 64 bytes, so that they are objects and not inline
DATA = {"first": "first " * 3000, "second": "second " * 20000}

# Of two releases: what their policy is, and how their /etc differ.
ETC_FILES = ("machine-id", "conf", "conf.cfs-new", "gone", "more", "mine", "ssh/ssh_host_key")
INIT = INIT.replace("ETC_FILES", " ".join(ETC_FILES))
ROOT_POLICY = "cfs-root 1\netc merge\nroot transient\nkeep /etc/machine-id\nkeep /etc/ssh/ssh_host_*\n"
FIRST = {"usr/lib/cfs/root.conf": ROOT_POLICY, "etc/machine-id": "", "etc/ssh/sshd_config": "1\n", "etc/conf": "1\n",
         "etc/gone": "1\n"}
SECOND = {"etc/conf": "2\n", "etc/more": "2\n"}

# A directory too large for the image's first block.
MANY = [f"a-name-that-takes-some-room-{number:04}" for number in range(300)]
INIT = INIT.replace("FIRST", MANY[0]).replace("DAMAGED", MANY[-100])


def object_digest(path):
    """The digest of a file as the fsverity program, not our own code, computes it."""
    return vm.run("fsverity", "digest", path).split()[0].removeprefix("sha256:")


def main():
    parser = argparse.ArgumentParser()
    for option in ("--cache", "--work", "--mkcomposefs", "--cfs-build", "--mount-root"):
        parser.add_argument(option, required=True, type=pathlib.Path)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    kernel = vm.kernel(arguments.cache)
    initramfs = vm.builtin_initramfs(kernel, arguments.work / "initramfs", arguments.cfs_build, arguments.mount_root)
    initramfs.replace(arguments.work / "boot.initramfs")
    # From 128 MiB on the file system has a copy of its superblock; an SD card has a power of two.
    disk = vm.empty_disk(arguments.work / "boot.img.part", 256)
    tree = "root-tree/"
    busybox = pathlib.Path(vm.tool("busybox"))
    files = [(tree + "bin/busybox", busybox), (tree + "sbin/init", INIT), (tree + "etc/hostname", "cfs-guest\n"),
             (tree + "usr/lib/cfs/cfs-mount-root", arguments.mount_root)]
    files += [(tree + f"data/{name}", content) for name, content in DATA.items()]
    files += [(tree + f"many/{name}", "") for name in MANY]
    files += [(tree + f"{name}/.keep", "") for name in ("dev", "proc", "sys", "run", "var", "sysroot", "tmp")]
    files += [("first-tree/" + name, content) for name, content in FIRST.items()]
    files += [("second-tree/" + name, content) for name, content in SECOND.items()]
    e2fsck = pathlib.Path(vm.tool("e2fsck"))
    files += [("e2fsck-tree/usr/sbin/e2fsck", e2fsck)]
    files += [("e2fsck-tree" + library, pathlib.Path(library).resolve()) for library in vm.shared_libraries(e2fsck)]
    script = "chmod 755 /root-tree/bin/busybox /root-tree/sbin/init /root-tree/usr/lib/cfs/cfs-mount-root\nchmod -R 755 /e2fsck-tree\nln -s busybox /root-tree/bin/sh\n" + SCRIPT
    programs = [("usr/sbin/mkfs.ext4", vm.tool("mkfs.ext4")), ("usr/bin/fsverity", vm.tool("fsverity")),
                ("usr/bin/mkcomposefs", arguments.mkcomposefs)]
    text = vm.run_script(kernel, script, arguments.work, disks=[disk], programs=programs, files=files, name="boot_disk")
    image, image_with_e2fsck, first, second = re.findall(r"digest ([0-9a-f]{64})$", text, re.M)
    vm.run("e2fsck", "-fn", disk)
    digests = {"image": image, "image_with_e2fsck": image_with_e2fsck, "first_release": first, "second_release": second, "init": object_digest(busybox)}
    for name, content in DATA.items():
        plain = arguments.work / "plain"
        plain.write_text(content)
        digests[name] = object_digest(plain)
    (arguments.work / "boot.json").write_text(json.dumps(digests))
    disk.rename(arguments.work / "boot.img")


if __name__ == "__main__":
    vm.main(main)
