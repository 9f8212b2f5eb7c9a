"""Builds images/<name>/Dockerfile into an archive that nodes import; built once per content of its inputs.

The build sees exactly the files that its hash covers: images/<name>/ and what images/<name>/inputs.txt lists, as git knows
them, so that neither ignored nor unrelated files can change or leak into an image.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from millrace.cli.local.archives import Image, ensure_busybox
from millrace.cli.local.builds import content_key, exclusively
from millrace.cli.local.errors import LocalError
from millrace.cli.local.packages import IMAGES, ensure_packages, find
from millrace.cli.local.programs import run, succeeds
from millrace.cli.local.settings import cache_home, repository

_BUILD_SECONDS = 3600.0
_KEPT = 1
_BASE_PACKAGES = "python3,python3-venv,ca-certificates"
_ELSEWHERE = "docker.io/library/python:3.11-slim"
# A network with an authority or proxies of its own tells programs by these; a Dockerfile gets those that it declares (ARG).
_NETWORK_VARIABLES = re.compile(
    r"(SSL_CERT_FILE|SSL_CERT_DIR|CURL_CA_BUNDLE|REQUESTS_CA_BUNDLE|NODE_EXTRA_CA_CERTS|GOPROXY"
    r"|PIP_(?!FIND_LINKS)\w+|UV_\w+|(?i:https?_proxy|no_proxy))"
)
_ARG = re.compile(r"^\s*ARG\s+(.+)$", re.MULTILINE)
_FIX = "The build's last words are above. Run it alone: millrace local images {name}"


def ensure_image(name: str) -> Image:
    """The image of images/<name>, built if its inputs changed since it last was."""
    if name == "busybox":
        return ensure_busybox()
    root = repository()
    files = input_files(root, name)
    base = base_name()
    key = content_key(((str(path), _content(root / path)) for path in files), (base, device()))[:12]
    image = Image(f"localhost/millrace/{name}:{key}", cache_home() / "archives" / f"{name}-{key}.tar")
    with exclusively(f"image-{name}"):
        if not image.archive.exists():
            _build(root, name, files, image)
        image.archive.touch()
        _prune(name)
    return image


def image_names() -> list[str]:
    """Every folder of images/ that has a Dockerfile."""
    return sorted(path.parent.name for path in (repository() / "images").glob("*/Dockerfile"))


def input_files(root: Path, name: str) -> list[Path]:
    """The image's inputs, relative to the repository's root, in a fixed order."""
    folder = root / "images" / name
    if not (folder / "Dockerfile").is_file():
        raise LocalError(f"images/{name}/Dockerfile does not exist", f"Images of this checkout: {', '.join(image_names())}.")
    patterns = [f"images/{name}/**", f"!images/{name}/tests/**", *_listed(folder / "inputs.txt")]
    argv = ["git", "-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--"]
    listing = run([*argv, *map(_pathspec, patterns)], what="list the image's inputs")
    found = {Path(entry) for entry in listing.split("\0") if entry}
    return sorted(path for path in found if (root / path).is_file())  # one that is deleted but not committed is listed


def _pathspec(pattern: str) -> str:
    """`!` leaves out what an earlier pattern took in."""
    return f":(glob,exclude){pattern[1:]}" if pattern.startswith("!") else f":(glob){pattern}"


def _listed(file: Path) -> list[str]:
    lines = file.read_text().splitlines() if file.exists() else []
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def _content(path: Path) -> bytes:
    return (b"x" if os.access(path, os.X_OK) else b"-") + path.read_bytes()


def _build(root: Path, name: str, files: Iterable[Path], image: Image) -> None:
    image.archive.parent.mkdir(parents=True, exist_ok=True)
    draft = image.archive.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="millrace-image-") as place:
        context = Path(place)
        for path in files:
            (context / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / path, context / path)
        dockerfile = context / "images" / name / "Dockerfile"
        if _has_docker_daemon() and find("buildah") is None:
            _docker(dockerfile, context, image.tag, draft)
        else:
            ensure_packages(IMAGES)
            _buildah(dockerfile, context, image.tag, draft)
    draft.replace(image.archive)


def _buildah(dockerfile: Path, context: Path, tag: str, archive: Path) -> None:
    fix = _FIX.format(name=dockerfile.parent.name)
    arguments = build_arguments(dockerfile.read_text(), ensure_base(), os.environ)
    options = ["--isolation", "chroot", "--network", "host", "--layers", "--tag", tag, "--file", str(dockerfile)]
    argv = [*buildah(), "bud", *options, *trust_volume(os.environ), *arguments, str(context)]
    run(argv, what=f"build {tag}", fix=fix, seconds=_BUILD_SECONDS)
    # Compressing would take many times longer than everything else, for a file that never leaves this machine.
    push = [*buildah(), "push", "--disable-compression", tag, f"oci-archive:{archive}:{tag}"]
    run(push, what=f"export {tag}", fix=fix, seconds=_BUILD_SECONDS)


def _docker(dockerfile: Path, context: Path, tag: str, archive: Path) -> None:
    fix = _FIX.format(name=dockerfile.parent.name)
    arguments = build_arguments(dockerfile.read_text(), _ELSEWHERE, os.environ)
    argv = ["docker", "build", "--network", "host", "--tag", tag, "--file", str(dockerfile), *arguments, str(context)]
    run(argv, what=f"build {tag}", fix=fix, seconds=_BUILD_SECONDS)
    run(["docker", "save", "--output", archive, tag], what=f"export {tag}", fix=fix, seconds=_BUILD_SECONDS)


def build_arguments(dockerfile: str, base: str, environment: Mapping[str, str]) -> list[str]:
    """BASE, and the network's variables that the Dockerfile declares and the environment sets."""
    declared = {word.partition("=")[0] for line in _ARG.findall(dockerfile) for word in line.split()}
    passed = {name: value for name, value in environment.items() if _NETWORK_VARIABLES.fullmatch(name)}
    if trust_volume(environment):
        passed.setdefault("UV_SYSTEM_CERTS", "true")  # uv has certificates of its own otherwise
    wanted = {
        "BASE": base,
        **({"DEVICE": device()} if "DEVICE" in declared else {}),
        **{name: value for name, value in sorted(passed.items()) if name in declared},
    }
    return [part for name, value in wanted.items() for part in ("--build-arg", f"{name}={value}")]


def trust_volume(environment: Mapping[str, str]) -> list[str]:
    """The machine's certificates, where the environment says that programs must trust others than the usual ones."""
    names = ("SSL_CERT_FILE", "SSL_CERT_DIR", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "PIP_CERT")
    return ["--volume", "/etc/ssl/certs:/etc/ssl/certs:ro"] if any(environment.get(name) for name in names) else []


def device() -> str:
    """What the images are for: `cpu` lets a Dockerfile leave out gigabytes that only a GPU can use."""
    return "gpu" if Path("/dev/nvidiactl").exists() else "cpu"


def base_name() -> str:
    """What Dockerfiles build FROM: made from Debian packages where the machine can, else the usual image."""
    if os.environ.get("MILLRACE_BASE_IMAGE"):
        return os.environ["MILLRACE_BASE_IMAGE"]
    if not Path("/etc/debian_version").exists():
        return _ELSEWHERE
    return f"localhost/millrace/base:{content_key([], ('bookworm', _BASE_PACKAGES))[:12]}"


def ensure_base() -> str:
    name = base_name()
    if not name.startswith("localhost/"):
        return name
    with exclusively("image-base"):
        if not succeeds([*buildah(), "inspect", "--type", "image", name]):
            _build_base(name)
    return name


def _build_base(name: str) -> None:
    with tempfile.TemporaryDirectory(prefix="millrace-base-") as place:
        context = Path(place)
        # Hooks of the machine's own apt configuration do not belong in an image; its sources are what it can reach.
        options = ["--variant=minbase", f"--include={_BASE_PACKAGES}", "--mode=unshare" if os.geteuid() else "--mode=root"]
        argv = ["mmdebstrap", *options, "bookworm", context / "base.tar"]
        run(argv, what="make the base image from Debian packages", fix="Check that apt-get update works.", seconds=900)
        (context / "Dockerfile").write_text('FROM scratch\nADD base.tar /\nCMD ["python3"]\n')
        run([*buildah(), "bud", "--tag", name, context], what="import the base image", seconds=600)


def buildah() -> list[str]:
    """buildah with its storage in the cache, in a mount namespace of its own: it would leave a mount behind."""
    storage = cache_home() / "containers"
    (storage / "run").mkdir(parents=True, exist_ok=True)
    places = ["--root", str(storage / "root"), "--runroot", str(storage / "run"), "--storage-driver", "overlay"]
    return ["unshare", "--mount", "buildah", *places]


def _has_docker_daemon() -> bool:
    return shutil.which("docker") is not None and succeeds(["docker", "info", "--format", "{{.ServerVersion}}"])


def _prune(name: str) -> None:
    pattern = f"archives/{name}-????????????.tar"
    found = sorted(cache_home().glob(pattern), key=lambda path: -path.stat().st_mtime)
    for old in found[_KEPT:]:
        old.unlink()
        _forget(f"localhost/millrace/{name}:{old.stem.rpartition('-')[2]}")


def _forget(tag: str) -> None:
    succeeds([*buildah(), "rmi", tag], seconds=300)
