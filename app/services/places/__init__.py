"""Places that keep contents by name: a folder, and a storage that speaks S3."""
