"""Bytes to rows: `source.Source` reads a file, a pipe or an upload, whatever it is packed and written in."""
