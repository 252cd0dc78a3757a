# SPDX-License-Identifier: Apache-2.0
"""Boots the disk of boot_disk.py with an initramfs made by Debian's mkinitramfs and our hook.

    initramfs_tools_test.py --cache DIR --work DIR --cfs-build PROGRAM --mount-root PROGRAM --hook DIR"""

import argparse
import os
import pathlib
import shutil

import boot_test
import vm

# In a mount namespace of its own: this machine has neither that kernel nor cfs installed. In a
# chroot that is no mount point the mounts cannot be made private, so they are undone as well.
MKINITRAMFS = """
set -e
mount --make-rprivate / 2>/dev/null || true
trap 'umount --lazy /boot "/usr/lib/modules/$VERSION" /usr/lib 2>/dev/null' EXIT
mount -t overlay overlay -o "lowerdir=$EXTRA:/usr/lib" /usr/lib
mount --bind "$MODULES" "/usr/lib/modules/$VERSION"
mount --bind "$BOOT" /boot
mkinitramfs -d "$CONFIGURATION" -o "$OUT" "$VERSION"
"""


OTHER_BOOT_METHOD = """
mountroot() { modprobe virtio_blk; mount -t ext4 /dev/vda "${rootmnt}"; }
"""


def make_initramfs(hook, kernel, mount_root, work):
    """What update-initramfs makes, with Debian's own configuration and our hook."""
    extra, configuration, out = work / "extra", work / "configuration", work / "initramfs"
    for directory in (extra, configuration):
        shutil.rmtree(directory, ignore_errors=True)
    (extra / "modules" / kernel.version).mkdir(parents=True)
    (extra / "cfs").mkdir()
    shutil.copy(mount_root, extra / "cfs/cfs-mount-root")
    vm.check(pathlib.Path("/etc/initramfs-tools/initramfs.conf").exists(), "initramfs-tools-core is missing: run scripts/setup")
    shutil.copytree("/etc/initramfs-tools", configuration)
    shutil.copytree(hook, configuration, dirs_exist_ok=True)
    (configuration / "scripts/other").write_text(OTHER_BOOT_METHOD)
    environment = dict(os.environ, EXTRA=extra, MODULES=kernel.modules, VERSION=kernel.version,
                       BOOT=kernel.root / "boot", CONFIGURATION=configuration, OUT=out)
    user_namespace = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    vm.run("unshare", *user_namespace, "--mount", "--propagation", "unchanged", "sh", "-c", MKINITRAMFS, env=environment)
    listing = vm.run("lsinitramfs", out)
    for name in ("usr/lib/cfs/cfs-mount-root", "scripts/local-premount/cfs", "scripts/local-block/cfs",
                 "scripts/local-bottom/cfs", "scripts/init-bottom/cfs", "fs/erofs/erofs.ko",
                 "fs/overlayfs/overlay.ko"):
        vm.check(name in listing, f"the initramfs lacks {name}")
    return out


def main():
    parser = argparse.ArgumentParser()
    for option in ("--cache", "--work", "--cfs-build", "--mount-root", "--hook"):
        parser.add_argument(option, required=True, type=pathlib.Path)
    arguments = parser.parse_args()
    arguments.scenario = "initramfs_tools"
    machine = boot_test.Machine(arguments)
    machine.initrd = make_initramfs(arguments.hook, machine.kernel, arguments.mount_root, machine.work)

    text = machine.boots(options="root=LABEL=cfs ro cfs.verify=full")
    boot_test.reads(text, "first")
    boot_test.reads(text, "second")
    boot_test.says(text, boot_test.FAST_SHA256)
    boot_test.says(text, "volatile-root /dev/block/254:0")
    boot_test.says(text, r"etc before \[\]")
    boot_test.says(text, r"etc after \[now\]")
    boot_test.says(text, r"var after \[now\]")
    boot_test.says(text, "sysroot read-only")
    boot_test.says(text, "root read-only")

    # Errors in the file system that Debian's scripts have mounted.
    machine.image = machine.digests["image_with_e2fsck"]
    boot_test.damage(machine.disk, is_serious=True)
    text = machine.boots(options="root=LABEL=cfs ro rootflags=commit=17")
    boot_test.check_repaired(machine, text)
    boot_test.says(text, "mount /dev/vda /var ext4 .*commit=17.*")

    # What a power cut leaves of the superblock: its sectors are of different times.
    for root in ("LABEL=cfs", "/dev/vda"):
        boot_test.tear_superblock(machine.disk)
        boot_test.check_mended(machine, machine.boots(options=f"root={root} ro"))

    # Another boot method, one that never runs local-bottom, does not get around the pin.
    text = machine.fails("setup", "not mounted by cfs-mount-root", options="root=LABEL=cfs boot=other")
    vm.check("reboot: Restarting system" in text or "sysrq: Resetting" in text, "no reboot:\n" + text)


if __name__ == "__main__":
    vm.main(main)
