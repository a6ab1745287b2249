"""Writes the commit into what is built, so that an installed engine can name it; all else is in pyproject.toml."""

import runpy
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

CODE = runpy.run_path(str(Path(__file__).parent / "engine" / "runs" / "commit.py"))
COMMIT = CODE["commit"]() or ""  # asked before a build leaves files of its own


def write_commit(folder: str) -> None:
    Path(folder, CODE["WRITTEN"]).write_text(COMMIT)


class BuildPy(build_py):
    def run(self) -> None:
        super().run()
        if not self.editable_mode:  # an editable install asks git
            write_commit(self.build_lib)


class Sdist(sdist):
    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        super().make_release_tree(base_dir, files)
        write_commit(base_dir)


setup(cmdclass={"build_py": BuildPy, "sdist": Sdist})
