"""From values to HTML: templates, Markdown, highlighted code."""
