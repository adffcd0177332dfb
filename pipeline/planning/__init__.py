"""What a run would take, and the files by which an orchestrator starts it.

`plan` is the dry run, with the warnings of `plan_warnings`; `unused_passages` is what earlier dates have left, `target`
the machines for an amount of text. `machine` is what `gristmill doctor` finds. `orchestrators` are the files for
systemd, cron, Airflow and Kubernetes.
"""
