# SPDX-License-Identifier: Apache-2.0
"""Runs store_verity_test on an ext4 with fs-verity, in a guest.

    store_verity.py --cache DIR --work DIR --test PROGRAM"""

import argparse
import pathlib

import vm

SCRIPT = """
mkfs.ext4 -q -b 4096 -O verity /dev/vda || exit 1
mkdir -p /disk
mount -t ext4 /dev/vda /disk || exit 1
TMPDIR=/disk /store_verity_test
"""


def main():
    parser = argparse.ArgumentParser()
    for option in ("--cache", "--work", "--test"):
        parser.add_argument(option, required=True, type=pathlib.Path)
    arguments = parser.parse_args()
    work = arguments.work / "store_verity"
    work.mkdir(parents=True, exist_ok=True)
    programs = [("usr/sbin/mkfs.ext4", vm.tool("mkfs.ext4")), ("store_verity_test", arguments.test)]
    disk = vm.empty_disk(work / "disk.img", 256)
    text = vm.run_script(vm.kernel(arguments.cache), SCRIPT, work, disks=[disk], programs=programs)
    print(text[text.index("[=="):])
    vm.check("[  PASSED  ]" in text and "SKIPPED" not in text, "not every test ran")


if __name__ == "__main__":
    vm.main(main)
