# SPDX-License-Identifier: Apache-2.0
"""A UKI that was made the next entry to boot is on the disk, whole, though the machine is reset right after.

    esp_cut.py --cache DIR --work DIR --program ESP_CUT"""

import argparse
import pathlib
import re
import subprocess

import vm

STUB = pathlib.Path("/usr/lib/systemd/boot/efi/linuxx64.efi.stub")
SCRIPT = """
mount -t vfat /dev/vda /mnt || exit 1
echo "guest: installs ID"
/bin/esp_cut /mnt ID /uki
"""


def uki(work, number):
    """A UKI that nothing could start."""
    command = [vm.tool("objcopy")]
    # Where the stub ends in memory; its image base is 0 or is added by objcopy's --change-section-vma as given.
    address = 0x2000000
    for name, content in ((".osrel", b"ID=test\nPRETTY_NAME=Test\n"), (".cmdline", b"composefs.digest=" + b"%d" % number * 64),
                          (".linux", b"MZ" + b"%d" % number * 3_000_000), (".initrd", b"initrd")):
        part = work / f"part{name}"
        part.write_bytes(content)
        command += ["--add-section", f"{name}={part}", "--change-section-vma", f"{name}={address:#x}"]
        address += (len(content) + 0xfffff) // 0x100000 * 0x100000
    path = work / f"uki{number}"
    vm.run(*command, STUB, path)
    return path


def main():
    parser = argparse.ArgumentParser()
    for option in ("--cache", "--work", "--program"):
        parser.add_argument(option, required=True, type=pathlib.Path)
    arguments = parser.parse_args()
    work = arguments.work / "esp_cut"
    work.mkdir(parents=True, exist_ok=True)
    kernel = vm.kernel(arguments.cache)
    disk = vm.empty_disk(work / "esp.img", 128)
    vm.run("mkfs.vfat", "-F", "32", "-n", "cfs-esp", disk)
    made = {}
    # The first makes the directories and loader.conf, the second changes it, the third replaces the first.
    for number, entry_id in ((1, "cfs_1_0123456789ab.0"), (2, "cfs_2_0123456789ab.1"), (3, "cfs_1_0123456789ab.0")):
        source = uki(work, number)
        made[f"{entry_id}.efi"] = source
        initrd = vm.script_initramfs(kernel, SCRIPT.replace("ID", entry_id), work / "guest.cpio",
                                     [("bin/esp_cut", arguments.program)], [("uki", source)],
                                     modules=("virtio_pci", "virtio_blk", "vfat", "nls_cp437", "nls_ascii"))
        with vm.Guest(kernel=kernel.vmlinuz, initrd=initrd, cmdline="quiet", disks=[disk], log=work / "console.log") as guest:
            text = guest.wait()
        vm.check(f"guest: installs {entry_id}" in text and "cfs-vm: exit" not in text, "not reset after the entry was made:\n" + text)
        conf = vm.run("mtype", "-i", disk, "::/loader/loader.conf")
        vm.check(conf.startswith(f"default {entry_id}[+.][1-9e]*\n"), f"the default is not {entry_id} but\n{conf}")
        listing = sorted(line.rsplit("/", 1)[1] for line in vm.run("mdir", "-b", "-i", disk, "::/EFI/Linux").splitlines())
        vm.check(listing == sorted(made), f"EFI/Linux holds {listing}")
        for entry, expected in made.items():
            copy = work / "copy"
            copy.unlink(missing_ok=True)
            vm.run("mcopy", "-n", "-i", disk, f"::/EFI/Linux/{entry}", copy)
            vm.check(copy.read_bytes() == expected.read_bytes(), f"after {number}: {entry} is not whole: {copy.stat().st_size} bytes")
        fsck = subprocess.run([vm.tool("fsck.vfat"), "-n", disk], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout
        print(f"{entry_id}:\n{fsck}")
        vm.check(not re.search(r"shar|Truncat|truncat|Bad|invalid", fsck), fsck)


if __name__ == "__main__":
    vm.main(main)
