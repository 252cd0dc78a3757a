# SPDX-License-Identifier: Apache-2.0
"""Boots the disk of boot_disk.py, whole or damaged, with the built-in initramfs.

    boot_test.py --cache DIR --work DIR --cfs-build PROGRAM --mount-root PROGRAM SCENARIO

A damaged disk must end in its documented FATAL line, or boot with EIO on exactly what is damaged:
never in wrong data, never in a root that is not verified."""

import argparse
import hashlib
import inspect
import json
import pathlib
import re
import subprocess

import boot_disk
import vm

FAST_SHA256 = 'dmesg .*fs-verity: sha256 using implementation "sha256-(ni|avx2|avx|ssse3)"'
OTHER_DIGEST = "ab" * 32
DAMAGED_CONTENT = "in the damaged file system\n" * 500
FAULT_SCRIPT = """
mkdir -p /root && mount -t ext4 -o ro /dev/vda /root || exit 1
strace -o /strace -e trace=fsconfig -e inject={inject} cfs-mount-root /root
sed 's/^/guest: strace /' /strace
for name in dev proc run; do mount --rbind /$name /root/$name || exit 1; done
exec chroot /root /sbin/init
"""


class Machine:
    """A copy of the boot disk, and how to boot it."""

    def __init__(self, arguments):
        self.work = arguments.work / arguments.scenario
        self.work.mkdir(parents=True, exist_ok=True)
        self.kernel = vm.kernel(arguments.cache)
        self.digests = json.loads((arguments.work / "boot.json").read_text())
        self.image = self.digests["image"]
        self.disk = vm.copy_disk(arguments.work / "boot.img", self.work / "disk.img")
        self.disks = [self.disk]
        self.disk_device = vm.VIRTIO_DISK
        self.arguments = arguments
        self.mount_root = arguments.mount_root
        self.initrd = arguments.work / "boot.initramfs"

    def use_kernel(self, meta_package):
        """Boots another kernel from now on, with its own built-in initramfs."""
        self.kernel = vm.kernel(self.arguments.cache, meta_package)
        self.initrd = vm.builtin_initramfs(self.kernel, self.work / "initramfs", self.arguments.cfs_build, self.mount_root)

    def boot(self, options="cfs.on_failure=poweroff rootdelay=1", pin=None):
        """Boots and returns the console text. `pin`: the digest part of the command line."""
        pin = f"composefs.digest={self.image}" if pin is None else pin
        with vm.Guest(kernel=self.kernel.vmlinuz, initrd=self.initrd, disks=self.disks,
                      disk_device=self.disk_device, cmdline=f"quiet {pin} {options}",
                      log=self.work / "console.log") as guest:
            return guest.wait()

    def boots(self, **options):
        """Boots, and fails unless the root's own init ran to its end on a verified root."""
        return self.check_booted(self.boot(**options))

    def boots_with_fault(self, error, call):
        """As boots(), from a shell in the initramfs as initramfs-tools does it, where cfs-mount-root's fsconfig(2)
        number `call` fails with `error`."""
        programs = [("bin/strace", vm.tool("strace")), ("bin/cfs-mount-root", self.mount_root)]
        script = FAULT_SCRIPT.format(inject=f"fsconfig:error={error}:when={call}")
        initrd = vm.script_initramfs(self.kernel, script, self.work / "fault.cpio", programs)
        with vm.Guest(kernel=self.kernel.vmlinuz, initrd=initrd, disks=[self.disk],
                      cmdline=f"quiet composefs.digest={self.image} cfs.on_failure=poweroff",
                      log=self.work / "console.log") as guest:
            return self.check_booted(guest.wait())

    def check_booted(self, text):
        vm.check("cfs: FATAL" not in text, "FATAL on a disk that should boot:\n" + text)
        vm.check("guest: end" in text, "the root's init did not finish:\n" + text)
        vm.check(re.search(rf"^guest: booted cfs:{self.image} overlay r[ow],\S*metacopy=on,\S*verity=require$", text, re.M),
                 "/ is not the verified root:\n" + text)
        return text

    def fails(self, code, what, **options):
        """Boots, and fails unless exactly the FATAL line `code` with the text `what` comes and no init runs."""
        text = self.boot(**options)
        vm.check("guest: booted" not in text, "booted:\n" + text)
        # Once on /dev/console, once by the kernel's log.
        lines = set(re.findall(r"cfs: FATAL (.*)$", text, re.M))
        vm.check(len(lines) == 1, f"FATAL lines: {lines}\n{text}")
        [line] = lines
        vm.check(line.startswith(code + " ") and re.search(what, line), f"not 'FATAL {code} …{what}…': {line}")
        if code in ("mount", "self-test", "objects", "state"):  # by then the disk is mounted
            self.check_left_behind(code, line)
        return text

    def check_left_behind(self, code, line):
        """The reason is on the disk, for who boots next."""
        subprocess.run([vm.tool("e2fsck"), "-p", self.disk], stdout=subprocess.DEVNULL)  # the journal
        failure = json.loads(vm.debugfs(self.disk, "cat /cfs/state/boot/failure.json"))
        vm.check(failure["code"] == code and failure["digest"] in (self.image, OTHER_DIGEST) and f"{code} {failure['text']}" == line,
                 f"left behind was {failure}, said was {line}")

    def object(self, name):
        digest = self.digests[name]
        return f"/cfs/objects/{digest[:2]}/{digest[2:]}"

    def replace(self, name, content):
        """Puts a plain file in the place of an object."""
        plain = self.work / "plain"
        plain.write_bytes(content)
        vm.debugfs(self.disk, f"rm {self.object(name)}", write=True)
        vm.debugfs(self.disk, f"write {plain} {self.object(name)}", write=True)

    def dump(self, name):
        """The content of an object."""
        plain = self.work / "dump"
        vm.debugfs(self.disk, f"dump {self.object(name)} {plain}")
        return plain.read_bytes()


def says(text, line):
    vm.check(re.search(rf"^guest: {line}$", text, re.M), f"no line '{line}':\n{text}")


def reads(text, name):
    """The guest read the data file rightly."""
    says(text, f"read /data/{name} " + hashlib.sha256(boot_disk.DATA[name].encode()).hexdigest())


def cannot_read(text, name, error):
    """The guest got an error and no data. (busybox: 'sha256sum: can't open …' cut at the first space)"""
    says(text, f"read /data/{name} sha256sum:")
    vm.check(error in text, f"no '{error}' in\n{text}")


def etc_file(text, name):
    """What the guest found in a file of its /etc."""
    return re.search(rf"^guest: etc/{re.escape(name)} \[(.*)\]$", text, re.M).group(1)


def has_etc(text, files):
    found = {name: etc_file(text, name) for name in files}
    vm.check(found == files, f"/etc has {found}, not {files}:\n{text}")


def happy(machine):
    text = machine.boots(options="cfs.verify=full -- one two")
    reads(text, "first")
    reads(text, "second")
    says(text, "many 0 / 0")
    says(text, "arguments one two")
    says(text, rf'json {{"digest":"{machine.image}","etc":"transient","image":"file","root":"ro","root_device":"/dev/vda",'
               r'"schema":1,"verify":"full"}')
    says(text, "volatile-root /dev/block/254:0")
    says(text, "etc mode 755 0")
    says(text, "mount cfs:etc /etc overlay rw,nosuid,nodev,relatime,.*")
    machine_id = etc_file(text, "machine-id")
    vm.check(re.fullmatch("[0-9a-f]{32}", machine_id), f"machine-id: '{machine_id}'")
    says(text, "etc kept cfs-guest")
    says(text, r"etc before \[\]")
    says(text, r"etc after \[now\]")
    says(text, r"var before \[\]")
    says(text, r"var after \[now\]")
    says(text, "sysroot read-only")
    says(text, "mount /dev/vda /sysroot ext4 ro,nosuid,nodev,relatime 0 0")
    says(text, "mount /dev/vda /var ext4 rw,nosuid,nodev,relatime 0 0")
    says(text, "mount cfs:var-tmp /var/tmp tmpfs rw,nosuid,nodev,relatime,size=.*")
    says(text, "var/tmp mode 1777")
    says(text, "root read-only")
    says(text, r"dmesg .*cfs: the objects of all \d+ files are right")
    # The power went, since this init does not unmount; the journal sees to that, and nothing is checked.
    vm.check("needs_recovery" in vm.debugfs(machine.disk, "show_super_stats -h"), "nothing to recover")
    # The next boot: /var stays, /etc is new but for the identity. Root by UUID, and one value given twice is one value.
    uuid = re.search(r"UUID:\s+(\S+)", vm.debugfs(machine.disk, "show_super_stats -h")).group(1)
    text = machine.boots(pin=f"composefs.digest=v1-sha256-12:{machine.image} cfs.verify=boot cfs.verify=boot",
                         options=f"root=UUID={uuid.upper()}")
    says(text, r"etc before \[\]")
    says(text, r"var before \[now\]")
    has_etc(text, {"machine-id": machine_id})
    vm.check("has errors" not in text, f"a check after a power cut:\n{text}")


def plain_var(machine):
    # A release whose containers need it asks for a /var as other systems have it.
    text = machine.boots(options="cfs.var=plain")
    says(text, "mount /dev/vda /var ext4 rw,relatime 0 0")
    vm.check("/var/tmp tmpfs" not in text, f"/var/tmp is in memory:\n{text}")
    says(text, "mount /dev/vda /sysroot ext4 ro,nosuid,nodev,relatime 0 0")


def fast_sha256(machine):
    # fs-verity keeps what it finds first; the generic code is built in, the fast ones are a module.
    text = machine.boots()
    says(text, FAST_SHA256)


def drivers_on_demand(machine):
    text = machine.boots()
    modules = re.search(r"^guest: modules (.*)$", text, re.M).group(1).split()
    vm.check("virtio_blk" in modules and "erofs" in modules, f"not loaded: {modules}")
    vm.check(not {"ahci", "sd_mod", "loop", "hv_vmbus", "xen_blkfront"} & set(modules), f"loaded for nothing: {modules}")


# The kernel for all machines has every driver as a module. AHCI: ten_lines_test.py.
DISKS = {
    "nvme": ("nvme,drive={drive},serial=x", "/dev/nvme0n1"),
    "scsi": ("virtio-scsi-pci", "scsi-hd,drive={drive}", "/dev/sda"),
    "usb": ("qemu-xhci", "usb-storage,drive={drive}", "/dev/sda"),
    "sd": ("sdhci-pci", "sd-card,drive={drive}", "/dev/mmcblk0"),
}


def default_drivers(machine):
    machine.use_kernel("linux-image-6.12-amd64")
    for name, (*device, path) in DISKS.items():
        print(name, flush=True)
        machine.disk_device = device
        text = machine.boots(options="cfs.on_failure=poweroff rootdelay=20")
        says(text, f'json .*"root_device":"{path}".*')


def stick_with_same_label(machine):
    # An empty file system of the same label comes first.
    stick = vm.empty_disk(machine.work / "stick.img", 16)
    vm.run("mkfs.ext4", "-q", "-b", "4096", "-L", "cfs", stick)
    machine.disks = [stick, machine.disk]
    text = machine.boots()
    says(text, 'json .*"root_device":"/dev/vdb".*')


def two_copies(machine):
    # Which of them has this machine's /var nothing tells: the firmware did not boot from either.
    machine.disks = [machine.disk, vm.copy_disk(machine.disk, machine.work / "copy.img")]
    machine.fails("device", "several file systems have the pinned image.*'/dev/vda', '/dev/vdb'")


def by_hand(machine):
    # On a running machine it must not reboot.
    text = machine.boots(options="-- by-hand")
    says(text, "by hand 2")
    vm.check("this is not an initramfs" in text, f"it did not say why:\n{text}")


def no_file_backed_erofs(machine):
    # A kernel that mounts EROFS from block devices only says ENOTBLK to its creation.
    text = machine.boots_with_fault("ENOTBLK", 4)
    says(text, r"strace fsconfig\(\d+, FSCONFIG_CMD_CREATE, NULL, NULL, 0\) = -1 ENOTBLK .* \(INJECTED\)")
    says(text, 'json .*"image":"loop".*')
    reads(text, "first")
    reads(text, "second")


def stacking_too_deep(machine):
    # A kernel that counts a file-backed EROFS as a level of stacking says EINVAL to the overlay on /etc.
    text = machine.boots_with_fault("EINVAL", 22)
    says(text, r"strace fsconfig\(\d+, FSCONFIG_SET_STRING, \"workdir\", \"/root/cfs/state/etc/kept/work\", 0\) = 0\s+"
               r"guest: strace fsconfig\(\d+, FSCONFIG_CMD_CREATE, NULL, NULL, 0\) = -1 EINVAL .* \(INJECTED\)")
    says(text, 'json .*"image":"loop".*')
    says(text, r"etc after \[now\]")
    reads(text, "first")
    reads(text, "second")


def disk_stays_read_only(machine):
    machine_id = etc_file(machine.boots(options="-- set:mine=1"), "machine-id")
    text = machine.boots_with_fault("EIO", 14)
    says(text, r"strace fsconfig\(\d+, FSCONFIG_CMD_RECONFIGURE, NULL, NULL, 0\) = -1 EIO .* \(INJECTED\)")
    says(text, "dmesg .*cfs: warning: changes to /etc are lost at the next boot.*")
    says(text, r"etc after \[now\]")
    has_etc(text, {"machine-id": machine_id, "mine": ""})


def etc_transient_and_ro(machine):
    machine.image = machine.digests["first_release"]
    text = machine.boots(options="cfs.etc=transient cfs.root=ro -- set:conf=mine set:mine=1 set:ssh/ssh_host_key=key")
    says(text, r'json .*"etc":"transient".*"root":"ro".*')
    says(text, "root read-only")
    kept = {"machine-id": etc_file(text, "machine-id"), "conf": "1", "gone": "1", "mine": ""}
    text = machine.boots(options="cfs.etc=ro -- set:ssh/ssh_host_key=other")
    says(text, r'json .*"etc":"ro".*"root":"transient".*')
    says(text, "mount cfs:etc /etc overlay ro,nosuid,nodev,relatime,.*")
    vm.check("etc after" not in text, f"/etc can be changed:\n{text}")
    has_etc(text, {**kept, "ssh/ssh_host_key": "key"})
    text = machine.boots(options="cfs.etc=transient")
    has_etc(text, {**kept, "ssh/ssh_host_key": "other"})


def etc_overlay(machine):
    first, second = machine.digests["first_release"], machine.digests["second_release"]
    machine.image = first
    text = machine.boots(options="cfs.etc=overlay -- set:conf=mine set:ssh/ssh_host_key=key remove:gone")
    machine_id = etc_file(text, "machine-id")
    machine.image = second
    text = machine.boots(options="cfs.etc=overlay -- set:conf=later set:ssh/ssh_host_key=other")
    has_etc(text, {"machine-id": machine_id, "conf": "mine", "gone": "", "more": "2", "ssh/ssh_host_key": "key"})
    # Back: the old release has its own /etc, and the device is who it was.
    machine.image = first
    text = machine.boots(options="cfs.etc=overlay")
    has_etc(text, {"machine-id": machine_id, "conf": "mine", "more": "", "ssh/ssh_host_key": "other"})


def etc_merge(machine):
    first, second = machine.digests["first_release"], machine.digests["second_release"]
    machine.image = first
    text = machine.boots(options="-- set:conf=mine set:mine=1 set:ssh/ssh_host_key=key remove:gone")
    says(text, r'json .*"etc":"merge".*"root":"transient".*')
    says(text, "mount /dev/vda /etc ext4 rw,nosuid,nodev,relatime 0 0")
    says(text, "root writable")
    machine_id = etc_file(text, "machine-id")
    has_etc(text, {"conf": "1", "gone": "1", "more": ""})
    machine.image = second
    text = machine.boots(options="-- set:mine=2")
    vm.check("\n/usr/x\n" not in text.replace("\r", ""), f"a change of the root stayed:\n{text}")
    has_etc(text, {"machine-id": machine_id, "conf": "mine", "conf.cfs-new": "2", "gone": "", "more": "2", "mine": "1",
                   "ssh/ssh_host_key": "key"})
    machine.image = first
    text = machine.boots()
    has_etc(text, {"machine-id": machine_id, "conf": "mine", "conf.cfs-new": "", "more": "", "mine": "1"})


def reset(machine):
    machine.image = machine.digests["first_release"]
    text = machine.boots(options="-- set:conf=mine set:ssh/ssh_host_key=key")
    machine_id = etc_file(text, "machine-id")
    request = machine.work / "request"
    request.write_text("cfs-reset 1\netc\nvar\n")
    replay_journal(machine.disk)
    vm.debugfs(machine.disk, f"write {request} /cfs/state/reset", write=True)
    text = machine.boots()
    says(text, "dmesg .*cfs: reset /etc")
    says(text, "dmesg .*cfs: reset /var")
    says(text, r"var before \[\]")
    says(text, r"var after \[now\]")
    has_etc(text, {"machine-id": machine_id, "conf": "1", "ssh/ssh_host_key": "key"})
    request.write_text("cfs-reset 1\netc\nidentity\nvar\n")
    replay_journal(machine.disk)
    vm.check("reset" not in vm.debugfs(machine.disk, "ls /cfs/state").split(), "the request is still there")
    vm.debugfs(machine.disk, f"write {request} /cfs/state/reset", write=True)
    text = machine.boots()
    has_etc(text, {"conf": "1", "ssh/ssh_host_key": ""})
    vm.check(etc_file(text, "machine-id") != machine_id, "the device is who it was")


def looser_policy(machine):
    machine.fails("command-line", "'cfs.etc=merge' is looser than the image's own 'transient'",
                  options="cfs.etc=merge cfs.on_failure=poweroff")


def damage(disk, is_serious):
    """Makes errors as a bad disk would, and says in the superblock that the kernel has found some. The serious one is
    not repaired by e2fsck without asking."""
    replay_journal(disk)
    plain = disk.with_suffix(".plain")
    plain.write_text(DAMAGED_CONTENT)
    for name in ("block", "count", "mode"):
        vm.debugfs(disk, f"write {plain} /cfs/state/var/{name}", write=True)
    # A block in use that the next new file would get.
    block = int(vm.debugfs(disk, "bmap /cfs/state/var/block 0"))
    vm.debugfs(disk, f"freeb {block}", write=True)
    vm.debugfs(disk, "set_inode_field /cfs/state/var/count links_count 7", write=True)
    if is_serious:
        vm.debugfs(disk, "set_inode_field /cfs/state/var/mode mode 0xF1A4", write=True)
    vm.debugfs(disk, "set_super_value state 2", write=True)


def replay_journal(disk):
    vm.check(subprocess.run([vm.tool("e2fsck"), "-p", disk], stdout=subprocess.DEVNULL).returncode in (0, 1),
             f"e2fsck cannot replay the journal of {disk}")


def file_system_state(disk):
    return re.search(r"^Filesystem state: *(.*)$", vm.debugfs(disk, "show_super_stats -h"), re.M).group(1)


def check_repaired(machine, text):
    says(text, r"dmesg .*cfs: the file system on '/dev/vda' has errors and is being checked")
    says(text, r"dmesg .*cfs: e2fsck: .*ref count is 7, should be 1.*")
    says(text, r"dmesg .*cfs: the file system on '/dev/vda' is whole again")
    says(text, r"var after \[now\]")
    vm.check(file_system_state(machine.disk) == "clean", "it still says that there are errors")
    replay_journal(machine.disk)
    vm.run("e2fsck", "-fn", machine.disk)
    vm.check(vm.debugfs(machine.disk, "cat /cfs/state/var/block") == DAMAGED_CONTENT, "a file was lost")


def tear_superblock(disk):
    """Another time of mounting, as if the first sector were new and the second old."""
    with open(disk, "r+b") as file:
        file.seek(1024 + 0x2C)
        byte = file.read(1)[0]
        file.seek(1024 + 0x2C)
        file.write(bytes([byte ^ 1]))


def check_mended(machine, text):
    says(text, r"dmesg .*the checksum of the superblock on '/dev/vda' was wrong")
    vm.check(file_system_state(machine.disk) == "clean", "the file system was not checked")


def disk_errors(machine):
    machine.image = machine.digests["image_with_e2fsck"]
    for is_serious in (False, True):
        vm.copy_disk(machine.arguments.work / "boot.img", machine.disk)
        damage(machine.disk, is_serious)
        text = machine.boots()
        vm.check(is_serious == ("UNEXPECTED INCONSISTENCY" in text), f"serious: {is_serious}, but\n{text}")
        reads(text, "first")
        says(text, r'json .*"image":"file".*')
        check_repaired(machine, text)
        vm.check("e2fsck" not in machine.boots(), "checked again")
    tear_superblock(machine.disk)
    check_mended(machine, machine.boots())


def disk_errors_without_e2fsck(machine):
    damage(machine.disk, is_serious=False)
    text = machine.boots()
    says(text, r"dmesg .*cfs: warning: the file system on '/dev/vda' has errors, and the image's e2fsck cannot check it: "
               r"cannot open '/sbin/e2fsck'.*")
    reads(text, "first")


def wrong_digest(machine):
    text = machine.fails("image-missing", OTHER_DIGEST, pin=f"composefs.digest={OTHER_DIGEST}")
    vm.check("reboot: Power down" in text, "cfs.on_failure=poweroff did not:\n" + text)


def wrong_image_under_pinned_name(machine):
    # The whole image, with verity, where the pinned one should be.
    directory, name = OTHER_DIGEST[:2], OTHER_DIGEST[2:]
    # Some other object of the release may lie there already.
    if f"/{directory}/" not in vm.debugfs(machine.disk, "ls -p /cfs/objects"):
        vm.debugfs(machine.disk, f"mkdir /cfs/objects/{directory}", write=True)
    vm.debugfs(machine.disk, f"link {machine.object('image')} /cfs/objects/{directory}/{name}", write=True)
    vm.debugfs(machine.disk, f"symlink /cfs/images/{OTHER_DIGEST} ../objects/{directory}/{name}", write=True)
    machine.fails("image-digest", f"has digest {machine.image}, expected {OTHER_DIGEST}",
                  pin=f"composefs.digest={OTHER_DIGEST}")


def image_link_elsewhere(machine):
    # A link that points to an image of the right digest, but not to the object of its own name.
    vm.debugfs(machine.disk, f"rm /cfs/images/{machine.image}", write=True)
    vm.debugfs(machine.disk, f"symlink /cfs/images/{machine.image} /cfs/objects/{machine.image[:2]}/{machine.image[2:]}",
               write=True)
    machine.fails("image", "does not point to its object")


def no_image(machine):
    vm.debugfs(machine.disk, f"rm {machine.object('image')}", write=True)
    machine.fails("image-missing", "cannot open .*No such file")


def image_not_listed(machine):
    vm.debugfs(machine.disk, f"rm /cfs/images/{machine.image}", write=True)
    machine.fails("image-missing", "cannot read the link .*No such file")


def image_without_verity(machine):
    machine.replace("image", machine.dump("image"))
    # The default action.
    text = machine.fails("image-no-verity", "no fs-verity on the file", options="rootdelay=1")
    vm.check("reboot: Restarting system" in text, "no reboot:\n" + text)


def flipped_image_start(machine):
    vm.flip_byte(machine.disk, machine.object("image"), 1024 + 16)  # the EROFS superblock
    machine.fails("mount", "Input/output error")


def flipped_image_directory(machine):
    # The last block of the image holds the large directory's names.
    size = len(machine.dump("image"))
    vm.check(size > 8192, f"the image has only {size} bytes")
    vm.flip_byte(machine.disk, machine.object("image"), size - 4096 + 100)
    text = machine.boots()
    reads(text, "first")
    says(text, "many 0 / stat: .*Input/output error")
    vm.check("FILE CORRUPTED" in text, f"the kernel said nothing:\n{text}")
    machine.fails("objects", "Input/output error.*'?/many'?", options="cfs.verify=full cfs.on_failure=poweroff")


def flipped_image_descriptor(machine):
    # ext4 keeps the Merkle tree at the next multiple of 65536, and the descriptor in the block after
    # it; 16 bytes into it stands the root hash.
    size = len(machine.dump("image"))
    tree_blocks = 0 if size <= 4096 else 1
    vm.flip_byte(machine.disk, machine.object("image"), (size + 65535) // 65536 * 65536 + tree_blocks * 4096 + 16)
    machine.fails("image-digest", f"expected {machine.image}")


def object_replaced(machine):
    content = boot_disk.DATA["first"].encode()
    machine.replace("first", content)  # even the right content: without verity nobody vouches for it
    text = machine.boots()
    cannot_read(text, "first", "has no fs-verity digest")
    reads(text, "second")
    machine.fails("objects", "'/data/first': Input/output error", options="cfs.verify=full cfs.on_failure=poweroff")


def object_swapped(machine):
    # Another object, with verity, under the name of the first.
    vm.debugfs(machine.disk, f"rm {machine.object('first')}", write=True)
    vm.debugfs(machine.disk, f"link {machine.object('second')} {machine.object('first')}", write=True)
    text = machine.boots()
    cannot_read(text, "first", "has the wrong fs-verity digest")
    reads(text, "second")


def object_removed(machine):
    vm.debugfs(machine.disk, f"rm {machine.object('first')}", write=True)
    text = machine.boots()
    cannot_read(text, "first", "")
    reads(text, "second")
    machine.fails("objects", "'/data/first': No such file", options="cfs.verify=full cfs.on_failure=poweroff")


def flipped_object(machine):
    vm.flip_byte(machine.disk, machine.object("first"), 5000)
    # cfs.verify=full looks at digests, not at blocks (docs/FORMATS.md): the block fails when it is read.
    text = machine.boots(options="cfs.verify=full")
    cannot_read(text, "first", "FILE CORRUPTED")
    reads(text, "second")


def flipped_init(machine):
    vm.flip_byte(machine.disk, machine.object("init"), 5000)
    machine.fails("self-test", "'/bin/busybox'|/bin/busybox.*Input/output error")


def no_state(machine):
    vm.debugfs(machine.disk, "rmdir /cfs/state/var", write=True)
    machine.fails("state", "/var")


def partition(machine):
    # The same file system as the second partition of a GPT disk.
    whole = machine.work / "whole.img"
    megabytes = machine.disk.stat().st_size >> 20
    vm.empty_disk(whole, megabytes + 4)
    vm.run("sfdisk", "-q", whole, input=f"label: gpt\nstart=1MiB, size=1MiB, name=esp\nstart=2MiB, size={megabytes}MiB, name=\"cfs root\"\n")
    vm.run("dd", f"if={machine.disk}", f"of={whole}", "bs=1M", "seek=2", "conv=notrunc,sparse", "status=none")
    machine.disks = [whole]
    uuid = vm.run("sfdisk", "--part-uuid", whole, "2").strip()
    for options in ('"root=PARTLABEL=cfs root"', f"root=PARTUUID={uuid}", "root=/dev/vda2"):
        text = machine.boots(options=options)
        reads(text, "first")
        says(text, "json .*\"root_device\":\"/dev/vda2\".*")
        says(text, "volatile-root /dev/block/254:2")


def no_device(machine):
    text = machine.fails("device", r"'other' appeared within 1 s; block devices seen: /dev/vda \(ext4 'cfs'\)$",
                         options="root=LABEL=other rootdelay=1 cfs.on_failure=poweroff")
    vm.check("reboot: Power down" in text, "cfs.on_failure=poweroff did not:\n" + text)


def no_driver(machine):
    machine.disk_device = ("lsi53c895a", "scsi-hd,drive={drive}")  # none of the common ones
    machine.fails("device", "block devices seen: none; the initramfs has no driver")


def no_pin(machine):
    machine.fails("command-line", "no 'composefs.digest='", pin="")


def two_pins(machine):
    machine.fails("command-line", "'composefs.digest' has two values",
                  pin=f"composefs.digest={machine.image} composefs.digest={OTHER_DIGEST}")


SCENARIOS = {
    name: function
    for name, function in globals().items()
    if inspect.isfunction(function) and list(inspect.signature(function).parameters) == ["machine"]
}


def main():
    parser = argparse.ArgumentParser()
    for option in ("--cache", "--work", "--cfs-build", "--mount-root"):
        parser.add_argument(option, required=True, type=pathlib.Path)
    parser.add_argument("scenario", choices=SCENARIOS)
    arguments = parser.parse_args()
    SCENARIOS[arguments.scenario](Machine(arguments))


if __name__ == "__main__":
    vm.main(main)
