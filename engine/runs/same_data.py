"""Tells whether the data of a run is still the data that it was trained on."""

from __future__ import annotations

from engine.runs.result import Run
from loaders import Source, identity


def refuse_other_data(run: Run, source: Source, where: str) -> None:
    """Refuses a run whose source holds other data now.

    Args:
        run: The run; one that does not say what its data was passes.
        source: What its recipe names.
        where: Begins the error.

    Raises:
        ValueError: The hashes are others than those in its environment.json.
    """
    trained = run.starts[-1].get("data") if run.starts else None
    if trained is not None and trained != identity(source):
        raise ValueError(
            f"{where} was trained on other data than is here, by the hashes in its environment.json; call this where "
            "hmtl train was called, with the stores that were there then"
        )
