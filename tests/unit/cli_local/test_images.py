"""Images: which files go in, what a build is told, and archives that say their own names."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from pathlib import Path

import pytest

from millrace.cli.local import archives, images, loading
from millrace.cli.local.builds import content_key
from millrace.cli.local.errors import LocalError


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    files = {
        ".gitignore": "*.pyc\n",
        "images/app/Dockerfile": "FROM scratch\n",
        "images/app/inputs.txt": "# what it copies\noperator/**\n!operator/docs/**\n\nREADME.md\n",
        "images/app/src/main.py": "",
        "images/app/tests/test_main.py": "",
        "images/other/Dockerfile": "FROM scratch\n",
        "operator/millrace/a.py": "",
        "operator/millrace/a.pyc": "",
        "operator/docs/page.md": "",
        "README.md": "",
        "secret.txt": "",
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    return tmp_path


def test_an_images_inputs_are_its_folder_and_what_it_lists_without_ignored_files_and_tests(checkout: Path) -> None:
    assert [str(path) for path in images.input_files(checkout, "app")] == [
        "README.md",
        "images/app/Dockerfile",
        "images/app/inputs.txt",
        "images/app/src/main.py",
        "operator/millrace/a.py",
    ]


def test_an_unknown_image_is_answered_with_those_there_are(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "repository", lambda: checkout)
    with pytest.raises(LocalError) as refused:
        images.input_files(checkout, "nothing")
    assert "app, other" in refused.value.fix


@pytest.mark.parametrize(
    ("one", "other", "reason"),
    [
        ([("a", b"1")], [("a", b"2")], "content counts"),
        ([("a", b"1")], [("b", b"1")], "names count"),
        ([("a", b"1"), ("b", b"")], [("a", b""), ("b", b"1")], "content belongs to its name"),
        ([("ab", b"")], [("a", b"b")], "names and content do not run into each other"),
    ],
)
def test_a_content_key_changes_with_its_content(
    one: list[tuple[str, bytes]], other: list[tuple[str, bytes]], reason: str
) -> None:
    assert content_key(one, ()) != content_key(other, ()), reason
    assert content_key(one, ()) == content_key(list(one), ())
    assert content_key(one, ("go1",)) != content_key(one, ("go2",))


def test_a_build_is_told_its_base_and_only_the_network_variables_that_it_declares() -> None:
    dockerfile = "ARG BASE=x\nFROM ${BASE}\nARG PIP_CERT SSL_CERT_FILE=/none\n"
    environment = {"PIP_CERT": "/ca.pem", "SSL_CERT_FILE": "/ca.pem", "HTTPS_PROXY": "http://p", "AWS_SECRET": "s"}
    assert images.build_arguments(dockerfile, "the-base", environment) == [
        *("--build-arg", "BASE=the-base"),
        *("--build-arg", "PIP_CERT=/ca.pem"),
        *("--build-arg", "SSL_CERT_FILE=/ca.pem"),
    ]


def test_a_declared_variable_that_is_no_business_of_the_network_is_not_passed() -> None:
    assert images.build_arguments("ARG AWS_SECRET", "b", {"AWS_SECRET": "s"}) == ["--build-arg", "BASE=b"]


def test_certificates_are_mounted_only_where_the_environment_names_some() -> None:
    assert images.trust_volume({}) == []
    assert images.trust_volume({"SSL_CERT_FILE": "/etc/ssl/certs/ca-certificates.crt"})[0] == "--volume"


def test_the_same_busybox_gives_the_same_image() -> None:
    assert archives.busybox_layer(b"program") == archives.busybox_layer(b"program")
    with tarfile.open(fileobj=io.BytesIO(archives.busybox_layer(b"program"))) as layer:
        assert layer.getmember("bin/busybox").mode == 0o755
        assert layer.getmember("bin/sh").linkname == "busybox"


def test_an_archive_made_here_says_its_name(tmp_path: Path) -> None:
    path = tmp_path / "image.tar"
    path.write_bytes(archives.docker_archive("localhost/a:1", b""))
    assert loading.resolve(str(path)) == archives.Image("localhost/a:1", path)


def test_an_oci_archive_says_its_name(tmp_path: Path) -> None:
    path = tmp_path / "image.tar"
    index = {"manifests": [{"annotations": {"org.opencontainers.image.ref.name": "localhost/b:2"}}]}
    write_tar(path, {"index.json": json.dumps(index)})
    assert loading.archive_tag(path) == "localhost/b:2"


@pytest.mark.parametrize("files", [{}, {"index.json": '{"manifests": []}'}, {"manifest.json": "no"}])
def test_what_is_no_image_archive_is_refused_with_how_to_make_one(tmp_path: Path, files: dict[str, str]) -> None:
    path = tmp_path / "image.tar"
    write_tar(path, files)
    with pytest.raises(LocalError) as refused:
        loading.archive_tag(path)
    assert "buildah push" in refused.value.fix


def test_a_file_that_is_missing_is_not_taken_for_an_image_name() -> None:
    with pytest.raises(LocalError, match="no file"):
        loading.resolve("./missing.tar")


def write_tar(path: Path, files: dict[str, str]) -> None:
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content.encode()))
