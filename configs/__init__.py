"""What is asked for: the schema of a configuration, the presets, and what ships beside them. No Beam, no torch.

Read `schema` first (one section of the configuration a file), then `load` (YAML and `--set` to a checked config and
its fingerprint) and `errors`. The other folders hold YAML: `presets`, `domains`, `tasks`, `train`, `policies` and
`catalogue` (packaged corpora and models, measured rates, model sizes).
"""
