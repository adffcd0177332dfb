"""Tests of readers: users' files, packaged corpora, passages."""
