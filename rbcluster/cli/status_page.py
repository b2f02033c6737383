"""The status document as a page: a cluster that a tired person understands in two seconds.

Top to bottom in the order of what one needs to know: is it well, who leads, which node is ill,
what visitors' Tor can find, and what to do. Every mark stands beside a word or a number that says
the same, so that nothing is lost without colour.

Not here: fetching the document (`api/client.py`), deciding what is a problem (the daemon does).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from rbcluster.agent.status_document import (
    DescriptorStatus,
    Health,
    HsDirState,
    NodeState,
    NodeStatus,
    ServiceStatus,
    StatusDocument,
)
from rbcluster.cli.phrasing import count, duration, printable

_HEADLINES: dict[Health, tuple[str, str]] = {
    "healthy": ("HEALTHY", "bold black on green"),
    "degraded": ("DEGRADED", "bold black on yellow"),
    "no-leader": ("NO LEADER", "bold white on red"),
}
_NODE_MARKS: dict[NodeState, tuple[str, str]] = {
    "leader": ("★", "bold green"),
    "follower": ("●", "green"),
    "learner": ("○", "green"),
    "candidate": ("◐", "yellow"),
    "unlinked": ("○", "dim"),
    "withdrawn": ("✗", "red"),
    "unreachable": ("✗", "bold red"),
}
_HSDIR_MARKS: dict[HsDirState, tuple[str, str]] = {
    "accepted": ("●", "green"),
    "pending": ("○", "yellow"),
    "failed": ("✗", "red"),
}
_GONE = ("unreachable", "withdrawn")
_MAX_NODES = 24  # beyond this, only nodes that stand out get a line
_MAX_MARKS = 16  # beyond this, numbers tell more than a row of dots


def render_status(document: StatusDocument, now: datetime) -> RenderableType:
    """Draw the page.

    :param now: aware instant from which ages are counted.
    """
    return Padding(
        Group(
            _headline(document),
            Text(),
            _leader_line(document),
            *_maintenance_line(document, now),
            Text(),
            *_node_table(document),
            *(part for service in document["services"] for part in _service(service, now)),
            *_problems(document["problems"]),
            *(Text(printable(note)) for note in document["notes"]),
        ),
        (1, 1),
        expand=False,
    )


def _headline(document: StatusDocument) -> Text:
    word, style = _HEADLINES[document["health"]]
    line = Text.assemble(
        (f" {word} ", style), "  ", (printable(document["cluster"]["name"]), "bold")
    )
    reasons = ", ".join(_reasons(document))
    return line.append(f": {reasons}" if reasons else "")


def _reasons(document: StatusDocument) -> Iterator[str]:
    """Say in a few words why the cluster is not healthy."""
    nodes = document["nodes"]
    if document["health"] == "healthy":
        return
    if document["health"] == "no-leader":
        cluster = document["cluster"]
        answering = sum(n["role"] == "voter" and n["state"] not in _GONE for n in nodes)
        yield (
            "an election is under way"
            if cluster["has_quorum"]
            else f"{answering} of {count(len(cluster['voters']), 'voter')} "
            f"{'answers' if answering == 1 else 'answer'}, {cluster['quorum']} needed"
        )
        return
    gone = [printable(n["name"]) for n in nodes if n["state"] in _GONE]
    unfit = [n["name"] for n in nodes if n["can_publish"] is False and n["state"] not in _GONE]
    unpublished = [s["name"] for s in document["services"] if not s["published"]]
    if gone:
        yield f"{_few(gone)} {'is' if len(gone) == 1 else 'are'} gone"
    if unfit:
        yield f"{_few(unfit)} can't publish"
    if unpublished:
        yield f"{_few(unpublished)} not fully published"
    if not (gone or unfit or unpublished):
        yield "see below"


def _few(names: list[str]) -> str:
    """Name one or two; count more."""
    return printable(" and ".join(names)) if len(names) <= 2 else str(len(names))  # noqa: PLR2004


def _leader_line(document: StatusDocument) -> Text:
    cluster = document["cluster"]
    voters = f"{count(len(cluster['voters']), 'voter')}, quorum {cluster['quorum']}"
    if cluster["leader"] is None:
        rest = f", term {cluster['term']}  ·  nothing can be published  ·  {voters}"
        return Text.assemble(("no leader", "bold red"), rest)
    spare = cluster["failures_tolerated"]
    return Text.assemble(
        (printable(cluster["leader"]), "bold"),
        f" leads, term {cluster['term']}  ·  ",
        (f"survives {count(spare, 'more failure')}", "green")
        if spare
        else ("survives no further failure", "bold yellow"),
        f"  ·  {voters}",
    )


def _maintenance_line(document: StatusDocument, now: datetime) -> Iterator[Text]:
    until = document["cluster"]["maintenance_until"]
    if until is not None:
        yield Text.assemble(
            ("maintenance", "bold yellow"),
            f": silent nodes stay on show; ends by itself, {_until(until, now)}",
        )


def _node_table(document: StatusDocument) -> Iterator[RenderableType]:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim", show_edge=False)
    table.add_column("node", overflow="fold")
    table.add_column("state", no_wrap=True)
    table.add_column("points on show", justify="right", no_wrap=True)
    table.add_column("last heard", justify="right", no_wrap=True)
    table.add_column("could publish", overflow="fold", min_width=13)
    nodes = document["nodes"]
    shown = [n for n in nodes if len(nodes) <= _MAX_NODES or _stands_out(n, document["self"])]
    for node in shown:
        mark, style = _NODE_MARKS[node["state"]]
        is_self = node["name"] == document["self"]
        table.add_row(
            Text.assemble(
                (f"{mark} ", style), (printable(node["name"]), "bold" if is_self else "")
            ),
            Text(node["state"], style=style).append(
                ", drained" if node["drained"] else "", style="bold yellow"
            ),
            _points_on_show(node),
            Text("this node" if is_self else _contact(node)),
            _readiness(node),
        )
    yield table
    if others := len(nodes) - len(shown):
        yield Text(f"● and {others} more, all well", style="green")


def _stands_out(node: NodeStatus, self_name: str) -> bool:
    """Tell whether a node is worth a line in a large cluster."""
    is_well = node["state"] in {"follower", "learner"} and node["can_publish"]
    is_quiet = (is_well or node["state"] == "unlinked") and not node["drained"]
    return not is_quiet or node["name"] == self_name


def _points_on_show(node: NodeStatus) -> Text:
    style = "" if node["on_show"] or node["drained"] else "red"
    return Text(f"{node['on_show']} of {node['intro_points']}", style=style)


def _contact(node: NodeStatus) -> str:
    seconds = node["last_contact_seconds"]
    if seconds is None:
        return "not linked" if node["state"] == "unlinked" else "never"
    return f"{duration(seconds)} ago"


def _readiness(node: NodeStatus) -> Text:
    if node["can_publish"] is None or node["state"] in _GONE:
        return Text("unknown", style="dim")
    if node["can_publish"]:
        return Text("yes", style="green")
    text = Text("no", style="red")
    if faults := node["faults"]:
        text.append(f": {printable(faults[0])}", style="default")
        text.append(f" (+{len(faults) - 1})" if len(faults) > 1 else "", style="dim")
    return text


def _service(service: ServiceStatus, now: datetime) -> Iterator[RenderableType]:
    yield Text.assemble(
        "\n",
        (printable(service["name"]), "bold"),
        "  ",
        ("published", "green") if service["published"] else ("not fully published", "bold yellow"),
        f"  ·  {count(service['pool'], 'introduction point')} in the pool",
    )
    yield Text(printable(service["address"]), style="dim")
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("descriptor")
    table.add_column("HSDirs")
    for heading in ("", "points", "period", "revision", "age", "renewed"):
        table.add_column(heading, justify="right", no_wrap=True)
    for descriptor in service["descriptors"]:
        table.add_row(*_descriptor_cells(descriptor, now))
    yield table
    for descriptor in service["descriptors"]:
        yield from _descriptor_notes(descriptor)


def _descriptor_cells(descriptor: DescriptorStatus, now: datetime) -> Iterator[Text]:
    hsdirs = descriptor["hsdirs"]
    accepted = sum(hsdir["state"] == "accepted" for hsdir in hsdirs)
    marks = [_HSDIR_MARKS[hsdir["state"]] for hsdir in hsdirs]
    is_whole = bool(hsdirs) and accepted == len(hsdirs)
    yield Text(descriptor["slot"])
    yield Text.assemble(*(marks if len(marks) <= _MAX_MARKS else []))
    yield Text(f"{accepted}/{len(hsdirs)}", style="" if is_whole else "bold yellow")
    yield Text(str(descriptor["intro_points"]))
    yield Text(str(descriptor["period"]))
    yield Text("none" if descriptor["revision"] is None else str(descriptor["revision"]))
    yield Text(_age(descriptor["published_at"], now))
    yield Text(_until(descriptor["next_refresh_at"], now))


def _descriptor_notes(descriptor: DescriptorStatus) -> Iterator[Text]:
    """Say what is wrong with a descriptor that is not everywhere, and what happens next."""
    hsdirs = descriptor["hsdirs"]
    for hsdir in hsdirs:
        if hsdir["state"] == "failed":
            where = f"{descriptor['slot']}, {printable(hsdir['fingerprint'][:12])}…"
            what = f" {hsdir['state']}: {printable(hsdir['detail'])}"
            yield Text.assemble(_HSDIR_MARKS[hsdir["state"]], f" {where}", what)
    is_whole = bool(hsdirs) and all(hsdir["state"] == "accepted" for hsdir in hsdirs)
    if descriptor["next"] and not is_whole:
        yield Text.assemble(
            ("→", "yellow"), f" {descriptor['slot']}: {printable(descriptor['next'])}"
        )


def _age(instant: str | None, now: datetime) -> str:
    if instant is None:
        return "never"
    return duration(max(0.0, (now - datetime.fromisoformat(instant)).total_seconds()))


def _until(instant: str | None, now: datetime) -> str:
    if instant is None:
        return "-"
    seconds = (datetime.fromisoformat(instant) - now).total_seconds()
    return f"in {duration(seconds)}" if seconds > 0 else "due"


def _problems(problems: list[str]) -> Iterator[RenderableType]:
    if not problems:
        return
    yield Text(f"\n{count(len(problems), 'problem')}", style="bold")
    table = Table.grid(padding=(0, 1))
    for problem in problems:
        table.add_row(Text("▸", style="yellow"), Text(printable(problem)))
    yield table
