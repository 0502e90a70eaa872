"""Backups: a whole installation written to a file, a folder or a storage, and put back onto an empty one."""
