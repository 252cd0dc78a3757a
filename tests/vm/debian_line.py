# SPDX-License-Identifier: Apache-2.0
"""Releases of manifests/debian-minimal.yaml: built, signed, published, served."""

import functools
import http.server
import json
import os
import pathlib
import shutil
import threading

import vm

MARKER = "/usr/share/cfs-test-release"
PAGES = "/var/www/cfs-test"


def marker(number):
    """What MARKER says in release `number`."""
    return f"{number} {'x' * 200}\n"


class Server:
    """Serves a directory on the loopback and remembers what was asked for."""

    def __init__(self, directory):
        requests = self.requests = []

        class Handler(http.server.SimpleHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_request(self, code="-", size="-"):
                requests.append(self.path)

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), functools.partial(Handler, directory=str(directory)))
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()


class Line:
    """The programs that make and publish releases, and where their files are."""

    def __init__(self, build, work):
        self.source = pathlib.Path(__file__).resolve().parents[2]
        self.work = work
        self.repository = work / "repository"
        self.keys = work / "keys"
        environment = ":".join(str(build / folder) for folder in ("builder", "signer", "deployer", "tools"))
        os.environ["PATH"] = environment + ":" + os.environ["PATH"]

    def build(self, number, files=""):
        """Builds release `number`: the example manifest with a file more in /usr and three in /var, and `files` of the
        manifest."""
        manifest = (self.source / "manifests/debian-minimal.yaml").read_text()
        manifest = manifest.replace("../build/device", str(self.source / "build/device"))
        manifest = manifest.replace('version: "1"', f'version: "{number}"').replace("epoch: 1\n", f"epoch: {number}\n")
        marked = f'\n  - {{path: {MARKER}, content: {json.dumps(marker(number))}}}\n'
        pages = "".join(f'  - {{path: {PAGES}/{name}, content: "{number}"}}\n'
                        for name in ("kept", "replaced", f"of-{number}"))
        manifest = manifest.replace("\nfiles:\n", "\nfiles:" + marked + pages + files)
        policies = f"\nvar: {{paths: [{{path: {PAGES}/replaced, policy: replaced-unless-changed}}]}}\n"
        manifest = manifest.replace("\nkernel:\n", policies + "\nkernel:\n")
        path = self.work / f"manifest-{number}.yaml"
        path.write_text(manifest)
        out = self.work / f"release-{number}"
        vm.run("cfs-build", "build", path, "-o", out, "--store", self.work / "store")
        return json.loads((out / "release.json").read_text())

    def publish(self, number):
        vm.run("cfs-sign", "release", "add", self.repository, "--keys", self.keys, self.work / f"release-{number}")
        vm.run("cfs-sign", "publish", self.repository, "--keys", self.keys)


def line_of_arguments(parser):
    """A Line as the command line wants it, in a work directory that is empty, and what else `parser` reads."""
    parser.add_argument("--build", type=pathlib.Path, required=True)
    parser.add_argument("--work", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    work = arguments.work.resolve()
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    return Line(arguments.build.resolve(), work), arguments
