# SPDX-License-Identifier: Apache-2.0
"""write_log.py against logs made by hand."""

import pathlib
import random
import tempfile
import unittest

import write_log
from write_log import DISCARD, ENTRY, FLUSH, FUA, HEADER, MAGIC, MARK, Cut, Replay, WriteLog


def sectors(letters):
    return b"".join(letter.encode() * 512 for letter in letters)


class WriteLogTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.work = pathlib.Path(directory.name)
        self.base = self.work / "base"
        self.base.write_bytes(sectors("........"))

    def log(self, *entries, count=None, sector_bytes=512):
        """entries: (sector, letters, flags); letters: one a sector, or the number of discarded ones."""
        path = self.work / "log"
        with open(path, "wb") as file:
            file.write(HEADER.pack(MAGIC, 1, len(entries) if count is None else count, sector_bytes).ljust(sector_bytes, b"\0"))
            for sector, letters, flags in entries:
                if flags & MARK:
                    file.write(ENTRY.pack(0, 0, flags, len(letters)).ljust(sector_bytes, b"\0"))
                    file.write(letters.encode().ljust(sector_bytes, b"\0"))
                    continue
                length = letters if isinstance(letters, int) else len(letters)
                file.write(ENTRY.pack(sector, length, flags, 0).ljust(sector_bytes, b"\0"))
                if not flags & DISCARD:
                    file.write(sectors(letters))
        return WriteLog(path)

    def disk(self, log, cut):
        """The letters of the disk."""
        Replay(log, self.base, self.work / "durable").make(cut, self.work / "state")
        data = (self.work / "state").read_bytes()
        return "".join(chr(data[offset]) if data[offset] else "0" for offset in range(0, len(data), 512))

    def test_what_was_flushed_is_there(self):
        log = self.log((0, "ab", 0), (4, "c", 0), (0, "", FLUSH), (1, "d", 0), (0, "", FLUSH), (7, "e", 0))
        self.assertEqual(log.flushes, 2)
        self.assertEqual([self.disk(log, cut) for cut in write_log.boundaries(log)], ["........", "ab..c...", "ad..c..."])

    def test_data_of_a_flush_comes_after_it(self):
        log = self.log((0, "a", 0), (1, "b", FLUSH), (2, "c", 0))
        self.assertEqual(self.disk(log, Cut(1)), "a.......")
        self.assertEqual(self.disk(log, Cut(1, 1, ((0, None),))), "ab......")

    def test_kept_writes_come_in_the_order_of_the_cut(self):
        log = self.log((0, "ab", 0), (1, "cd", 0))
        self.assertEqual(self.disk(log, Cut(0, 2, ((0, None), (1, None)))), "acd.....")
        self.assertEqual(self.disk(log, Cut(0, 2, ((1, None), (0, None)))), "abd.....")

    def test_a_write_is_there_in_part(self):
        log = self.log((2, "abcd", 0))
        self.assertEqual(self.disk(log, Cut(0, 1, ((0, (0, 3)),))), "..a..d..")
        self.assertEqual(self.disk(log, Cut(0, 1, ((0, ()),))), "........")

    def test_a_discarded_range_reads_as_zeros(self):
        log = self.log((1, 3, DISCARD), (2, "a", 0), (0, "", FLUSH))
        self.assertEqual(self.disk(log, Cut(1)), ".0a0....")

    def test_marks_are_passed_over(self):
        log = self.log((0, "a", 0), (0, "begin", MARK), (1, "b", 0), (0, "", FLUSH))
        self.assertEqual(self.disk(log, Cut(1)), "ab......")

    def test_the_log_may_have_larger_sectors(self):
        log = self.log((0, "", FLUSH), sector_bytes=4096)
        self.assertEqual(log.flushes, 1)

    def test_a_log_that_ends_too_early_is_refused(self):
        with self.assertRaises(write_log.LogError):
            self.log((0, "a", 0), count=2)
        path = self.work / "log"
        self.log((0, "ab", 0))
        path.write_bytes(path.read_bytes()[:-512])
        with self.assertRaises(write_log.LogError):
            WriteLog(path)
        path.write_bytes(sectors("x"))
        with self.assertRaises(write_log.LogError):
            WriteLog(path)

    def test_entries_beyond_the_count_were_never_logged(self):
        self.assertEqual(len(self.log((0, "a", 0), (1, "b", 0), count=1).epochs[0]), 1)

    def test_random_cuts_lose_tear_and_reorder_but_never_what_is_durable(self):
        log = self.log((0, "abcd", 0), (0, "", FLUSH), (0, "AB", 0), (1, "XY", 0), (5, "F", FUA), (6, "G", 0), (0, "", FLUSH))
        chance = random.Random(1)
        seen = set()
        for _ in range(3000):
            cut = write_log.random_cut(log, 1, chance)
            disk = self.disk(log, cut)
            seen.add(disk)
            self.assertEqual(disk[3], "d", cut)
            # What came after the durable write is there only if that one is.
            self.assertTrue(disk[5] == "F" or disk[6] == ".", (disk, cut))
        for wanted in ("abcd....", "ABcd....", "aXYd.F..", "AbYd.F..", "ABYd.FG.", "AXYd.FG.", "ABYd.FG."):
            self.assertIn(wanted, seen)

    def test_a_durable_write_stays_above_what_was_there(self):
        log = self.log((0, "a", 0), (0, "B", FUA), (1, "c", 0))
        chance = random.Random(2)
        disks = {self.disk(log, write_log.random_cut(log, 0, chance)) for _ in range(300)}
        self.assertEqual(disks, {"........", "a.......", "B.......", "Bc......"})

    def test_a_part_of_a_file_is_copied_with_its_holes(self):
        with open(self.base, "r+b") as file:
            file.truncate(4 << 20)
            file.seek(2 << 20)
            file.write(b"x" * 8192)
        part = self.work / "part"
        write_log.copy_sparse(self.base, part, 512, 3 << 20)
        self.assertEqual(part.read_bytes(), self.base.read_bytes()[512:512 + (3 << 20)])
        self.assertLess(part.stat().st_blocks, 100)

    def test_the_same_seed_gives_the_same_cuts(self):
        log = self.log(*[(number % 8, "x", FLUSH if number % 5 == 0 else 0) for number in range(50)])
        cuts = [write_log.random_cuts(log, 20, random.Random(7), first=2, last=6) for _ in range(2)]
        self.assertEqual(cuts[0], cuts[1])
        self.assertEqual(len(cuts[0]), 20)
        self.assertTrue(all(2 <= cut.flushes <= 6 for cut in cuts[0]))


if __name__ == "__main__":
    unittest.main()
