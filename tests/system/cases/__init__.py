"""What users' files, services and machines do: each kind of trouble, tried through the command line."""
