"""How a report looks: its style sheet, and the HTML of tables, figures and the page.

The page is also well-formed XML. Texts are escaped by `escape` where they enter HTML; all other
arguments named `content`, and all cells of tables, are HTML already.
"""

import base64
import html
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

_STYLE = """
:root { color-scheme: light dark; --ink: #1b2330; --soft: #566071; --line: #d5dbe4;
  --page: #ffffff; --card: #f3f6f9; --accent: #0072b2; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e7ebf1; --soft: #a6b0bf; --line: #3a4350; --page: #14181e; --card: #1e242c;
    --accent: #56b4e9; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0 auto; max-width: 74rem; padding: 2rem 1rem 4rem; background: var(--page);
  color: var(--ink); font: 1.0625rem/1.6 system-ui, "Segoe UI", Roboto, "Liberation Sans",
  sans-serif; overflow-wrap: anywhere; }
h1 { font-size: clamp(1.6rem, 5vw, 2.4rem); line-height: 1.2; margin: 0 0 1.5rem;
  text-wrap: balance; }
h2 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 1rem; }
h3 { font-size: 1.05rem; margin: 2rem 0 .5rem; }
p { max-width: 44rem; margin: 0 0 1rem; }
a { color: var(--accent); }
section { margin: 0 0 3.5rem; scroll-margin-top: 1rem; }
nav { margin: 0 0 2.5rem; font-size: .95rem; }
nav ol { list-style: none; margin: 0; padding: 0; columns: 15rem; }
nav a { display: block; padding: .2rem 0; text-decoration: none; }
nav a:hover { text-decoration: underline; }
.answer { border-left: .3rem solid var(--accent); background: var(--card); border-radius: .3rem;
  padding: 1.1rem 1.3rem; margin: 0 0 1.5rem; font-size: 1.2rem; line-height: 1.5;
  max-width: 50rem; }
.answer p { margin: 0; }
.answer p + p { margin-top: .6rem; }
figure { margin: 1.5rem 0; }
figcaption, .note { color: var(--soft); font-size: .9rem; line-height: 1.5; max-width: 44rem; }
figcaption { margin-top: .6rem; }
.plot img { display: block; width: 100%; max-width: 36rem; background: #fff;
  border: 1px solid var(--line); border-radius: .4rem; padding: .5rem; }
.scroll { overflow-x: auto; margin: 0 0 .75rem; max-width: 100%; }
.scroll:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
table { border-collapse: collapse; font-size: .92rem; line-height: 1.4;
  font-variant-numeric: tabular-nums; overflow-wrap: normal; }
.title { margin: 0 0 .4rem; font-weight: 600; font-size: .95rem; line-height: 1.4; }
th, td { padding: .45rem .8rem; border-bottom: 1px solid var(--line); text-align: right;
  white-space: nowrap; }
thead th { vertical-align: bottom; border-bottom: 2px solid var(--soft); white-space: normal;
  min-width: 4.2rem; }
th:first-child { text-align: left; padding-left: .2rem; position: sticky; left: 0;
  background: var(--page); }
.name { white-space: nowrap; }
.name wbr { white-space: normal; }
tbody th { font-weight: 500; white-space: normal; min-width: 7.5rem; }
tr.main th, tr.main td { font-weight: 700; }
.words td { text-align: left; white-space: normal; }
.side { display: flex; flex-wrap: wrap; gap: 1rem 2rem; align-items: flex-start; }
.side > * { max-width: 100%; min-width: 0; }
.shades { width: 17rem; max-width: 100%; }
.shades th, .shades td { text-align: center; border: 2px solid var(--page); padding: .45rem .3rem;
  min-width: 3.6rem; }
.shades tbody th { text-align: left; min-width: 4rem; }
.shades td b { display: block; font-size: 1.05rem; }
.shades td span { font-size: .78rem; }
.patches { display: flex; flex-wrap: wrap; gap: .6rem; margin: 0 0 1.2rem; }
.patches figure { margin: 0; width: 6rem; }
.patches.wide figure { width: 8.7rem; }
.patches img { display: block; width: 100%; border-radius: .2rem; border: 2px solid transparent; }
.patches .real img { border-color: #e69f00; }
.patches figcaption { margin-top: .25rem; font-size: .8rem; line-height: 1.35; color: var(--soft); }
.patches figcaption b { color: var(--ink); }
details { margin: 0 0 .75rem; border: 1px solid var(--line); border-radius: .4rem;
  padding: .6rem .9rem; }
summary { cursor: pointer; font-weight: 600; color: var(--accent); }
details[open] > summary { margin-bottom: .8rem; }
dl { display: grid; grid-template-columns: minmax(7rem, max-content) minmax(0, 1fr);
  gap: .25rem 1.2rem; margin: 0 0 1rem; font-size: .92rem; }
dt { color: var(--soft); }
dd { margin: 0; }
@media (min-width: 66rem) {
  body { display: grid; grid-template-columns: 13rem minmax(0, 1fr); column-gap: 3rem; }
  header { grid-column: 1 / -1; }
  nav { position: sticky; top: 1.5rem; align-self: start; }
  nav ol { columns: 1; }
  .plot { display: grid; grid-template-columns: minmax(0, 31rem) minmax(0, 1fr); gap: 1.8rem;
    align-items: start; }
  .plot figcaption { margin-top: 0; } }
@media (max-width: 30rem) {
  body { padding: 1.2rem 1rem 3rem; font-size: 1rem; }
  .answer { font-size: 1.08rem; padding: .9rem 1rem; }
  th, td { padding: .4rem .55rem; }
  .patches { gap: .4rem; }
  .patches figure { width: calc((100% - .8rem) / 3); }
  .patches.wide figure { width: calc((100% - .4rem) / 2); } }
@page { margin: 15mm; }
@media print {
  :root { color-scheme: light; --ink: #000; --soft: #444; --line: #ccc; --page: #fff;
    --card: #f3f3f3; --accent: #005a8c; }
  body { display: block; max-width: none; padding: 0; font-size: 10.5pt; }
  nav { display: none; }
  .scroll { overflow: visible; }
  table { font-size: 7.5pt; }
  th, td { padding: .25rem .35rem; }
  thead th { min-width: 0; }
  th:first-child { position: static; }
  h2, h3 { break-after: avoid; }
  figure, tr, .patches, .answer { break-inside: avoid; }
  .plot { display: block; }
  .plot img { max-width: 10.5cm; }
  .patches figure { width: 14%; }
  .patches.wide figure { width: 15%; }
  .page { break-before: page; }
  td, .answer { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
"""


class Section(NamedTuple):
    """One section of the page.

    Attributes:
      anchor: its id.
      heading: text.
      content: HTML; the section is left out where this is empty.
      new_page: whether it starts a new page when printed.
    """

    anchor: str
    heading: str
    content: str
    new_page: bool = False


def page(title: str, lead: str, sections: Iterable[Section]) -> str:
    """The whole page.

    Args:
      title: text.
      lead: HTML between the title and the table of contents.
      sections: in their order.
    """
    shown = [section for section in sections if section.content]
    contents = "".join(f'<li><a href="#{s.anchor}">{escape(s.heading)}</a></li>' for s in shown)
    body = "".join(
        f'<section id="{s.anchor}" class="{"page" if s.new_page else ""}">'
        f"<h2>{escape(s.heading)}</h2>\n{s.content}</section>\n"
        for s in shown
    )
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"/>
<meta name="viewport" content="width=device-width, initial-scale=1"/>
<title>{escape(title)}</title><style>{_STYLE}</style></head><body>
<header><h1>{escape(title)}</h1>{lead}</header>
<nav aria-label="Contents"><ol>{contents}</ol></nav>
<main>
{body}</main></body></html>
"""


def escape(value: Any) -> str:
    """Text as HTML, for content and attributes."""
    return html.escape(str(value))


def breakable(regime: str) -> str:
    """Regimes as HTML that breaks into lines only at certain places."""
    text = escape(regime).replace(":", ":<wbr/>").replace("+", "<wbr/>+")
    return f'<span class="name">{text.replace(" less ", " <wbr/>less ")}</span>'


def number(value: float, digits: int = 3, sign: bool = False) -> str:
    """A number with `digits` decimals; a dash where it is not defined."""
    if math.isnan(value):
        return "–"
    return f"{value:{'+' if sign else ''}.{digits}f}".replace("-", "−")


def interval(low: float, high: float, digits: int = 3, sign: bool = False) -> str:
    """Both ends of an interval."""
    return f"{number(low, digits, sign)} to {number(high, digits, sign)}"


def table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    caption: str,
    *,
    look: str = "",
    main: Sequence[int] = (),
) -> str:
    """A table in a box of its own that scrolls where the page is narrow.

    Args:
      head: names of the columns, text.
      rows: cells of each row; the first is the row's heading.
      caption: text that says what is in the table.
      look: class of the table: "words" or "shades".
      main: numbers of the rows to stand out.
    """
    heads = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    body = []
    for place, (first, *others) in enumerate(rows):
        cells = "".join(cell if cell.startswith("<td") else f"<td>{cell}</td>" for cell in others)
        look_of_row = ' class="main"' if place in main else ""
        body.append(f'<tr{look_of_row}><th scope="row">{first}</th>{cells}</tr>\n')
    label = escape(caption)
    return (  # the caption stands outside, so that it is wrapped where the table scrolls
        f'<div><p class="title">{label}</p><div class="scroll" role="region" tabindex="0" '
        f'aria-label="{label}"><table class="{look}" aria-label="{label}">'
        f"<thead><tr>{heads}</tr></thead>\n<tbody>{''.join(body)}</tbody></table></div></div>\n"
    )


def shaded(content: str, share: float) -> str:
    """A cell whose background runs from white, at 0, to blue, at 1; readable in dark mode too."""
    share = 0.0 if math.isnan(share) else min(max(share, 0.0), 1.0)
    red, green, blue = (round(255 + share * (end - 255)) for end in (0, 114, 178))
    ink = "#ffffff" if share > 0.9 else "#10151c"  # whichever has more contrast
    return f'<td style="background:rgb({red},{green},{blue});color:{ink}">{content}</td>'


def figure(content: str, caption: str, look: str = "") -> str:
    """Something with a caption, text."""
    return f'<figure class="{look}">{content}<figcaption>{escape(caption)}</figcaption></figure>\n'


def image(data: bytes, kind: str, alternative: str) -> str:
    """A picture inside the page.

    Args:
      data: the file.
      kind: "png" or "svg+xml".
      alternative: text for those who do not see it.
    """
    encoded = base64.b64encode(data).decode()
    return f'<img alt="{escape(alternative)}" src="data:image/{kind};base64,{encoded}"/>'


def details(heading: str, content: str) -> str:
    """Content that is folded away."""
    return f"<details><summary>{escape(heading)}</summary>{content}</details>\n"


def note(text: str) -> str:
    """A paragraph of explanation."""
    return f'<p class="note">{escape(text)}</p>\n'


def entries(values: Mapping[str, str]) -> str:
    """Names and their values, text."""
    pairs = (f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in values.items())
    return f"<dl>{''.join(pairs)}</dl>\n"
