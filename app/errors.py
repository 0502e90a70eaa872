"""What can go wrong in the domain, drawn once.

    DomainError            400  the class docstring is the default message
    ├── NotSignedIn        401
    ├── Forbidden          403
    ├── NotFound           404
    ├── Conflict           409
    │   ├── LeaseExpired   409
    │   ├── Erased         409
    │   └── AnsweredBefore 409
    ├── Invalid            422
    │   └── KeyReused      422
    ├── TooMany            429
    ├── Unavailable        503
    └── NoRoom             507

Services raise these and know nothing of HTTP; `app.web.serving.errors` and the command line render them.
"""


class DomainError(Exception):
    """That can't be done."""

    status = 400
    retry_after_seconds: int | None = None
    """When it is worth trying again, where that is known; answers say it in the header Retry-After."""

    def __init__(self, template: str | None = None, **named: object) -> None:
        """`template` is what the catalogues hold; `%(name)s` in it stands for what is given by that name."""
        self.template = template or (type(self).__doc__ or "").strip()
        self.named = named
        super().__init__(self.template % named if named else self.template)

    @property
    def message(self) -> str:
        return str(self)


class NotSignedIn(DomainError):
    """Please sign in first."""

    status = 401


class Forbidden(DomainError):
    """You don't have access to this."""

    status = 403


class NotFound(DomainError):
    """There is nothing here, or you don't have access to it."""

    status = 404


class Conflict(DomainError):
    """Somebody changed this in the meantime."""

    status = 409


class LeaseExpired(Conflict):
    """Your reservation of this task ended and somebody else has taken the last place."""


class Erased(Conflict):
    """Something in this task was erased, so nobody is shown it any more."""


class AnsweredBefore(Conflict):
    """You have answered this already, in another window. What you say here has not been saved."""


class Invalid(DomainError):
    """That input can't be used."""

    status = 422


class KeyReused(Invalid):
    """This idempotency key was already used with another body."""


class TooMany(DomainError):
    """Too many tries. Wait a minute and try again."""

    status = 429

    def __init__(self, template: str | None = None, *, retry_after_seconds: int = 60, **named: object) -> None:
        self.retry_after_seconds = retry_after_seconds
        super().__init__(template, **named)


class Unavailable(DomainError):
    """The site can't reach its database just now, and nothing was saved. Try again in some seconds."""

    status = 503


class NoRoom(DomainError):
    """The disk of this site is nearly full: nothing that needs much room is started or taken in until some is free."""

    status = 507
