"""What people ask a worker for outside of rounds, and whole projects as one thing."""
