"""Let systemd, cron, Airflow or Kubernetes run a data set each day.

Read `emit`, then `install`.
"""

HELP_GROUP = "Set-up"
