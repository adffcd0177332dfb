"""What a run would take, and the files by which an orchestrator starts it.

`plan` is the dry run, `target` the machines for an amount of text, `orchestrators` the files for systemd, cron,
Airflow and Kubernetes.
"""
