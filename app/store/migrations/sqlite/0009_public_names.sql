-- Columns, and the fields of orders and cancellations, under the names that the documentation and the API use. What is
-- derived from the log is rewritten (`app/store/upcast.py`); the log itself is not, and is brought to these names when
-- it is read. Most orders have none of the fields that were renamed.
ALTER TABLE orders RENAME COLUMN wakes_at TO next_check_at;
ALTER TABLE backtests RENAME COLUMN substance TO condition_hash;
UPDATE orders SET state = upcast_order(state)
    WHERE instr(state, '"live":') OR instr(state, '"doubt":') OR instr(state, '"standings":') OR instr(state, '"spared":');
UPDATE cancellations SET body = upcast_cancellation(body);
