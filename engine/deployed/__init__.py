"""A trained run as it is used: the model alone, on arrays of faces or on picture files."""

from engine.deployed.model import Deployed, Which, load

__all__ = ["Deployed", "Which", "load"]
