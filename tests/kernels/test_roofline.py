"""The machine code of the view kernel is held to counts in benchmarks/results, and predictions to arithmetic."""

from __future__ import annotations

from importlib.metadata import version

import pytest

from benchmarks import offline, roofline
from benchmarks.roofline import BATCH, CASES, GPUS, SIZE, Count, Gpu

CODE = """
        /*0000*/                   LDC R1, c[0x0][0x28] ;
        /*0010*/                   @!P0 LDG.E.U8 R2, desc[UR4][R2.64] ;
        /*0020*/                   @!UPT UIADD3 URZ, URZ, URZ, URZ ;
.L_x_1:
        /*0030*/                   LDG.E.U8 R4, desc[UR4][R2.64+0x3] ;
        /*0040*/                   EXIT ;
        /*0050*/                   BRA `(.L_x_1);
        /*0060*/                   NOP;
"""


def test_instructions_are_counted_up_to_the_last_exit():
    assert offline._counted(CODE) == {"LDC": 1, "LDG.E.U8": 2, "UIADD3": 1, "EXIT": 1}


@pytest.mark.parametrize(("case", "expected"), [("identity, weak", 9), ("weak, gray", 7), ("weak, float32", 15)])
def test_memory_sees_the_store_once_and_the_view_once(case, expected):
    assert roofline.bytes_of(case) == expected


def test_a_prediction_is_the_longer_of_two_times():
    gpu = Gpu("one", 90, bytes_a_second=90.0, instructions_a_second=1000.0)
    few = Count("identity, weak", 90, 50.0, 32, "STG.E.64", idle=0.0)
    assert roofline.seconds(few, gpu) == pytest.approx((0.1, 0.1))
    many = Count("identity, weak", 90, 200.0, 32, "STG.E.64", idle=0.5)
    assert roofline.seconds(many, gpu) == pytest.approx((0.1, 0.4))
    [line] = [line for line in roofline.tables({90: [many]}) if line.startswith("| identity, weak | 9 |")]
    pixels = SIZE * SIZE * BATCH
    for gpu, microseconds, share in zip(GPUS, *[iter(line.strip("| ").split(" | ")[2:])] * 2, strict=True):
        copy, whole = roofline.seconds(many, gpu)
        assert float(microseconds) == pytest.approx(whole * pixels * 1e6, abs=0.05)
        assert share == f"{copy / whole:.0%}"


@pytest.mark.slow
def test_no_case_takes_more_instructions_than_it_did():
    """What made a count smaller is kept by a new table: python -m benchmarks.roofline --out benchmarks/results."""
    recorded = roofline.file_of(version("triton"), roofline.ROOT / "benchmarks" / "results")
    if not recorded.exists():
        pytest.skip(f"no counts were recorded with this Triton: {recorded.name}")
    lines = recorded.read_text().splitlines()
    table = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")][: 2 + len(CASES)]
    at = table[0].index("sm_90")
    limit = {row[0]: (float(row[at]), row[-1]) for row in table[2:]}
    found = roofline.compiled_apart(90)
    assert [count.case for count in found] == list(limit) == list(CASES)
    for count in found:
        instructions, store = limit[count.case]
        assert count.instructions <= instructions + 0.05, count
        assert count.store == store
