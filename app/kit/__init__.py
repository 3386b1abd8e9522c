"""What handlers share: pure functions and tables, none of which knows a provider.

Which piece serves which file of a handler:

- `config.py`: `kit.config` has checked types (`Secret`, `HeaderSecret`, `PathTemplate`) and fields (`undocumented`,
  `timeout_s`); `secret_values` for `responses.py`.
- `webhook.py`: `kit.signing` (`verify_token`, `HmacScheme` and their parts); `kit.payload` (`decode`,
  `pick_attributes`); `kit.keys` for keys that are settings (`find`, `first_value`, `first_status`, `event_name`,
  `no_event_or_status`); `kit.ids` (`read_id` is strict, `id_or_none` is not); `kit.times` (`read_time`, `time_at`,
  `first_time`); `kit.phases` (`furthest`).
- `rules.py`: `kit.verdicts` (`yes`, `no`, `unknown` with the fields that are the evidence, `final`,
  `status_is_current`, common reasons); `kit.arguments` for `check` (`check_choice`, `check_length`, `check_no_note`).
- `responses.py`: `kit.responses`: one `ResponseTable` and a `read(response, config)`; `kit.excerpts`.
- `cancel.py`: `kit.flows` (`per_order`, or `flow_per_order` where an order needs several calls; `json_call`,
  `read_snapshot`, `same_order`, `cancel_unsendable`, `probe_unsendable`); `kit.ids` (`path_segment`, `whole_number`).
- `simulator.py`: `kit.simulator` (`BaseSimulator` with `@action` methods, `Book`, `BaseOrder`, `Window` or `Bucket`).

The way of a response: `object_or_none` decodes it; the handler reads what the provider says is wrong (`errors`);
`RESPONSES.kind_of(status, errors, readable=…, genuine=…)` looks up its kind; `RESPONSES.read(…)` adds a sentence for
people, without secrets; `RESPONSES.cancel_result(…)` or `read_snapshot(…)` says what it comes to. The table holds only
what a provider does otherwise than HTTP says; the rest is `responses.STANDARD`.
"""
