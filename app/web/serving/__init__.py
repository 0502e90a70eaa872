"""What every request passes: sessions, errors, protection, static files, the event stream."""
