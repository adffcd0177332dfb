"""What `gristmill serve` takes from the data engine: `policies` builds the sandbox from the filters of a policy file."""
