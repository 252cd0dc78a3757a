# SPDX-License-Identifier: Apache-2.0
"""Virtual machines for tests: a kernel that needs no installation, hand-made initramfs archives, QEMU.

    kernel = vm.kernel(cache)                    # Debian's own 6.12 cloud kernel, downloaded once
    archive = vm.Cpio()                          # an initramfs
    with vm.Guest(kernel=kernel.vmlinuz, initrd=path, cmdline="…", disks=[path]) as guest:
        guest.expect("login:")
        guest.send("root")

Everything raises VmError with the guest's last lines when something is not as it should be: a tool
that is missing fails a test, it never skips one.
"""

import contextlib
import fcntl
import io
import lzma
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time

# QEMU 7.2's TCG corrupts EFLAGS in cmpxchg16b when an interrupt lands on it; guests then crash in
# the slab allocator. Without cx16 the kernel does not use the instruction.
QEMU_CPU = ["-accel", "tcg", "-cpu", "max,cx16=off"]
# The kernel's tests of its own algorithms: half a second of every boot.
NO_CRYPTO_TESTS = "cryptomgr.notests"
KERNEL_PACKAGE = "linux-image-6.12-cloud-amd64"
OVMF_CODE = pathlib.Path("/usr/share/OVMF/OVMF_CODE_4M.fd")
OVMF_VARS = pathlib.Path("/usr/share/OVMF/OVMF_VARS_4M.fd")
LAST_LINES = 40
VIRTIO_DISK = ("virtio-blk-pci,drive={drive}",)
SERIAL_CONSOLE = ("-serial", "stdio")
# A console that the guest's systemd starts a login on without being told to.
VIRTIO_CONSOLE = ("-serial", "none", "-chardev", "stdio,id=console", "-device", "virtio-serial-pci",
                  "-device", "virtconsole,chardev=console")


class VmError(Exception):
    """A test cannot go on, or a guest did not do what it should."""


def check(condition, message):
    """Fails the test unless `condition` holds."""
    if not condition:
        raise VmError(message)


def tool(name):
    """The path of a program; /sbin and /usr/sbin are looked at too."""
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    check(path is not None, f"the program '{name}' is missing: run scripts/setup")
    return path


def run(*arguments, **options):
    """Runs a program on the host and returns its standard output."""
    arguments = [tool(str(arguments[0])), *map(str, arguments[1:])]
    done = subprocess.run(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)
    if done.returncode != 0:
        raise VmError(f"{' '.join(arguments)}: exit status {done.returncode}\n{done.stderr}{done.stdout}")
    return done.stdout


@contextlib.contextmanager
def lock(path):
    """Holds an exclusive lock on `path`."""
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


# --- the kernel ---------------------------------------------------------------------------------


class Kernel:
    """An unpacked kernel package."""

    def __init__(self, root):
        self.root = root
        [self.vmlinuz] = root.glob("boot/vmlinuz-*")
        self.version = self.vmlinuz.name.removeprefix("vmlinuz-")
        self.modules = root / "lib/modules" / self.version

    def load_order(self, names):
        """Paths (relative to `modules`) of the modules `names` and what they need, in load order.
        What is built into the kernel is left out."""
        by_name, needs = {}, {}
        for line in (self.modules / "modules.dep").read_text().splitlines():
            path, _, dependencies = line.partition(":")
            by_name[_module_name(path)] = path
            needs[path] = dependencies.split()
        builtin = {_module_name(p) for p in (self.modules / "modules.builtin").read_text().split()}
        order = []
        for name in names:
            name = name.replace("-", "_")
            if name in builtin:
                continue
            check(name in by_name, f"kernel {self.version} has no module {name}")
            # modules.dep lists what is needed nearest first.
            for path in [*reversed(needs[by_name[name]]), by_name[name]]:
                if path not in order:
                    order.append(path)
        return order

    def module(self, path):
        """The plain bytes of the module at `path` (relative to `modules`)."""
        data = (self.modules / path).read_bytes()
        return lzma.decompress(data) if path.endswith(".xz") else data


def _module_name(path):
    return pathlib.PurePath(path).name.split(".ko")[0].replace("-", "_")


def _dependency(cache, meta_package):
    """The package that a meta-package stands for. apt takes a second to say so: it is asked once for each state of its lists."""
    known = cache / f"{meta_package}.package"
    lists = pathlib.Path("/var/lib/apt/lists")
    if not known.exists() or known.stat().st_mtime < lists.stat().st_mtime:
        match = re.search(r"^Depends:.*?(linux-image-[^ ,]+)", run("apt-cache", "show", meta_package), re.M)
        check(match, f"apt knows no package {meta_package}")
        known.write_text(match.group(1))
    return known.read_text()


def kernel(cache, meta_package=KERNEL_PACKAGE):
    """The newest of Debian's 6.12 cloud kernels, unpacked below `cache` (downloaded with apt when it is not
    there; nothing is installed on this machine)."""
    cache = pathlib.Path(cache)
    cache.mkdir(parents=True, exist_ok=True)
    with lock(cache / "lock"):
        package = _dependency(cache, meta_package)
        root = cache / package
        if not root.exists():
            with tempfile.TemporaryDirectory(dir=cache) as work:
                print(f"downloading {package}", flush=True)
                run("apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", package, cwd=work)
                [archive] = pathlib.Path(work).glob("*.deb")
                unpacked = pathlib.Path(work) / "root"
                run("dpkg", "-x", archive, unpacked)
                run("depmod", "-b", unpacked, Kernel(unpacked).version)
                unpacked.rename(root)
        return Kernel(root)


# --- initramfs archives ---------------------------------------------------------------------------


def shared_libraries(program):
    """The paths of the shared libraries that a program of this machine needs, its loader among them."""
    listing = subprocess.run([tool("ldd"), program], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout
    if "not a dynamic executable" in listing or "statically linked" in listing:
        return []
    check("not found" not in listing, f"{program} lacks libraries:\n{listing}")
    return re.findall(r"(/\S+) \(0x", listing)


class Cpio:
    """A cpio archive in the format of an initramfs (newc), kept in memory until write()."""

    def __init__(self):
        self._out = io.BytesIO()
        self._names = set()
        self._inode = 0

    def directory(self, path):
        if path and path not in self._names:
            self._add(path, 0o40755, b"")

    def file(self, path, data, mode=0o644):
        """Adds a file whose content is `data` (str, bytes, or a Path to read)."""
        if isinstance(data, pathlib.Path):
            data = data.read_bytes()
        self._add(path, 0o100000 | mode, data.encode() if isinstance(data, str) else data)

    def symlink(self, path, target):
        self._add(path, 0o120777, target.encode())

    def program(self, path, source):
        """Adds a program of this machine with the shared libraries it needs, where they lie here."""
        source = pathlib.Path(source).resolve()
        self.file(path, source, 0o755)
        for library in shared_libraries(source):
            if library.lstrip("/") not in self._names:
                self.file(library.lstrip("/"), pathlib.Path(library).resolve(), 0o755)

    def write(self, path):
        self._add("TRAILER!!!", 0, b"")
        pathlib.Path(path).write_bytes(self._out.getvalue())
        return pathlib.Path(path)

    def _add(self, path, mode, data):
        check(not path.startswith("/"), f"absolute path {path} in a cpio")
        check(path not in self._names, f"{path} twice in a cpio")
        if path != "TRAILER!!!":
            self.directory(str(pathlib.PurePath(path).parent).removeprefix("."))
        self._names.add(path)
        self._inode += 1
        name = path.encode() + b"\0"
        fields = [self._inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name), 0]
        self._out.write(b"070701" + b"".join(b"%08X" % field for field in fields) + name)
        self._pad()
        self._out.write(data)
        self._pad()

    def _pad(self):
        self._out.write(b"\0" * (-self._out.tell() % 4))


def builtin_initramfs(kernel, work, cfs_build, mount_root, kernel_section="{}"):
    """The initramfs that cfs-build makes for `kernel`. `kernel_section`: the manifest's."""
    work = pathlib.Path(work)
    work.mkdir(parents=True, exist_ok=True)
    (work / "manifest.yaml").write_text(BUILTIN_MANIFEST.format(root=kernel.root.resolve(), kernel=kernel_section))
    run(cfs_build, "build", work / "manifest.yaml", "-o", work / "out", "--mount-root", mount_root)
    return work / "out/initramfs"


# No tree but the kernel package's: only the initramfs of the output is of use.
BUILTIN_MANIFEST = """\
cfs: 1
image: {{name: initramfs, version: "1", epoch: 1}}
sources:
  - {{id: boot, dir: {{path: "{root}/boot", into: /boot}}}}
  - {{id: modules, dir: {{path: "{root}/lib", into: /usr/lib}}}}
kernel: {kernel}
"""


GUEST_INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mkdir -p /proc /sys /dev /run /tmp /mnt
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs run /run
mount -t tmpfs tmp /tmp
while read module; do insmod "$module" || echo "cannot load $module"; done </modules/list
sh /script
echo "cfs-vm: exit $?"
poweroff -f
"""


def script_initramfs(kernel, script, path, programs=(), files=(), modules=("virtio_pci", "virtio_blk", "ext4", "erofs", "overlay", "loop")):
    """An initramfs that runs a shell script (busybox) and powers off.

    programs: (path in the guest, program on this machine); files: (path in the guest, content)."""
    archive = Cpio()
    archive.file("init", GUEST_INIT, 0o755)
    archive.file("script", script)
    archive.program("bin/busybox", tool("busybox"))
    check(not re.search(r"\(0x", subprocess.run([tool("ldd"), tool("busybox")], capture_output=True, text=True).stdout),
          "busybox is not the static one: run scripts/setup")
    listing = []
    for module in kernel.load_order(modules):
        name = f"modules/{_module_name(module)}.ko"
        archive.file(name, kernel.module(module))
        listing.append("/" + name)
    archive.file("modules/list", "".join(line + "\n" for line in listing))
    for name, source in programs:
        archive.program(name, source)
    for name, content in files:
        archive.file(name, content)
    return archive.write(path)


# --- guests ---------------------------------------------------------------------------------------


class Guest:
    """A running QEMU whose serial console is read and written. Use as a context manager.

    kernel, initrd, cmdline: direct boot. ovmf=True: boots from disks[boot_disk] through UEFI firmware
    (`variables`, a file kept by the caller, is created when it is missing).
    disks: raw images, /dev/vda, /dev/vdb, …; disk_device: QEMU's controllers, if any, and then the device of a disk.
    write_log: a file that gets the writes and flushes of disks[boot_disk], in the format of dm-log-writes.
    console: where the text goes. network: user networking, the host's loopback is 10.0.2.2.
    fw_cfg: {name: file}. arguments: more of QEMU's own. reboots: a reset starts the machine anew and does not end it."""

    def __init__(self, *, kernel=None, initrd=None, cmdline="", disks=(), disk_device=VIRTIO_DISK, memory_mib=1024,
                 processors=1, network=False, ovmf=False, boot_disk=0, variables=None, write_log=None, fw_cfg=None, arguments=(), reboots=False,
                 console=SERIAL_CONSOLE, log=None, timeout=120):
        command = [tool("qemu-system-x86_64"), *QEMU_CPU, "-machine", "q35", "-m", str(memory_mib), "-smp", str(processors),
                   "-nodefaults", "-display", "none", *([] if reboots else ["-no-reboot"]), *console, "-device", "virtio-rng-pci"]
        if kernel:
            command += ["-kernel", str(kernel), "-append",
                        "console=ttyS0 panic=-1 printk.devkmsg=on " + NO_CRYPTO_TESTS + " " + cmdline]
        if initrd:
            command += ["-initrd", str(initrd)]
        if ovmf:
            variables = pathlib.Path(variables)
            if not variables.exists():
                check(OVMF_CODE.exists(), "OVMF is missing: run scripts/setup")
                shutil.copyfile(OVMF_VARS, variables)
            command += ["-drive", f"if=pflash,format=raw,unit=0,readonly=on,file={OVMF_CODE}",
                        "-drive", f"if=pflash,format=raw,unit=1,file={variables}"]
        for number, disk in enumerate(disks):
            if write_log and number == boot_disk:
                # Flushes reach the log and no further.
                command += ["-blockdev", f"driver=blklogwrites,node-name=disk{number}"
                            f",file.driver=file,file.filename={disk},file.cache.no-flush=on"
                            f",log.driver=file,log.filename={write_log},log.cache.no-flush=on"]
                pathlib.Path(write_log).write_bytes(b"")
            else:
                command += ["-drive", f"file={disk},if=none,format=raw,id=disk{number},cache=unsafe"]
            *controllers, device = disk_device
            for controller in controllers if number == 0 else ():
                command += ["-device", controller]
            device = device.format(drive=f"disk{number}", number=number)
            command += ["-device", device + (",bootindex=0" if ovmf and number == boot_disk else "")]
        if network:
            command += ["-netdev", "user,id=net0", "-device", "virtio-net-pci,netdev=net0"]
        for name, file in (fw_cfg or {}).items():
            command += ["-fw_cfg", f"name={name},file={file}"]
        command += arguments
        self._deadline = time.monotonic() + timeout
        self._log_file = open(log, "w") if log else None
        self._text = ""
        self._seen = 0  # expect() looks at what comes after this
        self._changed = threading.Condition()
        self._ended = False
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()
        self._reader.join()
        self._process.stdin.close()
        self._process.stdout.close()
        if self._log_file:
            self._log_file.close()

    def _read(self):
        while data := os.read(self._process.stdout.fileno(), 65536):
            text = data.decode(errors="replace").replace("\r", "")
            if self._log_file:
                self._log_file.write(text)
                self._log_file.flush()
            with self._changed:
                self._text += text
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    @property
    def text(self):
        """Everything the serial console said so far."""
        with self._changed:
            return self._text

    def expect(self, pattern, timeout=None):
        """Waits until the regular expression appears in what came after the last match; returns the
        match. VmError when the guest ends or the time is over."""
        deadline = min(self._deadline, time.monotonic() + timeout) if timeout else self._deadline
        expression = re.compile(pattern, re.M)
        with self._changed:
            while True:
                match = expression.search(self._text, self._seen)
                if match:
                    self._seen = match.end()
                    return match
                left = deadline - time.monotonic()
                check(not self._ended, f"the guest ended without /{pattern}/:\n{self._last_lines()}")
                check(left > 0, f"no /{pattern}/ in time:\n{self._last_lines()}")
                self._changed.wait(left)

    def send(self, line):
        """Types a line on the serial console."""
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    def wait(self):
        """Waits until QEMU ends (power-off, reboot or panic of the guest); returns all console text."""
        with self._changed:
            while not self._ended:
                left = self._deadline - time.monotonic()
                check(left > 0, f"the guest does not end:\n{self._last_lines()}")
                self._changed.wait(left)
        status = self._process.wait()
        check(status == 0, f"QEMU ended with status {status}:\n{self._last_lines()}")
        return self.text

    def _last_lines(self):
        return "\n".join(self._text.splitlines()[-LAST_LINES:])


def run_script(kernel, script, work, *, disks=(), programs=(), files=(), name="guest", timeout=300, **options):
    """Runs a shell script in a guest and returns what the console said. Fails unless the script's
    exit status is 0."""
    initrd = script_initramfs(kernel, script, pathlib.Path(work) / f"{name}.cpio", programs, files)
    with Guest(kernel=kernel.vmlinuz, initrd=initrd, cmdline="quiet", disks=disks,
               log=pathlib.Path(work) / f"{name}.log", timeout=timeout, **options) as guest:
        text = guest.wait()
    match = re.search(r"^cfs-vm: exit (\d+)$", text, re.M)
    check(match, f"the guest's script did not end:\n" + "\n".join(text.splitlines()[-LAST_LINES:]))
    check(match.group(1) == "0", f"the guest's script failed with status {match.group(1)}:\n"
          + "\n".join(text.splitlines()[-LAST_LINES:]))
    return text


# --- disks ----------------------------------------------------------------------------------------


def empty_disk(path, size_mib):
    """A sparse raw image."""
    with open(path, "wb") as file:
        file.truncate(size_mib << 20)
    return pathlib.Path(path)


def copy_disk(source, path):
    run("cp", "--sparse=always", "--reflink=auto", source, path)
    return pathlib.Path(path)


def debugfs(disk, request, write=False):
    """One debugfs request on an ext4 image. debugfs reports failures in its text only."""
    done = subprocess.run([tool("debugfs"), *(["-w"] if write else []), "-R", request, str(disk)],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    complaints = [line for line in done.stderr.splitlines() if line and not line.startswith("debugfs 1.")]
    check(done.returncode == 0 and not complaints, f"debugfs {request}: {complaints}")
    return done.stdout


def flip_byte(disk, path, offset):
    """Changes one byte of a file's data underneath its file system."""
    block = int(debugfs(disk, f"bmap {path} {offset // 4096}"))
    check(block > 0, f"{path} has no block at {offset}")
    with open(disk, "r+b") as file:
        position = block * 4096 + offset % 4096
        file.seek(position)
        [byte] = file.read(1)
        file.seek(position)
        file.write(bytes([byte ^ 0x01]))


def main(test):
    """Runs a test function; its failure is one message and exit status 1."""
    started = time.monotonic()
    try:
        test()
    except VmError as error:
        print(f"FAILED: {error}", file=sys.stderr)
        sys.exit(1)
    print(f"passed in {time.monotonic() - started:.1f} s")
