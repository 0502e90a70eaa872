"""The documentation's site at `/docs/`, for everybody, where it was built; without it there is nothing here."""

from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from app.web.rendering.render import DOCUMENTATION


class Documentation(StaticFiles):
    def __init__(self) -> None:
        super().__init__(directory=DOCUMENTATION, html=True, check_dir=False)

    async def check_config(self) -> None:
        """That nobody has built it is no mistake: nothing is found then."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        # A page of the version before would name scripts that are gone.
        response.headers["Cache-Control"] = "no-cache"
        return response
