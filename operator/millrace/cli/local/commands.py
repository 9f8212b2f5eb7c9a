"""The `millrace local` commands: they read options, call the steps, and show errors with their fix."""

from __future__ import annotations

import functools
import json
import shlex
import sys
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Annotated, Any, ParamSpec

import typer

from millrace.cli.local import aws, builds, control_plane, node, packages, status, teardown
from millrace.cli.local.archives import Image, ensure_busybox
from millrace.cli.local.errors import LocalError
from millrace.cli.local.external import check_and_push
from millrace.cli.local.image_store import known_images
from millrace.cli.local.images import ensure_image, image_names
from millrace.cli.local.loading import resolve
from millrace.cli.local.progress import Steps, console, escape
from millrace.cli.local.settings import (
    Cluster,
    Options,
    cache_home,
    existing_clusters,
    load_options,
    merge_options,
    node_number,
    open_cluster,
    parse_simulate,
)
from millrace.cli.local.up import add_kueue, build_programs, load, up, wait_node

app = typer.Typer(help="A real Kubernetes cluster on this machine.", no_args_is_help=True, pretty_exceptions_enable=False)
node_app = typer.Typer(help="Stop and start single nodes, for fault tests.", no_args_is_help=True)
app.add_typer(node_app, name="node")
aws_app = typer.Typer(help="A local AWS in the cluster, whose jobs and endpoints run as pods.", no_args_is_help=True)
app.add_typer(aws_app, name="aws")

CHART_IMAGES = ("operator", "trainer", "dataset")
P = ParamSpec("P")
Name = Annotated[str, typer.Option("--name", help="The cluster's name.")]
Namespace = Annotated[str, typer.Option("--namespace", "-n", help="Where the local AWS is.")]


def reported(command: Callable[P, None]) -> Callable[P, None]:
    """Ends a command that failed with what to do next instead of a traceback."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except LocalError as failure:
            console.print(f"[red]error:[/red] {escape(failure.message)}", soft_wrap=True)
            if failure.fix:
                console.print(f"[yellow]next:[/yellow] {escape(failure.fix)}", soft_wrap=True)
            raise typer.Exit(1) from failure

    return wrapped


@app.command("up")
@reported
def up_command(
    name: Name = "default",
    nodes: Annotated[int | None, typer.Option(help="Real nodes (2).")] = None,
    simulate: Annotated[str | None, typer.Option(help="Devices per node, as nvidia.com/gpu=8,...")] = None,
    instance_type: Annotated[str | None, typer.Option(help="Label of the nodes (p5.48xlarge).")] = None,
    zone: Annotated[str | None, typer.Option(help="Label of the nodes (us-east-1a).")] = None,
    kwok: Annotated[bool | None, typer.Option("--kwok/--no-kwok", help="Run kwok, for nodes without machines.")] = None,
    kueue: Annotated[bool | None, typer.Option("--kueue/--no-kueue", help="Run Kueue, which queues runs by quota.")] = None,
    images: Annotated[str, typer.Option(help="Images to build and load, as operator,trainer.")] = "",
    context: Annotated[str | None, typer.Option(help="Use the cluster of this kubectl context instead.")] = None,
    storage_class: Annotated[str | None, typer.Option(help="With --context: its ReadWriteMany class.")] = None,
    registry: Annotated[str | None, typer.Option(help="With --context: where to push images.")] = None,
) -> None:
    """Starts the cluster, or continues a start that was cut off; running parts are left alone."""
    wanted = [image for image in images.split(",") if image]
    if context:
        for pushed in check_and_push(context, storage_class, registry, wanted):
            typer.echo(pushed)
        return
    packages.check_machine()
    with builds.exclusively(f"cluster-{name}"):
        cluster = open_cluster(name)
        asked = {
            "nodes": nodes,
            "simulate": None if simulate is None else parse_simulate(simulate),
            "instance_type": instance_type,
            "zone": zone,
            "kwok": kwok,
            "kueue": kueue,
        }
        up(cluster, merge_options(load_options(cluster), asked), wanted)
    typer.echo(environment(cluster))


@app.command("down")
@reported
def down_command(name: Name = "default") -> None:
    """Takes the cluster away: processes, mounts, network, control groups and data. Caches stay."""
    with builds.exclusively(f"cluster-{name}"):
        if not teardown.down(open_cluster(name)):
            console.print(f"There is no cluster {name}.")


@app.command("status")
@reported
def status_command(
    name: Name = "default", as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False
) -> None:
    """Shows what runs; ends with 1 unless everything does."""
    cluster, options = _existing(name)
    found = status.read_status(cluster, options)
    if as_json:
        typer.echo(json.dumps(found.as_json(), indent=2))
    else:
        console.print(status.table(found))
    if not found.up:
        raise typer.Exit(1)


@app.command("env")
@reported
def env_command(name: Name = "default") -> None:
    """Prints the shell line that points kubectl and helm at the cluster: eval "$(millrace local env)"."""
    typer.echo(environment(open_cluster(name)))


def environment(cluster: Cluster) -> str:
    return f"export KUBECONFIG={shlex.quote(str(cluster.kubeconfig))} PATH={shlex.quote(str(cluster.bin))}:$PATH"


@app.command("values")
@reported
def values_command() -> None:
    """Prints values for the chart that name the images built here: helm install ... -f <(millrace local values)."""
    typer.echo(json.dumps(values(known_images()), indent=2))


def values(images: Mapping[str, str]) -> dict[str, Any]:
    """The chart's `images` for full names by the name without a tag; only those that the chart knows."""
    split = {name.rpartition("/")[2]: full.rpartition(":") for name, full in images.items()}
    made = {name: {"repository": split[name][0], "tag": split[name][2]} for name in CHART_IMAGES if name in split}
    return {"images": made}


@app.command("load")
@reported
def load_command(
    images: Annotated[list[str], typer.Argument(help="Archives (docker or OCI), or names of folders of images/.")],
    name: Name = "default",
) -> None:
    """Imports images into every running node."""
    cluster, options = _existing(name)
    steps = Steps(2 * len(images))
    for wanted in images:
        with steps.step(f"Finding or building {wanted}"):
            image = resolve(wanted)
        with steps.step(f"Importing {image.tag}"):
            load(cluster, options, [image])
        typer.echo(image.tag)


@app.command("images")
@reported
def images_command(
    names: Annotated[list[str] | None, typer.Argument(help="Folders of images/; all, when none is named.")] = None,
) -> None:
    """Builds images whose inputs changed, and prints their full names."""
    wanted = names or image_names()
    steps, built = Steps(len(wanted)), list[Image]()
    for wanted_name in wanted:
        with steps.step(f"Building image {wanted_name}"):
            built.append(ensure_image(wanted_name))
    for image in built:
        typer.echo(image.tag)


@app.command("build")
@reported
def build_command(
    kwok: Annotated[bool, typer.Option("--kwok")] = False, kueue: Annotated[bool, typer.Option("--kueue")] = False
) -> None:
    """Builds the cluster's programs without starting anything, and prints the folder of kubectl and helm."""
    with Steps(1).step("Building Kubernetes, DNS and Helm (minutes, the first time)"):
        build_programs(kwok, kueue)
    typer.echo(str(cache_home() / "bin"))


class Addon(StrEnum):
    """What a running cluster can be given."""

    KUEUE = "kueue"


@app.command("addon")
@reported
def addon_command(
    addon: Annotated[Addon, typer.Argument(help="kueue: queues runs by quota, see kubernetes.queueName.")],
    name: Name = "default",
) -> None:
    """Builds and starts an addon in a running cluster; one that runs is left alone."""
    with builds.exclusively(f"cluster-{name}"):
        add_kueue(*_existing(name))


@app.command("logs")
@reported
def logs_command(
    component: Annotated[str, typer.Argument(help="As kube-apiserver or node-1-kubelet.")],
    name: Name = "default",
    lines: Annotated[int, typer.Option(help="How many from the end.")] = 100,
) -> None:
    """Prints the end of a component's log; logs outlive `down`."""
    text = control_plane.log_file(open_cluster(name), component).read_text(errors="replace")
    sys.stdout.write("".join(text.splitlines(keepends=True)[-lines:]))


@app.command("clean")
@reported
def clean_command() -> None:
    """Deletes everything cached: programs, images, archives. The next `up` builds anew."""
    names = [cluster.name for cluster in existing_clusters()]
    if names:
        raise LocalError(f"these clusters use the cache: {', '.join(names)}", "Take each down: millrace local down --name NAME")
    with Steps(1).step(f"Deleting {cache_home()}"):
        teardown.remove_tree(cache_home())


@node_app.command("stop")
@reported
def node_stop_command(node_name: str, name: Name = "default") -> None:
    """Kills a node's every process by SIGKILL, as a power cut would."""
    cluster, options = _existing(name)
    node.stop(cluster, node_number(options.nodes, node_name))


@node_app.command("start")
@reported
def node_start_command(node_name: str, name: Name = "default") -> None:
    """Starts a stopped node and waits until it is Ready."""
    cluster, options = _existing(name)
    number = node_number(options.nodes, node_name)
    with Steps(1).step(f"Starting {node_name}"):
        node.start(cluster, options, number, builds.ensure_kubernetes(), ensure_busybox())
        wait_node(cluster, options, number)


@aws_app.command("up")
@reported
def aws_up_command(
    namespace: Namespace = aws.IMAGE,
    name: Name = "default",
    images: Annotated[
        list[str] | None, typer.Option("--image", help="PATTERN=IMAGE: what runs in place of images that jobs and models name.")
    ] = None,
) -> None:
    """Installs the local AWS, waits until it answers and fills JumpStart's hub; one that is there is left as it is."""
    place = aws.Place(_existing(name)[0], namespace)
    address = aws.up(place, known_images(), dict(aws.pair(text) for text in images or ()))
    typer.echo(aws.how_to(place, address))


@aws_app.command("values")
@reported
def aws_values_command(namespace: Namespace = aws.IMAGE, name: Name = "default") -> None:
    """Prints values for the chart that point the operator at it: helm install ... -f <(millrace local aws values)."""
    typer.echo(json.dumps(aws.values(aws.Place(_existing(name)[0], namespace)), indent=2))


@aws_app.command("down")
@reported
def aws_down_command(namespace: Namespace = aws.IMAGE, name: Name = "default") -> None:
    """Takes the local AWS away, with its state, its data plane and its namespace."""
    aws.down(aws.Place(_existing(name)[0], namespace))


def _existing(name: str) -> tuple[Cluster, Options]:
    cluster = open_cluster(name)
    options = load_options(cluster)
    if options is None:
        raise LocalError(f"there is no cluster {name}", "Start it: millrace local up")
    return cluster, options
