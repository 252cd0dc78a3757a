#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares every #include "…" with the layers of docs/ARCHITECTURE.md: a folder uses only itself and
what stands in its row. So do tests, which besides that may use fixtures."""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
TABLE_ROW = re.compile(r"^\| `([a-z_/]+)/?` \|.*\| ([^|]+) \|$", re.M)
# Fixtures: what only tests and other fixtures include.
FIXTURE = re.compile(r"/(test_support|fake_[a-z_]+)\.(h|cc)$|^tests/")
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.M)


def table():
    """folder → folders it may include, read from the document so that there is one table only."""
    rows = dict(TABLE_ROW.findall((ROOT / "docs/ARCHITECTURE.md").read_text()))
    if len(rows) < 15:
        sys.exit("docs/ARCHITECTURE.md: the table of folders was not found")
    libraries = {folder for folder in rows if folder.startswith("lib/")}
    allowed = {}
    for folder, text in rows.items():
        if text.strip() == "lib":
            allowed[folder] = set(libraries)
        elif text.strip() == "all":
            allowed[folder] = set(rows)
        else:
            names = [name.strip() for name in text.split(",") if name.strip() != "–"]
            allowed[folder] = {name if name in rows else "lib/" + name for name in names}
            # What a folder may use, it may use with what that uses.
            for name in list(allowed[folder]):
                allowed[folder] |= allowed.get(name, set())
        allowed[folder].add(folder)
    return allowed


def folder_of(path, folders):
    """The row that covers a file: of its folder, or of the file's own name without the suffix."""
    rows = sorted(folders, key=len, reverse=True)
    return next((row for row in rows if path.startswith((row + "/", row + "."))), None)


def main():
    allowed = table()
    wrong = []
    files = 0
    for suffix in ("*.h", "*.cc"):
        for path in ROOT.rglob(suffix):
            name = str(path.relative_to(ROOT))
            folder = folder_of(name, allowed)
            if name.startswith("build/") or folder is None:
                continue
            files += 1
            for include in INCLUDE.findall(path.read_text()):
                target = folder_of(include, allowed)
                if target is None:
                    wrong.append(f"{name}: \"{include}\" is not below a folder of the table")
                elif FIXTURE.search(include):
                    if not FIXTURE.search(name) and not name.endswith("_test.cc"):
                        wrong.append(f"{name}: \"{include}\" is for tests")
                elif target not in allowed[folder]:
                    wrong.append(f"{name}: {folder} may not use {target}")
    print("\n".join(wrong) or f"{files} files keep to the layers")
    sys.exit(1 if wrong or files < 50 else 0)


if __name__ == "__main__":
    main()
