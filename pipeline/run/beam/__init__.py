"""How stages run on Beam.

Read `driver_process` (the process around it all), `stage_runner` (a stage until each shard is committed), `runner` (one
Beam job) and `dask_cluster`.
"""
