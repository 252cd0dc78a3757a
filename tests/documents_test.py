#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every Markdown file of the project: prose is at most 120 columns wide (a row of a table cannot be broken, program
output is shown as it is), and every relative link leads to a file that exists."""

import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
MAX_COLUMNS = 120
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


def documents():
    """The files git tracks, or every Markdown file where the sources are no git checkout (a release tarball)."""
    listed = subprocess.run(["git", "-C", ROOT, "ls-files", "*.md"], capture_output=True, text=True, check=False)
    if listed.returncode == 0:
        return [ROOT / name for name in listed.stdout.split()]
    return [path for path in ROOT.rglob("*.md") if not {"build", "node_modules"} & set(path.relative_to(ROOT).parts)]


def problems(path):
    name = path.relative_to(ROOT)
    fenced = False
    for number, line in enumerate(path.read_text().split("\n"), 1):
        if line.startswith("```"):
            fenced = not fenced
            continue
        if fenced or line.startswith("    "):
            continue
        if len(line) > MAX_COLUMNS and not line.startswith("|"):
            yield f"{name}:{number}: {len(line)} columns"
        for target in LINK.findall(line):
            if not re.match(r"[a-z]+:", target) and not (path.parent / target).exists():
                yield f"{name}:{number}: no file '{target}'"
    if fenced:
        yield f"{name}: a ``` is never closed"


def main():
    found = documents()
    wrong = [problem for path in found for problem in problems(path)]
    print("\n".join(wrong) or f"{len(found)} documents are well-formed")
    sys.exit(1 if wrong or len(found) < 10 else 0)


if __name__ == "__main__":
    main()
