"""Tests of the HTML report and of the pages that are served."""
