# SPDX-License-Identifier: Apache-2.0
"""mount.composefs on Debian 12's default kernel, 6.1: no EROFS from files, no new overlayfs interface, no
data-only layers, no verity=. Without verity it mounts all the same; with verity it is refused.

    old_kernel.py --cache DIR --work DIR --mkcomposefs PROGRAM --mount-composefs PROGRAM"""

import argparse
import pathlib

import vm

SCRIPT = """
fail() { echo "FAILED: $*"; dmesg | tail -n 20; exit 1; }
uname -r
mkfs.ext4 -q -b 4096 -O verity /dev/vda && mkdir /disk && mount -t ext4 /dev/vda /disk && cd /disk || fail disk
mkdir rootfs mnt
seq 1000 >rootfs/large
echo small >rootfs/small
mkcomposefs --digest-store=objects rootfs rootfs.cfs || fail mkcomposefs
mount.composefs -o basedir=/disk/objects rootfs.cfs mnt || fail mount.composefs
cmp mnt/large rootfs/large && cmp mnt/small rootfs/small || fail contents
[ "$(cat /sys/block/loop0/loop/backing_file)" = /disk/rootfs.cfs ] || fail "no loop device"
grep ' /disk/mnt overlay ' /proc/mounts
umount mnt || fail umount
mount.composefs -o basedir=/disk/objects,tryverity rootfs.cfs mnt || fail tryverity
umount mnt || fail umount
said=$(mount.composefs -o basedir=/disk/objects,verity rootfs.cfs mnt 2>&1) && fail "mounted with verity"
echo "$said"
case $said in *"needs Linux 6.6 or newer"*) ;; *) fail "said '$said'" ;; esac
grep -e erofs -e composefs /proc/mounts && fail "left something mounted"
exit 0
"""


def main():
    parser = argparse.ArgumentParser()
    for option in ("--cache", "--work", "--mkcomposefs", "--mount-composefs"):
        parser.add_argument(option, required=True, type=pathlib.Path)
    arguments = parser.parse_args()
    work = arguments.work / "old_kernel"
    work.mkdir(parents=True, exist_ok=True)
    programs = [("usr/sbin/mkfs.ext4", vm.tool("mkfs.ext4")), ("usr/bin/mkcomposefs", arguments.mkcomposefs),
                ("usr/bin/mount.composefs", arguments.mount_composefs)]
    kernel = vm.kernel(arguments.cache, "linux-image-cloud-amd64")
    text = vm.run_script(kernel, SCRIPT, work, disks=[vm.empty_disk(work / "disk.img", 64)], programs=programs)
    print(text)
    vm.check(kernel.version.startswith("6.1."), f"{kernel.version} is not the kernel this test is about")


if __name__ == "__main__":
    vm.main(main)
