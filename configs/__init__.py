"""Configurations: their schema, the presets, and the tasks, domains, policies and catalogues that are shipped.

Read `schema` first (one section of a configuration in each file), then `load` (from YAML and `--set` to a checked
`Config` and its fingerprint) with `yaml_text` (YAML whose errors name the file), `renamed_keys` and `errors`. The other
folders hold YAML: `presets`, `domains`, `tasks`, `train` (training configurations), `policies`, and `catalogue`
(packaged corpora and models, measured rates, model sizes). Nothing here imports Beam or torch.
"""
