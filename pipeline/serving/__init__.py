"""What `gristmill serve` takes from the data engine: `policies` builds its sandbox from the filters of a policy file."""
