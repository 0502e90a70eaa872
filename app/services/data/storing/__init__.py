"""Rows of files on their way into the database: checked, stored in one piece, and taken back in one piece."""
