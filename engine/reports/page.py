"""Turns a Markdown report into one HTML file to send: contents, pictures inside, tables that sort, light and dark."""

from __future__ import annotations

import base64
import html
import mimetypes
import re
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.token import Token

from loaders.files import write_text


def write_page(file: Path) -> Path:
    """Writes a Markdown file of ours as a page of the same name that ends in `.html`; replaces it as a whole.

    Raises:
        ValueError: It is no text file, or a picture that it shows is not there.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"page: {file} must be a Markdown file ({error}); name a report.md or a table.md") from error
    page = page_of(file)
    write_text(page, as_html(text, file.parent))
    return page


def page_of(file: Path) -> Path:
    """Names the page of a Markdown file; refuses one that the page would replace, with a ValueError."""
    page = file.with_suffix(".html")
    if page == file:
        raise ValueError(
            f"page: {file} must not end in .html, as its page does; call it {file.with_suffix('.md').name}"
        )
    return page


def as_html(text: str, folder: Path) -> str:
    """Makes a page of Markdown; pictures are read from `folder` and become part of it.

    Links to other files are left out: whoever is sent the page does not have them.

    Raises:
        ValueError: A picture is not there.
    """
    # Raw HTML is shown as text: names that come from data may look like some.
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(text)
    contents: list[tuple[str, str]] = []
    title = "Report"
    for place, token in enumerate(tokens):
        words = _plain(tokens[place + 1]) if token.type == "heading_open" else ""
        if token.type == "heading_open" and token.tag == "h1":
            title = words
        if token.type == "heading_open" and token.tag == "h2":
            name = f"{len(contents) + 1}-{re.sub(r'[^a-z0-9]+', '-', words.lower()).strip('-')}"
            token.attrSet("id", name)
            contents.append((name, words))
        _stand_alone(token.children or (), folder)
    body = _with_details(parser.renderer.render(tokens, parser.options, {}))
    body = body.replace("<table>", '<div class="wide"><table>').replace("</table>", "</table></div>")
    links = "".join(f'<li><a href="#{name}">{html.escape(words)}</a></li>' for name, words in contents)
    nav = f'<nav aria-label="Contents"><ol>{links}</ol></nav>' if len(contents) > 1 else ""
    return _PAGE.format(title=html.escape(title), style=_STYLE, nav=nav, body=body, script=_SCRIPT)


def _plain(token: Token) -> str:
    return "".join(child.content for child in token.children or () if child.type in ("text", "code_inline"))


def _stand_alone(tokens: Iterable[Token], folder: Path) -> None:
    """Puts pictures into the page, and makes text of links that lead to files."""
    tag = "a"
    for token in tokens:
        if token.type == "image":
            token.attrSet("src", _embedded(folder / unquote(str(token.attrGet("src")))))
        elif token.type == "link_open":
            tag = "a" if re.match(r"https?://|#", str(token.attrGet("href"))) else "span"
            if tag == "span":
                token.attrs = {"title": unquote(str(token.attrGet("href")))}
        if token.type in ("link_open", "link_close"):
            token.tag = tag


def _embedded(picture: Path) -> str:
    kind = mimetypes.guess_type(picture.name)[0]
    if kind is None or not picture.is_file():
        raise ValueError(f"page: {picture} must be a picture; there is none, write the report anew by hmtl report")
    return f"data:{kind};base64,{base64.b64encode(picture.read_bytes()).decode()}"


def _with_details(body: str) -> str:
    """Makes marks again of what folds the resolved recipe: HTML is text to the parser."""
    for mark in ("<details>", "</details>", "<summary>", "</summary>"):
        body = body.replace(f"<p>{html.escape(mark)}", mark).replace(html.escape(mark), mark)
    return body.replace("</summary></p>", "</summary>").replace("</details></p>", "</details>")


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
{nav}
<main>
{body}
</main>
<script>{script}</script>
</body>
</html>
"""
_STYLE = """
:root { color-scheme: light dark; --link: #1a4fa3;
  --ink: #1b1b1f; --paper: #ffffff; --faint: #f2f3f6; --line: #c9ccd4; }
@media (prefers-color-scheme: dark) {
  :root { --link: #9cc0ff; --ink: #e7e7ea; --paper: #16171b; --faint: #22242a; --line: #454954; }
  img { background: #ffffff; }
}
* { box-sizing: border-box; }
body { margin: 0; padding: 1.5rem 1rem 4rem; color: var(--ink); background: var(--paper);
  font: 1rem/1.55 system-ui, sans-serif; overflow-wrap: anywhere; }
main, nav { max-width: 62rem; margin: 0 auto; }
nav ol { columns: 16rem; padding: 1rem 1rem 1rem 2.5rem; background: var(--faint); border-radius: .4rem; }
a { color: var(--link); }
h1, h2, h3 { line-height: 1.25; margin: 2.2em 0 .6em; }
h1 { margin-top: .5em; }
img { max-width: 100%; height: auto; border-radius: .3rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
th, td { padding: .35rem .7rem; border-bottom: 1px solid var(--line); white-space: nowrap; text-align: left; }
th button { all: unset; cursor: pointer; font-weight: 600; }
th button:focus-visible, a:focus-visible, summary:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
th[aria-sort="ascending"] button::after { content: " \\25b2"; }
th[aria-sort="descending"] button::after { content: " \\25bc"; }
pre { padding: 1rem; background: var(--faint); border-radius: .4rem; white-space: pre-wrap; }
code { font-size: .9em; }
blockquote { margin: 1em 0; padding: .1em 1em; border-left: .25rem solid var(--line); }
@media print { nav, th button::after { display: none; } body { padding: 0; } h2 { break-after: avoid; }
  img, tr { break-inside: avoid; } .wide { overflow: visible; } th, td { white-space: normal; } }
"""
_SCRIPT = """
for (const table of document.querySelectorAll("table")) {
  const rows = table.tBodies[0];
  if (!rows || rows.rows.length < 2) continue;
  table.querySelectorAll("th").forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      table.querySelectorAll("th").forEach(other => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const text = row => (row.cells[column]?.textContent ?? "").trim();
      const number = row => parseFloat(text(row).replace(/,/g, "").replace("\\u2212", "-"));
      const order = (one, other) => {
        const [a, b] = [number(one), number(other)];
        if (isNaN(a) !== isNaN(b)) return isNaN(a) ? 1 : -1;
        const by = isNaN(a) ? text(one).localeCompare(text(other)) : a - b;
        return up ? by : -by;
      };
      rows.append(...[...rows.rows].sort(order));
    });
  });
}
"""
