-- From an order, an event or a cancellation to the messages that tell of it; and attempts of an account, newest first.
CREATE INDEX messages_by_order ON messages (order_pk, id);
CREATE INDEX attempts_of_account ON attempts (account, id);
