"""Model text to safe HTML: Markdown without raw HTML, then an allow-list; TeX stays text for the browser to typeset.

What a model writes is untrusted input. Two independent layers keep it harmless: markdown-it emits no tag of the
text's own, and nh3 passes only the tags below. Images are not drawn at all: a remote one would tell its server who
is judging what.
"""

from functools import lru_cache
from itertools import pairwise

import nh3
from markdown_it import MarkdownIt
from markdown_it.common.utils import escapeHtml, unescapeAll
from markdown_it.renderer import RendererHTML
from markdown_it.rules_block import StateBlock, blockquote, list_block, table
from markdown_it.rules_block.table import escapedSplit
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict
from markupsafe import Markup

from app.web.rendering import signs
from app.web.rendering.highlight import CLASSES, LEXERS, OTHER_NAMES, Budget, highlight

# Longer texts are shown as they are. Rendering is done in the request: an ordinary text of this length takes about
# 20 ms, the worst that tests know under a second, once.
LONGEST_RENDERED = 30_000
CACHED_TEXTS = 2_048
# Levels of quotes and lists within one another, two for each list. Of a text that goes below nothing is left out: it is
# shown as it is.
DEEPEST = 100

# Headings of a response stand below the page's own.
FIRST_HEADING, LAST_HEADING = 3, 6
LINK_SCHEMES = ("https://", "http://", "mailto:")

TAGS = {
    *("p", "br", "hr", "blockquote", "pre", "code", "em", "strong", "s", "del", "ul", "ol", "li", "a", "span"),
    *("h3", "h4", "h5", "h6", "table", "thead", "tbody", "tr", "th", "td"),
}
ATTRIBUTES = {
    "a": {"href", "title"},
    "ol": {"start"},
    "li": {"value"},
    "span": {"class", "data-display"},
    "code": {"class"},
}
SPAN_CLASSES = {"tex", *CLASSES.values()}


@lru_cache(maxsize=CACHED_TEXTS)
def render_markdown(text: str) -> Markup:
    """HTML that is safe to put on a page as it is."""
    as_it_is = Markup("<pre>{}</pre>").format(text)
    if len(text) > LONGEST_RENDERED:
        return as_it_is
    parser = _parser()
    env: EnvType = {}
    tokens = parser.parse(text, env)
    if any(token.level >= DEEPEST - 1 for token in tokens):
        return as_it_is
    html = nh3.clean(
        parser.renderer.render(tokens, parser.options, env),
        tags=TAGS,
        attributes=ATTRIBUTES,
        allowed_classes={},
        attribute_filter=_only_our_classes,
        url_schemes={"http", "https", "mailto"},
        link_rel="noopener noreferrer nofollow",
        set_tag_attribute_values={"a": {"target": "_blank"}},
    )
    return Markup(html)  # noqa: S704 - nh3 has just cleaned it


def _only_our_classes(tag: str, attribute: str, value: str) -> str | None:
    if attribute != "class":
        return value
    if tag == "span":
        return value if value in SPAN_CLASSES else None
    return value if value.startswith("language-") and value[9:].replace("+", "").replace("-", "").isalnum() else None


class _OutwardLinks(MarkdownIt):
    """Links lead to other sites only: none of a model's leads anywhere on ours."""

    def validateLink(self, url: str) -> bool:  # noqa: N802 - markdown-it's name
        return url.lower().startswith(LINK_SCHEMES)


@lru_cache(maxsize=1)
def _parser() -> MarkdownIt:
    parser = _OutwardLinks("commonmark", {"html": False, "linkify": False, "breaks": True, "maxNesting": DEEPEST})
    parser.enable(["table", "strikethrough"])
    # A line below another is a rule, not the sign of a heading; the name of a character is what was written.
    parser.disable(["image", "html_block", "html_inline", "reference", "lheading", "entity"])
    parser.block.ruler.at("table", _whole_table, {"alt": ["paragraph", "reference"]})
    parser.block.ruler.at("blockquote", _quote, {"alt": ["paragraph", "reference", "blockquote", "list"]})
    parser.block.ruler.at("list", _list, {"alt": ["paragraph", "reference", "blockquote"]})
    parser.inline.ruler.before("escape", "tex", signs.tex)
    parser.inline.ruler.before("escape", "backslash", signs.backslash)
    parser.inline.ruler.before("emphasis", "product", signs.product)
    parser.add_render_rule("tex", _render_tex)
    parser.add_render_rule("fence", _render_fence)
    parser.core.ruler.push("place_headings", lambda state: _place_headings(state.tokens))
    parser.core.ruler.push("keep_numbers", lambda state: _keep_numbers(state.tokens))
    return parser


def _whole_table(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """A table of which every cell is shown: what a row has beyond the head's columns stands in its last one."""
    first = len(state.tokens)
    if not table(state, start, end, silent):
        return False
    cells: list[Token] = []
    for token in state.tokens[first:]:
        if token.type == "tr_open":
            cells = []
            line = token.map[0] if token.map else start
        elif token.type == "inline":
            cells.append(token)
        elif token.type == "tr_close" and cells:
            written = escapedSplit(_line(state, line).strip().removeprefix("|"))
            beyond = [cell.strip() for cell in written[len(cells) :]]
            cells[-1].content = " | ".join([cells[-1].content, *filter(None, beyond)])
    return True


def _quote(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    return signs.is_quote(_line(state, start)) and blockquote(state, start, end, silent)


def _list(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    return signs.is_list(_line(state, start)) and list_block(state, start, end, silent)


def _line(state: StateBlock, number: int) -> str:
    return state.src[state.bMarks[number] + state.tShift[number] : state.eMarks[number]]


def _place_headings(tokens: list[Token]) -> None:
    """As deep as they stand below one another: who reads by headings misses no level that was left out."""
    above: list[str] = []
    for token in tokens:
        if token.type == "heading_open":
            above = [tag for tag in above if tag < token.tag] + [token.tag]
        if token.type in {"heading_open", "heading_close"}:
            token.tag = f"h{min(LAST_HEADING, FIRST_HEADING + len(above) - 1)}"


def _keep_numbers(tokens: list[Token]) -> None:
    """A list counts as it was written. Browsers would go on from the first number, whatever the others are."""
    lists: list[list[Token]] = []
    for token in tokens:
        if token.type == "ordered_list_open":
            lists.append([])
        elif token.type == "list_item_open" and token.info:
            lists[-1].append(token)
        elif token.type == "ordered_list_close":
            items = lists.pop()
            if len({item.info for item in items}) == 1:
                continue  # 1. 1. 1. leaves counting to the reader's side
            for before, item in pairwise(items):
                if int(item.info) != int(before.info) + 1:
                    item.attrSet("value", str(int(item.info)))


def _render_tex(self: RendererHTML, tokens: list[Token], index: int, options: OptionsDict, env: EnvType) -> str:
    token = tokens[index]
    return f'<span class="tex" data-display="{token.markup}">{escapeHtml(token.content)}</span>'


def _render_fence(self: RendererHTML, tokens: list[Token], index: int, options: OptionsDict, env: EnvType) -> str:
    token = tokens[index]
    info = unescapeAll(token.info).strip()
    language = info.split(maxsplit=1)[0] if info else ""
    budget = env.setdefault("budget", Budget())
    code = highlight(token.content, language, budget) or escapeHtml(token.content)
    named = f' class="language-{escapeHtml(language)}"' if language else ""
    # Models forget line ends: what is no language that we know may be the first words of a text.
    is_known = OTHER_NAMES.get(info.lower(), info.lower()) in LEXERS
    title = f"<p><code>{escapeHtml(info)}</code></p>\n" if info and not is_known else ""
    return f"{title}<pre><code{named}>{code}</code></pre>\n"
