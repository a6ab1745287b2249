"""Makes an experiment's table: runs its recipes and compares them (`hmtl table recipes/NAME.py`)."""

from engine.table.experiment import Experiment, Group, Row, Start

__all__ = ["Experiment", "Group", "Row", "Start"]
