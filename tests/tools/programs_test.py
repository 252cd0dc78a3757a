#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What every program does alike: programs_test.py VERSION PROGRAM…"""

import os
import pathlib
import re
import resource
import subprocess
import sys
import tempfile

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


def check_lost_result(program):
    """Status 1 and one message, wherever it is lost; it never goes into a file that got the number of a closed one."""
    wanted = "%s: error: cannot print the result on standard output: %%s\n" % program.name

    def check_lost(reason, **standard_output):
        lost = subprocess.run([program, "--version"], stderr=subprocess.PIPE, text=True, **standard_output)
        check(lost.returncode == 1 and lost.stderr.startswith(wanted % reason),
              "%s: a lost result: %d %r" % (program, lost.returncode, lost.stderr))

    with open("/dev/full", "w") as full:
        check_lost("No space left on device", stdout=full)
    check_lost("Bad file descriptor", preexec_fn=lambda: os.close(1))
    if program.name == "cfs-mount-root":
        return  # handles no signals: what it starts is the system
    reader, writer = os.pipe()
    os.close(reader)
    check_lost("Broken pipe", stdout=writer)
    os.close(writer)


def check_size_limit(program):
    """A file that may not grow further is an error, not a death by SIGXFSZ."""
    commands = {"cfs-sign": ["keygen", "--out", "key.pem"],
                "mkcomposefs": ["--from-file", "-", "image.cfs"]}
    if program.name not in commands:
        return
    with tempfile.TemporaryDirectory() as directory:
        limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        done = subprocess.run([program.resolve(), *commands[program.name]], stderr=subprocess.PIPE, text=True,
                              cwd=directory, input="/ 0 40755 2 0 0 0 0.0 - - -\n", preexec_fn=limit)
        check(done.returncode == (1 if program.name == "mkcomposefs" else 9) and "File too large" in done.stderr
              and "ulimit -f" in done.stderr and not os.listdir(directory),
              "%s above ulimit -f: %d %r" % (program, done.returncode, done.stderr))


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
        check_lost_result(program)
        if program.name == "cfs-mount-root":
            continue
        check_help(program)
        check_size_limit(program)
        if program.name in WITH_COMMANDS:
            check_unknown_command(program)
    print("%d programs" % len(sys.argv[2:]))


if __name__ == "__main__":
    main()
