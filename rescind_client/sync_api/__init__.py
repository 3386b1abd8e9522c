"""The operations by resource, waiting for each response."""

from rescind_client.sync_api.accounts import Accounts
from rescind_client.sync_api.attempts import Attempts
from rescind_client.sync_api.cancellations import Cancellations
from rescind_client.sync_api.endpoints import Endpoints
from rescind_client.sync_api.events import Events
from rescind_client.sync_api.keys import Keys
from rescind_client.sync_api.operation import Operation
from rescind_client.sync_api.orders import Orders
from rescind_client.sync_api.policies import Policies
from rescind_client.sync_api.receipts import Receipts
from rescind_client.sync_api.subscriptions import Subscriptions
from rescind_client.transport import SyncTransport


class Resources:
    """All operations."""

    def __init__(self, transport: SyncTransport) -> None:
        self.orders = Orders(transport)
        self.cancellations = Cancellations(transport)
        self.events = Events(transport)
        self.attempts = Attempts(transport)
        self.receipts = Receipts(transport)
        self.accounts = Accounts(transport)
        self.endpoints = Endpoints(transport)
        self.policies = Policies(transport)
        self.subscriptions = Subscriptions(transport)
        self.operation = Operation(transport)
        self.keys = Keys(transport)
