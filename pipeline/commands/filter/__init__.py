"""`gristmill filter`: list the filters, explain a row, train, evaluate and judge; one command a file."""
