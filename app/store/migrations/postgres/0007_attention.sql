CREATE INDEX cancellations_for_approval ON @cancellations (seq) WHERE state = 'scheduled' AND waiting = 'approval';
CREATE INDEX receipts_set_aside ON @receipts (status, id) WHERE status <> 'accepted';
CREATE INDEX events_by_receipt ON @events (receipt, seq) WHERE receipt IS NOT NULL;
