#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""manifests/manifest.schema.json is a JSON Schema, takes the project's manifests and what docs/MANIFEST.md
allows, and refuses mistakes. Another implementation of JSON Schema than ours is the judge: we have
none. That its keys are the reader's is a unit test of the builder."""

import copy
import json
import pathlib
import sys

import jsonschema
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCHEMA_LINE = "# yaml-language-server: $schema=manifest.schema.json"

GOOD = yaml.safe_load("""
cfs: 1
image: {name: n, version: "1.10", epoch: 0, compatible: ["acme,gw-v2"], state_version: 2}
sources:
  - {id: base, debian: {suite: bookworm, mirrors: ["deb [arch=amd64] file:/m bookworm main"]}}
  - {id: fw, tar: {path: fw.tar.zst, into: /usr/lib/firmware, strip: 1}}
  - {id: site, dir: {path: ../site, owner: keep}}
files:
  - {path: /etc/motd, content: "", mode: "0600", owner: "1:2"}
  - {path: /etc/localtime, symlink: ../x}
  - {path: /srv, directory: true}
  - {match: "/usr/**", exclude: true, optional: true}
var:
  paths: [{path: /var/www, policy: replaced-unless-changed}]
  persistent: [/home, /root]
kernel: {package: linux-image-amd64, initramfs: {modules: [i6300esb], drivers: [virtio, nvme]},
         cmdline: [quiet, "cfs.verify=full", 'dyndbg="file drivers/usb/* +p"', '"root=LABEL=my root"']}
etc: {mode: merge, keep: [/etc/hostname, "/etc/wpa/*.conf"]}
root: transient
reproducible: {source_date_epoch: 0, normalize: [logs]}
allow: [extensions-from-var]
""")

# Where in GOOD, and what is wrong there. None: the key is removed.
MISTAKES = [
    (["kernl"], {}),
    (["cfs"], 2),
    (["image", "name"], "A/b"),
    (["image", "version"], 1.1),
    (["image", "epoch"], None),
    (["image", "compatible"], ["a b"]),
    (["sources"], []),
    (["sources", 0, "debian", "variant"], "essentail"),
    (["sources", 0, "debian", "mirrors"], ["http://x/"]),
    (["sources", 0, "debian", "packages"], ["bash-"]),
    (["sources", 0, "debian", "packages"], ["bash:arm64"]),
    (["sources", 0, "tar"], {"path": "x"}),
    (["sources", 1, "tar"], None),
    (["sources", 1, "tar", "into"], "usr"),
    (["sources", 1, "tar", "into"], "/usr/../.."),
    (["sources", 2, "dir", "owner"], "bob"),
    (["files", 0, "mode"], "0o644"),
    (["files", 0, "match"], "/x"),
    (["files", 0, "symlink"], "x"),
    (["files", 0, "content"], None),
    (["files", 0, "optional"], True),
    (["files", 1, "mode"], "0644"),
    (["files", 2, "directory"], False),
    (["files", 3, "owner"], "0:0"),
    (["var", "path"], []),
    (["var", "paths", 0, "path"], "/srv/www"),
    (["var", "paths", 0, "path"], "/var"),
    (["var", "paths", 0, "policy"], "replace"),
    (["var", "paths", 0, "policy"], None),
    (["var", "persistent"], ["/etc"]),
    (["var", "persistent"], ["/srv", "/srv"]),
    (["kernel", "cmdline"], ["a b"]),
    (["kernel", "cmdline"], ['a="b']),
    (["kernel", "initramfs", "drivers"], ["floppy"]),
    (["kernel", "cmdline"], ["composefs.digest=00"]),
    (["kernel", "initramfs", "module"], []),
    (["image", "state_version"], -1),
    (["etc", "mode"], "rw"),
    (["etc", "keep"], ["/var/x"]),
    (["etc", "keep"], ["/etc/*/x"]),
    (["etc", "keep"], ["/etc/[a]"]),
    (["etc", "keep"], ["/etc/../x"]),
    (["root"], "rw"),
    (["kernel"], None),
    (["reproducible", "normalize"], ["logs", "logs"]),
    (["reproducible", "normalize"], ["machineid"]),
    (["allow"], ["everything"]),
]


def main():
    schema = json.loads((ROOT / "manifests/manifest.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    failures = []

    manifests = sorted((ROOT / "manifests").glob("*.yaml"))
    if not manifests:
        failures.append("no manifests found")
    for path in manifests:
        text = path.read_text()
        if SCHEMA_LINE not in text.splitlines():
            failures.append(f"{path}: the line '{SCHEMA_LINE}' is missing")
        failures += [f"{path}: {error.json_path}: {error.message}" for error in validator.iter_errors(yaml.safe_load(text))]
    failures += [f"good manifest: {error.json_path}: {error.message}" for error in validator.iter_errors(GOOD)]
    kinds = set(schema["properties"]["sources"]["items"]["properties"])
    shown = {key for source in GOOD["sources"] for key in source}
    failures += [f"the good manifest has no source of the kind {kind}" for kind in sorted(kinds - shown)]

    for place, value in MISTAKES:
        bad = copy.deepcopy(GOOD)
        parent = bad
        for key in place[:-1]:
            parent = parent[key]
        if value is None:
            del parent[place[-1]]
        else:
            parent[place[-1]] = value
        if validator.is_valid(bad):
            failures.append(f"{place} = {value!r} is taken")

    for failure in failures:
        print(failure)
    print(f"{len(manifests)} manifests, {len(MISTAKES)} mistakes, {len(failures)} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
