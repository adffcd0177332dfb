"""What a run would take, and the files by which an orchestrator starts it.

`plan` is the dry run, `unused_passages` what earlier dates have left, `target` the machines for an amount of text,
`orchestrators` the files for systemd, cron, Airflow and Kubernetes.
"""
