"""What an attacker may try, and where it is tested.

| attack | test |
|---|---|
| gzip, zstd, deflate bombs | integration/test_bombs.py test_compressed_bombs, ..._at_once..., unit/test_otlp.py |
| 64 MiB + 1 | integration/test_bombs.py test_one_byte_too_many, test_a_message_announced_and_not_sent... |
| messages that unfold in memory | integration/test_bombs.py test_requests_made_of_nothing |
| nested AnyValue | integration/test_bombs.py test_bottomless_nesting, unit/test_otlp.py |
| 1 M attributes, events, links; 100,001 spans in a request | attacks/test_amounts.py, unit/test_limits.py, |
| | integration/test_bombs.py test_a_million_attributes_are_taken_within_bounds |
| attribute values without end | unit/test_limits.py, attacks/test_tenants.py |
| slow loris | attacks/test_connections.py (many at once), integration/test_otlp_http.py test_slow_clients_are_cut, |
| | test_dribbling_headers..., integration/test_otlp_grpc.py test_a_connection_that_does_not_speak..., ..._message_... |
| large requests that stall | attacks/test_connections.py test_a_client_that_is_slow_with_large_requests... |
| 2,000 idle connections | attacks/test_connections.py |
| header smuggling | attacks/test_connections.py, integration/test_otlp_http.py test_malformed_requests_are_refused... |
| path tricks on the HTTP port | attacks/test_connections.py |
| bad TLS, no client certificate | attacks/test_tenants.py, integration/test_otlp_{http,grpc}.py test_tls |
| wrong and missing tokens | attacks/test_tenants.py, unit/test_access.py |
| a flood of wrong passwords | unit/test_access.py test_a_flood_of_passwords_does_not_pile_up |
| cross-tenant writes | attacks/test_tenants.py, unit/test_access.py, attacks/test_foreign_spans.py |
| `mlflow.*` spoofing | attacks/test_tenants.py, acceptance/test_poison.py, unit/test_mlflow_cleaning.py |
| experiment-name template injection | attacks/test_texts.py, attacks/test_tenants.py |
| log injection | attacks/test_texts.py, attacks/test_tenants.py |
| metric label injection | attacks/test_texts.py |
| CSV and HTML in names reaching `journal ls` | attacks/test_texts.py |
| ReDoS | attacks/test_redos.py |
| secrets in logs, errors, metrics, pages | attacks/test_secrets.py |
"""
