"""Says which files are pages of the site: those of the repository, where they lie in it, so that their links hold."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
PAGES = ("CONTRIBUTING.md", "CHANGELOG.md", "docs/*", "benchmarks/results/*.md")


def on_files(files: Files, config: Any) -> Files:
    """Adds README.md as the first page, the documents, the results, and a page of the reference for each in `nav`."""
    (modules,) = (entry["Reference"] for entry in config.nav if "Reference" in entry)
    paths = [path for pattern in PAGES for path in sorted(ROOT.glob(pattern))]
    found = [
        File.generated(config, "index.md", abs_src_path=str(ROOT / "README.md")),
        *(File.generated(config, str(path.relative_to(ROOT)), abs_src_path=str(path)) for path in paths),
        *(
            File.generated(config, page, content=f"::: {module}\n    options:\n      heading_level: 1\n")
            for entry in modules
            for module, page in entry.items()
        ),
    ]
    return Files([*found, *(file for file in files if not (ROOT / "docs" / file.src_uri).exists())])


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Makes text of links to what is in the repository and no page: code, and folders of results."""
    folder = ROOT if page.file.src_uri == "index.md" else (ROOT / page.file.src_uri).parent

    def linked(match: re.Match[str]) -> str:
        target = (folder / match[2]).resolve()
        outside = target.exists() and files.get_file_from_path(str(target.relative_to(ROOT))) is None
        return match[1] if outside else match[0]

    return re.sub(r"\[([^\]]+)\]\(((?!\w+:|#)[^)#\s]+)\)", linked, markdown)
