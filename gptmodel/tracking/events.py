"""What a journal records: one JSON object for each thing that was logged, and what of it was sent."""

from typing import Any

Event = dict[str, Any]

# What an event of a kind holds; a file that holds anything else was not written here.
FIELDS: dict[str, dict[str, Any]] = {
    "start": {"ms": int},
    "params": {"values": dict},
    "tags": {"values": dict},
    "metrics": {"values": dict, "step": int, "ms": int},
    "status": {"value": str, "ms": (int, type(None))},
    "dataset": {"source": str, "digest": str},
}


def is_event(event: Any) -> bool:
    """Whether this is what a `JournalWriter` writes, and not what somebody put there."""
    if not isinstance(event, dict) or event.get("kind") not in FIELDS:
        return False
    numbers = event.get("values", {}) if event["kind"] == "metrics" else {}
    fields = FIELDS[event["kind"]].items()
    return all(isinstance(event.get(name), kind) for name, kind in fields) and all(
        isinstance(value, int | float) for value in numbers.values()
    )


def is_sent_mark(values: dict[str, Any]) -> bool:
    """Whether this is what `Journal.mark_sent` writes: the fields of a `Sent`, each of its type."""
    if values.keys() != {"offset", "sending", "status"}:
        return False
    offset, sending, status = values["offset"], values["sending"], values["status"]
    is_offset = isinstance(offset, int) and not isinstance(offset, bool) and offset >= 0
    is_status = status is None or (isinstance(status, dict) and is_event(status | {"kind": "status"}))
    return is_offset and isinstance(sending, bool) and is_status
