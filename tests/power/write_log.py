# SPDX-License-Identifier: Apache-2.0
"""What a disk may hold after the power has gone, made from a log of its writes.

    log = WriteLog(path)                        # of QEMU's blklogwrites, in the format of dm-log-writes
    replay = Replay(log, base, work / "durable.img")
    for cut in in_order([*boundaries(log), *random_cuts(log, 200, random.Random(seed))]):
        replay.make(cut, work / "state.img")    # look at it, change it; the next one starts anew

A disk promises two things: what was written before a flush is there once that flush has ended, and a write with FUA
is there once that write has ended. Everything else is open. Of the writes since the last flush any may be missing,
in any order, and one of several sectors may be there in part. Only a sector is whole, old or new.

Specification: Linux, Documentation/admin-guide/device-mapper/log-writes.rst. An entry with the flush flag says that all
entries before it are durable; its own data, if it has any, follows the flush."""

import dataclasses
import errno
import mmap
import os
import pathlib
import struct

SECTOR_BYTES = 512
FLUSH, FUA, DISCARD, MARK = 1, 2, 4, 8
MAGIC = 0x6A736677736872
HEADER = struct.Struct("<QQQI")
ENTRY = struct.Struct("<QQQQ")


class LogError(Exception):
    """The log is not one, or it ends too early."""


@dataclasses.dataclass(frozen=True)
class Write:
    """Bytes that were written. `is_durable`: with FUA."""

    offset: int
    data: memoryview
    is_durable: bool = False


@dataclasses.dataclass(frozen=True)
class Cut:
    """An instant, and which of the writes that were then open are on the disk.

    The cut came after so many flushes and so many writes since the last of them. Of these writes, `kept` are there, in that
    order: each is a number, from 0, and which of its sectors, or None for all."""

    flushes: int
    writes: int = 0
    kept: tuple = ()

    def __str__(self):
        return f"after flush {self.flushes} and {self.writes} writes, of which were kept {list(self.kept)}"


class WriteLog:
    """The writes of a log in order. epochs[n]: those after n flushes, and before the next."""

    def __init__(self, path):
        self.epochs = [[]]
        with open(path, "rb") as file:
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        if len(data) < HEADER.size:
            raise LogError(f"{path}: no log")
        magic, version, count, sector_bytes = HEADER.unpack_from(data)
        if (magic, version) != (MAGIC, 1) or sector_bytes < ENTRY.size:
            raise LogError(f"{path}: no log of version 1")
        position = sector_bytes
        for number in range(count):
            if position + ENTRY.size > len(data):
                raise LogError(f"{path}: ends before entry {number} of {count}")
            sector, sectors, flags, mark_bytes = ENTRY.unpack_from(data, position)
            position += sector_bytes
            length = sectors * sector_bytes
            if flags & MARK:  # a text; dm-log-writes pads it to a sector
                position += -(-mark_bytes // sector_bytes) * sector_bytes
                continue
            if flags & FLUSH:
                self.epochs.append([])
            if flags & DISCARD:
                # Afterwards the sectors hold anything. Zeros are what most disks then say.
                self._add(sector * sector_bytes, memoryview(bytes(length)), flags)
                continue
            if position + length > len(data):
                raise LogError(f"{path}: ends in the data of entry {number} of {count}")
            self._add(sector * sector_bytes, data[position:position + length], flags)
            position += length

    def _add(self, offset, data, flags):
        if len(data):
            self.epochs[-1].append(Write(offset, data, bool(flags & FUA)))

    @property
    def flushes(self):
        return len(self.epochs) - 1


def boundaries(log, first=0, last=None):
    """The cuts right after each flush, when nothing else was written yet; `first` 0 is the disk before all."""
    return [Cut(flushes) for flushes in range(first, (log.flushes if last is None else last) + 1)]


def random_cut(log, flushes, chance):
    """A cut somewhere between that flush and the next, after one write at least."""
    writes = log.epochs[flushes]
    ended = chance.randint(1, len(writes))
    kind = chance.choice(("prefix", "subset", "torn", "last only"))
    kept = []
    for number, write in enumerate(writes[:ended]):
        if not write.is_durable:
            if kind == "subset" and chance.random() < 0.5:
                continue
            if kind == "last only" and number < ended - 1:
                continue
        sectors = None
        count = len(write.data) // SECTOR_BYTES
        if kind == "torn" and not write.is_durable and count > 1 and chance.random() < 0.5:
            sectors = tuple(sorted(chance.sample(range(count), chance.randrange(count))))
        kept.append((number, sectors))
    if kind == "subset":
        kept = _shuffled(writes, kept, chance)
    return Cut(flushes, ended, tuple(kept))


def _shuffled(writes, kept, chance):
    """Another order, in which a durable write still comes after what was written there before it."""
    order = kept[:]
    chance.shuffle(order)
    numbers = {number for number, _ in kept if writes[number].is_durable}
    for number in sorted(numbers):
        entry = next(one for one in order if one[0] == number)
        order.remove(entry)
        earlier = [index for index, (other, _) in enumerate(order) if other < number and _overlap(writes[other], writes[number])]
        order.insert(max(earlier, default=-1) + 1, entry)
    return order


def _overlap(a, b):
    return a.offset < b.offset + len(b.data) and b.offset < a.offset + len(a.data)


def random_cuts(log, count, chance, first=0, last=None):
    """`count` cuts after at least `first` flushes and before the one after `last`. Long stretches without a flush get
    more of them."""
    epochs = range(first, (log.flushes if last is None else last) + 1)
    weights = [len(log.epochs[epoch]) ** 0.5 for epoch in epochs]
    if not any(weights):
        return []
    return [random_cut(log, flushes, chance) for flushes in chance.choices(epochs, weights, k=count)]


def in_order(cuts):
    """The cuts as Replay wants them: earlier ones first."""
    return sorted(cuts, key=lambda cut: cut.flushes)


class Replay:
    """Makes the disks of cuts, which must come in order: what is durable is written only once."""

    def __init__(self, log, base, durable):
        self._log = log
        self._durable = durable
        self._flushes = 0
        copy_sparse(base, durable)

    def make(self, cut, path):
        """Writes the disk of `cut` to `path`."""
        assert cut.flushes >= self._flushes, "cuts in descending order"
        if cut.flushes > self._flushes:
            with open(self._durable, "r+b") as disk:
                for writes in self._log.epochs[self._flushes:cut.flushes]:
                    for write in writes:
                        os.pwrite(disk.fileno(), write.data, write.offset)
            self._flushes = cut.flushes
        copy_sparse(self._durable, path)
        writes = self._log.epochs[cut.flushes]
        with open(path, "r+b") as disk:
            for number, sectors in cut.kept:
                write = writes[number]
                if sectors is None:
                    os.pwrite(disk.fileno(), write.data, write.offset)
                for sector in sectors or ():
                    start = sector * SECTOR_BYTES
                    os.pwrite(disk.fileno(), write.data[start:start + SECTOR_BYTES], write.offset + start)


def copy_sparse(source, path, start=0, size=None):
    """A file of `size` bytes of another one, from `start` on, with its holes."""
    # Not truncated: ext4 would write such a file out when it is closed.
    pathlib.Path(path).unlink(missing_ok=True)
    with open(source, "rb") as from_file, open(path, "wb") as to_file:
        end = start + size if size is not None else os.fstat(from_file.fileno()).st_size
        to_file.truncate(end - start)
        position = start
        while position < end:
            try:
                position = os.lseek(from_file.fileno(), position, os.SEEK_DATA)
            except OSError as error:  # no data behind
                if error.errno == errno.ENXIO:
                    return
                raise
            hole = min(os.lseek(from_file.fileno(), position, os.SEEK_HOLE), end)
            while position < hole:
                position += os.copy_file_range(from_file.fileno(), to_file.fileno(), hole - position, position, position - start)
