"""Packs what a bare machine with a GPU lacks besides the repository, in pieces that one transfer takes, and unpacks it.

    python -m benchmarks.pack_for_gpu --out pieces --piece 48MiB
    python -m benchmarks.pack_for_gpu --unpack pieces --into /tmp/unpacked

`fer2013` is the prepared store; `wheels` are the packages below, for Python 3.12 on x86-64 Linux; `triton` holds the
kernels compiled for sm_90, to be named by TRITON_CACHE_DIR. Triton takes them for its own only where its version and
build are those of the machine that packed (3.6.0 of PyPI beside torch 2.11). What cannot be made without a GPU: the
code of Inductor, the choices of cuDNN, and the small C modules by which Triton launches, which it compiles on the spot.

The pieces are one compressed tar, cut: FER2013's pixels need two of them in any lossless format. A manifest has the
SHA-256 of each piece and of each file, and whoever packs unpacks once to see that all of them are met.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from loaders.files import replacing_folder, write_json, write_text

ROOT = Path(__file__).resolve().parents[1]
MANIFEST = "manifest.json"
UNITS = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
PACKAGES = ("timm", "kornia", "kornia_rs", "triton-augment")
"""What images with torch lack, or may have too old; in the versions that are installed here."""
TAGS = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014", "manylinux1")
COMPILED = (
    ("-m", "benchmarks.roofline", "--count", "90"),
    ("-m", "tests.kernels.compile_configurations", "90", "--light"),
)
"""What compiles the kernels of tables, trainings and tests."""
PARTS = ("fer2013", "wheels", "triton")


def size(text: str) -> int:
    """Reads a number of bytes such as 64MiB."""
    found = re.fullmatch(r"([1-9]\d*)(KiB|MiB|GiB)", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number of KiB, MiB or GiB, such as 48MiB")
    return int(found[1]) * UNITS[found[2]]


def fetch_wheels(folder: Path) -> None:
    """Has pip download the wheels of `PACKAGES`, without what they need."""
    try:
        wanted = [f"{name}=={version(name)}" for name in PACKAGES]
    except PackageNotFoundError as error:
        raise SystemExit(
            f"pack_for_gpu: {error.name} is not installed, whose version is wanted; pip install -e '.[bench]', or "
            "leave wheels out of --parts"
        ) from error
    platforms = [word for tag in TAGS for word in ("--platform", f"{tag}_x86_64")]
    options = ["--no-deps", "--only-binary=:all:", "--python-version", "3.12", "--implementation", "cp", *platforms]
    _python("-m", "pip", "download", "-q", *options, "-d", str(folder), *wanted)


def compile_kernels(folder: Path) -> None:
    """Compiles the kernels into a cache of Triton's; takes minutes."""
    for words in COMPILED:
        _python(*words, TRITON_CACHE_DIR=str(folder))


def _python(*words: str, **variables: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"} | variables
    done = subprocess.run(
        [sys.executable, *words], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"pack_for_gpu: python {' '.join(words)} ended with {done.returncode}:\n{done.stderr[-2000:]}")


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hashes(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): _hash(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def pack(folders: dict[str, Path], out: Path, piece: int) -> None:
    """Writes folders, by the names they are unpacked under, as pieces of so many bytes; checked by unpacking them."""
    if out.exists():
        raise SystemExit(f"pack_for_gpu: --out (={out}) is there already; remove it, or name another folder")
    with replacing_folder(out) as making, tempfile.TemporaryDirectory(dir=out.parent) as temporary:
        whole = Path(temporary, "whole.tar.gz")
        with tarfile.open(whole, "w:gz", compresslevel=6) as tar:
            for name, folder in folders.items():
                tar.add(folder, name)
        files = {f"{name}/{path}": found for name, folder in folders.items() for path, found in _hashes(folder).items()}
        pieces = {}
        with whole.open("rb") as source:
            while some := source.read(piece):
                path = making / f"piece-{len(pieces) + 1:03}"
                path.write_bytes(some)
                pieces[path.name] = _hash(path)
        write_json(making / MANIFEST, {"pieces": pieces, "files": files})
        unpack(making, Path(temporary, "unpacked"))


def unpack(folder: Path, into: Path) -> None:
    """Joins the pieces of a folder, writes what is in them into a new folder, and checks every file."""
    if into.exists():
        raise SystemExit(f"pack_for_gpu: --into (={into}) is there already; remove it, or name another folder")
    manifest = _manifest(folder)
    with replacing_folder(into) as making, tempfile.TemporaryFile(dir=into.parent) as whole:
        for name, expected in manifest["pieces"].items():
            path = folder / name
            if not path.is_file() or _hash(path) != expected:
                what = "is not the one that was packed" if path.is_file() else "is not there"
                raise SystemExit(
                    f"pack_for_gpu: {path} {what}; copy it again: {', '.join(manifest['pieces'])} make a whole"
                )
            with path.open("rb") as source:
                shutil.copyfileobj(source, whole)
        whole.seek(0)
        with tarfile.open(fileobj=whole, mode="r:gz") as tar:
            tar.extractall(making, filter="data")
        if (found := _hashes(making)) != manifest["files"]:
            wrong = sorted(set(found.items()) ^ set(manifest["files"].items()))
            raise SystemExit(f"pack_for_gpu: {wrong[0][0]} is not what was packed; pack again, with a sound disk")
        for group in making.glob("triton/*/__grp__*.json"):
            _moved(group, into.resolve() / group.parent.relative_to(making))


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / MANIFEST).read_text())
        return {name: dict(found[name]) for name in ("pieces", "files")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SystemExit(
            f"pack_for_gpu: --unpack (={folder}) must be a folder of pieces with their {MANIFEST} ({error}); copy it "
            "whole"
        ) from error


def _moved(group: Path, folder: Path) -> None:
    """Tells a file of Triton's cache where the files that it lists lie now: it has whole paths."""
    listed = json.loads(group.read_text())["child_paths"]
    write_text(group, json.dumps({"child_paths": {name: str(folder / name) for name in listed}}))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    way = parser.add_mutually_exclusive_group(required=True)
    way.add_argument("--out", type=Path, help="new folder for the pieces")
    way.add_argument("--unpack", type=Path, metavar="DIR", help="a folder of pieces")
    parser.add_argument("--into", type=Path, help="new folder for what is unpacked")
    parser.add_argument("--piece", type=size, default=size("48MiB"), help="bytes of a piece at most (48MiB)")
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS)
    parser.add_argument("--store", type=Path, default=ROOT / "data" / "fer2013", help="prepared store of FER2013")
    options = parser.parse_args(arguments)
    if options.unpack:
        if options.into is None:
            parser.error("--unpack needs --into, the folder for what is unpacked")
        unpack(options.unpack, options.into)
        print(f"unpacked: {', '.join(sorted(path.name for path in options.into.iterdir()))} in {options.into}")
        return
    if "fer2013" in options.parts and not (options.store / "source.json").is_file():
        raise SystemExit(
            f"pack_for_gpu: --store (={options.store}) must be a prepared store; hmtl prepare fer2013 fer2013.csv "
            f"--out {options.store}, or leave fer2013 out of --parts"
        )
    with tempfile.TemporaryDirectory() as temporary:
        folders = {part: Path(temporary, part) for part in options.parts}
        for part, make in (("wheels", fetch_wheels), ("triton", compile_kernels)):
            if part in folders:
                make(folders[part])
        if "fer2013" in folders:
            folders["fer2013"] = options.store
        pack(folders, options.out, options.piece)
    pieces = sorted(options.out.glob("piece-*"))
    print(f"packed: {', '.join(options.parts)}; {len(pieces)} pieces, {sum(p.stat().st_size for p in pieces):,} bytes")


if __name__ == "__main__":
    main()
