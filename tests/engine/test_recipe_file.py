"""A recipe is found by its path, whatever is in the path, and by the name behind the last colon."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.recipe.file import read


@pytest.mark.parametrize("folder", ["12:30", "a.py:b", "c:"])
def test_a_colon_in_a_path_is_part_of_it(tmp_path: Path, folder: str) -> None:
    (tmp_path / folder).mkdir()
    file = tmp_path / folder / "mine.py"
    lines = ("from dataclasses import replace", "from tests.engine import tiny", "recipe = tiny.recipe(seed=3)")
    file.write_text("\n".join((*lines, "other = replace(recipe, seed=4)")))
    assert read(str(file)).recipe.seed == 3
    assert read(f"{file}:recipe").recipe.seed == 3
    assert read(f"{file}:other").recipe.seed == 4
    with pytest.raises(ValueError, match=r"mine\.py has no Recipe called 'third'; it has"):
        read(f"{file}:third")
    with pytest.raises(ValueError, match=r"gone\.py is not there"):
        read(str(file.with_name("gone.py")))
