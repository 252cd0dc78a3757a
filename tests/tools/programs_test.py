#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What every program does alike: programs_test.py VERSION PROGRAM…"""

import os
import pathlib
import re
import subprocess
import sys

WITH_COMMANDS = {"cfs-build": "biuld", "cfs-sign": "pubish", "cfs-deploy": "upgrade"}
NEAREST = {"cfs-build": "build", "cfs-sign": "publish", "cfs-deploy": "update"}


def run(program, *arguments, **more):
    return subprocess.run([program, *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL, **more)


def check(condition, what):
    if not condition:
        sys.exit("programs_test: " + what)


def check_version(program, version):
    done = run(program, "--version")
    wanted = r"%s %s( \(git [0-9a-f]{7,40}(-dirty)?\))?\n" % (re.escape(program.name), re.escape(version))
    check(done.returncode == 0 and re.fullmatch(wanted, done.stdout) and not done.stderr,
          "%s --version: %r %r" % (program, done.stdout, done.stderr))


def check_help(program):
    done = run(program, "--help")
    check(done.returncode == 0 and not done.stderr, "%s --help fails: %s" % (program, done.stderr))
    check("Usage: %s" % program.name in done.stdout, "%s --help does not begin with its name" % program)
    with open("/dev/full", "w") as full:
        lost = subprocess.run([program, "--help"], stdout=full, stderr=subprocess.PIPE, text=True)
    check(lost.returncode != 0 and "error: " in lost.stderr, "%s: a lost result is a success" % program)


def check_closed_descriptors(program):
    """A result for a closed descriptor is lost; it never goes into a file that got the number."""
    done = subprocess.run([program, "--help"], stderr=subprocess.PIPE, text=True, close_fds=True,
                          preexec_fn=lambda: os.close(1))
    check(done.returncode != 0 and "error: " in done.stderr, "%s: closed standard output is a success" % program)


def check_unknown_command(program):
    word, near = WITH_COMMANDS[program.name], NEAREST[program.name]
    done = run(program, word)
    wanted = ("{0}: error: unknown command '{1}'\n"
              "{0}: hint: did you mean '{2}'? see '{0} --help'\n").format(program.name, word, near)
    check(done.returncode == 2 and done.stderr == wanted and not done.stdout,
          "%s %s: %r" % (program, word, done.stderr))


def main():
    version = sys.argv[1]
    for program in map(pathlib.Path, sys.argv[2:]):
        check_version(program, version)
        if program.name == "cfs-mount-root":
            continue
        check_help(program)
        check_closed_descriptors(program)
        if program.name in WITH_COMMANDS:
            check_unknown_command(program)
    print("%d programs" % len(sys.argv[2:]))


if __name__ == "__main__":
    main()
