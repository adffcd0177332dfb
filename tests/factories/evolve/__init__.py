"""What the tests of the self-evolving loop are made from."""
