"""Log events as rows: written by clients and by the services here, read by time and by token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from millrace_local_aws.state.store import Record

if TYPE_CHECKING:
    from millrace_local_aws.world import World

_SCHEMA = """
CREATE TABLE IF NOT EXISTS log_event (
    scope TEXT NOT NULL, grp TEXT NOT NULL, stream TEXT NOT NULL, at INTEGER NOT NULL, seq INTEGER NOT NULL,
    message TEXT NOT NULL, ingested INTEGER NOT NULL, PRIMARY KEY (scope, grp, stream, at, seq)
) WITHOUT ROWID;
"""
Event = tuple[int, int, str, int, str]


class LogStore:
    """Groups and streams are records; events are rows of (at, seq, message, ingested, stream), times in milliseconds."""

    def __init__(self, world: World) -> None:
        self.world = world
        world.store.schema(_SCHEMA)
        self.groups = world.store.table("logs.group")
        self.streams = world.store.table("logs.stream")
        self._seq = int(world.store.select("SELECT coalesce(max(seq), 0) FROM log_event")[0][0])

    def group_arn(self, scope: str, group: str) -> str:
        account, region = scope.split("/")
        return f"arn:aws:logs:{region}:{account}:log-group:{group}"

    def now(self) -> int:
        return int(self.world.clock.now() * 1000)

    def add_group(self, scope: str, group: str, tags: dict[str, str] | None = None) -> Record:
        arn = self.group_arn(scope, group)
        record = {"logGroupName": group, "creationTime": self.now(), "arn": f"{arn}:*", "logGroupArn": arn, "tags": tags or {}}
        return self.groups.put(scope, group, record)

    def add_stream(self, scope: str, group: str, stream: str) -> Record:
        arn = f"{self.group_arn(scope, group)}:log-stream:{stream}"
        record = {"logStreamName": stream, "creationTime": self.now(), "arn": arn, "storedBytes": 0}
        return self.streams.put(f"{scope}/{group}", stream, record)

    def write(self, scope: str, group: str, stream: str, events: list[tuple[int, str]]) -> None:
        """Events of a service here; group and stream are made where they are missing."""
        if self.groups.get(scope, group) is None:
            self.add_group(scope, group)
        if self.streams.get(f"{scope}/{group}", stream) is None:
            self.add_stream(scope, group, stream)
        self.append(scope, group, stream, events)

    def append(self, scope: str, group: str, stream: str, events: list[tuple[int, str]]) -> None:
        now = self.now()
        for at, message in events:
            self._seq += 1
            self.world.store.execute(
                "INSERT INTO log_event VALUES (?, ?, ?, ?, ?, ?, ?)", (scope, group, stream, at, self._seq, message, now)
            )
        if events:
            self._stamp(scope, group, stream, events, now)

    def _stamp(self, scope: str, group: str, stream: str, events: list[tuple[int, str]], now: int) -> None:
        record = self.streams.get(f"{scope}/{group}", stream) or {}
        times = [at for at, _ in events]
        record["firstEventTimestamp"] = min([*times, record.get("firstEventTimestamp", times[0])])
        record["lastEventTimestamp"] = max([*times, record.get("lastEventTimestamp", times[0])])
        record |= {"lastIngestionTime": now, "uploadSequenceToken": str(self._seq)}
        self.streams.put(f"{scope}/{group}", stream, record)

    def read(self, scope: str, group: str, streams: list[str], start: int, end: int) -> list[Event]:
        """Events with start <= at < end, in the order of their times."""
        marks = ",".join("?" * len(streams))
        statement = (
            f"SELECT at, seq, message, ingested, stream FROM log_event WHERE scope = ? AND grp = ? AND stream IN ({marks})"
            " AND at >= ? AND at < ? ORDER BY at, seq"
        )
        return self.world.store.select(statement, (scope, group, *streams, start, end))

    def drop_stream(self, scope: str, group: str, stream: str) -> None:
        self.streams.drop(f"{scope}/{group}", stream)
        values: tuple[Any, ...] = (scope, group, stream)
        self.world.store.execute("DELETE FROM log_event WHERE scope = ? AND grp = ? AND stream = ?", values)
