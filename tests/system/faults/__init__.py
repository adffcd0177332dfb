"""What a fault test puts in the way of the processes that it starts."""
