#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A tar archive gives the image that a directory gives into which GNU tar extracted it.

Random trees are packed by GNU tar in each of its formats, bsdtar, busybox and Python's tarfile, and compressed in
every way. GNU tar extracts each archive as root. One build with all archives of a batch as `tar` sources and one
with all extracted directories as `dir` sources must give the same bytes.

By hand, for longer: tar_property_test.py --programs build/release --archives 10000 --seed 7
Needs root, and a file system with user.* and trusted.* xattrs and ACLs for --work.
"""

import argparse
import collections
import io
import os
import pathlib
import random
import shutil
import stat
import subprocess
import sys
import tarfile
import time

BATCH = 40
PROGRAMS = ["tar", "bsdtar", "busybox", "gzip", "bzip2", "xz", "lzip", "zstd", "lz4", "compress", "setfacl"]
# Of these the format says nothing about names: whatever a writer leaves out, GNU tar does not extract either.
NAMES = [b"a", b"file", b"two words", b" leading", b"trailing ", b"-dash", b"new\nline", b"back\\slash", b"quo'te\"s",
         b"latin-\xe9", b"\xff\xfe", b"caf\xc3\xa9", b"cafe\xcc\x81", b"\xef\xa4\x80", b"\xf0\x9f\x92\xbe", b"sur\xed\xa0\x80",
         b"100%", b"%3D", b"a=b", b"*?[x]", b"BZh91AY", b"LZIP", b"#x", b"~", b"...", b"tab\there", b"\x01\x7f",
         b"n" * 99, b"n" * 100, b"n" * 101, b"n" * 155, b"n" * 156, b"n" * 255, b"\xc3\xa9" * 60]
TIMES = [0, 1, 1_000_000_000 * 10**9, -1, -10**9, -1_500_000_000, -2_000_000_000 * 10**9 - 1, -(2**31) * 10**9,
         (2**31) * 10**9, (2**32 + 5) * 10**9 + 123_456_789, (2**33) * 10**9 - 1, 8_589_934_591 * 10**9,
         1_700_000_000_123_456_789, -123_456_789]
IDS = [0, 0, 1, 1000, 65534, 2_097_151, 2_097_152, 2**31 - 1, 2**31, 3_000_000_000, 2**32 - 2]
MODES = [0o644, 0o755, 0o600, 0o000, 0o4755, 0o2711, 0o1777, 0o7777, 0o444]
CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")
# bsdtar escapes more in the names of xattrs than GNU tar undoes (docs/MANIFEST.md): no blanks, no non-ASCII.
XATTRS = [b"user.plain", b"user.load=100%", b"user.a%3Db", b"user.%25", b"trusted.t", b"user.n.o-t_e", b"security.other"]
VALUES = [b"", b"v", b"a\nb=c\n", bytes(range(256)), b"\0", b"\0\n12 path=x\n", b"=" * 40, b"x" * 700]


class Failure(Exception):
    pass


def run(command, check=True, **options):
    done = subprocess.run(command, capture_output=True, **options)
    if check and done.returncode != 0:
        raise Failure(f"{command}: exit {done.returncode}\n{done.stderr.decode(errors='replace')}")
    return done


class Tree:
    """A random tree in `root`. `rich`: with what only some formats can hold."""

    def __init__(self, rng, root, rich):
        self.rng, self.rich = rng, rich
        self.files, self.everything = [], []
        os.mkdir(root)
        directories = [root]
        for _ in range(rng.randrange(0, 6)):
            path = self.fresh(rng.choice(directories))
            os.mkdir(path)
            directories.append(path)
        if rng.random() < 0.15:  # longer than the fields of a header, and than a prefix
            deep = directories[-1]
            for _ in range(rng.randrange(1, 4)):
                deep = os.path.join(deep, b"d" * rng.choice([50, 99, 130, 200]))
                os.mkdir(deep)
                directories.append(deep)
        for _ in range(rng.randrange(4, 16)):
            self.add(self.fresh(rng.choice(directories)))
        # Attributes of directories last, children would change them.
        for path in self.everything + directories[::-1]:
            self.decorate(path)

    def fresh(self, parent):
        while True:
            name = self.rng.choice(NAMES)
            if self.rng.random() < 0.3:
                name += str(self.rng.randrange(100)).encode()
            path = os.path.join(parent, name[-255:])
            if not os.path.lexists(path):
                return path

    def add(self, path):
        rng = self.rng
        kind = rng.choice(["file"] * 5 + ["sparse"] * 4 + ["symlink"] * 2 + ["hard"] * 2 + ["char", "block", "fifo"])
        if kind == "hard" and self.files:
            os.link(rng.choice(self.files), path, follow_symlinks=False)
            return
        if kind == "symlink":
            target = rng.choice([b"a", b"../x y", b"/etc/passwd", b"\xe9\xff", b"cafe\xcc\x81", b"t" * 100, b"t" * 101, b"t" * 300,
                                 b"./a//b/", b".."])
            os.symlink(target, path)
        elif kind in ("char", "block"):
            number = os.makedev(rng.choice([1, 8, 255, 4095]), rng.choice([1, 255, 256, 2**18, 2**20 - 1]))
            os.mknod(path, (stat.S_IFCHR if kind == "char" else stat.S_IFBLK) | 0o600, number)
        elif kind == "fifo":
            os.mkfifo(path)
        else:
            with open(path, "wb") as file:
                if kind == "sparse":
                    self.fill_sparse(file)
                else:
                    size = rng.choice([0, 1, 63, 64, 65, 511, 512, 513, 4096, 10240, 70_000])
                    file.write(rng.randbytes(size))
        self.everything.append(path)
        if kind != "symlink" or self.rich:
            self.files.append(path)

    def fill_sparse(self, file):
        rng = self.rng
        offset = 0
        for _ in range(rng.choice([0, 0, 1, 1, 2, 3, 5, 30])):
            offset += rng.choice([0, 1, 4096, 4096, 8192, 12_345, 65_536, 300_000])
            data = rng.randbytes(rng.choice([1, 3, 512, 4096, 5000, 8192]))
            if rng.random() < 0.2:
                data = bytes(len(data))  # zeros that are no hole
            file.seek(offset)
            file.write(data)
            offset += len(data)
        file.truncate(offset + rng.choice([0, 0, 1, 512, 4096, 10_000, 1_000_000, 3_000_000]))

    def decorate(self, path):
        rng = self.rng
        mode = os.lstat(path).st_mode
        link = stat.S_ISLNK(mode)
        if rng.random() < 0.7:
            ids = IDS if self.rich else IDS[:6]
            os.lchown(path, rng.choice(ids), rng.choice(ids))
        if not link and rng.random() < 0.8:
            os.chmod(path, rng.choice(MODES))
        if self.rich and rng.random() < 0.4:
            for name in rng.sample(XATTRS, rng.randrange(1, 4)):
                if name.startswith(b"user.") and not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                    continue
                os.setxattr(path, name, rng.choice(VALUES), follow_symlinks=False)
        if self.rich and stat.S_ISREG(mode) and rng.random() < 0.15:
            os.setxattr(path, "security.capability", CAPABILITY)
        if self.rich and not link and rng.random() < 0.15:
            rules = rng.choice(["u:3000001:rwx", "g:3000002:r", "u:3000001:x,g:3000002:rw,g:3000003:-", "u:4294967294:r,m::w", "m::r"])
            if stat.S_ISDIR(mode) and rng.random() < 0.5:
                rules += ",d:" + rules.replace(",", ",d:")
            run(["setfacl", "-m", rules, "--", path])
        # Directories always: an extracted one of now has no entry of its own (see extract).
        if stat.S_ISDIR(mode) or rng.random() < 0.9:
            moment = rng.choice(TIMES if self.rich else [t for t in TIMES if 0 <= t < 2**33 * 10**9])
            os.utime(path, ns=(0, moment), follow_symlinks=False)


# Writers: (rng, tree, archive) → how, for messages. Their exit status does not matter: what a format cannot hold
# they leave out, and so does GNU tar when it extracts.

def gnu(rng, source, archive):
    format_ = rng.choice(["v7", "oldgnu", "gnu", "gnu", "ustar", "posix", "posix", "posix", "posix"])
    options = ["--format=" + format_]
    if rng.random() < 0.7:
        options += ["-S", "--hole-detection=" + rng.choice(["raw", "seek"])]
        if format_ == "posix":
            options.append("--sparse-version=" + rng.choice(["0.0", "0.1", "1.0"]))
    if format_ == "posix":
        if rng.random() < 0.7:
            options += ["--xattrs", "--xattrs-include=*"]
        if rng.random() < 0.4:
            options.append("--acls")
        options += rng.choice([[], [], ["--pax-option=delete=atime,delete=ctime"], ["--pax-option=exthdr.name=%d/PaxHeaders/%f"],
                               ["--pax-option=mtime=-1.5,comment=x"], ["--pax-option=uid=4294967294,gid:=7"]])
    if format_ != "v7":
        options += rng.choice([[], [], [], ["--label=A label"]])
    options += rng.choice([[], [], ["--sort=name"], ["-b1"], ["--hard-dereference"], ["--mtime=1960-01-01 00:00:00.25Z"]])
    # Access lists in xattrs then contradict the mode.
    options += rng.choice([[], [], [], ["--mode=go-w"], ["--mode=u=rwX,go=rX"]])
    if format_ in ("gnu", "posix") and rng.random() < 0.1:
        options.append("--listed-incremental=/dev/null")
    run(["tar", *options, "-cf", archive, "-C", source, "."], check=False)
    return " ".join(["tar", *options])


def all_utf8(source):
    try:
        return all(name.decode() for _, folders, files in os.walk(source) for name in folders + files)
    except UnicodeDecodeError:
        return False


def bsdtar(rng, source, archive):
    options = ["--format=" + rng.choice(["ustar", "gnutar", "v7tar", "pax", "pax", "paxr"])]
    options += rng.choice([["--xattrs"], ["--xattrs"], ["--no-xattrs"]])
    options += rng.choice([["--acls"], ["--no-acls"]])
    # libarchive 3.6 cuts GNU.sparse.name to the last component when that is not UTF-8.
    options += ["--read-sparse"] if rng.random() < 0.5 and all_utf8(source) else ["--no-read-sparse"]
    options += rng.choice([["--fflags"], ["--no-fflags"]])
    if options[0].startswith("--format=pax") and rng.random() < 0.3:
        options.append("--options=xattrheader=SCHILY")
    done = run(["bsdtar", *options, "-cf", archive, "-C", source, "."], check=False)
    if (done.returncode != 0 or done.stderr) and options[0] == "--format=gnutar":
        archive.unlink()  # it leaves long names of what it left out, for the next entry or none
    return " ".join(["bsdtar", *options])


def busybox(rng, source, archive):
    run(["busybox", "tar", "-cf", archive, "-C", source, "."], check=False)
    return "busybox tar"


def python(rng, source, archive):
    format_ = rng.choice([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.PAX_FORMAT])
    global_headers = {}
    if format_ == tarfile.PAX_FORMAT:
        global_headers = rng.choice([{}, {}, {"comment": "c"}, {"mtime": "-12.75"}, {"gid": "4294967294", "VENDOR.x": "y"}])

    def with_xattrs(info):
        if format_ == tarfile.PAX_FORMAT and info.isreg() and rng.random() < 0.5:
            info.pax_headers["SCHILY.xattr.user.from"] = "python \u00e9"
        # Python writes some times with an exponent, of which GNU tar silently reads the digits before it; cfs refuses them.
        if "e" in str(float(info.mtime)) or rng.random() < 0.3:
            info.mtime = int(info.mtime)
        return info

    writer = tarfile.open(archive, "w", format=format_, pax_headers=global_headers, errors="surrogateescape", encoding="utf-8")
    names = [b"."] + sorted(os.path.relpath(os.path.join(folder, name), source)
                            for folder, folders, files in os.walk(source) for name in folders + files)
    for name in names:
        before = writer.fileobj.tell()
        try:
            info = writer.gettarinfo(os.path.join(os.fsdecode(source), os.fsdecode(name)), arcname=os.fsdecode(name))
            if info is None:
                continue
            with_xattrs(info)
            if info.isreg():
                with open(os.path.join(source, name), "rb") as file:
                    writer.addfile(info, file)
            else:
                writer.addfile(info)
        except (ValueError, UnicodeError):  # this format cannot hold it
            writer.fileobj.seek(before)
            writer.fileobj.truncate()
            writer.offset = before
    writer.close()
    return f"python tarfile {format_} {global_headers}"


WRITERS = [gnu] * 6 + [bsdtar] * 3 + [busybox] + [python] * 2


def skippable(number):
    return bytes([0x50 + number, 0x2a, 0x4d, 0x18]) + (5).to_bytes(4, "little") + b"index"


def compress(rng, data):
    """→ (name, compressed data)"""
    tools = {
        "none": None, "gzip": ["gzip", "-1c"], "bzip2": ["bzip2", "-c"], "xz": ["xz", "-0c"], "lzma": ["xz", "-0c", "--format=lzma"],
        "lzip": ["lzip", "-0c"], "zstd": ["zstd", "-qc"], "lz4": ["lz4", "-qc"], "lz4 -l": ["lz4", "-qlc"], "compress": ["compress", "-fc"],
    }
    name = rng.choice(list(tools))
    if name == "none":
        return name, data
    if len(data) > 20_000_000 and name in ("bzip2", "xz", "lzma", "lzip"):
        name = "zstd"
    pack = lambda piece: run(tools[name], input=piece).stdout
    if name == "compress":
        bits = rng.randrange(10, 17)
        return f"{name} -b {bits}", run(["compress", "-fcb", str(bits)], input=data).stdout
    if name == "lz4 -l":
        return name, (skippable(rng.randrange(16)) if rng.random() < 0.5 else b"") + pack(data)
    if name == "lzma" or rng.random() < 0.6:
        packed = pack(data)
    else:  # several streams
        cut = rng.randrange(len(data) + 1)
        packed, name = pack(data[:cut]) + pack(data[cut:]), name + " twice"
    if name.startswith(("zstd", "lz4")) and rng.random() < 0.5:
        packed, name = skippable(rng.randrange(16)) + packed, name + " after a skippable frame"
    if rng.random() < 0.3:
        packed, name = packed + bytes(rng.choice([1, 512, 10_000])), name + " with zeros behind"
    return name, packed


def extract(archive, directory, how):
    os.mkdir(directory)
    # Without --delay-directory-restore the times of directories to which the archive comes back are those of now.
    command = ["tar", "-xpf", archive, "--numeric-owner", "--same-owner", "--delay-directory-restore", "--xattrs",
               "--xattrs-include=*", "-C", directory]
    # Without access lists in their own records this option would remove those that are xattrs.
    if "--acls" in how:
        command.append("--acls")
    started = time.time()
    done = run(command, check=False)
    # Directories without an entry, which tar makes on the way, are of no time in an image.
    for folder, _, _ in os.walk(os.fsencode(directory)):
        if started - 60 < os.lstat(folder).st_mtime < time.time() + 60:
            os.utime(folder, (0, 0))
    return done


def manifest(path, sources):
    lines = ['cfs: 1', 'image: {name: t, version: "1", epoch: 1}', "sources:"]
    lines += [f"- {{id: {name}, {kind}: {{path: {source}, into: /{name}{extra}}}}}" for name, kind, source, extra in sources]
    lines += ["reproducible: {source_date_epoch: 8589934592, normalize: []}"]
    path.write_text("\n".join(lines) + "\n")


class Bench:
    def __init__(self, programs, work):
        self.build_program = programs / "builder/cfs-build"
        self.info_program = programs / "tools/composefs-info"
        self.work = work

    def build(self, name, sources):
        manifest(self.work / f"{name}.yaml", sources)
        shutil.rmtree(self.work / name, ignore_errors=True)
        done = run([self.build_program, "build", self.work / f"{name}.yaml", "-o", self.work / name], check=False)
        if done.returncode != 0:
            return None, done.stderr.decode(errors="replace")
        return (self.work / name / "image.cfs").read_bytes(), ""

    def dump(self, name):
        return run([self.info_program, "dump", self.work / name / "image.cfs"]).stdout.decode(errors="replace").splitlines()

    def compare(self, archives):
        """Failures of these archives, as text."""
        tars = [(name, "tar", path, "") for name, path, _, _ in archives]
        directories = [(name, "dir", extracted, ", owner: keep") for name, _, extracted, _ in archives]
        expected, error = self.build("from-directories", directories)
        if expected is None:
            raise Failure(error)
        found, error = self.build("from-archives", tars)
        if found == expected:
            return []
        if len(archives) > 1:
            return [failure for archive in archives for failure in self.compare([archive])]
        name, path, _, how = archives[0]
        if found is None:
            return [f"{path} ({how}): refused: {error}"]
        want, have = self.dump("from-directories"), self.dump("from-archives")
        different = [f"  GNU tar: {line}" for line in want if line not in have][:5]
        different += [f"  cfs:     {line}" for line in have if line not in want][:5]
        return [f"{path} ({how}):\n" + "\n".join(different)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=pathlib.Path, required=True, help="the build folder")
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path("tar-property-test"))
    parser.add_argument("--archives", type=int, default=320)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("tar_property_test: must run as root: owners, devices and trusted.* xattrs are compared")
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        sys.exit(f"tar_property_test: missing programs: {' '.join(missing)}; run scripts/setup")
    os.environ["LC_ALL"] = "C.UTF-8"
    os.environ.pop("TAR_OPTIONS", None)
    os.umask(0o022)
    work = options.work.resolve()
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    bench = Bench(options.programs.resolve(), work)

    rng = random.Random(options.seed)
    counts, failures, batch, unusable = collections.Counter(), [], [], 0
    started = time.monotonic()
    made = 0
    while made < options.archives:
        source = os.fsencode(work / "source")
        shutil.rmtree(source, ignore_errors=True)
        rich = rng.random() < 0.7
        Tree(rng, source, rich)
        for writer in rng.sample(WRITERS, 8):
            name = f"a{made:05}"
            plain, packed, extracted = work / "plain.tar", work / f"{name}.tar", work / name
            how = writer(rng, source, plain)
            if not plain.exists() or plain.stat().st_size == 0:
                unusable += 1
                continue
            done = extract(plain, extracted, how)
            if done.returncode != 0:
                unusable += 1
                print(f"GNU tar does not extract what '{how}' wrote: {done.stderr.decode(errors='replace')[:300]}")
                shutil.rmtree(extracted)
                continue
            if not os.listdir(extracted):  # the format could not even hold the root
                unusable += 1
                os.rmdir(extracted)
                continue
            method, data = compress(rng, plain.read_bytes())
            plain.unlink()
            packed.write_bytes(data)
            how = f"{how}, {method}, seed {options.seed}"
            counts[how.split()[0]] += 1
            counts["compressed by " + method.split()[0]] += 1
            batch.append((name, packed, extracted, how))
            made += 1
            if len(batch) == BATCH or made == options.archives:
                failed = bench.compare(batch)
                failures += failed
                for path in [path for _, archive, folder, _ in batch for path in (archive, folder)]:
                    if not any(str(path) in failure for failure in failed):
                        shutil.rmtree(path) if path.is_dir() else path.unlink()
                batch = []
                if len(failures) > 10:
                    break
            if made == options.archives:
                break
        if len(failures) > 10:
            break
    for failure in failures:
        print(failure)
    print(f"{made} archives, {len(failures)} failures, {unusable} unusable, "
          f"seed {options.seed}, {time.monotonic() - started:.0f} s")
    print(", ".join(f"{count} {name}" for name, count in sorted(counts.items())))
    if not failures:
        shutil.rmtree(work)
    return 1 if failures or unusable > made / 4 else 0


if __name__ == "__main__":
    sys.exit(main())
