"""All queries outside of transactions."""

from __future__ import annotations

from app.store.postgres.read.attempt_lists import AttemptListQueries
from app.store.postgres.read.attempts import AttemptQueries
from app.store.postgres.read.cancellation_lists import CancellationListQueries
from app.store.postgres.read.configuration import ConfigurationQueries
from app.store.postgres.read.deliveries import DeliveryQueries
from app.store.postgres.read.delivery_lists import DeliveryListQueries
from app.store.postgres.read.event_lists import EventListQueries
from app.store.postgres.read.events import EventQueries
from app.store.postgres.read.jobs import JobQueries
from app.store.postgres.read.links import LinkQueries
from app.store.postgres.read.log import LogQueries
from app.store.postgres.read.log_chain import LogChainQueries
from app.store.postgres.read.order_lists import OrderListQueries
from app.store.postgres.read.orders import OrderQueries
from app.store.postgres.read.overview import OverviewQueries
from app.store.postgres.read.receipts import ReceiptQueries
from app.store.postgres.read.retention import RetentionQueries
from app.store.postgres.read.sessions import SessionQueries
from app.store.postgres.read.traces import TraceQueries
from app.store.postgres.read.traffic import TrafficQueries


class PostgresReader(
    OrderQueries,
    OrderListQueries,
    EventQueries,
    EventListQueries,
    LogQueries,
    LogChainQueries,
    LinkQueries,
    ReceiptQueries,
    JobQueries,
    CancellationListQueries,
    AttemptQueries,
    AttemptListQueries,
    ConfigurationQueries,
    DeliveryQueries,
    DeliveryListQueries,
    TraceQueries,
    TrafficQueries,
    RetentionQueries,
    SessionQueries,
    OverviewQueries,
):
    """`Reader` on PostgreSQL; its methods are described there."""
