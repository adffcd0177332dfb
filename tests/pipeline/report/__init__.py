"""Tests of reports: drift, progress, counters and what Prometheus reads."""
