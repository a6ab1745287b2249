"""Robustness: how a trained run's figures fall on faces that are worse than those it was tested on."""
