# SPDX-License-Identifier: Apache-2.0
"""What a device makes of releases and commands. Each function of SCENARIOS begins with a device that runs release 1,
which is good.

    life_test.py --cache DIR --work DIR --build DIR [--hook DIR] [SCENARIO…]"""

import re

import life
import vm

TRIES = 3
STATUS = "cfs-deploy note-boot >/run/noted; cfs-deploy status"


def panic(device):
    device.done(1, "cfs-deploy update")
    device.done(2)  # power off: a try that proves nothing
    for _ in range(TRIES - 1):
        vm.check(device.boot(2, "echo c >/proc/sysrq-trigger") == [], "it lives on")
    [said] = device.done(1, STATUS)
    vm.check(said.startswith("tiny 1 is running and boots next. 2 failed: it was not proven healthy"), said)


def stops_early(device, failing, code, *commands, tries=TRIES):
    """Release `failing` stops in its initramfs as often as it is tried; then release 1 boots and gives the code. Returns
    what boot() does of the commands there."""
    for _ in range(tries):
        device.boot(None)
        vm.check(f"cfs: FATAL {code} " in device.text, device.text[-3000:])
    (_, said), *results = device.boot(1, STATUS, *commands, offer=failing)
    vm.check(said.startswith(f"tiny 1 is running and boots next. {failing} failed: the boot stopped: FATAL {code}: "), said)
    return results


def init_missing_then_held(device):
    """A release without init; after it has failed it is not taken again, but when asked for."""
    device.done(1, "cfs-deploy update", offer=3)
    (status, said), (retried, _) = stops_early(device, 3, "self-test", "cfs-deploy update", "cfs-deploy update --retry")
    vm.check(status == 10 and "held: tiny 3 " in said and retried == 0, device.text[-3000:])


def image_missing(device):
    device.done(1, "cfs-deploy update")
    digest = device.world.releases[2].digest
    device.edit_root(f"rm /cfs/objects/{digest[:2]}/{digest[2:]}")
    stops_early(device, 2, "image-missing")


def good_one_rots(device):
    """A good release has no tries to use up. When it stops booting, cfs-mount-root asks for the one before it."""
    device.done(1, "cfs-deploy update")
    device.done(2, *life.PROVE)
    device.edit_root(f"rm /cfs/images/{device.world.releases[2].digest}")
    (repaired, _), (retried, _) = stops_early(device, 2, "image-missing", "cfs-deploy fsck --repair", "cfs-deploy update --retry", tries=2)
    vm.check(repaired == 0 and retried == 0, f"{repaired} {retried}\n{device.text[-3000:]}")
    device.done(2, *life.PROVE)


def kexec(device):
    """A boot by kexec is no proof; one by the firmware is."""
    # On the repository's disk, for kexec, which starts no UKI.
    offer = device.world.offer(2)
    [uki] = (device.world.work / "release-2").glob("*.efi")
    for section in ("linux", "initrd", "cmdline"):
        vm.run("objcopy", "-O", "binary", f"--only-section=.{section}", uki, device.work / section)
        vm.debugfs(offer, f"write {device.work / section} {section}", write=True)
    vm.debugfs(offer, f"write {device.world.programs['kexec']} kexec", write=True)
    cmdline = (device.work / "cmdline").read_text().rstrip("\0\n")
    device.done(1, "cfs-deploy update")
    # Both kernels do what stands on the same disk; the second is told from the first by what the kernel says of its loader.
    start = (f"test $(($(cat /proc/sys/kernel/bootloader_type) >> 4)) = 13 || "
             f"/repository/kexec /repository/linux /repository/initrd '{cmdline}'")
    results = device.boot(2, start, "cfs-deploy health", "cfs-deploy bless", "cfs-deploy status")
    statuses = [status for status, _ in results]
    vm.check(device.text.count("guest: booted ") == 2 and statuses == [0, 0, 1, 0], f"{results}\n{device.text[-3000:]}")
    vm.check("was started by kexec" in results[2][1], results[2][1])
    vm.check(results[3][1].startswith("tiny 2 is running, on trial"), results[3][1])
    device.done(2, "cfs-deploy health", "cfs-deploy bless")


def late_mark_bad(device):
    """A release that was good for a while is marked bad, held, and can be taken again."""
    device.done(1, "cfs-deploy update")
    device.done(2, "cfs-deploy health", "cfs-deploy bless")
    said = device.done(2, "cfs-deploy mark-bad --reason smell", "cfs-deploy status")
    vm.check(said[1].startswith("tiny 2 is running, which is bad; 1 boots next."), said[1])
    [said] = device.done(1, STATUS)
    vm.check(said.startswith("tiny 1 is running and boots next. 2 failed: it was marked bad: smell."), said)
    (held, said), (retried, _) = device.boot(1, "cfs-deploy update", "cfs-deploy update --retry")
    vm.check(held == 10 and "held: tiny 2 " in said and retried == 0, device.text[-3000:])
    device.done(2)


def full_esp(device):
    """Somebody's files fill the ESP: the update says so and changes nothing; without them it works."""
    free = int(re.search(r"^ *([\d ]+) bytes free", vm.run("mdir", "-i", device.esp, "::/"), re.M).group(1).replace(" ", ""))
    big = vm.empty_disk(device.work / "big", (free >> 20) - 1)
    vm.run("mcopy", "-i", device.esp, big, "::/big")
    [(status, said), (_, state)] = device.boot(1, "cfs-deploy update", "cfs-deploy status")
    vm.check(status == 9 and "EFI system partition" in said, f"exit status {status}: {said}")
    vm.check(state.startswith("tiny 1 is running and boots next."), state)
    vm.run("mdel", "-i", device.esp, "::/big")
    device.done(1, "cfs-deploy update")
    device.done(2)


def wrong_hardware(device):
    """A release for another board is refused before anything of it is fetched."""
    (status, said), (_, state) = device.boot(1, "cfs-deploy update", "cfs-deploy status; ls /sysroot/cfs/releases | wc -l", offer=4)
    vm.check(status == 1 and "another" in said and "to fetch" not in said, f"exit status {status}: {said}")
    vm.check(state.startswith("tiny 1 is running and boots next.") and state.endswith("\n1\n"), state)
    device.done(1)


def gc(device):
    """Blessing the third release removes the first, and nothing that the other two need."""
    device.done(1, "cfs-deploy update")
    device.done(2, "cfs-deploy health", "cfs-deploy bless", "cfs-deploy update", offer=5)
    *_, blessed, checked = device.done(5, "cfs-deploy health", "cfs-deploy bless", "cfs-deploy fsck --deep && cfs-deploy rollback", offer=5)
    vm.check("garbage: removed 1 (epoch 1), " in blessed, blessed)
    vm.check(" 2 images: nothing is wrong" in checked, checked)
    device.done(2, offer=5)


def recovery(device):
    """The recovery boots when all other entries are gone, and makes the device whole again."""
    device.done(1, f"cfs-deploy recovery set {device.world.releases[1].digest[:12]}", "cfs-deploy update")
    device.done(2, "cfs-deploy health", "cfs-deploy bless", "cfs-deploy update", offer=5)
    device.done(5, "cfs-deploy health", "cfs-deploy bless", offer=5)
    listing = vm.run("mdir", "-b", "-i", device.esp, "::/EFI/Linux").split()
    vm.check(sum(path.endswith("+0.efi") and "/cfs_1_" in path for path in listing) == 1, f"the recovery's entry is not parked: {listing}")
    for path in listing:
        if "/cfs_1_" not in path:
            vm.run("mdel", "-i", device.esp, path)
    five = device.world.releases[5].digest[:12]
    said = device.done(1, "cfs-deploy status", "cfs-deploy fsck --repair", "cfs-deploy reset --etc", "cfs-deploy rollback",
                       f"cfs-deploy boot {five}", offer=5)
    vm.check("recovery  tiny 1 " in said[0], said[0])
    *_, status = device.done(5, *life.PROVE, "cfs-deploy status", offer=5)
    vm.check("reset     " not in status, status)
    # It brings the newest release where nothing else is left, too.
    for path in vm.run("mdir", "-b", "-i", device.esp, "::/EFI/Linux").split():
        if "/cfs_1_" not in path:
            vm.run("mdel", "-i", device.esp, path)
    device.done(1, "cfs-deploy update", offer=6)
    device.done(6, *life.PROVE, offer=6)


def stale_default(device):
    """LoaderEntryDefault asks for the release before: status says so, update withdraws it."""
    name = "LoaderEntryDefault-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
    entry = f"cfs_1_{device.world.releases[1].digest[:12]}.0"
    value = b"\x07\0\0\0" + f"{entry}*\0".encode("utf-16-le")
    text = "".join(f"\\{byte:03o}" for byte in value)
    device.done(1, "cfs-deploy update")
    device.done(2, *life.PROVE)
    said = device.done(2, f"printf '{text}' >/run/wish; dd if=/run/wish of=/sys/firmware/efi/efivars/{name} bs=64k 2>/dev/null",
                       "cfs-deploy status")
    vm.check("1 boots next, because the firmware variable LoaderEntryDefault asks for it" in said[1], said[1])
    device.done(1, "cfs-deploy update", offer=5)
    device.done(5, *life.PROVE, offer=5)


RELEASES = {1: {}, 2: {}, 3: {"without": "usr/sbin/init"}, 4: {"boards": "another"}, 5: {}, 6: {}}
SCENARIOS = {scenario.__name__: scenario for scenario in
             (panic, init_missing_then_held, image_missing, good_one_rots, kexec, late_mark_bad, full_esp, wrong_hardware, gc, recovery,
              stale_default)}


def main():
    parser = life.parser()
    parser.add_argument("scenario", nargs="*", choices=[*SCENARIOS, []])
    options = parser.parse_args()
    world = life.World(options, f"life_{(options.scenario or ['all'])[0]}", RELEASES)
    for name in options.scenario or SCENARIOS:
        life.run(name, SCENARIOS[name], world.good_device(name))


if __name__ == "__main__":
    vm.main(main)
