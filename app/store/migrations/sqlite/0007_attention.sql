-- What waits for a person, and what came in: found by an index, however long the log is.

CREATE INDEX cancellations_for_approval ON cancellations (seq)
    WHERE state = 'scheduled' AND json_extract(body, '$.waiting') = 'approval';

-- Receipts by account; those that brought nothing new are few, and are found by what became of them.
CREATE INDEX receipts_by_account ON receipts (account, id);
CREATE INDEX receipts_set_aside ON receipts (status, id) WHERE status <> 'accepted';

-- What a receipt became. Receipts are numbered by time, so that new entries stand at the end.
CREATE INDEX events_by_receipt ON events (receipt) WHERE receipt IS NOT NULL;
