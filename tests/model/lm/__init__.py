"""Tests of the language model: its forward pass, its cache, and text in, text out."""
