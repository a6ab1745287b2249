"""Two hosts that are cut off from each other end with a sentence, and go on together to the undisturbed end."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.chaos.cases import WHOLE
from tests.engine.ranks_trial import cut


@pytest.mark.slow
@pytest.mark.skipif(not WHOLE, reason="takes a minute and more: make chaos")
@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("ip") is None, reason="needs network namespaces: root, and ip")
def test_two_hosts_whose_cable_is_cut_go_on_to_the_same_end(tmp_path: Path) -> None:
    assert cut(tmp_path, times=2, epochs=8) == []
