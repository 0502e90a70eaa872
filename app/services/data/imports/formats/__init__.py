"""Schemas of rows, one file each; `registry` lists them and tells of which one a file is."""
