# SPDX-License-Identifier: Apache-2.0
"""What every command of cfs-deploy prints with --json is as docs/schema says, whether it succeeds or fails.

    answers_test.py BUILD"""

import json
import pathlib
import re
import subprocess
import sys

import jsonschema

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/power"))
import directory_device  # noqa: E402
import faults  # noqa: E402

SCHEMAS = ROOT / "docs/schema"


def fail(message):
    sys.exit(f"FAILED: {message}")


def table():
    """command → schema, as docs/schema/README.md has it."""
    found = {}
    for line in (SCHEMAS / "README.md").read_text().splitlines():
        match = re.fullmatch(r"\| \[`(.+)`\]\((.+)\) \| (.*) \|", line)
        if match and match.group(1) != "error":
            for command in re.findall(r"`([a-z-]+)`", match.group(3).split(";")[0]):
                found[command] = match.group(1)
    return found


def read_schema(name):
    """A schema, with those that it refers to in its place."""
    def resolve(value):
        if isinstance(value, list):
            return [resolve(one) for one in value]
        if not isinstance(value, dict):
            return value
        if "$ref" in value:
            return read_schema(value["$ref"].removesuffix(".json"))
        return {key: resolve(one) for key, one in value.items()}

    schema = json.loads((SCHEMAS / f"{name}.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return resolve(schema)


class Answers:
    """Runs commands on a device and looks at what they print."""

    def __init__(self, device):
        self.device = device
        self.schemas = table()
        self.answered, self.failed = set(), set()

    def run(self, *words, offer=1, status=(0,)):
        command = self.device.command([*words, "--json"], offer)
        done = subprocess.run([*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=120)
        what = f"{' '.join(words)}: exit status {done.returncode}\n{done.stdout}{done.stderr}"
        lines = done.stdout.splitlines()
        if len(lines) != 1:
            fail(f"{len(lines)} lines: {what}")
        answer = json.loads(lines[0])
        is_error = "error" in answer
        try:
            jsonschema.Draft202012Validator(read_schema("error" if is_error else self.schemas[words[0]])).validate(answer)
        except jsonschema.ValidationError as error:
            fail(f"{error.message} at {list(error.absolute_path)}: {what}")
        if done.returncode not in status:
            fail(what)
        if is_error:
            if answer["error"]["exit_status"] != done.returncode or answer["error"]["message"] not in done.stderr:
                fail(f"standard error says something else: {what}")
        (self.failed if is_error else self.answered).add(words[0])
        return answer


def every_command(program):
    text = subprocess.run([program, "--help"], stdout=subprocess.PIPE, text=True, check=True).stdout
    return set(re.findall(r"^  ([a-z-]+)  ", text[text.index("Subcommands:"):], re.M))


def main():
    build = pathlib.Path(sys.argv[1]).resolve()
    programs = {name: build / folder / name for name, folder in faults.PROGRAMS.items()}
    commands = every_command(build / "deployer/cfs-deploy")
    if commands != set(table()):
        fail(f"docs/schema/README.md: {commands ^ set(table())}")
    with directory_device.work_directory() as directory:
        work = pathlib.Path(directory)
        world = directory_device.World.make(programs, work, 4)
        device = directory_device.Device.make(world, work / "device")
        answers = Answers(device)
        # Without a sysroot each that needs one fails.
        words = {"boot": ["none"], "pin": ["none"], "recovery": ["set", "none"], "reset": ["--all"], "unpin": ["none"]}
        for command in sorted(commands - {"init", "install", "config", "health"}):
            answers.run(command, *words.get(command, []), status=(1,))
        answers.run("init")
        answers.run("init", status=(1,))
        answers.run("check")
        answers.run("fetch")
        answers.run("fetch", status=(10,))
        answers.run("status")
        answers.run("apply")
        answers.run("apply", status=(10,))
        device.reboot()
        answers.run("note-boot")
        answers.run("apply-var")
        answers.run("health")
        answers.run("bless")
        answers.run("bless")
        answers.run("update", offer=2)
        answers.run("update", offer=2, status=(10,))
        answers.run("status")
        answers.run("cancel")
        answers.run("update", offer=2, status=(10,))
        answers.run("check", "--retry", offer=2)
        answers.run("update", "--retry", offer=2)
        device.reboot()
        answers.run("apply-var")
        answers.run("health")
        answers.run("bless")
        answers.run("rollback")
        newest = answers.run("status")["booted"]["id"]
        answers.run("boot", newest)
        answers.run("pin", newest)
        answers.run("recovery", "set", newest)
        answers.run("gc", "--dry-run")
        answers.run("gc")
        answers.run("recovery", "clear")
        answers.run("unpin", newest)
        answers.run("unpin", newest, status=(10,))
        answers.run("mark-bad", "--reason", "smell")
        answers.run("update", "--unattended", offer=3, status=(0, 10))
        answers.run("fsck", offer=3)
        device.damage(1, 2)
        answers.run("fsck", offer=3, status=(0, 7))
        answers.run("fsck", "--repair", offer=3)
        (device.path / "kmsg").write_text("")
        answers.run("watch")
        answers.run("reset", "--var")
        answers.run("status")
        answers.run("history")
        answers.run("config", "show")
        answers.run("install")
        answers.run("install", status=(1,))
        answers.run("config", "hide", status=(2,))
        if commands - answers.answered:
            fail(f"not tried: {commands - answers.answered}")
        print(f"answered: {len(answers.answered)} commands; failed: {len(answers.failed)}")


if __name__ == "__main__":
    main()
