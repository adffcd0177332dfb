"""What `gristmill serve` is put together from.

Read `options` (what the flags say) and `start` (model, engine, keys, policies and HTTP become a server). `policies`
builds the sandbox from the filters of a policy file; `champions` are a data set's adapters that names mean; `log` shows
what happens.
"""
