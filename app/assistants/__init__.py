"""An MCP server: a site's API as tools for assistants, with the rights of one token."""
