"""What `gristmill serve` takes from the data engine: `policies` builds the sandbox from a policy file."""
