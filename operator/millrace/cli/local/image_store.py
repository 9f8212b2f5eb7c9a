"""Where images are unpacked: once, into a template; each node starts from a copy of it made of hard links.

A 6 GB image takes minutes to import and unpack, and seconds to link. What lower layers hold is never written to, so nodes may
share the files; only containerd's own databases are copied for real.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path

from millrace.cli.local import processes
from millrace.cli.local.archives import Image
from millrace.cli.local.builds import exclusively
from millrace.cli.local.errors import LocalError
from millrace.cli.local.node_files import containerd_config, init_config
from millrace.cli.local.programs import run
from millrace.cli.local.settings import Cluster, cache_home, replace_text
from millrace.cli.local.waiting import NotYet, wait_for

_IMPORT_SECONDS = 1800.0
_LOOK = "Free disk space, if it is full; `millrace local clean` empties the cache."


def template() -> Cluster:
    """The template has processes and logs as a cluster has, for as long as something is imported."""
    return Cluster("template", 0, cache_home() / "template", cache_home())


def known_images() -> dict[str, str]:
    """Image name without tag -> full name, as the template holds them."""
    try:
        found: dict[str, str] = json.loads((template().state / "images.json").read_text())
        return found
    except (FileNotFoundError, ValueError):
        return {}


def ensure_imported(images: Iterable[Image], binary: Path, sandbox: Image) -> None:
    """Imports what the template lacks; an older image of the same name goes."""
    with exclusively("template"):
        wanted = [image for image in images if known_images().get(_repository(image.tag)) != image.tag]
        if not wanted:
            return
        place = template()
        processes.wait_no_process(place)  # of an import that was cut off
        socket = _start(place, binary, sandbox)
        try:
            for image in wanted:
                _import(socket, image)
        finally:
            processes.stop(place, "containerd")
            processes.wait_no_process(place)


def _start(place: Cluster, binary: Path, sandbox: Image) -> Path:
    folder = place.state
    socket, config = folder / "containerd.sock", folder / "containerd.toml"
    socket.unlink(missing_ok=True)
    replace_text(config, containerd_config(folder / "root", folder, sandbox.tag))
    process = {"name": "containerd", "argv": containerd_argv(config), "log": str(folder / "logs" / "daemon.log")}
    replace_text(folder / "init.json", init_config("template", [], [process], network=False))
    processes.spawn(place, "containerd", [binary, "node", "--config", folder / "init.json"])
    wait_containerd(place, "containerd", socket)
    return socket


def containerd_argv(config: Path) -> list[str]:
    program = shutil.which("containerd")
    if program is None:
        raise LocalError("containerd is not installed", "Run: apt-get install containerd")
    return [program, "--config", str(config)]


def wait_containerd(cluster: Cluster, process: str, socket: Path) -> None:
    def probe() -> None:
        processes.require_running(cluster, process)
        try:
            run(["ctr", "--address", socket, "version"], what="reach containerd", seconds=10)
        except LocalError as problem:
            raise NotYet(str(problem)) from problem

    wait_for("containerd to answer", probe, 30, f"Read the logs in {cluster.logs}.")


def _import(socket: Path, image: Image) -> None:
    import_image(socket, image)
    held = known_images()
    older = held.get(_repository(image.tag))
    if older:
        run([*ctr(socket), "images", "rm", "--sync", older], what=f"remove {older}", seconds=300)
    replace_text(template().state / "images.json", json.dumps({**held, _repository(image.tag): image.tag}, indent=2))


def import_image(socket: Path, image: Image) -> None:
    """Imports and unpacks an archive into the containerd behind that socket."""
    argv = [*ctr(socket), "images", "import", image.archive]
    run(argv, what=f"import {image.tag}", fix=_LOOK, seconds=_IMPORT_SECONDS)


def ctr(socket: Path) -> list[str]:
    return ["ctr", "--address", str(socket), "--namespace", "k8s.io"]


def link_root(root: Path) -> None:
    """Makes `root` a copy of the template's images."""
    if root.exists():
        shutil.rmtree(root)
    root.parent.mkdir(parents=True, exist_ok=True)
    source = template().state / "root"
    # It dies with us: a copy that outlives a killed `up` would fill what the next `up` or `down` empties.
    run(["setpriv", "--pdeathsig", "KILL", "cp", "-al", source, root], what="link the images into a node", fix=_LOOK, seconds=600)
    for database in root.glob("io.containerd.*/*.db"):
        draft = database.with_suffix(".draft")
        shutil.copy2(database, draft)
        draft.replace(database)


def _repository(tag: str) -> str:
    return tag.rpartition(":")[0]


def held_images(socket: Path) -> set[str]:
    """The full names of all images in the containerd behind that socket."""
    return set(run([*ctr(socket), "images", "ls", "--quiet"], what="list a node's images").split())
