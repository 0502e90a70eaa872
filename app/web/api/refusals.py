"""Every status by which a call can be refused, said in one place for the description of the API."""

from typing import Any

from app.web.api.schemas import Problem

SCHEMA = Problem.model_json_schema()

# By any call.
_ALWAYS = {
    400: "The request can't be carried out as it was sent; `detail` says why.",
    401: "No valid token.",
    403: "Your role in the project doesn't allow it, or the token isn't for it.",
    404: "Nothing there, or nothing that you may see.",
    409: "Not as things stand: `type` and `detail` say what is in the way.",
    422: "A field can't be used; `errors` says which.",
    429: "Too many requests; `Retry-After` says when the next one is answered.",
    503: "The site can't reach its database just now, and nothing was saved: send it again.",
}
_BY_METHOD = {
    "post": {413: "The body is too large.", 507: "The disk of the site is nearly full."},
    "put": {413: "The body is too large."},
    "patch": {
        412: "Somebody has changed this since you read it.",
        413: "The body is too large.",
        428: "The header `If-Match` is missing.",
    },
}
_TITLES = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    409: "Conflict",
    412: "Precondition Failed",
    413: "Content Too Large",
    422: "Unprocessable Content",
    428: "Precondition Required",
    429: "Too Many Requests",
    503: "Service Unavailable",
    507: "Insufficient Storage",
}


def describe(operation: dict[str, Any], method: str) -> None:
    """Tell of every status by which this operation can be refused; what it says of one itself stays."""
    told = operation["responses"]
    for status, about in (_ALWAYS | _BY_METHOD.get(method, {})).items():
        own = told.get(str(status), {}).get("description")
        # The framework's own 422 describes a body that is never sent here.
        said = own if own and own != "Validation Error" else about
        told[str(status)] = {"description": said, "content": _content(status, said)}
    operation["responses"] = dict(sorted(told.items()))


def _content(status: int, about: str) -> dict[str, Any]:
    example = {
        "type": "/api/docs#errors",
        "title": _TITLES[status],
        "status": status,
        "detail": about,
        "request_id": "3f0c5d1e9a7b4c26",
    }
    return {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}, "example": example}}
