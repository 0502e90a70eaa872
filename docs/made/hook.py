"""What MkDocs calls while it builds the site: adds the made pages and the documents beside `docs`, and leaves no script
within pages, so that the site's strict content policy holds there, too.
"""

import re
from hashlib import sha256
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from docs.made import calls, client, command_line, formats, settings, stages

ROOT = Path(__file__).resolve().parents[2]
MADE = {
    "reference/command-line.md": command_line.markdown,
    "reference/calls.md": calls.markdown,
    "reference/settings.md": settings.markdown,
    "reference/stages.md": stages.markdown,
    "reference/formats.md": formats.markdown,
}
BESIDE = {
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "docker-compose.yml": "docker-compose.yml",
    "static/img/icon.svg": "icon.svg",
}
CLIENT = "reference/client.md"
SCRIPT = re.compile(r"<script>(.+?)</script>", flags=re.DOTALL)
FILE_NAME = re.compile(r"\[(?:docs/)?([\w-]+)\.md\](?=\()")
SCRIPTS = "assets/javascripts"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """A page for what isn't there is the site's own, and a sitemap would need an address."""
    config.theme.static_templates.clear()
    if has_client():
        reference = next(part["Reference"] for part in config.nav or [] if "Reference" in part)
        reference.append({"Python client": CLIENT})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for path, write in MADE.items():
        files.append(File.generated(config, path, content=write()))
    if has_client():
        files.append(File.generated(config, CLIENT, content=client.markdown(ROOT / "client")))
    for path, name in BESIDE.items():
        if name.endswith(".md"):
            files.append(File.generated(config, name, content=_moved_down((ROOT / path).read_text())))
        else:
            files.append(File.generated(config, name, abs_src_path=str(ROOT / path)))
    return files


def has_client() -> bool:
    return (ROOT / "client").is_dir()


def _moved_down(text: str) -> str:
    """A document of the top folder, with its links as `docs` has them."""
    for path, name in BESIDE.items():
        text = text.replace(f"]({path}", f"]({name}")
    return text.replace("](docs/", "](")


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links out of `docs`, as the repository has them, lead to the copy within; no page is called by its file."""
    up = "../" * page.file.src_uri.count("/")
    for path, name in BESIDE.items():
        markdown = markdown.replace(f"]({up}../{path}", f"]({up}{name}")
    return FILE_NAME.sub(lambda found: f"[{found.group(1).replace('-', ' ')}]", markdown)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Scripts within the page become files that are called by their digest."""
    up = "../" * page.url.count("/")

    def moved(found: re.Match[str]) -> str:
        script = found.group(1)
        name = f"{SCRIPTS}/{sha256(script.encode()).hexdigest()[:16]}.js"
        target = Path(config.site_dir, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(script)
        return f'<script src="{up}{name}"></script>'

    return SCRIPT.sub(moved, output)
