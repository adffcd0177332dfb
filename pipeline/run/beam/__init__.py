"""How stages run on Beam: `stage_runner` (a stage until each shard is committed), `runner` (one Beam job) and
`dask_cluster`."""
