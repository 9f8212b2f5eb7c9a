"""The cluster's network on this machine: one bridge with an address of its own, and a link from it into each node.

Nodes are network namespaces, so kube-proxy's rules and the pods' interfaces live and die inside them. On the machine itself
there are only the bridge, routes over it, and four packet filter rules, each marked by a comment.
"""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path

from millrace.cli.local.errors import LocalError
from millrace.cli.local.footprint import ensure_forwarding
from millrace.cli.local.programs import run, succeeds
from millrace.cli.local.settings import MAX_NODES, Cluster

_BROKEN = "Run `millrace local down`, then `millrace local up`."


def ensure_bridge(cluster: Cluster) -> None:
    if not Path(f"/sys/class/net/{cluster.bridge}").exists():
        _check_unused(cluster)
        _ip(["link", "add", cluster.bridge, "type", "bridge"])
    prefix = cluster.network.rpartition("/")[2]
    _ip(["address", "replace", f"{cluster.host_address}/{prefix}", "dev", cluster.bridge])
    _ip(["link", "set", cluster.bridge, "up"])
    _ip(["route", "replace", cluster.service_network, "via", cluster.router_address, "dev", cluster.bridge, "onlink"])
    for number in range(1, MAX_NODES + 1):  # directly: through the router, replies would take another way back
        _ip(["route", "replace", cluster.pod_subnet(number), "via", cluster.node_address(number)])
    ensure_forwarding()
    for table, chain, rule in packet_rules(cluster):
        if not succeeds(_iptables(table, "-C", chain, rule)):
            run(_iptables(table, "-I", chain, rule), what=f"add a rule to {chain}", fix=_BROKEN)


def packet_rules(cluster: Cluster) -> list[tuple[str, str, list[str]]]:
    """(table, chain, rule): a Docker daemon's policy drops what crosses bridges, and pods reach outside as this machine."""
    mark = ["-m", "comment", "--comment", f"millrace-local:{cluster.name}"]
    outside = ["!", "-d", "10.0.0.0/8"]
    return [
        ("filter", "FORWARD", ["-i", cluster.bridge, *mark, "-j", "ACCEPT"]),
        ("filter", "FORWARD", ["-o", cluster.bridge, *mark, "-j", "ACCEPT"]),
        ("nat", "POSTROUTING", ["-s", cluster.network, *outside, *mark, "-j", "MASQUERADE"]),
        ("nat", "POSTROUTING", ["-s", cluster.pod_network, *outside, *mark, "-j", "MASQUERADE"]),
    ]


def connect(cluster: Cluster, init_pid: int, link: str, address: str) -> None:
    """Gives the namespace of `init_pid` an eth0 on the bridge; its default route comes last, which its init waits for."""
    _delete_link(link)
    _ip(["link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", str(init_pid)])
    _ip(["link", "set", link, "master", cluster.bridge, "up"])
    inside = ["nsenter", f"--net=/proc/{init_pid}/ns/net", "ip", "-batch", "-"]
    run(inside, what="set up a node's network", fix=_BROKEN, stdin=inside_commands(cluster, address))


def inside_commands(cluster: Cluster, address: str) -> str:
    """What `ip -batch` runs in a node: routes to every possible node's pods, so that a node may join later."""
    prefix = cluster.network.rpartition("/")[2]
    lines = ["link set lo up", f"address add {address}/{prefix} dev eth0", "link set eth0 up"]
    others = [number for number in range(1, MAX_NODES + 1) if cluster.node_address(number) != address]
    lines += [f"route add {cluster.pod_subnet(number)} via {cluster.node_address(number)}" for number in others]
    return "\n".join([*lines, f"route add default via {cluster.host_address}", ""])


def remove_network(cluster: Cluster) -> None:
    """Undoes ensure_bridge; routes go with the bridge, and the nodes' ends of links with the nodes."""
    for table, chain, rule in packet_rules(cluster):
        while succeeds(_iptables(table, "-D", chain, rule)):
            pass
    for link in [*_links(cluster), cluster.bridge]:
        _delete_link(link)


def _delete_link(link: str) -> None:
    """Gone already is success: the kernel takes a node's link away by itself, some time after the node's processes."""
    device = Path(f"/sys/class/net/{link}")
    if device.exists() and not succeeds(["ip", "link", "delete", link]) and device.exists():
        _ip(["link", "delete", link])


def node_link(cluster: Cluster, number: int) -> str:
    """The name of this machine's end; number 0 is the router."""
    return f"mr{cluster.slot}-{number}"


def _links(cluster: Cluster) -> list[str]:
    return [node_link(cluster, number) for number in range(MAX_NODES + 1)]


def _check_unused(cluster: Cluster) -> None:
    routes = json.loads(run(["ip", "-json", "route", "show", "table", "main"], what="list routes"))
    taken = [(ipaddress.IPv4Network(route["dst"]), route) for route in routes if route["dst"][0].isdigit()]
    for wanted in (cluster.network, cluster.pod_network, cluster.service_network):
        for network, route in taken:
            # A wider route (a VPN's 10.0.0.0/8) gives way to the cluster's; one inside it would not.
            if network.subnet_of(ipaddress.IPv4Network(wanted)):
                raise LocalError(
                    f"{network}, part of the cluster's {wanted}, is already routed to {route.get('dev', 'another place')}",
                    "Choose other subnets by another cluster name: millrace local up --name NAME.",
                )


def _iptables(table: str, action: str, chain: str, rule: list[str]) -> list[str]:
    return ["iptables", "-w", "10", "-t", table, action, chain, *rule]


def _ip(arguments: list[str]) -> None:
    run(["ip", *arguments], what=f"run ip {' '.join(arguments)}", fix=_BROKEN)
