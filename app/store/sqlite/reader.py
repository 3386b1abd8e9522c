"""All queries outside of transactions, on connections that cannot write."""

from __future__ import annotations

from app.store.sqlite.read.attempts import AttemptQueries
from app.store.sqlite.read.cancellation_lists import CancellationListQueries
from app.store.sqlite.read.configuration import ConfigurationQueries
from app.store.sqlite.read.deliveries import DeliveryQueries
from app.store.sqlite.read.event_facets import EventFacetQueries
from app.store.sqlite.read.events import EventQueries
from app.store.sqlite.read.jobs import JobQueries
from app.store.sqlite.read.links import LinkQueries
from app.store.sqlite.read.log import LogQueries
from app.store.sqlite.read.log_chain import LogChainQueries
from app.store.sqlite.read.order_lists import OrderListQueries
from app.store.sqlite.read.orders import OrderQueries
from app.store.sqlite.read.overview import OverviewQueries
from app.store.sqlite.read.receipts import ReceiptQueries
from app.store.sqlite.read.retention import RetentionQueries
from app.store.sqlite.read.sessions import SessionQueries
from app.store.sqlite.read.traces import TraceQueries
from app.store.sqlite.read.traffic import TrafficQueries


class SqliteReader(
    OrderQueries,
    OrderListQueries,
    EventQueries,
    EventFacetQueries,
    LogQueries,
    LogChainQueries,
    LinkQueries,
    ReceiptQueries,
    JobQueries,
    CancellationListQueries,
    AttemptQueries,
    ConfigurationQueries,
    DeliveryQueries,
    TraceQueries,
    TrafficQueries,
    RetentionQueries,
    SessionQueries,
    OverviewQueries,
):
    """`Reader` on SQLite; its methods are described there."""
