#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A manifest that names nothing about boot but a kernel package: built, signed, installed on a disk behind
AHCI, booted through firmware until there is a login prompt.

    ten_lines_test.py --build DIR --work DIR      DIR: the build tree with the programs, `programs` built"""

import argparse

import vm
from debian_line import line_of_arguments

MANIFEST = """\
cfs: 1
image: {name: ten-lines, version: "1", epoch: 1}
sources:
  - id: base
    debian:
      suite: bookworm
      packages: [systemd-sysv]
kernel:
  package: linux-image-6.12-cloud-amd64
"""
BOOT_SECONDS = 240


def scenario():
    line, _ = line_of_arguments(argparse.ArgumentParser())
    work = line.work
    (work / "manifest.yaml").write_text(MANIFEST)
    vm.run("cfs-build", "build", work / "manifest.yaml", "-o", work / "release-1")
    size = (work / "release-1/initramfs").stat().st_size
    print(f"initramfs: {size} bytes")
    vm.check(size <= 3_000_000, f"the initramfs has {size} bytes")
    vm.run("cfs-sign", "init", line.repository, "--keys", line.keys)
    line.publish(1)
    disk = work / "disk.img"
    vm.run("cfs-deploy", "install", "--disk", disk, "--url", f"file://{line.repository}",
           "--root", line.repository / "metadata/1.root.json", "--name", "ten-lines")
    with vm.Guest(ovmf=True, variables=work / "variables.fd", disks=[disk], memory_mib=1024, processors=2,
                  disk_device=("ide-hd,drive={drive},bus=ide.{number}",), console=vm.VIRTIO_CONSOLE,
                  log=work / "console.log", timeout=BOOT_SECONDS) as guest:
        guest.expect(r" login: ")


if __name__ == "__main__":
    vm.main(scenario)
