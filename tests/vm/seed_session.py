# SPDX-License-Identifier: Apache-2.0
"""Runs seed_session.sh in a guest, with our own programs.

    seed_session.py --cache DIR --work DIR --mkcomposefs PROGRAM --mount-composefs PROGRAM"""

import argparse
import pathlib

import vm


def main():
    parser = argparse.ArgumentParser()
    for option in ("--cache", "--work", "--mkcomposefs", "--mount-composefs"):
        parser.add_argument(option, required=True, type=pathlib.Path)
    arguments = parser.parse_args()
    work = arguments.work / "seed_session"
    work.mkdir(parents=True, exist_ok=True)
    script = (pathlib.Path(__file__).parent / "seed_session.sh").read_text()
    programs = [("usr/sbin/mkfs.ext4", vm.tool("mkfs.ext4")), ("usr/sbin/debugfs", vm.tool("debugfs")),
                ("usr/bin/fsverity", vm.tool("fsverity")), ("usr/bin/mount", vm.tool("mount")),
                ("usr/bin/mkcomposefs", arguments.mkcomposefs), ("sbin/mount.composefs", arguments.mount_composefs)]
    disk = vm.empty_disk(work / "disk.img", 64)
    text = vm.run_script(vm.kernel(arguments.cache), script, work, disks=[disk], programs=programs)
    print(text[text.index("== "):])
    vm.check("== end of the session" in text, "the session did not get to its end")


if __name__ == "__main__":
    vm.main(main)
