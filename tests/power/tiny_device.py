# SPDX-License-Identifier: Apache-2.0
"""A device that boots in seconds: busybox, cfs-deploy and Debian's kernel, on a disk that cfs-deploy has made.

    line = Line(programs, work, kernel)
    one = line.publish(1)                       # builds release 1 and signs it into the repository
    disk = line.install(work / "disk.img")
    with boot(disk, line.repository, "update cfs-deploy update", work) as guest: guest.wait()

The system's init does what stands on a disk of its own: a line is a mark, and a command that runs between two writes of
that mark to the disk (MARK_SECTOR). It says "guest: booted DIGEST" first and "guest: MARK ended with STATUS" after each."""

import dataclasses
import hashlib
import json
import pathlib
import re
import shutil
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "vm"))
import vm

NAME = "tiny"
# Between the partition table and the first partition.
MARK_SECTOR = 2040
MODULES = ("efivarfs", "fat", "vfat", "nls_cp437", "nls_ascii")
ESP_VARIABLE = "LoaderDevicePartUUID-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"

INIT = f"""#!/bin/busybox sh
export PATH=/run/bin:/usr/bin
busybox mount -t proc proc /proc 2>/dev/null
busybox mount -t sysfs sys /sys 2>/dev/null
busybox mount -t devtmpfs dev /dev 2>/dev/null
busybox mkdir /run/bin && busybox --install -s /run/bin
for module in {' '.join(MODULES)}; do [ -d /sys/module/$module ] || insmod /usr/lib/tiny/$module.ko; done
[ ! -d /sys/firmware/efi ] || mount -t efivarfs efivarfs /sys/firmware/efi/efivars || poweroff -f
mount -t ext4 -o ro /dev/vdb /repository
mkdir -p /dev/disk/by-partuuid
ln -s ../../vda1 "/dev/disk/by-partuuid/$(tail -c +5 /sys/firmware/efi/efivars/{ESP_VARIABLE} | tr -d '\\000' | tr A-F a-f)"
cfs-deploy apply-var >/run/var 2>&1
mark() {{ printf '%s' "$*" | /usr/bin/dd of=/dev/vda bs=512 seek={MARK_SECTOR} conv=sync,notrunc oflag=direct status=none; }}
echo
echo "guest: booted $(sed 's/.*composefs.digest=//; s/ .*//' /proc/cmdline) release $(cut -d' ' -f1 /usr/share/tiny/release)"
tr -d '\\000' </dev/vdc >/run/script
while read -r name command; do
  mark "begin $name"
  sh -c "$command" </dev/null 2>&1
  status=$?
  mark "end $name"
  echo "guest: $name ended with $status"
done </run/script
echo "guest: done"
poweroff -f
"""

MANIFEST = """\
cfs: 1
image: {{name: {name}, version: "{number}", epoch: {number}, compatible: [{boards}]}}
sources:
  - {{id: boot, dir: {{path: "{kernel}/boot", into: /boot}}}}
  - {{id: modules, dir: {{path: "{kernel}/lib", into: /usr/lib}}}}
  - {{id: tree, dir: {{path: "{tree}", into: /}}}}
kernel:
  initramfs: {{drivers: [virtio]}}
  cmdline: [console=ttyS0, quiet, {no_crypto_tests}, panic=-1, root=LABEL=cfs, rootdelay=10, ro]
etc: {{mode: {etc}, keep: [{keep}]}}
"""


@dataclasses.dataclass(frozen=True)
class Release:
    number: int
    digest: str
    uki_sha256: str


class Line:
    """Builds and publishes releases. programs: where cfs-build, cfs-sign, cfs-deploy and cfs-mount-root are, by name.
    make_initramfs: makes another initramfs than the built-in one, of the device's kernel, the program cfs-mount-root and a
    directory to work in. Returns its path."""

    def __init__(self, programs, work, kernel, make_initramfs=None):
        self._programs, self._work = programs, work
        self._modules = self._reduced(kernel)
        self._initramfs = None
        if make_initramfs:
            self._initramfs = make_initramfs(vm.Kernel(self._modules), programs["cfs-mount-root"], work)
        self.repository = work / "repository"
        self.keys = work / "keys"
        vm.run(programs["cfs-sign"], "init", self.repository, "--keys", self.keys)

    def _reduced(self, kernel):
        """The kernel with no more modules than a device needs."""
        root = self._work / "kernel"
        shutil.copytree(kernel.root / "boot", root / "boot")
        modules = root / "lib/modules" / kernel.version
        names = (*MODULES, "virtio_blk", "virtio_pci", "virtio_scsi", "erofs", "overlay", "loop")
        for path in kernel.load_order(names):
            target = modules / path.removesuffix(".xz")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(kernel.module(path))
        for name in ("modules.builtin", "modules.builtin.modinfo", "modules.order"):
            shutil.copyfile(kernel.modules / name, modules / name)
        vm.run("depmod", "-b", root, kernel.version)
        return root

    def _tree(self, number):
        tree = self._work / f"tree-{number}"
        for name in ("dev", "proc", "sys", "run", "var", "sysroot", "tmp", "repository", "etc", "usr/bin", "usr/sbin", "usr/lib/tiny",
                     "usr/share/tiny"):
            (tree / name).mkdir(parents=True)
        (tree / "bin").symlink_to("usr/bin")
        (tree / "sbin").symlink_to("usr/sbin")
        (tree / "lib").symlink_to("usr/lib")
        (tree / "lib64").symlink_to("usr/lib64")
        programs = [(tree / "usr/bin/busybox", vm.tool("busybox")),
                    (tree / "usr/bin/dd", vm.tool("dd")),  # busybox's cannot write past the cache
                    (tree / "usr/sbin/fsck.vfat", vm.tool("fsck.vfat")),
                    (tree / "usr/bin/cfs-deploy", self._programs["cfs-deploy"])]
        for path, source in programs:
            vm.run("strip", "-o", path, pathlib.Path(source).resolve())
            path.chmod(0o755)
            for library in vm.shared_libraries(source):
                target = tree / "usr" / library.lstrip("/").removeprefix("usr/")
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(pathlib.Path(library).resolve(), target)
                target.chmod(0o755)
        for module in MODULES:
            [source] = self._modules.rglob(f"{module}.ko")
            shutil.copyfile(source, tree / f"usr/lib/tiny/{module}.ko")
        (tree / "usr/sbin/init").write_text(INIT)
        (tree / "usr/sbin/init").chmod(0o755)
        # What changes from release to release.
        (tree / "usr/share/tiny/release").write_text(f"{number} " + "x" * 100)
        for other in range(8):
            (tree / f"usr/share/tiny/{other}").write_text(f"{number if other % 2 else 0} {other} " * (300 << other))
        return tree

    def publish(self, number, without=None, boards="", etc="transient", keep="", files={}):
        """without: a file that its tree lacks. boards: those that it is for, if not for all. etc, keep: the manifest's.
        files: what its tree has besides, by path."""
        tree = self._tree(number)
        if without:
            (tree / without).unlink()
        for path, content in files.items():
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            (tree / path).write_text(content)
        manifest = self._work / f"manifest-{number}.yaml"
        manifest.write_text(MANIFEST.format(name=NAME, number=number, kernel=self._modules, tree=tree, boards=boards, etc=etc, keep=keep,
                                            no_crypto_tests=vm.NO_CRYPTO_TESTS))
        out = self._work / f"release-{number}"
        vm.run(self._programs["cfs-build"], "build", manifest, "-o", out, "--mount-root", self._programs["cfs-mount-root"],
               "--store", self._work / "store")
        if self._initramfs:
            self._replace_initramfs(out)
        for command in (["release", "add", self.repository, "--keys", self.keys, out], ["publish", self.repository, "--keys", self.keys]):
            vm.run(self._programs["cfs-sign"], *command)
        release = json.loads((out / "release.json").read_text())
        [uki] = [file for file in release["files"] if file["role"] == "uki"]
        return Release(number, release["image"]["digest"], uki["sha256"])

    def _replace_initramfs(self, out):
        """Gives the UKI of a build the other initramfs."""
        [uki] = out.glob("*.efi")
        address = re.search(r"\.initrd +\S+ +(\S+)", vm.run("objdump", "-h", uki)).group(1)
        vm.run("objcopy", "--remove-section", ".initrd", uki)
        vm.run("objcopy", "--add-section", f".initrd={self._initramfs}", "--change-section-vma", f".initrd=0x{address}", uki)
        release = json.loads((out / "release.json").read_text())
        [file] = [file for file in release["files"] if file["role"] == "uki"]
        file.update(sha256=hashlib.sha256(uki.read_bytes()).hexdigest(), size=uki.stat().st_size)
        (out / "release.json").write_text(json.dumps(release))

    def install(self, disk):
        """Makes the disk of the newest release."""
        vm.run(self._programs["cfs-deploy"], "install", "--disk", disk, "--url", f"file://{self.repository}", "--device-url",
               "file:///repository", "--root", self.repository / "metadata/1.root.json", "--name", NAME, "--free", "16MiB")
        return disk

    def repository_disk(self, path):
        """The repository as it is now, on a disk with some room."""
        size = sum(file.stat().st_size + 8192 for file in self.repository.rglob("*"))
        vm.empty_disk(path, (size >> 20) + 32)
        vm.run("mke2fs", "-q", "-t", "ext4", "-d", self.repository, path)
        return path


def boot(disk, repository_disk, script, work, name="guest", **options):
    """Starts a device through firmware and boot loader. It ends by itself. work: for its console's log."""
    path = work / f"{name}.script"
    path.write_bytes(script.encode().ljust(1 << 16, b"\0"))
    return vm.Guest(ovmf=True, variables=options.pop("variables", work / f"{name}.variables"), disks=[disk, repository_disk, path],
                    memory_mib=768, log=work / f"{name}.log", **options)
