CREATE INDEX messages_by_order ON @messages (order_pk, id);
