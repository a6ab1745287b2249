"""An experiment's table: `python -m engine.table recipes/NAME.py` runs what is missing and prints it."""

from engine.table.experiment import Experiment, Group, Row, Start

__all__ = ["Experiment", "Group", "Row", "Start"]
