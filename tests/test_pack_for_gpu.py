"""What is packed for a machine with a GPU comes out of the pieces as it was, or a message says what to do."""

from __future__ import annotations

import json
import shutil
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from benchmarks import dry, pack_for_gpu
from benchmarks.pack_for_gpu import MANIFEST, main, pack, unpack
from loaders import Packed


@pytest.fixture
def pieces(tmp_path: Path) -> Path:
    (tmp_path / "given" / "below").mkdir(parents=True)
    for name, seed in (("a", 0), ("below/b", 1)):
        bits = torch.randint(0, 256, (100_000,), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
        (tmp_path / "given" / name).write_bytes(bits.numpy().tobytes())
    pack({"fer2013": tmp_path / "given"}, tmp_path / "pieces", 65_536)
    return tmp_path / "pieces"


def test_a_store_comes_out_of_its_pieces_as_it_was(tmp_path, capsys):
    dry.write_store(tmp_path / "store")
    out, into = tmp_path / "new" / "pieces", tmp_path / "other" / "unpacked"
    main(["--out", str(out), "--parts", "fer2013", "--store", str(tmp_path / "store"), "--piece", "256KiB"])
    sizes = [path.stat().st_size for path in sorted(out.glob("piece-*"))]
    assert len(sizes) > 2
    assert sizes[:-1] == [256 * 1024] * (len(sizes) - 1)
    assert [path.name for path in out.parent.iterdir()] == ["pieces"]
    main(["--unpack", str(out), "--into", str(into)])
    assert capsys.readouterr().out.splitlines()[-1] == f"unpacked: fer2013 in {into}"
    given, found = (Packed(str(folder)).open("train", "cpu") for folder in (tmp_path / "store", into / "fer2013"))
    assert torch.equal(given.split.target["expression"], found.split.target["expression"])
    for path in (tmp_path / "store").iterdir():
        assert path.read_bytes() == (into / "fer2013" / path.name).read_bytes()


def test_a_piece_that_is_missing_or_damaged_is_named(pieces, tmp_path):
    second = pieces / "piece-002"
    good = second.read_bytes()
    second.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(SystemExit, match=r"piece-002 is not the one that was packed; copy it again: piece-001, .*-004"):
        unpack(pieces, tmp_path / "into")
    second.unlink()
    with pytest.raises(SystemExit, match="piece-002 is not there; copy it again"):
        unpack(pieces, tmp_path / "into")
    assert not (tmp_path / "into").exists()


def test_a_file_that_comes_out_otherwise_is_named(pieces, tmp_path):
    manifest = json.loads((pieces / MANIFEST).read_text())
    manifest["files"]["fer2013/below/b"] = "0" * 64
    (pieces / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(SystemExit, match="fer2013/below/b is not what was packed; pack again"):
        unpack(pieces, tmp_path / "into")
    assert not (tmp_path / "into").exists()


@pytest.mark.parametrize("text", [None, "{", "[]", '{"pieces": {}}'])
def test_a_folder_that_was_not_packed_is_refused(text, tmp_path):
    if text is not None:
        (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(SystemExit, match=r"--unpack \(=.*\) must be a folder of pieces with their manifest.json"):
        main(["--unpack", str(tmp_path), "--into", str(tmp_path / "into")])


def test_what_is_there_already_stays(pieces, tmp_path):
    with pytest.raises(SystemExit, match=r"--into \(=.*\) is there already"):
        unpack(pieces, tmp_path)
    with pytest.raises(SystemExit, match=r"--out \(=.*pieces\) is there already"):
        pack({"fer2013": tmp_path / "given"}, pieces, 65_536)


def test_arguments_that_cannot_be_are_refused(tmp_path, capsys):
    for text in ("64MB", "0MiB", "1.5MiB", "64"):
        with pytest.raises(SystemExit):
            main(["--out", str(tmp_path / "pieces"), "--piece", text])
        assert f"'{text}' must be a whole number of KiB, MiB or GiB, such as 48MiB" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--unpack", str(tmp_path)])
    assert "--unpack needs --into" in capsys.readouterr().err
    with pytest.raises(SystemExit, match=r"--store \(=.*none\) must be a prepared store; hmtl prepare fer2013"):
        main(["--out", str(tmp_path / "pieces"), "--store", str(tmp_path / "none")])


def test_wheels_are_those_of_the_versions_here(tmp_path, monkeypatch):
    wheel = tmp_path / "index" / f"packaging-{version('packaging')}-py3-none-any.whl"
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w") as file:
        about = f"packaging-{version('packaging')}.dist-info"
        file.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: packaging\nVersion: {version('packaging')}\n")
        file.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{about}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    monkeypatch.setattr(pack_for_gpu, "PACKAGES", ("packaging",))
    pack_for_gpu.fetch_wheels(tmp_path / "wheels")
    assert [path.name for path in (tmp_path / "wheels").iterdir()] == [wheel.name]
    wheel.unlink()
    with pytest.raises(SystemExit, match=r"(?s)pack_for_gpu: python -m pip download .* ended with 1:.*No matching"):
        pack_for_gpu.fetch_wheels(tmp_path / "wheels")
    monkeypatch.setattr(pack_for_gpu, "PACKAGES", ("no-such-package",))
    with pytest.raises(SystemExit, match=r"no-such-package is not installed, whose version is wanted; pip install"):
        pack_for_gpu.fetch_wheels(tmp_path / "wheels")


def test_triton_finds_its_files_where_they_were_unpacked(tmp_path, monkeypatch):
    cache = pytest.importorskip("triton.runtime.cache", reason="triton is not installed")
    key = "ab" * 32
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "made"))
    manager = cache.get_cache_manager(key)
    manager.put_group("kernel.json", {"kernel.cubin": manager.put(b"code", "kernel.cubin")})
    pack({"triton": tmp_path / "made"}, tmp_path / "pieces", 65_536)
    shutil.rmtree(tmp_path / "made")
    unpack(tmp_path / "pieces", tmp_path / "into")
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "into" / "triton"))
    [path] = cache.get_cache_manager(key).get_group("kernel.json").values()
    assert Path(path).read_bytes() == b"code"


def test_kernels_are_compiled_into_the_cache_without_the_interpreter(tmp_path, monkeypatch):
    seen = tmp_path / "seen"
    names = ("TRITON_INTERPRET", "TRITON_CACHE_DIR")
    words = ("-c", f"import os; open({str(seen)!r}, 'w').write(str([os.environ.get(name) for name in {names}]))")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setattr(pack_for_gpu, "COMPILED", (words,))
    pack_for_gpu.compile_kernels(tmp_path)
    assert seen.read_text() == str([None, str(tmp_path)])
