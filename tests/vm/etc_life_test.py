# SPDX-License-Identifier: Apache-2.0
"""What becomes of changes to /etc, in each of its modes, when releases come and go (docs/MANIFEST.md, "State of the root").

    etc_life_test.py --cache DIR --work DIR --build DIR [--hook DIR] [MODE…]"""

import re

import life
import vm

# How the device is reset at the end. Of the modes with one /etc for all releases, and of those with one for each, one is
# reset with what it keeps and one without.
MODES = {"transient": "--etc", "ro": "--all", "overlay": "--etc", "merge": "--all"}

KEEP = '/etc/hostname, /etc/keys, "/etc/networks/*.conf"'
OF_RELEASE = {
    1: {"conf": "1", "gone": "1", "hostname": "1", "networks/readme": "1"},
    2: {"conf": "2", "gone": "1", "hostname": "2", "networks/readme": "2", "more": "2"},
}
# Files that the device changes while release 1 runs, and then while release 2 does. It also removes REMOVED then.
KEPT = {"hostname": "mine", "keys/key": "mine", "networks/home.conf": "mine"}
CHANGED = {"conf": "mine", "mine": "mine", "networks/mine": "mine"}
KEPT_LATER = {"hostname": "later", "keys/key": "later", "networks/office.conf": "later"}
CHANGED_LATER = {"conf": "later", "mine": "later", "networks/readme": "later"}
REMOVED, REMOVED_LATER = "gone", "networks/home.conf"

SHOW = "cat /etc/machine-id; cd /etc; for name in $(find * -type f ! -name machine-id); do echo $name: $(cat $name); done"


def change(files, removed):
    """A command that changes files of /etc as programs do it; where it is read-only, in the one for what makes them."""
    steps = [f"mkdir -p $(dirname {name}) && echo {content} >.new && mv .new {name}" for name, content in files.items()]
    return f"cd /etc; test ! -d /run/cfs/etc || cd /run/cfs/etc; rm {removed} && " + " && ".join(steps)


def check_etc(said, files):
    """What SHOW said. Returns the machine-id."""
    machine_id, *lines = said.splitlines()
    vm.check(re.fullmatch("[0-9a-f]{32}", machine_id), f"no machine-id: {said}")
    found = dict(line.split(": ", 1) for line in lines)
    vm.check(found == files, f"/etc has {found}, not {files}")
    return machine_id


def without(files, *names):
    return {name: content for name, content in files.items() if name not in names}


def etc_life(device, mode):
    stays = mode in ("overlay", "merge")  # what is not kept
    changes, gone = (CHANGED, [REMOVED]) if stays else ({}, [])
    writes = "! touch /etc/x" if mode == "ro" else "touch /etc/x && rm /etc/x"
    before, _, _, after, *_ = device.done(1, SHOW, writes, change(KEPT | CHANGED, REMOVED), SHOW, "echo x >/var/x", *life.PROVE, "cfs-deploy update")
    machine_id = check_etc(before, OF_RELEASE[1])
    check_etc(after, without(OF_RELEASE[1] | KEPT | CHANGED, REMOVED))

    # What is kept has come along, and of the other changes what the mode says.
    said, status, *_ = device.done(2, SHOW, "cfs-deploy status", change(KEPT_LATER | CHANGED_LATER, REMOVED_LATER), *life.PROVE, "cfs-deploy rollback")
    theirs = {"conf.cfs-new": "2"} if mode == "merge" else {}
    vm.check(check_etc(said, without(OF_RELEASE[2] | KEPT | changes | theirs, *gone)) == machine_id, "another machine-id")
    conflicts = re.findall(r"^conflict +(\S+): ", status, re.M)
    vm.check(conflicts == (["/etc/conf"] if mode == "merge" else []), status)

    # Back: what is kept stays as it is, all else is as release 1 had it.
    said, before, _, after = device.done(1, SHOW, "cfs-deploy status", f"cfs-deploy reset {MODES[mode]}", "cfs-deploy status")
    vm.check(check_etc(said, without(OF_RELEASE[1] | KEPT_LATER | changes, *gone)) == machine_id, "another machine-id")
    vm.check("conflict " not in before and "reset " not in before, before)
    vm.check("reset     at the next boot, /etc" in after, after)

    said, var, status = device.done(1, SHOW, "ls /var", "cfs-deploy status")
    vm.check("reset " not in status, status)
    is_new = MODES[mode] == "--all"
    now = check_etc(said, OF_RELEASE[1] if is_new else OF_RELEASE[1] | KEPT_LATER)
    vm.check((now != machine_id) == is_new and ("x" not in var.split()) == is_new, f"{now} after {machine_id}, /var has {var}")


def releases(mode):
    return {number: {"etc": mode, "keep": KEEP, "files": {f"etc/{name}": content + "\n" for name, content in files.items()}}
            for number, files in OF_RELEASE.items()}


def main():
    parser = life.parser()
    parser.add_argument("mode", nargs="*", choices=[*MODES, []])
    options = parser.parse_args()
    for mode in options.mode or MODES:
        world = life.World(options, f"etc_life_{mode}", releases(mode))
        life.run(mode, etc_life, world.new_device("device"), mode)


if __name__ == "__main__":
    vm.main(main)
