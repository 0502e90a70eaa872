"""Data that come in and go out: imports, dataset versions, exports."""
