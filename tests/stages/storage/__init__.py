"""Tests of storage: errors of disks, locks, records of shards, notes of progress."""
