"""A class for each type of problem, by which a caller catches it."""

from rescind_client.problem import Problem


class BadRequest(Problem):
    """Malformed request (400)."""

    slug = "bad-request"


class Unauthorized(Problem):
    """Missing or invalid API key (401)."""

    slug = "unauthorized"


class UnauthenticWebhook(Problem):
    """Webhook verification failed (401)."""

    slug = "unauthentic-webhook"


class Forbidden(Problem):
    """The API key does not allow this (403)."""

    slug = "forbidden"


class AddressNotAllowed(Problem):
    """The endpoint takes no requests from this address (403)."""

    slug = "address-not-allowed"


class NotFound(Problem):
    """Not found (404)."""

    slug = "not-found"


class MethodNotAllowed(Problem):
    """Method not allowed (405)."""

    slug = "method-not-allowed"


class OrderNotCancelable(Problem):
    """The order cannot be canceled (409)."""

    slug = "order-not-cancelable"


class AmbiguousOrder(Problem):
    """Several orders have this name (409)."""

    slug = "ambiguous-order"


class CancellationExists(Problem):
    """The order already has a live cancellation (409)."""

    slug = "cancellation-exists"


class WrongState(Problem):
    """The cancellation's state does not allow this (409)."""

    slug = "wrong-state"


class ConfirmationNeeded(Problem):
    """Confirmation needed (409)."""

    slug = "confirmation-needed"


class RequestInFlight(Problem):
    """The same request is still in progress (409)."""

    slug = "request-in-flight"


class AlreadyExists(Problem):
    """The resource already exists (409)."""

    slug = "already-exists"


class ResourceInUse(Problem):
    """The resource is in use (409)."""

    slug = "resource-in-use"


class ContentExpunged(Problem):
    """The content was expunged (410)."""

    slug = "content-expunged"


class BodyTooLarge(Problem):
    """Body too large (413)."""

    slug = "body-too-large"


class InvalidRequest(Problem):
    """Invalid request (422)."""

    slug = "invalid-request"


class IdempotencyKeyReused(Problem):
    """Idempotency-Key used for a different request (422)."""

    slug = "idempotency-key-reused"


class TooManyRequests(Problem):
    """Too many requests (429)."""

    slug = "too-many-requests"


class ProviderFailed(Problem):
    """The provider's API failed (502)."""

    slug = "provider-failed"


class Busy(Problem):
    """Temporarily unavailable (503)."""

    slug = "busy"


class Internal(Problem):
    """Internal error (500)."""

    slug = "internal"
