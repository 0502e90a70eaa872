"""The board on which people judge, and its two rooms: that of annotators and that of reviewers."""
