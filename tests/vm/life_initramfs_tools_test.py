# SPDX-License-Identifier: Apache-2.0
"""Scenarios of life_test.py and etc_life_test.py with releases whose initramfs is made by Debian's mkinitramfs and our hook.

    life_initramfs_tools_test.py --cache DIR --work DIR --build DIR --hook DIR"""

import pathlib

import etc_life_test
import initramfs_tools_test
import life
import life_test
import vm

ETC_MODE = "overlay"
RELEASES = {**etc_life_test.releases(ETC_MODE), 3: life_test.RELEASES[3]}


def main():
    parser = life.parser()
    parser.add_argument("--hook", required=True, type=pathlib.Path)
    options = parser.parse_args()
    world = life.World(options, "life_initramfs_tools", RELEASES, lambda kernel, mount_root, work:
                       initramfs_tools_test.make_initramfs(kernel, mount_root, options.hook, work))
    life.run(ETC_MODE, etc_life_test.across_releases, world.new_device("etc"), ETC_MODE)
    for scenario in (life_test.image_missing, life_test.init_missing_then_held):
        life.run(scenario.__name__, scenario, world.good_device(scenario.__name__))


if __name__ == "__main__":
    vm.main(main)
