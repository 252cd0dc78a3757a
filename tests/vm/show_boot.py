#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Boots a disk made from manifests/debian-minimal.yaml and shows, from inside, what it runs on.

    show_boot.py DISK"""

import pathlib
import sys
import tempfile
import time

import debian_guest
import vm

COMMANDS = (
    "findmnt -nro FSTYPE,OPTIONS / | fold -w 118",
    "systemctl is-system-running --wait",
    "cfs-deploy status",
    "echo broken > /usr/bin/ls",
)


def main():
    disk = pathlib.Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as work:
        started = time.monotonic()
        with debian_guest.boot(disk, pathlib.Path(work)) as guest:
            print(f"login after {time.monotonic() - started:.0f} s (emulated CPU)")
            for command in COMMANDS:
                print(f"cfs# {command}\n{guest.command(command, check=False)}", flush=True)
            guest.power_off()


if __name__ == "__main__":
    vm.main(main)
