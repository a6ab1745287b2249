"""Reads TensorBoard's curves back from a run folder."""

from __future__ import annotations

import struct
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event


def read_scalars(path: Path) -> list[tuple[int, str, float]]:
    """TensorBoard's curves of a run as (step, tag, value)."""
    (events,) = (path / "tensorboard").iterdir()
    data = events.read_bytes()
    found: list[tuple[int, str, float]] = []
    at = 0
    while at < len(data):  # a record: length, its checksum, payload, its checksum
        (length,) = struct.unpack_from("<Q", data, at)
        event = Event.FromString(data[at + 12 : at + 12 + length])
        found += [(event.step, value.tag, value.simple_value) for value in event.summary.value]
        at += 16 + length
    return found
