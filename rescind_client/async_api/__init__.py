"""The operations by resource, for asyncio."""

from rescind_client.async_api.accounts import AsyncAccounts
from rescind_client.async_api.attempts import AsyncAttempts
from rescind_client.async_api.cancellations import AsyncCancellations
from rescind_client.async_api.endpoints import AsyncEndpoints
from rescind_client.async_api.events import AsyncEvents
from rescind_client.async_api.keys import AsyncKeys
from rescind_client.async_api.operation import AsyncOperation
from rescind_client.async_api.orders import AsyncOrders
from rescind_client.async_api.policies import AsyncPolicies
from rescind_client.async_api.receipts import AsyncReceipts
from rescind_client.async_api.subscriptions import AsyncSubscriptions
from rescind_client.transport import AsyncTransport


class AsyncResources:
    """All operations."""

    def __init__(self, transport: AsyncTransport) -> None:
        self.orders = AsyncOrders(transport)
        self.cancellations = AsyncCancellations(transport)
        self.events = AsyncEvents(transport)
        self.attempts = AsyncAttempts(transport)
        self.receipts = AsyncReceipts(transport)
        self.accounts = AsyncAccounts(transport)
        self.endpoints = AsyncEndpoints(transport)
        self.policies = AsyncPolicies(transport)
        self.subscriptions = AsyncSubscriptions(transport)
        self.operation = AsyncOperation(transport)
        self.keys = AsyncKeys(transport)
