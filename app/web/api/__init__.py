"""The REST API: `/api/v1` for programs with a bearer token, and its documentation at `/api/docs`."""
