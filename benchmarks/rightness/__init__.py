"""How much right data a generator and the filters give: `samples`, by the number of samples of a passage."""
