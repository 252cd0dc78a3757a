#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures, in the guest's own time, how long the built-in initramfs takes: from "Run /init" to the mounted
root, and from there to the first line of the root's init. Direct kernel boot, one emulated processor.

    boot_time.py --kernel VMLINUZ --initramfs FILE --disk IMAGE --cmdline TEXT [--runs N] [--first-line REGEX]"""

import argparse
import pathlib
import re
import statistics
import tempfile

import vm


def seconds(text, pattern):
    match = re.search(rf"^\[\s*([\d.]+)\].*(?:{pattern})", text, re.M)
    vm.check(match, f"no line /{pattern}/:\n" + "\n".join(text.splitlines()[-vm.LAST_LINES:]))
    return float(match.group(1))


def main():
    parser = argparse.ArgumentParser()
    for option in ("--kernel", "--initramfs", "--disk", "--cmdline"):
        parser.add_argument(option, required=True)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--first-line", default=r"systemd\[1\]: systemd \d+")
    arguments = parser.parse_args()
    # Information of the kernel's, but no more than what it would say anyway.
    cmdline = f"{arguments.cmdline} loglevel=7 systemd.log_target=kmsg"
    own, after = [], []
    with tempfile.TemporaryDirectory() as work:
        for _ in range(arguments.runs):
            disk = vm.copy_disk(arguments.disk, pathlib.Path(work) / "disk.img")
            with vm.Guest(kernel=arguments.kernel, initrd=arguments.initramfs, cmdline=cmdline, disks=[disk]) as guest:
                guest.expect(arguments.first_line)
                text = guest.text
            run, root = seconds(text, "Run /init as init process"), seconds(text, "cfs: root is ")
            own.append(root - run)
            after.append(seconds(text, arguments.first_line) - root)
            print(f"/init at {run:.3f} s, own {own[-1]:.3f} s, then {after[-1]:.3f} s", flush=True)
    print(f"median: own {statistics.median(own):.3f} s, then {statistics.median(after):.3f} s")


if __name__ == "__main__":
    vm.main(main)
