"""Static files at `/static/{digest}/…`: kept for ever under the digest of today, checked again under any other."""

from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from app.web.rendering.render import static_digest


class DigestedStaticFiles(StaticFiles):
    async def get_response(self, path: str, scope: Scope) -> Response:
        digest, _, file = path.partition("/")
        response = await super().get_response(file, scope)
        # A page that was open while a new version was installed still asks under the old digest: it gets the new
        # file.
        is_current = digest == static_digest() and response.status_code in {200, 206, 304}
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable" if is_current else "no-cache"
        return response
