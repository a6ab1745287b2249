"""Trackers of experiments, which keep the runs of many trainings beside each other: told of a training as it goes."""

from engine.tracking.telling import TRACKERS, Tracking, opened

__all__ = ["TRACKERS", "Tracking", "opened"]
