"""Builders that several tests share: rows, documents, servers, engines, the command line."""
